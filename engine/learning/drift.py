"""Drift: how far today's members are from those a model was fitted on, and whether its predictions still come true.

The population stability index of a feature is the sum over bins of (now - then) x ln(now / then), shares of members:
below 0.1 little has changed, above 0.25 much has (Siddiqi, Credit Risk Scorecards, 2006). Where nothing has changed it
is not 0 but about (bins - 1) x (1 / now + 1 / then) persons, so it stands beside what chance would reach.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.scoring.base_risk import CostPrediction

Floats = NDArray[np.float64]
STABLE, SHIFTED = 0.1, 0.25
_TENTHS = np.linspace(0.1, 0.9, 9)
_LEAST = 1e-4
"""Least share of a bin: an empty one would make the index infinite."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A feature's distribution at the fit: upper edges of bins, and shares of not known, each bin, and beyond."""

    edges: tuple[float, ...]
    shares: tuple[float, ...]
    persons: int


@dataclass(frozen=True, slots=True)
class Shift:
    """A feature's index, and the index that chance alone exceeds once in twenty."""

    name: str
    psi: float
    chance: float

    @property
    def verdict(self) -> str:
        """stable, moderate or shifted; within chance is stable."""
        if self.psi < STABLE or self.psi < self.chance:
            return "stable"
        return "moderate" if self.psi < SHIFTED else "shifted"


@dataclass(frozen=True, slots=True)
class Calibration:
    """What came true of predictions: predicted over actual cost with its standard error, and coverage."""

    persons: int
    ratio: float
    standard_error: float
    coverage_90: float


def reference(values: Floats, weights: Floats | None = None) -> Reference:
    """The distribution of a feature: its own tenths, of which equal ones are one; NaN is not known."""
    weights = np.ones(len(values)) if weights is None else np.nan_to_num(weights)
    known = ~np.isnan(values)
    order = np.argsort(values[known], kind="stable")
    cumulated = np.cumsum(weights[known][order])
    at = np.searchsorted(cumulated, _TENTHS * cumulated[-1]) if len(order) else np.array([], int)
    edges = tuple(np.unique(values[known][order][at]).tolist())
    return Reference(edges, tuple(_shares(edges, values, weights).tolist()), len(values))


def _shares(edges: tuple[float, ...], values: Floats, weights: Floats) -> Floats:
    at = np.where(np.isnan(values), 0, 1 + np.searchsorted(edges, values, side="left"))
    counted = np.bincount(at, weights, len(edges) + 2)
    return np.asarray(counted / counted.sum())


def shift(name: str, then: Reference, values: Floats, weights: Floats | None = None) -> Shift:
    """The index of a feature's values now, at least one, against then."""
    weights = np.ones(len(values)) if weights is None else np.nan_to_num(weights)
    now = np.maximum(_shares(then.edges, values, weights), _LEAST)
    before = np.maximum(then.shares, _LEAST)
    used = int((np.maximum(now, before) > _LEAST).sum())
    from scipy.special import chdtri  # half a second that whoever only reads a reference does without

    chance = float(chdtri(max(used - 1, 1), 0.05)) * (1 / len(values) + 1 / then.persons)
    return Shift(name, float(((now - before) * np.log(now / before)).sum()), chance)


def shifts(then: Mapping[str, Reference], now: Mapping[str, Floats], weights: Floats | None = None) -> list[Shift]:
    """The indices of all features, greatest first."""
    found = [shift(name, then[name], values, weights) for name, values in now.items()]
    return sorted(found, key=lambda each: -each.psi)


def calibration(cost: Floats, predicted: CostPrediction) -> Calibration:
    """What came true: actual costs [n] beside what was predicted of them, dollars. The error is the ratio's own."""
    mean = predicted.mean
    ratio = float(mean.sum() / cost.sum())
    # delta method: the ratio of two sums over the same persons
    residual = mean - ratio * cost
    error = float(np.sqrt((residual**2).sum()) / cost.sum())
    inside = (cost >= predicted.lower_90) & (cost <= predicted.upper_90)
    return Calibration(len(cost), ratio, error, float(inside.mean()))
