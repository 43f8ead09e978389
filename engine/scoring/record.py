"""Scores a record that a caller supplies, of a person who need not be a member."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from engine.domain.claims import conditions_of
from engine.domain.events import CONDITIONS
from engine.domain.metrics import LAB_INDEX, LAB_TESTS, METRIC_INDEX, METRICS
from engine.scoring.clinical import categories_of
from engine.scoring.features import BASE_FEATURES, FEATURE_INDEX
from engine.scoring.health_score import HealthScorer, ScoreInputs, category_name
from engine.scoring.measures import measures
from engine.scoring.member_state import NEVER
from engine.scoring.risk_factors import RiskFactor


@dataclass(frozen=True, slots=True)
class HealthRecord:
    """What a caller knows of a person at `as_of_us`.

    `features` are base features by code. Costs and counts not given are 0, for the model never saw them missing; others
    not given are not known. `month` are 30-day means by metric with `days` of readings; `vitals` are vital signs of
    the last 24 hours by metric; `diagnoses` ICD-10-CM codes of this year and the last; `labs` results of the last two
    years by test; `observed_days` is how long the person's care has been known.
    """

    as_of_us: int
    features: Mapping[str, float]
    month: Mapping[str, float]
    days: Mapping[str, int]
    vitals: Mapping[str, float]
    diagnoses: Sequence[str] = ()
    labs: Mapping[str, float] = field(default_factory=dict)
    observed_days: int = 365


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
    care = [feature.group in ("cost", "utilisation") for feature in BASE_FEATURES]
    features = np.where(care, 0.0, np.nan).astype(np.float32)[None, :]
    for code, value in record.features.items():
        features[0, FEATURE_INDEX[code]] = value
    for diagnosis in record.diagnoses:
        for condition in conditions_of(diagnosis):
            features[0, FEATURE_INDEX[CONDITIONS[condition]]] = 1.0
    month, days = np.full((1, len(METRICS)), np.nan), np.zeros((1, len(METRICS)), np.int64)
    last_value, last_time = np.full((1, len(METRICS)), np.nan), np.full((1, len(METRICS)), NEVER)
    for code, value in record.month.items():
        month[0, METRIC_INDEX[code]] = value
        days[0, METRIC_INDEX[code]] = record.days[code]
    for code, value in record.vitals.items():
        last_value[0, METRIC_INDEX[code]] = value
        last_time[0, METRIC_INDEX[code]] = record.as_of_us
    results, resulted = np.full((1, len(LAB_TESTS)), np.nan), np.full((1, len(LAB_TESTS)), NEVER)
    for code, value in record.labs.items():
        results[0, LAB_INDEX[code]], resulted[0, LAB_INDEX[code]] = value, record.as_of_us
    as_of_us = np.array([record.as_of_us], np.int64)
    prediction = scorer.base.predict(features)
    inputs = ScoreInputs(
        np.stack([prediction.mean, prediction.lower_90, prediction.upper_90], axis=1),
        scorer.base.contributions(features),
        features,
        month,
        days,
        np.array([np.nan]),
        last_value,
        last_time,
        categories_of(
            [record.diagnoses],
            features[:, FEATURE_INDEX["age"]].astype(np.int16),
            (features[:, FEATURE_INDEX["male"]] == 0).astype(np.int8),
        ),
        measures(features, results, resulted, as_of_us),
        np.array([record.observed_days], np.int64),
        as_of_us,
    )
    scores = scorer.score(inputs)
    factors, interventions = scorer.explain(inputs, scores)
    score, mean, lower, upper = (
        None if np.isnan(value) else value for value in (float(scores.score[0]), *scores.cost[0].tolist())
    )
    news2 = int(scores.news2[0])
    return RecordScore(
        score,
        category_name(int(scores.category[0])),
        mean,
        lower,
        upper,
        news2 if news2 >= 0 else None,
        scores.components[0],
        factors[0],
        interventions[0],
        scorer.version,
    )
