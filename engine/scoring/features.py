"""The features of the base-risk model: what an insurer knows of a member before the year it predicts.

A feature matrix is float32 [members, len(BASE_FEATURES)], NaN = not known, costs in dollars. Costs and counts are
those of the last 12 months, in the service categories of the Medical Expenditure Panel Survey (MEPS), on which the
model is fitted.
"""

from dataclasses import dataclass

from engine.domain.events import CONDITIONS


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of the feature matrix. `label` is for people, `group` for risk factors and fairness reports."""

    code: str
    label: str
    unit: str
    group: str


BASE_FEATURES: tuple[Feature, ...] = (
    Feature("age", "Age", "years", "demographic"),
    Feature("male", "Sex", "0/1", "demographic"),
    Feature("cost_total", "Total cost of care", "USD", "cost"),
    Feature("cost_inpatient", "Cost of hospital stays", "USD", "cost"),
    Feature("cost_emergency", "Cost of emergency care", "USD", "cost"),
    Feature("cost_outpatient", "Cost of outpatient hospital care", "USD", "cost"),
    Feature("cost_office", "Cost of office visits", "USD", "cost"),
    Feature("cost_pharmacy", "Cost of prescriptions", "USD", "cost"),
    Feature("cost_home_health", "Cost of home health care", "USD", "cost"),
    Feature("n_inpatient", "Hospital stays", "count", "utilisation"),
    Feature("n_emergency", "Emergency visits", "count", "utilisation"),
    Feature("n_outpatient", "Outpatient hospital visits", "count", "utilisation"),
    Feature("n_office", "Office visits", "count", "utilisation"),
    Feature("n_pharmacy", "Prescription fills", "count", "utilisation"),
    Feature("n_home_health", "Home health days", "d", "utilisation"),
    Feature("general_health", "Self-rated health", "1-5", "self_report"),
    Feature("mental_health", "Self-rated mental health", "1-5", "self_report"),
    *(Feature(code, code.replace("_", " ").capitalize(), "0/1", "condition") for code in CONDITIONS),
)


@dataclass(frozen=True, slots=True)
class Supply:
    """How the engine comes by the features of a group: window, source events, missing rule, columns of member state."""

    window: str
    events: str
    missing: str
    state: str


SUPPLIES: dict[str, Supply] = {
    "demographic": Supply(
        "at the as-of time", "enrollment.change", "never: a member without it cannot enrol", "birth_day, male"
    ),
    "cost": Supply(
        "12 calendar months up to the as-of month",
        "claim.submitted, pharmacy.fill (allowed amount, else paid)",
        "no claim is 0; a short history widens the interval",
        "monthly_costs",
    ),
    "utilisation": Supply(
        "12 calendar months up to the as-of month",
        "claim.submitted, pharmacy.fill (lines)",
        "no claim is 0; a short history widens the interval",
        "monthly_costs",
    ),
    "self_report": Supply("latest answer", "self.report", "not known (NaN)", "general_health, mental_health"),
    "condition": Supply(
        "ever named up to the as-of time",
        "claim.submitted (ICD-10-CM), lab.result (diagnostic threshold), self.report",
        "never named is 0",
        "conditions",
    ),
}
"""By group of BASE_FEATURES. No feature is dated after the as-of time; family history is not a feature (GINA)."""
FEATURE_INDEX: dict[str, int] = {feature.code: i for i, feature in enumerate(BASE_FEATURES)}
