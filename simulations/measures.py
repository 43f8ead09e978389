"""What simulated costs say, each number with its error. Dollars in, dollars out.

VaR_q(X) = inf{x : F(x) >= q}, estimated by the order statistic ceil(n q); its interval is the pair of order statistics
that holds the quantile with 95 % (binomial, no assumption on the law). TVaR_q = VaR_q + E[(X - VaR_q)+] / (1 - q).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from simulations.exact import Distribution
from simulations.tables import CENTS

Floats = NDArray[np.float64]
CONFIDENCE = 0.95
FEWEST, FEWEST_IN_TAIL = 50, 100
"""Scenarios beyond a level without which its VaR and its TVaR say too little of their own error."""
_Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Quantile:
    """VaR at a level with its 95 % order-statistic interval."""

    level: float
    value: float
    lower: float
    upper: float

    @property
    def se(self) -> float:
        """Half the interval over 1.96."""
        return (self.upper - self.lower) / (2.0 * _Z95)


@dataclass(frozen=True, slots=True)
class Tail:
    """TVaR at a level with its standard error."""

    level: float
    value: float
    se: float


@dataclass(frozen=True, slots=True)
class Measures:
    """Mean with its standard error, sd, skewness, quantiles and TVaR."""

    mean: float
    mean_se: float
    sd: float
    skewness: float
    quantiles: tuple[Quantile, ...]
    tvar: tuple[Tail, ...]


def binomial_quantile(level: float, n: int, p: float) -> int:
    """The least k with P(Binomial(n, p) <= k) >= level, 0 < level < 1. (scipy.stats has it too, a second to import.)"""
    k = max(int(np.ceil(special.bdtrik(level, n, p))), 0)
    return k - 1 if k > 0 and special.bdtr(k - 1, n, p) >= level * (1.0 - 1e-12) else k


def measure(sample: Floats, levels: tuple[float, ...]) -> Measures:
    """The measures of a sample of equally likely, independent outcomes."""
    n = len(sample)
    x = np.sort(sample)
    mean = float(x.mean())
    centred = x - mean
    sd = float(np.sqrt(centred @ centred / (n - 1))) if n > 1 else 0.0
    cubed = sd**3 if sd > 0 else 0.0  # 0 of deviations so small that nothing of them is left
    skewness = float(np.mean(centred**3) / cubed) if cubed > 0 else 0.0
    quantiles, tails = [], []
    for level in levels:
        at = max(int(np.ceil(n * level - 1e-9)) - 1, 0)
        value = float(x[at])
        low = binomial_quantile((1 - CONFIDENCE) / 2, n, level) - 1
        high = binomial_quantile((1 + CONFIDENCE) / 2, n, level)
        quantiles.append(Quantile(level, value, float(x[max(low, 0)]), float(x[min(high, n - 1)])))
        over = np.maximum(x - value, 0.0)
        spread = float(over.std() / np.sqrt(n) / (1 - level))
        tails.append(Tail(level, value + float(over.mean()) / (1 - level), spread))
    return Measures(mean, float(sd / np.sqrt(n)), sd, skewness, tuple(quantiles), tuple(tails))


def exceedance(sample: Floats, points: int = 200) -> tuple[Floats, Floats]:
    """(amounts, P(cost > amount)) at `points` order statistics, denser toward the tail."""
    x = np.sort(sample)
    n = len(x)
    at = np.unique(np.round((n - 1) * (1.0 - np.logspace(0, -np.log10(max(n, 2)), points))).astype(int))
    return x[at], 1.0 - (at + 1.0) / n


@dataclass(frozen=True, slots=True)
class Convergence:
    """The measures of the first `paths` scenarios."""

    paths: int
    measures: Measures


def convergence(sample: Floats, levels: tuple[float, ...]) -> tuple[Convergence, ...]:
    """The measures of the first n/64, n/32, .., n scenarios (at least 100 of them)."""
    sizes = sorted({len(sample) >> k for k in range(7) if len(sample) >> k >= 100} | {len(sample)})
    return tuple(Convergence(size, measure(sample[:size], levels)) for size in sizes)


@dataclass(frozen=True, slots=True)
class Share:
    """A group's part of the pool's TVaR, with its standard error."""

    group: str
    level: float
    value: float
    se: float


def co_tvar(groups: Floats, names: tuple[str, ...], levels: tuple[float, ...]) -> tuple[Share, ...]:
    """E[X_g | the pool is in its worst 1 - q], which adds up over groups to the pool's TVaR; groups [paths, groups].

    The scenario at the quantile itself is weighted so that the tail holds exactly 1 - q of the scenarios.
    Source: Tasche, "Risk contributions and performance measurement" (1999); Euler allocation of TVaR.
    """
    n = len(groups)
    pool = groups.sum(axis=1)
    order = np.argsort(pool, kind="stable")
    out = []
    for level in levels:
        at = max(int(np.ceil(n * level - 1e-9)) - 1, 0)
        weight = np.zeros(n)
        weight[order[at + 1 :]] = 1.0
        weight[order[at]] = n * (1 - level) - (n - at - 1)
        weight /= n * (1 - level)
        for g, name in enumerate(names):
            value = float(weight @ groups[:, g])
            spread = weight * (groups[:, g] - value)
            out.append(Share(name, level, value, float(np.sqrt(spread @ spread))))
    return tuple(out)


@dataclass(frozen=True, slots=True)
class Check:
    """One simulated number beside the exact one: z is the difference in standard errors."""

    target: str
    measure: str
    level: float | None
    simulated: float
    exact: float
    z: float
    limit: float = 3.0

    @property
    def passed(self) -> bool:
        """Within `limit` standard errors."""
        return abs(self.z) <= self.limit


def family_limit(members: int) -> float:
    """The limit in standard errors by which one of `members` targets exceeds as rarely as a single one exceeds 3."""
    return float(-special.ndtri(special.ndtr(-3.0) / members))


def compare(
    target: str, sample: Floats, measures: Measures, law: Distribution, limit: float = 3.0
) -> tuple[Check, ...]:
    """Mean, quantiles (by the exact probability of the simulated one) and TVaR against the exact law.

    A level with fewer than FEWEST scenarios beyond it is not compared, nor the mean of fewer than FEWEST_IN_TAIL: these
    are skewed, so that a mean that came out low comes with a standard error that did.
    """
    n = len(sample)
    gap = _z(measures.mean - law.mean, law.sd / np.sqrt(n), law.sd)
    checks = [Check(target, "mean", None, measures.mean, law.mean, gap, limit)]
    for quantile, tail in zip(measures.quantiles, measures.tvar, strict=True):
        level = quantile.level
        if n * (1.0 - level) < FEWEST * (1.0 - 1e-9):
            continue
        exact = law.quantile(level)
        # an atom at the quantile is a match, so the nearer end of its step of F is compared
        step = max(1e-9 * law.sd, 1.0 / CENTS)
        reach = law.cdf(np.array([quantile.value - step, quantile.value + step]))
        gap = min(max(level, float(reach[0])), float(reach[1])) - level
        z = _z(gap, float(np.sqrt(level * (1 - level) / n)), law.sd)
        checks.append(Check(target, "VaR", level, quantile.value, exact, z, limit))
        if n * (1.0 - level) < FEWEST_IN_TAIL * (1.0 - 1e-9):
            continue
        beyond = law.tvar(level)
        checks.append(Check(target, "TVaR", level, tail.value, beyond, _z(tail.value - beyond, tail.se, law.sd), limit))
    return tuple(checks)


def _z(gap: float, se: float, scale: float) -> float:
    """The gap in standard errors. Without any spread a gap of a cent, or of a millionth of the scale, is none."""
    if se > 0:
        return float(gap / se)
    return 0.0 if abs(gap) <= max(1.0 / CENTS, 1e-6 * scale) else float(np.copysign(np.inf, gap))
