"""Estimates of what a programme saves, by the grade of their evidence; grades cannot be added to each other.

A randomised estimate compares who was offered with who was drawn not to be. A quasi-experimental one compares groups
that chance did not make, under assumptions that its checks try to refute. A descriptive one says what is so. Only the
first pays.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import ClassVar, Self

from engine.finance.money import FinanceError

Z95 = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value in dollars a unit, such as a member-month, with its standard error, and of how many members.

    `detectable` is the smallest true effect that a study of this size finds four times in five (two-sided, 5 %): an
    estimate is read beside it. `degrees` of freedom are None where the normal law serves.
    """

    grade: ClassVar[str] = ""
    value: float
    standard_error: float
    members: int
    method: str
    detectable: float = math.nan
    degrees: float | None = None

    def __post_init__(self) -> None:
        if not self.grade:
            raise FinanceError("grade", "an estimate has a grade: Randomised, QuasiExperimental or Descriptive")
        if not (math.isfinite(self.value) and self.standard_error >= 0):
            raise FinanceError(
                "standard_error", f"estimate {self.value} with standard error {self.standard_error} says nothing"
            )

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The interval of this level."""
        half = self._quantile(0.5 + level / 2) * self.standard_error
        return self.value - half, self.value + half

    def lower_bound(self, level: float = 0.9) -> float:
        """The one-sided lower bound of this level."""
        return self.value - self._quantile(level) * self.standard_error

    def _quantile(self, level: float) -> float:
        if self.degrees is None:
            return NormalDist().inv_cdf(level)
        from scipy.stats import t

        return float(t.ppf(level, self.degrees))

    def __add__(self, other: Self) -> Self:
        """Independent estimates of one grade."""
        if type(other) is not type(self):
            raise TypeError(
                f"a {self.grade} estimate and a {getattr(other, 'grade', type(other).__name__)} one cannot be added: "
                "they are of different evidence"
            )
        both = math.hypot(self.standard_error, other.standard_error)
        return type(self)(
            self.value + other.value, both, self.members + other.members, f"{self.method} + {other.method}"
        )


class Randomised(Estimate):
    """Of who was offered against a holdout drawn by chance: intention to treat, or by the offer as instrument."""

    __slots__ = ()
    grade = "randomised"


class QuasiExperimental(Estimate):
    """Of groups that chance did not make."""

    __slots__ = ()
    grade = "quasi-experimental"


class Descriptive(Estimate):
    """Of what is so, without a claim of why."""

    __slots__ = ()
    grade = "descriptive"


def pooled(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of estimates of one grade, weighed by their precision. Raises TypeError for two grades."""
    if not estimates:
        raise FinanceError("estimates", "no estimate is given")
    kinds = {type(each) for each in estimates}
    if len(kinds) > 1:
        raise TypeError(f"estimates of {', '.join(sorted(kind.grade for kind in kinds))} cannot be pooled")
    weights = [1 / each.standard_error**2 for each in estimates]
    value = sum(w * each.value for w, each in zip(weights, estimates, strict=True)) / sum(weights)
    members = sum(each.members for each in estimates)
    return kinds.pop()(value, sum(weights) ** -0.5, members, "pooled by precision")


def detectable_effect(
    standard_deviation: float, treated: float, control: float, r2: float = 0.0, power: float = 0.8, level: float = 0.05
) -> float:
    """The smallest true difference of means found with this power by a two-sided test of this level.

    `treated` and `control` are effective numbers; covariates explain `r2` of the variance.
    """
    if min(treated, control) <= 0:
        return math.inf
    z = NormalDist().inv_cdf(1 - level / 2) + NormalDist().inv_cdf(power)
    return z * standard_deviation * math.sqrt((1 - r2) * (1 / treated + 1 / control))


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio with its interval by Fieller's theorem; `low` and `high` are None where it is unbounded."""

    value: float
    low: float | None
    high: float | None

    @property
    def bounded(self) -> bool:
        """False where the denominator may be zero: then any ratio is within the data's reach, and is said to be."""
        return self.low is not None


def fieller(
    effect: float, effect_se: float, cost: float, cost_se: float, covariance: float = 0.0, z: float = Z95
) -> Ratio:
    """effect / cost with its interval. Source: Fieller, JRSS B 16 (1954), 175-185.

    The delta method's interval is wrong where the cost is not known well; this one is then unbounded, and says so.
    """
    if cost == 0:
        raise FinanceError("cost", "the cost is 0: there is no ratio")
    a = cost**2 - z**2 * cost_se**2
    b = effect * cost - z**2 * covariance
    c = effect**2 - z**2 * effect_se**2
    root = b**2 - a * c
    if a <= 0 or root < 0:
        return Ratio(effect / cost, None, None)
    return Ratio(effect / cost, (b - math.sqrt(root)) / a, (b + math.sqrt(root)) / a)


def return_on_investment(
    effect: float, effect_se: float, cost: float, cost_se: float, covariance: float = 0.0
) -> Ratio:
    """ROI = effect / cost - 1, with its 95 % interval by Fieller."""
    ratio = fieller(effect, effect_se, cost, cost_se, covariance)
    low, high = (None if bound is None else bound - 1 for bound in (ratio.low, ratio.high))
    return Ratio(ratio.value - 1, low, high)
