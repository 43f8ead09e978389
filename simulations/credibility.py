"""Credibility: how far a group's own experience is believed, and what it is blended with."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulations.errors import SpecError

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Credibility:
    """collective: the grand mean; within, between: variance components; factors, premiums [groups]."""

    collective: float
    within: float
    between: float
    factors: Floats
    premiums: Floats


def buhlmann(ratios: Floats) -> Credibility:
    """Equal weights: ratios [groups, periods]. Source: Buhlmann, ASTIN Bulletin 4 (1967), 199-207."""
    groups, periods = _check(ratios, np.ones_like(ratios))
    means = ratios.mean(axis=1)
    within = float(np.sum((ratios - means[:, None]) ** 2)) / (groups * (periods - 1))
    between = max(float(np.var(means, ddof=1)) - within / periods, 0.0)
    factors = np.full(groups, periods / (periods + within / between) if between > 0 else 0.0)
    collective = float(means.mean())
    return Credibility(collective, within, between, factors, factors * means + (1 - factors) * collective)


def buhlmann_straub(ratios: Floats, weights: Floats) -> Credibility:
    """Weighted experience: ratios and weights [groups, periods]; the collective is weighted by credibility.

    The between variance is the unbiased estimator, 0 where it comes out negative.
    Source: Buhlmann and Gisler, "A Course in Credibility Theory and its Applications" (2005), section 4.8.
    """
    groups, periods = _check(ratios, weights)
    volume = weights.sum(axis=1)
    means = (weights * ratios).sum(axis=1) / volume
    whole = float(volume.sum())
    grand = float(volume @ means) / whole
    within = float(np.sum(weights * (ratios - means[:, None]) ** 2)) / (groups * (periods - 1))
    spread = float(volume @ (means - grand) ** 2) - (groups - 1) * within
    between = max(spread / (whole - float(volume @ volume) / whole), 0.0)
    if between == 0.0:
        return Credibility(grand, within, 0.0, np.zeros(groups), np.full(groups, grand))
    factors = volume / (volume + within / between)
    collective = float(factors @ means / factors.sum())
    return Credibility(collective, within, between, factors, factors * means + (1 - factors) * collective)


def _check(ratios: Floats, weights: Floats) -> tuple[int, int]:
    if ratios.shape != weights.shape or ratios.ndim != 2 or min(ratios.shape) < 2:
        raise SpecError(
            "experience", f"ratios {ratios.shape} and weights {weights.shape}: two groups and periods needed"
        )
    if not (np.all(np.isfinite(ratios)) and np.all(weights > 0)):
        raise SpecError("experience", "ratios must be finite and weights positive")
    return ratios.shape[0], ratios.shape[1]
