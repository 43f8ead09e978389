"""The ensemble: how the components move the predicted cost of base risk, and how far the interval widens.

Base risk speaks first. Every other component says by which log factor it would move the predicted cost, given what base
risk knows already: physiology and steps by a mortality hazard fitted beside the base-risk prediction (stacking on
predictions that had not seen the person), the clinical risk and the rest of the wearables by documented priors.
Components overlap, so m of them speaking together are each given 1 / (1 + (m - 1) OVERLAP) of their weight, which is
least squares for m equally correlated predictors; a missing component says nothing and the others get more.

The interval of base risk widens on the log scale by the spread of the components' opinions, base risk's own of no
change among them, and by what a short history hides.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from engine.errors import ModelError

Floats = NDArray[np.float64]
OVERLAP = 0.3
"""Correlation between what components add to base risk: a prior, for no data set holds them all."""
ELASTICITY = 0.25
"""Log cost per log hazard of death: a prior, until our own members' costs are labels. Next year's cost rises with the
hazard, but most of it is not of the dying (French et al., Health Affairs 2017;36:1211: 8.5 % in the last year)."""
BOUNDS = (-0.4, 0.4)
"""Least and most a hazard may move log cost."""
FULL_HISTORY = 365.0
_Z = 1.6448536269514722


@dataclass(frozen=True, slots=True)
class Weights:
    """What was fitted.

    `physiology` is the log hazard per unit of the physiology model's log hazard beyond what `expected` leads to expect:
    coefficients of `context` columns. `steps` and `steps_log_hazard` are knots of the curve, flat outside them;
    `history_sd` is the standard deviation of log predicted cost that a year's care decides.
    """

    physiology: float
    expected: tuple[float, ...]
    steps: tuple[float, ...]
    steps_log_hazard: tuple[float, ...]
    history_sd: float

    def __post_init__(self) -> None:
        if len(self.expected) != CONTEXT or len(self.steps) != len(self.steps_log_hazard) or len(self.steps) < 2:
            raise ModelError(f"ensemble: {CONTEXT} expectations and as many knots as log hazards are needed")
        if any(b <= a for a, b in zip(self.steps, self.steps[1:], strict=False)):
            raise ModelError(f"ensemble: knots {self.steps} must rise")


CONTEXT = 6


@njit(cache=True, nogil=True, inline="always")
def _context(age: float, male: float, base_cost: float, out: Floats) -> None:
    years = (age - 50.0) / 20.0
    out[0], out[1], out[2], out[3], out[4] = 1.0, years, years * years, male, years * male
    out[5] = np.log(max(base_cost, 1.0) / 3000.0)


@njit(cache=True, nogil=True, inline="always")
def context(age: Floats, male: Floats, base_cost: Floats) -> Floats:
    """What base risk knows, as columns [n, CONTEXT] of a hazard model: age, sex and the log of the predicted cost."""
    out = np.empty((len(age), CONTEXT))
    for i in range(len(age)):
        _context(age[i], male[i], base_cost[i], out[i])
    return out


@njit(cache=True, nogil=True, inline="always")
def physiology_effect(
    log_hazard: float, age: float, male: float, base_cost: float, expected: Floats, weight: float, scratch: Floats
) -> float:
    """Log factor on cost of the physiology model's log hazard beyond what is expected; NaN where that is NaN.

    `expected` and `weight` are those of `Weights`, `scratch` is room for CONTEXT values.
    """
    if log_hazard != log_hazard:
        return np.nan
    _context(age, male, base_cost, scratch)
    known = 0.0
    for i in range(CONTEXT):
        known += scratch[i] * expected[i]
    moved = ELASTICITY * weight * (log_hazard - known)
    return moved if moved != moved else min(max(moved, BOUNDS[0]), BOUNDS[1])


@njit(cache=True, nogil=True, inline="always")
def combine(cost: Floats, effects: Floats, observed_days: float, history_sd: float, out: Floats) -> float:
    """Cost (mean, lower, upper; dollars) moved and widened into `out`; returns the share each effect was given.

    `effects` are log factors, NaN for a component that says nothing; `observed_days` is how long the person's care has
    been known, at most a year counts; `history_sd` is that of `Weights`.
    """
    count, total = 0, 0.0
    for effect in effects:
        if effect == effect:
            count += 1
            total += effect
    share = 1.0 / (1.0 + max(count - 1, 0) * OVERLAP)
    mean = total / (count + 1)  # base risk's opinion is 0
    deviations = mean * mean
    for effect in effects:
        if effect == effect:
            deviations += (effect - mean) ** 2
    hidden = history_sd * (1.0 - min(max(observed_days / FULL_HISTORY, 0.0), 1.0))
    moved, room = np.exp(share * total), np.exp(_Z * np.sqrt(deviations / (count + 1) + hidden * hidden))
    out[0], out[1], out[2] = cost[0] * moved, cost[1] * moved / room, cost[2] * moved * room
    return share


@dataclass(frozen=True, slots=True)
class Ensemble:
    """The fitted weights and their version."""

    version: str
    weights: Weights
