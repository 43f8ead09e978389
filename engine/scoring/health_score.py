"""The health score: what the component models say of a member, put into one number, a category and a cost.

The score is 1 + 99 x the percentile of the member's predicted cost among the reference population (the persons of MEPS,
weighted to the United States): 50 means that half of all people are expected to cost less. Vital signs that would call
a care team at the bedside raise it to the floor of the category they call for. Of a new member of whom nothing is known
but age and sex there is no score: the state is INSUFFICIENT, and score and cost are NaN.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from engine.domain.model_set import ModelSet
from engine.domain.tables import RISK_CATEGORIES
from engine.scoring import behavior, clinical, vitals
from engine.scoring.base_risk import BaseRiskModel
from engine.scoring.ensemble import Ensemble
from engine.scoring.features import BASE_FEATURES, FEATURE_INDEX
from engine.scoring.interventions import Catalogue, Intervention
from engine.scoring.physiology import PhysiologyModel
from engine.scoring.risk_factors import Ranked, ranked
from engine.scoring.steps_forecast import StepsForecaster

CATEGORIES = RISK_CATEGORIES[:-1]
LOW, MODERATE, HIGH, CRITICAL = range(4)
NO_SCORE = -1
COMPONENTS = ("base_risk", "clinical", "physiology", "wearables", "news2")
INSUFFICIENT = RISK_CATEGORIES[-1]
Picked = slice | NDArray[np.int64]
"""Some members of many, by their places."""
_AGE, _MALE = FEATURE_INDEX["age"], FEATURE_INDEX["male"]
_SAID = np.array([i for i, feature in enumerate(BASE_FEATURES) if feature.group != "demographic"])


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
    nothing was heard has no score. A score that has moved by `emit_score`, or a cost by the share `emit_cost`, is news:
    see `emission`. The version is part of the model version.
    """

    version: str
    floors: tuple[float, float, float]
    news2_high: int
    news2_critical: int
    minimum_days: int
    emit_score: float
    emit_cost: float
    catalogue: tuple[Intervention, ...]

    def __post_init__(self) -> None:
        if not (0 < self.emit_score < 99 and 0 < self.emit_cost < 1):
            raise ValueError(
                f"scoring rules: emission of a score moved by {self.emit_score} (above 0, below 99) or a cost moved by "
                f"the share {self.emit_cost} (above 0, below 1)"
            )
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
    month and days [n, behavior.COMPONENTS], forecast [n] (steps a day of the coming week, NaN without), last_value and
    last_time [n, metrics], ccs [n, 2] (condition categories of CMS-HCC, see `clinical`), hazard [n] (log hazard of
    physiology, NaN without), observed_days [n] since care has been known, as_of_us [n].
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
    hazard: NDArray[np.float64]
    observed_days: NDArray[np.int64]
    as_of_us: NDArray[np.int64]

    @classmethod
    def joined(cls, parts: Sequence["ScoreInputs"]) -> "ScoreInputs":
        """The members of all parts, one part after the other."""
        if len(parts) == 1:
            return parts[0]
        return cls(*(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(cls)))

    def taken(self, rows: Picked) -> "ScoreInputs":
        """Those of some members."""
        return ScoreInputs(*(getattr(self, each.name)[rows] for each in fields(self)))


