"""What a record to score may hold, said once for the schema and the quick decoder; and the record they both make."""

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from engine.domain import codes
from engine.domain.age import age_on
from engine.domain.events import CONDITIONS
from engine.scoring import commercial
from engine.scoring.record import HealthRecord

MOST_COST = 1e10
MOST_COUNT = 100_000
MOST_DIAGNOSES, MOST_DRUGS = 200, 200
MOST_OBSERVED = 50_000
FIRST_BIRTH = dt.date(1880, 1, 1)
FUTURE = dt.timedelta(minutes=10)
"""A clock may be ahead by so much."""
SERVICES = ("inpatient", "emergency", "outpatient", "office", "pharmacy", "home_health")
DIAGNOSIS = re.compile(r"[A-Za-z]\d[0-9A-Za-z](\.?[0-9A-Za-z]{1,4})?")
NDC = re.compile(r"[0-9]{11}|[0-9]{5}-[0-9]{4}-[0-9]{2}")
_US = 1_000_000
_ABSENT: dict[str, float] = {f"{kind}_{name}": 0.0 for name in SERVICES for kind in ("cost", "n")} | dict.fromkeys(
    CONDITIONS, 0.0
)


class Told(Protocol):
    """A checked record, from either decoder."""

    birth_date: dt.date
    sex: str
    care: Mapping[Any, Any]
    other_cost: float
    diagnoses: Sequence[str]
    conditions: Sequence[str]
    general_health: int | None
    mental_health: int | None
    wearables: Mapping[str, Any]
    vitals: Mapping[str, float]
    labs: Mapping[str, float]
    observed_days: int
    line_of_business: str | None
    metal: str | None
    drugs: Sequence[str]


def record_of(told: Told, as_of: dt.datetime) -> HealthRecord:
    """The record in the engine's terms."""
    age = age_on(told.birth_date, as_of.date())
    features: dict[str, float] = {"age": age, "male": float(told.sex == "male"), **_ABSENT}
    total = told.other_cost + sum(use.cost for use in told.care.values())
    for category, use in told.care.items():
        features[f"cost_{category}"], features[f"n_{category}"] = use.cost, use.count
    features["cost_total"] = total
    for code in told.conditions:
        features[code] = 1.0
    for name in ("general_health", "mental_health"):
        rating = getattr(told, name)
        if rating is not None:
            features[name] = rating
    return HealthRecord(
        int(as_of.timestamp() * _US),
        features,
        {code: month.mean for code, month in told.wearables.items()},
        {code: month.days for code, month in told.wearables.items()},
        told.vitals,
        [codes.diagnosis(code) for code in told.diagnoses],
        told.labs,
        told.observed_days,
        told.line_of_business in commercial.LINES,
        told.metal or "silver",
        [codes.ndc(code) for code in told.drugs],
    )
