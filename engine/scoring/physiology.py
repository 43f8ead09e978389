"""The physiological component: laboratory values, vital signs and self-rated health to a mortality hazard.

log hazard = a penalised Cox model (each measure, its square, and its products with age and sex) + Cox-boosted trees on
what that leaves. Fitted on NHANES III adults with linked mortality. What is not known is put at what age and sex lead
to expect, so that a missing value moves nobody. Sex and age are of the model; race, income and education are not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.errors import ModelError
from engine.scoring.trees import Trees

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Measure:
    """One column of the feature matrix; a value outside low..high is not possible and counts as not known.

    `log`: enters as its logarithm. `least`: the least that the assay of the training data told apart.
    """

    code: str
    label: str
    unit: str
    low: float
    high: float
    log: bool = False
    least: float = 0.0


MEASURES: tuple[Measure, ...] = (
    Measure("age", "Age", "years", 18, 120),
    Measure("male", "Sex", "0/1", 0, 1),
    Measure("health", "Self-rated health", "1 excellent - 5 poor", 1, 5),
    Measure("albumin", "Albumin", "g/dL", 1, 7),
    Measure("alp", "Alkaline phosphatase", "U/L", 5, 2000, log=True),
    Measure("bun", "Urea nitrogen", "mg/dL", 1, 250, log=True),
    Measure("creat", "Creatinine", "mg/dL", 0.05, 25, log=True),
    Measure("glucose", "Glucose", "mg/dL", 20, 1000, log=True),
    Measure("ttbl", "Total bilirubin", "mg/dL", 0, 50, log=True, least=0.1),
    Measure("uap", "Uric acid", "mg/dL", 0.1, 25),
    Measure("lymph", "Lymphocytes", "%", 0.1, 99),
    Measure("mcv", "Mean cell volume", "fL", 40, 150),
    Measure("monopa", "Monocytes", "%", 0, 60),
    Measure("rbc", "Red cell count", "10^6/uL", 1, 9),
    Measure("rdw", "Red cell distribution width", "%", 8, 40),
    Measure("wbc", "White cell count", "10^3/uL", 0.5, 100, log=True),
    Measure("crp", "C-reactive protein", "mg/dL", 0, 60, log=True, least=0.21),
    Measure("dbp", "Diastolic blood pressure", "mmHg", 15, 180),
    Measure("sbp", "Systolic blood pressure", "mmHg", 50, 300),
    Measure("hba1c", "Haemoglobin A1c", "%", 2, 25, log=True),
    Measure("hdl", "HDL cholesterol", "mg/dL", 3, 250),
    Measure("totchol", "Total cholesterol", "mg/dL", 30, 1000),
    Measure("trig", "Triglycerides", "mg/dL", 5, 6000, log=True),
    Measure("bmi", "Body mass index", "kg/m2", 8, 120),
    Measure("waist", "Waist", "cm", 30, 250),
    Measure("height", "Height", "cm", 80, 250),
    Measure("ggt", "Gamma glutamyltransferase", "U/L", 1, 3000, log=True),
)
INDEX: dict[str, int] = {measure.code: i for i, measure in enumerate(MEASURES)}
AGE, MALE = INDEX["age"], INDEX["male"]
_LOW, _HIGH = np.array([m.low for m in MEASURES], float), np.array([m.high for m in MEASURES], float)
_LEAST = np.array([m.least or -np.inf for m in MEASURES])
_LOGS = np.flatnonzero([m.log for m in MEASURES])
_NOT_MALE = np.array([i for i in range(len(MEASURES)) if i != MALE])
_OTHERS = np.array([i for i in range(len(MEASURES)) if i not in (AGE, MALE)])
LEAST_MEASURES = 5
"""Besides age and sex; with fewer there is no score."""
_REACH = 4.0


@dataclass(frozen=True, slots=True)
class Scaling:
    """How measures become standard scores: mean and sd [measures], and what age and sex lead to expect.

    expected [measures, 3]: standard score of an unknown measure = intercept + slope x age score + slope x sex score.
    """

    mean: tuple[float, ...]
    sd: tuple[float, ...]
    expected: tuple[tuple[float, float, float], ...]


@dataclass(frozen=True, slots=True)
class Calibration:
    """What belongs to the fit besides the trees.

    `coefficients` of the columns of `design`; `offset` centres the linear part; `ten_years` is the baseline cumulative
    hazard of ten years; `reference` holds log hazards of the training adults at equally spaced percentiles 0..100.
    """

    scaling: Scaling
    coefficients: tuple[float, ...]
    offset: float
    ten_years: float
    reference: tuple[float, ...]


def cleaned(features: Floats) -> Floats:
    """Features [n, MEASURES] with impossible values as NaN, values under the least measurable raised to it, logs taken.

    Raises ModelError for another width.
    """
    if features.ndim != 2 or features.shape[1] != len(MEASURES):
        raise ModelError(f"features of shape {features.shape}: the model takes [n, {len(MEASURES)}]")
    out = np.where((features >= _LOW) & (features <= _HIGH), features, np.nan)
    np.maximum(out, _LEAST, out=out)
    out[:, _LOGS] = np.log(out[:, _LOGS])
    return out


def lacking(features: Floats) -> list[str]:
    """Why a row has no score, by row; "" where it has one."""
    known = ~np.isnan(cleaned(features))
    few = known.sum(axis=1) - known[:, AGE] - known[:, MALE]
    out = []
    for age, sex, count in zip(known[:, AGE].tolist(), known[:, MALE].tolist(), few.tolist(), strict=True):
        if not age:
            out.append("age is not known or not of an adult")
        elif not sex:
            out.append("sex is not known")
        else:
            out.append("" if count >= LEAST_MEASURES else f"{count} measures are known, {LEAST_MEASURES} are needed")
    return out


def design(clean: Floats, scaling: Scaling) -> Floats:
    """Columns of the linear part for `cleaned` features: scores, squares, products with age and with sex, age cubed."""
    return _columns(clean, np.array(scaling.mean), np.array(scaling.sd), np.array(scaling.expected).T)


def _columns(clean: Floats, mean: Floats, sd: Floats, expected: Floats) -> Floats:
    """The columns of `design`; expected [3, measures]."""
    score = (clean - mean) / sd
    np.minimum(np.maximum(score, -_REACH, out=score), _REACH, out=score)
    stand_in = expected[0] + score[:, AGE, None] * expected[1] + score[:, MALE, None] * expected[2]
    score = np.where(np.isnan(score), stand_in, score)
    age, male, others = score[:, AGE, None], score[:, MALE, None], score[:, _OTHERS]
    return np.concatenate([score, score[:, _NOT_MALE] ** 2, others * age, others * male, age * male, age**3], axis=1)


class PhysiologyModel:
    """A fitted model. Pure: the same row gives the same bits in any batch."""

    def __init__(self, version: str, trees: Trees, calibration: Calibration) -> None:
        self.version, self.calibration, self._trees = version, calibration, trees
        scaling = calibration.scaling
        self._scaling = np.array(scaling.mean), np.array(scaling.sd), np.array(scaling.expected).T.copy()
        self._coefficients = np.array(calibration.coefficients)
        if trees.features != len(MEASURES):
            raise ModelError(f"physiology {version}: its trees take {trees.features} features: train it anew")

    def log_hazard(self, features: Floats) -> Floats:
        """Log hazard [n] relative to the average of the training adults, NaN where too little is known."""
        out, most = np.full(len(features), np.nan), (features == features).sum(axis=1)
        rows = np.flatnonzero(most >= LEAST_MEASURES + 2)  # of the others nothing need be worked out
        if len(rows):
            clean = cleaned(features[rows])
            linear = self.linear(clean)[:, None].astype(np.float32)
            whole = self._trees.margins(clean.astype(np.float32), linear)[:, 0].astype(np.float64)
            known = ~np.isnan(clean)
            enough = known[:, AGE] & known[:, MALE] & (known.sum(axis=1) >= LEAST_MEASURES + 2)
            out[rows] = np.where(enough, whole, np.nan)
        return out

    def linear(self, clean: Floats) -> Floats:
        """The linear part of the log hazard [n] of `cleaned` features."""
        columns = _columns(clean, *self._scaling)
        # a sum by row, not a matrix product, whose order of addition would change with the size of the batch
        return np.asarray((columns * self._coefficients).sum(axis=1) - self.calibration.offset)

    def ten_year_mortality(self, log_hazard: Floats) -> Floats:
        """Probability of death within ten years [n]."""
        return np.asarray(-np.expm1(-self.calibration.ten_years * np.exp(log_hazard)))

    def health_score(self, log_hazard: Floats) -> Floats:
        """1 (healthiest) to 100: 1 + 99 x the percentile of the hazard among the training adults."""
        knots = np.array(self.calibration.reference)
        return np.asarray(1.0 + 99.0 * np.interp(log_hazard, knots, np.linspace(0.0, 1.0, len(knots))))


def scaling_of(clean: Floats) -> Scaling:
    """The scaling of `cleaned` training features."""
    mean, sd = np.nanmean(clean, axis=0), np.nanstd(clean, axis=0)
    score = np.clip((clean - mean) / sd, -_REACH, _REACH)
    base = np.column_stack([np.ones(len(score)), score[:, AGE], score[:, MALE]])
    expected: list[tuple[float, float, float]] = []
    for i in range(len(MEASURES)):
        known = ~np.isnan(score[:, i])
        solved: Sequence[float] = np.linalg.lstsq(base[known], score[known, i], rcond=None)[0].tolist()
        expected.append((solved[0], solved[1], solved[2]))
    return Scaling(tuple(mean.tolist()), tuple(sd.tolist()), tuple(expected))
