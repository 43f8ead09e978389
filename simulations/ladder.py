"""Tables of compound Poisson totals at rates 64, 128, 256, ..: the collapse draws a total of any rate from a few.

A compound Poisson law of rate r is the sum of independent ones whose rates add up to r. So a total of rate 64 n + r,
r < 64, is one draw from the table of rate 64 2^j for each binary digit j of n, and a Poisson(r) number of claims:
exact at any rate, and the work grows with the logarithm of the claims.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import interpolate, special

from simulations.exact import Fourier, Quadrature, invert
from simulations.kernels.severity import ROWS
from simulations.severity import Empirical, Severity
from simulations.tables import CENTS, SplitTables, split_tables, table_moments, table_of_quantiles

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]
BASE_RATE = 64.0
LARGE_SHARE = 2.0**-8
LEAST_SHARE = 2.0**-14
LARGE_CLAIMS = 256.0
_RESOLVED = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Ladder:
    """What method A needs of one severity: the split at a threshold, and tables [levels, ROWS, 2] of small totals."""

    split: SplitTables
    levels: Floats


def _quantiles(law: Fourier) -> interpolate.PchipInterpolator:
    """The quantile as a function of the normal score of its level, near linear for the laws of a ladder."""
    x, cumulative = law.grid(1 << 13)
    inside = (cumulative > _RESOLVED) & (cumulative < 1.0 - _RESOLVED)
    score = special.ndtri(cumulative[inside])
    keep = np.concatenate([[True], np.diff(np.maximum.accumulate(score)) > 1e-12])
    return interpolate.PchipInterpolator(score[keep], x[inside][keep], extrapolate=False)


def _table(law: Fourier) -> Floats:
    curve = _quantiles(law)
    low, high = curve.x[0], curve.x[-1]
    slope_low, slope_high = curve(low, 1), curve(high, 1)

    def at(score: Floats) -> Floats:
        inner = curve(np.clip(score, low, high))
        beyond = slope_high * np.maximum(score - high, 0.0) + slope_low * np.minimum(score - low, 0.0)
        return np.asarray(np.maximum(inner + beyond, 0.0))

    table = table_of_quantiles(lambda p: at(special.ndtri(p)), lambda p: at(-special.ndtri(p)))
    first, second = table_moments(table)
    stretch = law.sd / np.sqrt(max(second - first**2, 1e-300))
    table *= stretch
    table[:, 0] += CENTS * (law.mean - stretch * first)
    table[:, 0] = np.maximum(table[:, 0], np.maximum(-table[:, 1], 0.0))
    return table


def small_points(law: Severity, threshold: float, above: float) -> Quadrature:
    """Quadrature of X given X <= threshold, panel by octave of both tails of the conditional law."""
    if isinstance(law, Empirical):
        values, counts = np.unique(law.losses[law.losses <= threshold], return_counts=True)
        return Quadrature(values, counts / counts.sum())
    nodes, weights = np.polynomial.legendre.leggauss(10)
    width = np.ldexp(1.0, -np.arange(2, 54))
    p = (width[:, None] * (1.0 + 0.5 * (nodes + 1.0))).ravel()
    w = (width[:, None] * 0.5 * weights).ravel()
    below = 1.0 - above
    survival = above + p * below
    upper = np.where(
        survival > 0.5,
        law.quantile(np.maximum(1.0 - survival, 1e-300)),
        law.upper_quantile(np.minimum(survival, 0.5)),
    )
    points = np.concatenate([law.quantile(p * below), np.minimum(upper, threshold)])
    both = np.concatenate([w, w])
    return Quadrature(points, both / both.sum())


def _compound(points: Quadrature, rate: float) -> Callable[[Floats], Complexes]:
    """The characteristic function of a Poisson number of claims."""
    return lambda t: np.exp(rate * (points.characteristic(t) - 1.0))


def build_ladder(law: Severity, greatest_rate: float, deductible: float = np.inf) -> Ladder:
    """The ladder of a severity for expected counts up to `greatest_rate`.

    Claims above the threshold, one in 256 or those above a per-claim `deductible` (dollars) if that is lower, are left
    out of the tables: they are drawn one by one, so no transform has to carry their tail. Where that would be more than
    256 claims the share falls, to one in 16,384: a transform at a high rate carries more of the tail.
    """
    share = min(LARGE_SHARE, max(LEAST_SHARE, LARGE_CLAIMS / max(greatest_rate, 1.0)))
    threshold = min(float(law.upper_quantile(np.array([share]))[0]), deductible)
    split = split_tables(law, threshold)
    small_rate = greatest_rate * (1.0 - split.above)
    count = max(0, int(np.ceil(np.log2(max(small_rate, 1.0) / BASE_RATE))) + 1) if small_rate >= BASE_RATE else 0
    if count == 0 or split.above >= 1.0:
        return Ladder(split, np.zeros((0, ROWS, 2)))
    points = small_points(law, threshold, split.above)
    first, second, third = (points.moment(k) for k in (1, 2, 3))
    levels = np.empty((count, ROWS, 2))
    for j in range(count):
        rate = BASE_RATE * 2.0**j
        skewness = third / second**1.5 / np.sqrt(rate)
        total = invert(
            _compound(points, rate),
            rate * first,
            float(np.sqrt(rate * second)),
            float(skewness),
            reach=(12.0, 16.0),
        )
        levels[j] = _table(total)
    return Ladder(split, levels)
