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


def clipped(values: Floats, low: float, high: float) -> Floats:
    """Values within low .. high, NaN where NaN: np.clip, at a third of its price for a single row."""
    return np.asarray(np.minimum(np.maximum(values, low), high))


def context(age: Floats, male: Floats, base_cost: Floats) -> Floats:
    """What base risk knows, as columns [n, CONTEXT] of a hazard model: age, sex and the log of the predicted cost."""
    years = (age - 50.0) / 20.0
    columns = [np.ones(len(age)), years, years**2, male, years * male, np.log(np.maximum(base_cost, 1.0) / 3000.0)]
    return np.column_stack(columns).astype(np.float64)


class Ensemble:
    """The fitted weights at work. Pure: the same row gives the same bits in any batch."""

    def __init__(self, version: str, weights: Weights) -> None:
        self.version, self.weights = version, weights
        self._expected = np.array(weights.expected)
        self._steps = np.array(weights.steps), np.array(weights.steps_log_hazard)

    def physiology_effect(self, log_hazard: Floats, age: Floats, male: Floats, base_cost: Floats) -> Floats:
        """Log factor on cost [n] of the physiology model's log hazard; NaN where that is NaN."""
        known = context(age, male, base_cost) * self._expected
        beyond = log_hazard - known.sum(axis=1)
        return np.asarray(clipped(ELASTICITY * self.weights.physiology * beyond, *BOUNDS))

    def steps_effect(self, steps: Floats) -> Floats:
        """Log factor on cost [n] of a mean of so many steps a day; NaN where that is NaN."""
        return np.asarray(ELASTICITY * np.interp(steps, *self._steps))

    def combine(self, cost: Floats, effects: Floats, observed_days: Floats) -> tuple[Floats, Floats]:
        """Cost [n, 3] (mean, lower, upper; dollars) moved and widened, and the share [n] each effect was given.

        effects [n, components] are log factors, NaN for a component that says nothing; observed_days [n] is how long
        the person's care has been known, at most a year counts.
        """
        speaks = ~np.isnan(effects)
        count = speaks.sum(axis=1)
        share = 1.0 / (1.0 + np.maximum(count - 1, 0) * OVERLAP)
        said = np.where(speaks, effects, 0.0)
        moved = np.exp(share * said.sum(axis=1))
        mean = said.sum(axis=1) / (count + 1)  # base risk's opinion is 0
        deviations = (np.where(speaks, effects - mean[:, None], 0.0) ** 2).sum(axis=1) + mean**2
        spread = np.sqrt(deviations / (count + 1))
        hidden = self.weights.history_sd * (1.0 - clipped(observed_days / FULL_HISTORY, 0.0, 1.0))
        room = np.exp(_Z * np.sqrt(spread**2 + hidden**2))
        out = cost * moved[:, None]
        out[:, 1] /= room
        out[:, 2] *= room
        return out, share
