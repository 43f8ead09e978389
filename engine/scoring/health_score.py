"""The health score: what the component models say of a member, put into one number, a category and a cost.

The score is 1 + 99 x the percentile of the member's predicted cost among the reference population (the persons of MEPS,
weighted to the United States): 50 means that half of all people are expected to cost less. Vital signs that would call
a care team at the bedside raise it to the floor of the category they call for. Of a new member of whom nothing is known
but age and sex there is no score: the state is INSUFFICIENT, and score and cost are NaN.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from engine.domain.model_set import ModelSet
from engine.domain.tables import RISK_CATEGORIES
from engine.scoring import behavior, clinical, commercial
from engine.scoring.base_risk import BaseRiskModel
from engine.scoring.ensemble import Ensemble
from engine.scoring.features import BASE_FEATURES
from engine.scoring.interventions import Catalogue, Intervention
from engine.scoring.physiology import PhysiologyModel
from engine.scoring.risk_factors import Grounds, Ranked, factors_of
from engine.scoring.score_kernel import NO_SCORE, Fitted, Known, Scored, score
from engine.scoring.steps_forecast import StepsForecaster

CATEGORIES = RISK_CATEGORIES[:-1]
LOW, MODERATE, HIGH, CRITICAL = range(4)
COMPONENTS = ("base_risk", "clinical", "physiology", "wearables", "news2", "clinical_commercial")
"""`clinical` is CMS-HCC; `clinical_commercial`, HHS-HCC, speaks in its place of individual and small-group members."""
INSUFFICIENT = RISK_CATEGORIES[-1]
Picked = slice | NDArray[np.int64]
"""Some members of many, by their places."""
_SAID = np.array([feature.group != "demographic" for feature in BASE_FEATURES])


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
        return f"{fitted}+{clinical.VERSION}+{commercial.version()}"


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


_Columns = TypeVar("_Columns", Known, Grounds, Scored)


def joined(parts: Sequence[_Columns]) -> _Columns:
    """The members of all parts, one part after the other."""
    kind: Callable[..., _Columns] = type(parts[0])
    return parts[0] if len(parts) == 1 else kind(*map(np.concatenate, zip(*parts, strict=True)))


def taken(columns: _Columns, rows: Picked) -> _Columns:
    """Those of some members."""
    kind: Callable[..., _Columns] = type(columns)
    return kind(*(column[rows] for column in columns))


@njit(cache=True, nogil=True)
def _heard(features: NDArray[np.float32], said: NDArray[np.bool_], out: NDArray[np.bool_]) -> None:
    for i in range(len(features)):
        out[i] = False
        for k in range(len(said)):
            value = features[i, k]
            out[i] |= said[k] and value != 0 and value == value


def heard(features: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Of whom [n] anything but age and sex is known by their base features."""
    out = np.empty(len(features), np.bool_)
    _heard(features, _SAID, out)
    return out


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
        self.version = f"{models.version}+rules-{rules.version}"
        weights = models.ensemble.weights
        self.fitted = Fitted(
            *models.base.reference,
            np.array(weights.expected),
            weights.physiology,
            np.array(weights.steps),
            np.array(weights.steps_log_hazard),
            weights.history_sd,
            clinical.tables(),
            commercial.tables(),
            np.array(rules.floors),
            rules.news2_high,
            rules.news2_critical,
            rules.minimum_days,
        )

    def score(self, known: Known) -> Scored:
        """Scores of all members at once."""
        n, worn = len(known.age), len(behavior.COMPONENTS)
        out = Scored(
            np.empty(n),
            np.empty(n, np.int64),
            np.empty((n, 3)),
            np.empty(n, np.int64),
            np.empty((n, worn)),
            np.empty(n),
            np.empty(n),
            np.empty((n, 2), np.uint64),
            np.empty((n, 3), np.uint64),
            np.empty(n),
            np.empty((n, len(COMPONENTS)), np.bool_),
        )
        score(known, self.fitted, out)
        return out

    def explain(self, known: Known, scores: Scored, grounds: Grounds) -> Explanations:
        """Why the scores are what they are, and what may be done."""
        factors = factors_of(known, scores, grounds, self.rules.news2_high)
        return Explanations(factors, self.catalogue.recommend(factors, scores.category))
