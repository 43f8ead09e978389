"""The health score: what the component models say of a member, put into one number, a category and a cost.

The score is 1 + 99 x the percentile of the member's predicted cost among the reference population (the persons of MEPS,
weighted to the United States): 50 means that half of all people are expected to cost less. Vital signs that would call
a care team at the bedside raise it to the floor of the category they call for. Of a new member of whom nothing is known
but age and sex there is no score: the state is INSUFFICIENT, and score and cost are NaN.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.domain.metrics import METRIC_INDEX
from engine.domain.model_set import ModelSet
from engine.scoring import behavior, clinical, vitals
from engine.scoring.base_risk import BaseRiskModel
from engine.scoring.ensemble import Ensemble
from engine.scoring.features import BASE_FEATURES, FEATURE_INDEX
from engine.scoring.interventions import Intervention, recommend
from engine.scoring.physiology import PhysiologyModel
from engine.scoring.risk_factors import RiskFactor, ranked
from engine.scoring.steps_forecast import StepsForecaster

CATEGORIES: tuple[str, ...] = ("Low", "Moderate", "High", "Critical")
LOW, MODERATE, HIGH, CRITICAL = range(4)
NO_SCORE = -1
_COMPONENTS = ("base_risk", "clinical", "physiology", "wearables", "news2")
INSUFFICIENT = "Insufficient data"
_CARE = [i for i, feature in enumerate(BASE_FEATURES) if feature.group in ("cost", "utilisation")]
_TOLD = [i for i, feature in enumerate(BASE_FEATURES) if feature.group in ("self_report", "condition")]


def category_name(category: int) -> str:
    """The category's name; INSUFFICIENT for NO_SCORE."""
    return INSUFFICIENT if category == NO_SCORE else CATEGORIES[category]


@dataclass(frozen=True, slots=True)
class Models:
    """The fitted models that make a score together."""

    base: BaseRiskModel
    physiology: PhysiologyModel
    behavior: StepsForecaster
    ensemble: Ensemble

    @property
    def version(self) -> str:
        """Versions of all: what a score was made with."""
        fitted = ModelSet(self.base.version, self.physiology.version, self.behavior.version, self.ensemble.version)
        return f"{fitted}+{clinical.VERSION}"


@dataclass(frozen=True, slots=True)
class ScoringRules:
    """What the business sets: from which score a category begins, and which NEWS2 calls for which category.

    `floors` are the lowest scores of Moderate, High and Critical. A member known for fewer than `minimum_days` of whom
    nothing was heard has no score. The version is part of the model version.
    """

    version: str
    floors: tuple[float, float, float]
    news2_high: int
    news2_critical: int
    minimum_days: int
    catalogue: tuple[Intervention, ...]

    def __post_init__(self) -> None:
        if not 1 < self.floors[0] < self.floors[1] < self.floors[2] < 100:
            raise ValueError(f"scoring rules: floors {self.floors} must rise within 1 and 100")
        if not 0 < self.news2_high < self.news2_critical:
            raise ValueError(
                f"scoring rules: NEWS2 {self.news2_high} (High) must be below {self.news2_critical} (Critical)"
            )


@dataclass(frozen=True, slots=True)
class ScoreInputs:
    """What is known of the members to score, by member: base prediction and its contributions, wearables, vital signs.

    Shapes: base_cost [n, 3] (mean, lower, upper; dollars), contributions [n, features] (dollars), features like it;
    month [n, metrics], days [n, metrics], forecast [n] (steps a day of the coming week, NaN without), last_value and
    last_time [n, metrics], ccs [n, 2] (condition categories of CMS-HCC, see `clinical`), measures [n, MEASURES] of
    physiology, observed_days [n] since care has been known, as_of_us [n].
    """

    base_cost: NDArray[np.float64]
    contributions: NDArray[np.float32]
    features: NDArray[np.float32]
    month: NDArray[np.float64]
    days: NDArray[np.int64]
    forecast: NDArray[np.float64]
    last_value: NDArray[np.float64]
    last_time: NDArray[np.int64]
    ccs: NDArray[np.uint64]
    measures: NDArray[np.float64]
    observed_days: NDArray[np.int64]
    as_of_us: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class HealthScores:
    """Scores by member. `cost` [n, 3]: mean, lower, upper in dollars; `category` indexes CATEGORIES or is NO_SCORE.

    `effects` [n, behavior.COMPONENTS] and `physiology` [n] are log factors on cost as given, 0 where there is none;
    `clinical` carries its effect before it shares with the others, `share` [n] is what each is given.
    """

    score: NDArray[np.float64]
    category: NDArray[np.int64]
    cost: NDArray[np.float64]
    news2: NDArray[np.int64]
    effects: NDArray[np.float64]
    physiology: NDArray[np.float64]
    share: NDArray[np.float64]
    clinical: clinical.ClinicalRisk
    components: list[list[str]]


