"""Builds the octave tables of `kernels.severity`: each bucket keeps its conditional mean and variance exactly."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from simulations.kernels.severity import BUCKETS, LOWEST, MAX_CENTS, OCTAVES, ROWS, SIDE, sums_to
from simulations.severity import Empirical, Severity

Floats = NDArray[np.float64]
CENTS = 100.0
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)
_NODES, _WEIGHTS = 0.5 * (_NODES + 1.0), 0.5 * _WEIGHTS


@cache
def bucket_edges() -> Floats:
    """Edges [SIDE + 1] of the buckets of one side as tail probabilities, increasing from 2^-65 to 1/2."""
    octave = np.repeat(np.arange(OCTAVES), BUCKETS)
    step = np.tile(np.arange(BUCKETS), OCTAVES) / BUCKETS
    return np.append(np.ldexp(1.0 + step, LOWEST - 32 + octave), 0.5)


def _rows(first: Floats, second: Floats) -> Floats:
    """(base, width) of buckets with the given conditional mean and second moment."""
    width = np.sqrt(12.0 * np.maximum(second - first**2, 0.0))
    width = np.minimum(width, 2.0 * first)  # a base below zero would not be an amount
    return np.stack([first - 0.5 * width, width], axis=1)


def _finish(lower: Floats, upper: Floats) -> Floats:
    """Both sides in the kernel's order. In the upper half a larger position is a smaller amount: negative width."""
    turned = np.stack([upper[:, 0] + upper[:, 1], -upper[:, 1]], axis=1)
    table = np.concatenate([lower, turned])
    table[:, 0] = np.clip(table[:, 0], 0.0, MAX_CENTS)
    table[:, 1] = np.clip(table[:, 1], -table[:, 0], MAX_CENTS - table[:, 0])
    return np.ascontiguousarray(table)


def table_of_quantiles(lower: Callable[[Floats], Floats], upper: Callable[[Floats], Floats]) -> Floats:
    """The table [ROWS, 2] in cents of a law given by its quantiles in dollars at lower and upper tail probabilities.

    The moments of each bucket are 8-point Gauss-Legendre integrals of the quantile function; the outermost bucket of a
    side stands for all that lies beyond it.
    """
    edges = bucket_edges()
    left, width = edges[:-1, None], np.diff(edges)[:, None]
    probabilities = left + width * _NODES
    sides = []
    for quantile in (lower, upper):
        values = CENTS * quantile(probabilities.ravel()).reshape(probabilities.shape)
        rows = _rows(values @ _WEIGHTS, values**2 @ _WEIGHTS)
        beyond = np.ldexp(_NODES[None, :] + 1.0, -np.arange(66, 320)[:, None])
        mass = np.ldexp(_WEIGHTS[None, :], -np.arange(66, 320)[:, None])
        rows[0] = (np.sum(CENTS * quantile(beyond.ravel()).reshape(beyond.shape) * mass) / mass.sum(), 0.0)
        sides.append(rows)
    return _finish(sides[0], sides[1])


def table_of_atoms(values: Floats, masses: Floats) -> Floats:
    """The table [ROWS, 2] in cents of a discrete law: increasing `values` in dollars with positive `masses`.

    Bucket moments are exact partial sums; within a bucket the atoms are spread evenly.
    """
    masses = masses / masses.sum()
    cents = CENTS * values
    edges = bucket_edges()
    sides = []
    first, second, atom = np.empty((3, len(edges)))
    span = np.diff(edges)
    for x, p in ((cents, masses), (np.ascontiguousarray(cents[::-1]), np.ascontiguousarray(masses[::-1]))):
        sums_to(edges, x, p, first, second, atom)
        # far out a bucket lies inside one atom, and differences of sums would be all rounding
        inside = atom[1:] == atom[:-1]
        mean = np.where(inside, atom[1:], np.diff(first) / span)
        square = np.where(inside, atom[1:] ** 2, np.diff(second) / span)
        sides.append(_rows(mean, square))
    return _finish(sides[0], sides[1])


def table_of(law: Severity) -> Floats:
    """The table [ROWS, 2] in cents of a severity."""
    if isinstance(law, Empirical):
        return table_of_atoms(*_atoms(law.losses))
    return table_of_quantiles(law.quantile, law.upper_quantile)


def _atoms(losses: Floats) -> tuple[Floats, Floats]:
    values, counts = np.unique(losses, return_counts=True)
    return values, counts / len(losses)


@dataclass(frozen=True, slots=True, eq=False)
class SplitTables:
    """A severity cut at `threshold` dollars: tables of the claims at or below it and of those above it."""

    threshold: float
    above: float  # P(X > threshold)
    small: Floats
    large: Floats


def split_tables(law: Severity, threshold: float) -> SplitTables:
    """Tables of X given X <= threshold and of X given X > threshold (all of X is small where nothing lies above)."""
    above = float(law.survival(np.array([threshold]))[0])
    if isinstance(law, Empirical):
        values, masses = _atoms(law.losses)
        cut = values <= threshold
        small = table_of_atoms(values[cut], masses[cut]) if cut.any() else np.zeros((ROWS, 2))
        large = table_of_atoms(values[~cut], masses[~cut]) if (~cut).any() else small
        return SplitTables(threshold, above, small, large)
    below = 1.0 - above

    def at_survival(s: Floats) -> Floats:
        middle = s > 0.5
        return np.where(middle, law.quantile(np.where(middle, 1.0 - s, 0.5)), law.upper_quantile(np.minimum(s, 0.5)))

    small = table_of_quantiles(
        lambda p: law.quantile(p * below), lambda p: np.minimum(at_survival(above + p * below), threshold)
    )
    if above <= 0.0:
        return SplitTables(threshold, 0.0, small, small)
    large = table_of_quantiles(lambda p: at_survival(above * (1.0 - p)), lambda p: law.upper_quantile(p * above))
    return SplitTables(threshold, above, small, large)


def table_moments(table: Floats) -> tuple[float, float]:
    """E and E^2 of a table in dollars, by the exact probabilities of its buckets."""
    edges = bucket_edges()
    mass = np.tile(np.diff(edges), 2)
    mass[0] += edges[0]
    mass[SIDE] += edges[0]
    centre = table[:, 0] + 0.5 * table[:, 1]
    return float(mass @ centre) / CENTS, float(mass @ (centre**2 + table[:, 1] ** 2 / 12.0)) / CENTS**2
