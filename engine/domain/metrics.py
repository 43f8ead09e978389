"""The catalogue of what is measured: wearable metrics and laboratory tests, with units and possible ranges.

The bounds are those of a living person and a working device, not of health: a value outside them is a fault of the
record and is refused. Reference ranges of health live with the scoring.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Metric:
    """A wearable metric. `daily` says how a day is summed up: "sum" of the readings or their "mean"."""

    code: str
    name: str
    unit: str
    low: float
    high: float
    daily: str


METRICS: tuple[Metric, ...] = (
    Metric("steps", "Steps", "count", 0, 100_000, "sum"),
    Metric("heart_rate", "Heart rate", "bpm", 20, 300, "mean"),
    Metric("resting_heart_rate", "Resting heart rate", "bpm", 20, 200, "mean"),
    Metric("hrv_rmssd", "Heart rate variability (RMSSD)", "ms", 0, 500, "mean"),
    Metric("spo2", "Oxygen saturation", "%", 40, 100, "mean"),
    Metric("respiratory_rate", "Respiratory rate", "breaths/min", 3, 80, "mean"),
    Metric("body_temperature", "Body temperature", "degC", 25, 45, "mean"),
    Metric("sleep_minutes", "Minutes asleep", "min", 0, 1440, "sum"),
    Metric("active_minutes", "Moderately or very active minutes", "min", 0, 1440, "sum"),
    Metric("sedentary_minutes", "Sedentary minutes", "min", 0, 1440, "sum"),
    Metric("calories", "Energy expended", "kcal", 0, 30_000, "sum"),
    Metric("weight", "Body weight", "kg", 1, 650, "mean"),
    Metric("systolic_bp", "Systolic blood pressure", "mmHg", 30, 320, "mean"),
    Metric("diastolic_bp", "Diastolic blood pressure", "mmHg", 10, 220, "mean"),
    Metric("glucose", "Interstitial glucose", "mg/dL", 10, 1500, "mean"),
)
METRIC_INDEX: dict[str, int] = {metric.code: i for i, metric in enumerate(METRICS)}


@dataclass(frozen=True, slots=True)
class LabTest:
    """A laboratory test: code, LOINC, unit and possible range."""

    code: str
    name: str
    loinc: str
    unit: str
    low: float
    high: float


LAB_TESTS: tuple[LabTest, ...] = (
    LabTest("hba1c", "Haemoglobin A1c", "4548-4", "%", 2, 25),
    LabTest("fasting_glucose", "Fasting glucose", "1558-6", "mg/dL", 10, 1500),
    LabTest("total_cholesterol", "Total cholesterol", "2093-3", "mg/dL", 20, 1500),
    LabTest("ldl_cholesterol", "LDL cholesterol", "13457-7", "mg/dL", 1, 1200),
    LabTest("hdl_cholesterol", "HDL cholesterol", "2085-9", "mg/dL", 1, 300),
    LabTest("triglycerides", "Triglycerides", "2571-8", "mg/dL", 5, 10_000),
    LabTest("creatinine", "Serum creatinine", "2160-0", "mg/dL", 0.05, 40),
    LabTest("systolic_bp", "Systolic blood pressure", "8480-6", "mmHg", 30, 320),
    LabTest("diastolic_bp", "Diastolic blood pressure", "8462-4", "mmHg", 10, 220),
    LabTest("bmi", "Body mass index", "39156-5", "kg/m2", 8, 150),
    LabTest("height", "Body height", "8302-2", "cm", 30, 280),
    LabTest("waist", "Waist circumference", "8280-0", "cm", 20, 300),
    LabTest("albumin", "Albumin", "1751-7", "g/dL", 0.5, 8),
    LabTest("alkaline_phosphatase", "Alkaline phosphatase", "6768-6", "U/L", 1, 10_000),
    LabTest("urea_nitrogen", "Urea nitrogen", "3094-0", "mg/dL", 0.5, 400),
    LabTest("total_bilirubin", "Total bilirubin", "1975-2", "mg/dL", 0, 80),
    LabTest("uric_acid", "Uric acid", "3084-1", "mg/dL", 0.1, 40),
    LabTest("ggt", "Gamma glutamyltransferase", "2324-2", "U/L", 1, 10_000),
    LabTest("crp", "C-reactive protein", "1988-5", "mg/dL", 0, 100),
    LabTest("white_cells", "White cell count", "6690-2", "10*3/uL", 0.01, 1000),
    LabTest("red_cells", "Red cell count", "789-8", "10*6/uL", 0.3, 12),
    LabTest("mean_cell_volume", "Mean cell volume", "787-2", "fL", 30, 200),
    LabTest("red_cell_width", "Red cell distribution width", "788-0", "%", 5, 60),
    LabTest("lymphocytes", "Lymphocytes", "736-9", "%", 0, 100),
    LabTest("monocytes", "Monocytes", "5905-5", "%", 0, 100),
)
LAB_INDEX: dict[str, int] = {test.code: i for i, test in enumerate(LAB_TESTS)}
