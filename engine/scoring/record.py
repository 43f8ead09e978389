"""Scores a record that a caller supplies, of a person who need not be a member."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from engine.domain.claims import conditions_of
from engine.domain.events import CONDITIONS, METALS
from engine.domain.metrics import LAB_INDEX, LAB_TESTS, METRICS
from engine.scoring import commercial
from engine.scoring.behavior import COMPONENTS
from engine.scoring.clinical import categories_of
from engine.scoring.features import BASE_FEATURES, FEATURE_INDEX
from engine.scoring.health_score import HealthScorer, heard
from engine.scoring.measures import measures
from engine.scoring.risk_factors import Grounds, RiskFactor
from engine.scoring.score_kernel import Known
from engine.scoring.told import score_columns, told_rows
from engine.scoring.vitals import VITALS

_AGE, _MALE = FEATURE_INDEX["age"], FEATURE_INDEX["male"]
_COMPONENT = {metric.code: COMPONENTS.index(metric.code) if metric.code in COMPONENTS else None for metric in METRICS}
_VITAL = {metric.code: VITALS.index(metric.code) if metric.code in VITALS else None for metric in METRICS}
_CARE = [feature.group in ("cost", "utilisation") for feature in BASE_FEATURES]
_NOTHING_KNOWN = np.where(_CARE, 0.0, np.nan).astype(np.float32)


@dataclass(frozen=True, slots=True)
class HealthRecord:
    """What a caller knows of a person at `as_of_us`.

    `features` are base features by code. Costs and counts not given are 0, for the model never saw them missing; others
    not given are not known. `month` are 30-day means by metric with `days` of readings; `vitals` are vital signs of
    the last 24 hours by metric; `diagnoses` ICD-10-CM codes of this year and the last; `labs` results of the last two
    years by test; `observed_days` is how long the person's care has been known. `commercial` says that the policy is of
    an individual or small-group line, `metal` is the level of the plan, and `drugs` are NDCs of this year and the last.
    """

    as_of_us: int
    features: Mapping[str, float]
    month: Mapping[str, float]
    days: Mapping[str, int]
    vitals: Mapping[str, float]
    diagnoses: Sequence[str] = ()
    labs: Mapping[str, float] = field(default_factory=dict)
    observed_days: int = 365
    commercial: bool = False
    metal: str = "silver"
    drugs: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class RecordScore:
    """The score of one record; costs in dollars a year. `news2` is None where no vital sign is given.

    Score and costs are None where the category is INSUFFICIENT.
    """

    score: float | None
    category: str
    predicted_cost: float | None
    cost_lower_90: float | None
    cost_upper_90: float | None
    news2: int | None
    components: list[str]
    risk_factors: list[RiskFactor]
    interventions: list[str]
    model_version: str


def score_record(scorer: HealthScorer, record: HealthRecord) -> RecordScore:
    """Scores one record with the models that score members. Raises KeyError for an unknown feature or metric."""
    return score_records(scorer, [record])[0]


def score_records(scorer: HealthScorer, records: Sequence[HealthRecord]) -> list[RecordScore]:
    """Scores records together, to the bits of each alone. Raises KeyError for an unknown feature or metric."""
    known, grounds = _known(scorer, records)
    columns = score_columns(scorer, known, scorer.score(known), grounds)
    return [RecordScore(**row) for row in told_rows(columns)]


def _known(scorer: HealthScorer, records: Sequence[HealthRecord]) -> tuple[Known, Grounds]:
    n, tests = len(records), len(LAB_TESTS)
    features = np.empty((n, len(BASE_FEATURES)), np.float32)
    features[:] = _NOTHING_KNOWN
    month, days = np.full((n, len(COMPONENTS)), np.nan), np.zeros((n, len(COMPONENTS)), np.int64)
    vital_value, vital_time = np.full((n, len(VITALS)), np.nan), np.zeros((n, len(VITALS)), np.int64)
    results, resulted = np.full((n, tests), np.nan), np.zeros((n, tests), np.int64)
    as_of_us = np.array([record.as_of_us for record in records], np.int64)
    for i, record in enumerate(records):
        for code, value in record.features.items():
            features[i, FEATURE_INDEX[code]] = value
        for diagnosis in record.diagnoses:
            for condition in conditions_of(diagnosis):
                features[i, FEATURE_INDEX[CONDITIONS[condition]]] = 1.0
        for code, value in record.month.items():
            at = _COMPONENT[code]
            if at is not None:
                month[i, at], days[i, at] = value, record.days[code]
        for code, value in record.vitals.items():
            at = _VITAL[code]
            if at is not None:
                vital_value[i, at], vital_time[i, at] = value, record.as_of_us
        for code, value in record.labs.items():
            results[i, LAB_INDEX[code]], resulted[i, LAB_INDEX[code]] = value, record.as_of_us
    prediction = scorer.base.predict(features)
    age, male = features[:, _AGE], features[:, _MALE]
    whole, female = np.where(np.isnan(age), 0, age).astype(np.int16), (male == 0).astype(np.int8)
    insured = np.array([record.commercial for record in records])
    known = Known(
        base_cost=np.array([prediction.mean, prediction.lower_90, prediction.upper_90]).T.copy(),
        age=age.astype(np.float64),
        male=male.astype(np.float64),
        heard=heard(features),
        month=month,
        days=days,
        forecast=np.full(n, np.nan),
        vital_value=vital_value,
        vital_time=vital_time,
        ccs=categories_of([record.diagnoses for record in records], whole, female),
        commercial=insured,
        metal=np.array([METALS.index(record.metal) for record in records]),
        hhs_ccs=commercial.categories_of(
            [record.diagnoses if record.commercial else () for record in records], whole.astype(np.int64), female
        ),
        rxcs=np.array([commercial.drug_classes(record.drugs) if record.commercial else 0 for record in records]),
        hazard=scorer.models.physiology.log_hazard(measures(features, results, resulted, as_of_us)),
        observed_days=np.array([record.observed_days for record in records], np.int64),
        as_of_us=as_of_us,
    )
    return known, Grounds(features, scorer.base.contributions(features))