class HealthScorer:
    """The ensemble of the component models. Pure: the same inputs give the same bits, alone or in a batch."""

    def __init__(self, models: Models, rules: ScoringRules) -> None:
        self.models = models
        self.base = models.base
        self.rules = rules
        self.version = f"{models.version}+rules-{rules.version}"

    def score(self, inputs: ScoreInputs) -> HealthScores:
        """Scores of all members at once."""
        age, male = (inputs.features[:, FEATURE_INDEX[code]] for code in ("age", "male"))
        ensemble = self.models.ensemble
        wearables = behavior.log_relative_costs(ensemble, inputs.month, inputs.days, inputs.forecast)
        disease = clinical.risk(inputs.ccs, age.astype(np.int16), (male == 0).astype(np.int8))
        ill = (disease.hccs != 0).any(axis=1)
        physiology = ensemble.physiology_effect(
            self.models.physiology.log_hazard(inputs.measures),
            age.astype(np.float64),
            male.astype(np.float64),
            inputs.base_cost[:, 0],
        )
        effects = np.column_stack([np.where(ill, disease.effect, np.nan), physiology, behavior.together(wearables)])
        cost, share = ensemble.combine(inputs.base_cost, effects, inputs.observed_days.astype(np.float64))
        aggregate, _ = vitals.news2(inputs.last_value, inputs.last_time, inputs.as_of_us)
        score, category = self._placed(cost[:, 0], aggregate)
        told = (np.nan_to_num(inputs.features[:, _TOLD]) != 0).any(axis=1)
        heard = told | (np.nan_to_num(inputs.features[:, _CARE]) != 0).any(axis=1) | ~np.isnan(effects).all(axis=1)
        unknown = ~heard & (aggregate < 0) & (inputs.observed_days < self.rules.minimum_days)
        score[unknown], cost[unknown], category[unknown] = np.nan, np.nan, NO_SCORE
        scale = _bounded(wearables)
        speaks = np.column_stack([np.ones(len(age), bool), ~np.isnan(effects), aggregate >= 0])
        components = [[name for name, said in zip(_COMPONENTS, row, strict=True) if said] for row in speaks.tolist()]
        return HealthScores(
            score,
            category,
            cost,
            aggregate,
            np.nan_to_num(wearables) * (scale * share)[:, None],
            np.nan_to_num(physiology) * share,
            share,
            disease,
            components,
        )

    def _placed(
        self, cost: NDArray[np.float64], aggregate: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Score and category of a predicted cost and a NEWS2 aggregate."""
        score, floors = 1.0 + 99.0 * self.base.percentile(cost), np.array(self.rules.floors)
        urgent = aggregate >= self.rules.news2_high
        acute = np.where(aggregate >= self.rules.news2_critical, floors[2], np.where(urgent, floors[1], 1))
        score = np.maximum(score, acute)
        return score, np.searchsorted(floors, score, side="right")

    def explain(self, inputs: ScoreInputs, scores: HealthScores) -> tuple[list[list[RiskFactor]], list[list[str]]]:
        """By member: ranked risk factors, and the codes of the interventions recommended for them."""
        base_cost = inputs.base_cost[:, :1]
        disease = scores.clinical.effect * scores.share * (scores.clinical.hccs != 0).any(axis=1)
        logs = np.column_stack([scores.effects, disease, scores.physiology])
        dollars = np.hstack([inputs.contributions, base_cost * np.expm1(logs)])
        wearables = inputs.month[:, [METRIC_INDEX[code] for code in behavior.COMPONENTS]]
        values = np.column_stack([inputs.features, wearables, scores.clinical.raf, np.exp(scores.physiology)])

        def diseases(i: int) -> str:
            return "; ".join(clinical.labels(scores.clinical.hccs[i]))

        factors = ranked(dollars, values, diseases, scores.news2, self.rules.news2_high)
        categories = scores.category.tolist()
        recommended = [recommend(self.rules.catalogue, f, c) for f, c in zip(factors, categories, strict=True)]
        return factors, recommended


def _bounded(wearables: NDArray[np.float64]) -> NDArray[np.float64]:
    """By how much the component's bounds shrink the effects [n, COMPONENTS]: 1 where they do not."""
    whole, said = np.nansum(wearables, axis=1), np.nan_to_num(behavior.together(wearables))
    return np.asarray(np.divide(said, whole, out=np.ones(len(whole)), where=whole != 0))
