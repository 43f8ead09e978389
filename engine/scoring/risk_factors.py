"""Ranked risk factors: what moves a member's predicted cost, in which direction, by how many dollars a year."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.domain.metrics import METRIC_INDEX, METRICS
from engine.scoring.behavior import COMPONENTS
from engine.scoring.features import BASE_FEATURES

TOP = 5
_WEARABLES = tuple(METRICS[METRIC_INDEX[code]] for code in COMPONENTS)


@dataclass(frozen=True, slots=True)
class RiskFactor:
    """One factor. `dollars` is its contribution to the predicted annual cost against the average person.

    `value` is the member's own value in `unit`, None where it is not known; `direction` is "raises" or "lowers".
    NEWS2 has no dollars: it speaks of the next hours.
    """

    code: str
    label: str
    direction: str
    dollars: float | None
    value: float | None
    unit: str


def ranked(
    contributions: NDArray[np.float32],
    features: NDArray[np.float32],
    base_cost: float,
    effects: NDArray[np.float64],
    month: NDArray[np.float64],
    others: Sequence[RiskFactor],
    news2: int,
    news2_high: int,
) -> list[RiskFactor]:
    """The TOP factors of one member by size; an alarming NEWS2 stands first.

    `contributions` and `features` [BASE_FEATURES] are the TreeSHAP values in dollars and the values behind them,
    `effects` [COMPONENTS] the log relative cost of the wearables, `month` [METRICS] the 30-day features,
    `others` what the other components add.
    """
    sized: list[RiskFactor] = []
    for i in np.argsort(-np.abs(contributions), kind="stable")[:TOP].tolist():
        dollars = float(contributions[i])
        if dollars != 0:
            feature = BASE_FEATURES[i]
            sized.append(_factor(feature.code, feature.label, dollars, float(features[i]), feature.unit))
    for metric, effect in zip(_WEARABLES, effects.tolist(), strict=True):
        if effect != 0:
            dollars = base_cost * float(np.expm1(effect))
            sized.append(
                _factor(metric.code, metric.name, dollars, float(month[METRIC_INDEX[metric.code]]), metric.unit)
            )
    sized += others
    sized.sort(key=lambda factor: -abs(factor.dollars or 0.0))
    if news2 >= news2_high:
        sized.insert(0, RiskFactor("news2", "Vital signs (NEWS2)", "raises", None, float(news2), "points"))
    return sized[:TOP]


def _factor(code: str, label: str, dollars: float, value: float, unit: str) -> RiskFactor:
    known = None if np.isnan(value) else round(value, 2)
    return RiskFactor(code, label, "raises" if dollars > 0 else "lowers", round(dollars, 2), known, unit)