@dataclass(frozen=True, slots=True)
class HealthScores:
    """Scores by member. `cost` [n, 3]: mean, lower, upper in dollars; `category` indexes CATEGORIES or is NO_SCORE;
    `components` [n, COMPONENTS] says which took part.

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
    components: NDArray[np.bool_]

    def taken(self, rows: Picked) -> "HealthScores":
        """Those of some members."""
        disease = clinical.ClinicalRisk(self.clinical.hccs[rows], self.clinical.raf[rows], self.clinical.effect[rows])
        plain = {e.name: getattr(self, e.name)[rows] for e in fields(self) if e.name != "clinical"}
        return HealthScores(**plain, clinical=disease)


@dataclass(frozen=True, slots=True)
class Explanations:
    """By member: ranked risk factors, and interventions [n, MOST] as indices into the catalogue, -1 behind the last."""

    factors: Ranked
    interventions: NDArray[np.int64]


class HealthScorer:
    """The ensemble of the component models. Pure: the same inputs give the same bits, alone or in a batch."""

    def __init__(self, models: Models, rules: ScoringRules) -> None:
        self.models = models
        self.base = models.base
        self.rules = rules
        self.catalogue = Catalogue(rules.catalogue)
        self._floors = np.array(rules.floors)
        self.version = f"{models.version}+rules-{rules.version}"

    def score(self, inputs: ScoreInputs) -> HealthScores:
        """Scores of all members at once."""
        age, male = inputs.features[:, _AGE], inputs.features[:, _MALE]
        ensemble = self.models.ensemble
        wearables = behavior.log_relative_costs(ensemble, inputs.month, inputs.days, inputs.forecast)
        disease = clinical.risk(inputs.ccs, age.astype(np.int16), (male == 0).astype(np.int8))
        ill = (disease.hccs != 0).any(axis=1)
        physiology = ensemble.physiology_effect(
            inputs.hazard,
            age.astype(np.float64),
            male.astype(np.float64),
            inputs.base_cost[:, 0],
        )
        together = behavior.together(wearables)
        effects = np.array([np.where(ill, disease.effect, np.nan), physiology, together]).T
        silent = np.isnan(effects)
        cost, share = ensemble.combine(inputs.base_cost, effects, inputs.observed_days.astype(np.float64))
        aggregate, _ = vitals.news2(inputs.last_value, inputs.last_time, inputs.as_of_us)
        score, category = self._placed(cost[:, 0], aggregate)
        said = inputs.features[:, _SAID]
        heard = ((said != 0) & (said == said)).any(axis=1) | ~silent.all(axis=1)
        unknown = ~heard & (aggregate < 0) & (inputs.observed_days < self.rules.minimum_days)
        if unknown.any():
            score[unknown], cost[unknown], category[unknown] = np.nan, np.nan, NO_SCORE
        speaks = np.array([np.ones(len(age), bool), *~silent.T, aggregate >= 0]).T
        return HealthScores(
            score,
            category,
            cost,
            aggregate,
            known(wearables) * (_bounded(wearables, together) * share)[:, None],
            known(physiology) * share,
            share,
            disease,
            speaks,
        )

    def _placed(
        self, cost: NDArray[np.float64], aggregate: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Score and category of a predicted cost and a NEWS2 aggregate."""
        score, floors = 1.0 + 99.0 * self.base.percentile(cost), self._floors
        urgent = aggregate >= self.rules.news2_high
        acute = np.where(aggregate >= self.rules.news2_critical, floors[2], np.where(urgent, floors[1], 1))
        score = np.maximum(score, acute)
        return score, floors.searchsorted(score, side="right")

    def explain(self, inputs: ScoreInputs, scores: HealthScores) -> Explanations:
        """Why the scores are what they are, and what may be done."""
        disease = scores.clinical.effect * scores.share * (scores.clinical.hccs != 0).any(axis=1)
        logs = np.concatenate([scores.effects, disease[:, None], scores.physiology[:, None]], axis=1)
        dollars = np.concatenate([inputs.contributions, inputs.base_cost[:, :1] * np.expm1(logs)], axis=1)
        times = np.exp(scores.physiology)[:, None]
        values = np.concatenate([inputs.features, inputs.month, scores.clinical.raf[:, None], times], axis=1)
        factors = ranked(dollars, values, scores.news2, self.rules.news2_high)
        return Explanations(factors, self.catalogue.recommend(factors, scores.category))


def _bounded(wearables: NDArray[np.float64], together: NDArray[np.float64]) -> NDArray[np.float64]:
    """By how much the component's bounds shrink the effects [n, COMPONENTS]: 1 where they do not."""
    whole, said = known(wearables).sum(axis=1), known(together)
    return np.asarray(np.divide(said, whole, out=np.ones(len(whole)), where=whole != 0))


def known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values, 0 where NaN."""
    return np.where(np.isnan(values), 0.0, values)
