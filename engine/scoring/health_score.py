"""The health score: what the component models say of a member, put into one number, a category and a cost.

The score is 1 + 99 x the percentile of the member's predicted cost among the reference population (the persons of MEPS,
weighted to the United States): 50 means that half of all people are expected to cost less. Vital signs that would call
a care team at the bedside raise it to the floor of the category they call for.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.scoring import behavior, clinical, vitals
from engine.scoring.base_risk import BaseRiskModel
from engine.scoring.features import FEATURE_INDEX
from engine.scoring.interventions import Intervention, recommend
from engine.scoring.risk_factors import RiskFactor, ranked

CATEGORIES: tuple[str, ...] = ("Low", "Moderate", "High", "Critical")
LOW, MODERATE, HIGH, CRITICAL = range(4)


@dataclass(frozen=True, slots=True)
class ScoringRules:
    """What the business sets: from which score a category begins, and which NEWS2 calls for which category.

    `floors` are the lowest scores of Moderate, High and Critical. The version is part of the model version.
    """

    version: str
    floors: tuple[float, float, float]
    news2_high: int
    news2_critical: int
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
    month [n, metrics], days [n, metrics], last_value and last_time [n, metrics], ccs [n, 2] (condition categories of
    CMS-HCC, see `clinical`), as_of_us [n].
    """

    base_cost: NDArray[np.float64]
    contributions: NDArray[np.float32]
    features: NDArray[np.float32]
    month: NDArray[np.float64]
    days: NDArray[np.int64]
    last_value: NDArray[np.float64]
    last_time: NDArray[np.int64]
    ccs: NDArray[np.uint64]
    as_of_us: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class HealthScores:
    """Scores by member. `cost` [n, 3] is mean, lower and upper in dollars; `category` indexes CATEGORIES."""

    score: NDArray[np.float64]
    category: NDArray[np.int64]
    cost: NDArray[np.float64]
    news2: NDArray[np.int64]
    effects: NDArray[np.float64]
    clinical: clinical.ClinicalRisk
    components: list[list[str]]


class HealthScorer:
    """The ensemble of the component models. Pure: the same inputs give the same bits, alone or in a batch."""

    def __init__(self, base: BaseRiskModel, rules: ScoringRules) -> None:
        self.base = base
        self.rules = rules
        self.version = f"{base.version}+{clinical.VERSION}+rules-{rules.version}"

    def score(self, inputs: ScoreInputs) -> HealthScores:
        """Scores of all members at once."""
        effects = behavior.log_relative_risks(inputs.month, inputs.days)
        disease = clinical.risk(
            inputs.ccs,
            inputs.features[:, FEATURE_INDEX["age"]].astype(np.int16),
            (inputs.features[:, FEATURE_INDEX["male"]] == 0).astype(np.int8),
        )
        cost = inputs.base_cost * (behavior.relative_cost(effects) * np.exp(disease.effect))[:, None]
        score = 1.0 + 99.0 * self.base.percentile(cost[:, 0])
        aggregate, _ = vitals.news2(inputs.last_value, inputs.last_time, inputs.as_of_us)
        floors = np.array(self.rules.floors)
        acute = np.where(
            aggregate >= self.rules.news2_critical,
            floors[2],
            np.where(aggregate >= self.rules.news2_high, floors[1], 1),
        )
        score = np.maximum(score, acute)
        category = np.searchsorted(floors, score, side="right")
        wears = (effects != 0).any(axis=1)
        ill = (disease.hccs != 0).any(axis=1)
        components = [
            ["base_risk", *(["clinical"] if c else []), *(["wearables"] if w else []), *(["news2"] if a >= 0 else [])]
            for c, w, a in zip(ill.tolist(), wears.tolist(), aggregate.tolist(), strict=True)
        ]
        return HealthScores(score, category, cost, aggregate, effects, disease, components)

    def explain(self, inputs: ScoreInputs, scores: HealthScores, i: int) -> tuple[list[RiskFactor], list[str]]:
        """Ranked risk factors of member `i`, and the codes of the interventions recommended for them."""
        factors = ranked(
            inputs.contributions[i],
            inputs.features[i],
            float(inputs.base_cost[i, 0]),
            scores.effects[i],
            inputs.month[i],
            _clinical_factor(scores.clinical, i, float(inputs.base_cost[i, 0])),
            int(scores.news2[i]),
            self.rules.news2_high,
        )
        return factors, recommend(self.rules.catalogue, factors, int(scores.category[i]))


def _clinical_factor(disease: clinical.ClinicalRisk, i: int, base_cost: float) -> RiskFactor | None:
    """The member's HCCs as one factor; None without any."""
    if not disease.hccs[i].any():
        return None
    dollars = round(base_cost * float(np.expm1(disease.effect[i])), 2)
    label = "Clinical risk (CMS-HCC): " + "; ".join(clinical.labels(disease.hccs[i]))
    return RiskFactor("hcc_raf", label, "raises", dollars, round(float(disease.raf[i]), 3), "RAF")
