"""Exact twins of a pool's simulation: gross, net and ceded cost under the shocks, by characteristic functions."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import interpolate, special

from simulations.exact import (
    Distribution,
    Fourier,
    Lattice,
    PointLaws,
    Quadrature,
    discretise,
    invert,
    normal_nodes,
    quadrature,
)
from simulations.kernels.layers import MILLION
from simulations.plans import Shocks
from simulations.pool import Pool
from simulations.tables import CENTS
from simulations.threads import cores

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]
Number = TypeVar("Number", np.float64, np.complex128)
_ATOM = 1e-9
_LATTICE = 1 << 17
_MOST_CLASSES = 512
_MOST_FREQUENCIES = 768


@dataclass(frozen=True, slots=True, eq=False)
class ShockGrid:
    """Quadrature over the shocks: rates [nodes, categories], weights [nodes]."""

    rates: Floats
    weights: Floats


def shock_grid(shocks: Shocks) -> ShockGrid | None:
    """Gauss-Hermite nodes through the normal scores of the shocks; None for more than two shocks."""
    count = len(shocks.kinds)
    categories = shocks.touches.shape[1]
    if count == 0:
        return ShockGrid(np.ones((1, categories)), np.ones(1))
    if count > 2:
        return None
    y, w = normal_nodes(96 if count == 1 else 40)
    keep = w > 1e-20
    y, w = y[keep], w[keep]
    factors = [_factor(int(kind), float(cv), y) for kind, cv in zip(shocks.kinds, shocks.cvs, strict=True)]
    grids = np.meshgrid(*factors, indexing="ij")
    weights = w if count == 1 else np.outer(w, w).ravel()
    rates = np.ones((len(weights), categories))
    for j, grid in enumerate(grids):
        rates[:, shocks.touches[j]] *= grid.ravel()[:, None]
    return ShockGrid(rates, weights)


def _factor(kind: int, cv: float, y: Floats) -> Floats:
    if kind == 0:
        shape = cv**-2.0
        lower = special.gammaincinv(shape, special.ndtr(y)) / shape
        upper = special.gammainccinv(shape, special.ndtr(-y)) / shape
        return np.asarray(np.where(y < 0, lower, upper), np.float64)
    sigma = np.sqrt(np.log1p(cv**2))
    return np.asarray(np.exp(sigma * y - sigma**2 / 2))


@dataclass(eq=False)
class Twins:
    """Exact laws of a pool. `parts` maps each severity point to what is kept of a claim: gross, net or ceded."""

    pool: Pool
    grid: ShockGrid
    points: list[Quadrature]
    _known: dict[tuple[str, bytes], Fourier | None] = field(default_factory=dict)

    def claim_parts(self, part: str) -> list[Quadrature]:
        """The severities of a part: what the per-claim layers leave (net) or take (ceded)."""
        if part == "gross":
            return self.points
        out = []
        for points, (deductible, limit) in zip(self.points, self.pool.layer / CENTS, strict=True):
            taken = np.clip(points.points - deductible, 0.0, limit) if deductible >= 0 else np.zeros(len(points.points))
            out.append(Quadrature(taken if part == "ceded" else points.points - taken, points.weights))
        return out

    def cost(self, groups: NDArray[np.bool_], part: str = "gross") -> Distribution | None:
        """The law of the groups' cost, before specific cover. None where it does not exist in closed enough form."""
        classes = self.pool.classes
        if np.any(self.pool.dispersion > 0) and (classes is None or len(classes.means) > _MOST_CLASSES):
            return None
        points = self.claim_parts(part)
        means = self.pool.group_means[groups].sum(axis=0)
        exponent = self._exponents(groups)
        mean, sd, skewness = self._moments(groups, points)
        if sd == 0:
            return None
        used = means > 0
        # claims of which this part keeps nothing are no claims: the mass at zero counts those that are
        rate = float(
            sum(m * p.weights[p.points > 0].sum() for m, p in zip(means[used], np.array(points)[used], strict=True))
        )
        if np.exp(-rate) > _ATOM:
            return self._lattice(exponent, mean, sd, skewness) if part == "gross" else None

        def characteristic(t: Floats) -> Complexes:
            return self._mixed(exponent, [p.characteristic(t) - 1.0 for p in points])

        return invert(characteristic, mean, sd, skewness)

    def _mixed(self, exponent: Callable[[int, float, Complexes], Complexes], parts: list[Complexes]) -> Complexes:
        """The characteristic function mixed over the shocks, from phi - 1 of each category."""
        rates = self.grid.rates
        steady = np.all(rates == rates[0], axis=0)  # a category that no shock touches is the same at every node
        fixed = np.zeros(len(parts[0]), complex)
        for q in np.flatnonzero(steady):
            fixed += exponent(int(q), float(rates[0, q]), parts[q])
        total = np.zeros(len(parts[0]), complex)
        for row, weight in zip(rates, self.grid.weights, strict=True):
            moving = fixed.copy()
            for q in np.flatnonzero(~steady):
                moving += exponent(int(q), float(row[q]), parts[q])
            total += weight * np.exp(moving)
        return total

    def _exponents(self, groups: NDArray[np.bool_]) -> Callable[[int, float, Complexes], Complexes]:
        """log characteristic function of a category's cost at a shock rate, from phi - 1 of its claims."""
        pool = self.pool
        means = pool.group_means[groups].sum(axis=0)
        counts = pool.classes.counts[groups].sum(axis=0) if pool.classes is not None else np.zeros(0)

        def exponent(q: int, rate: float, part: Complexes) -> Complexes:
            k = pool.dispersion[q]
            if k == 0 or pool.classes is None:
                return np.asarray(means[q] * rate * part)
            total = np.zeros(len(part), complex)
            for count, mean in zip(counts, pool.classes.means[:, q], strict=True):
                if count:
                    total -= count * k * np.log1p(-(mean * rate / k) * part)
            return total

        return exponent

    def _moments(self, groups: NDArray[np.bool_], points: list[Quadrature]) -> tuple[float, float, float]:
        """Mean, sd and skewness in closed form: cumulants given the shocks, then the law of total cumulance."""
        pool = self.pool
        means = pool.group_means[groups].sum(axis=0)
        first, second, third = (np.zeros(len(self.grid.weights)) for _ in range(3))
        for q, point in enumerate(points):
            r = self.grid.rates[:, q]
            m1, m2, m3 = (point.moment(k) for k in (1, 2, 3))
            first += means[q] * r * m1
            second += means[q] * r * m2
            third += means[q] * r * m3
            k = pool.dispersion[q]
            if k > 0 and pool.classes is not None:
                counts = pool.classes.counts[groups].sum(axis=0)
                squares = float(counts @ pool.classes.means[:, q] ** 2) / k * r**2
                cubes = float(counts @ pool.classes.means[:, q] ** 3) / k**2 * r**3
                second += squares * m1**2
                third += 3.0 * squares * m1 * m2 + 2.0 * cubes * m1**3
        w = self.grid.weights
        mean = float(w @ first)
        gap = first - mean
        variance = float(w @ second + w @ gap**2)
        third_central = float(w @ third + 3.0 * (w @ (gap * second)) + w @ gap**3)
        cubed = variance**1.5  # 0 of costs so small that nothing of them is left
        return mean, float(np.sqrt(variance)), third_central / cubed if cubed > 0 else 0.0

    def _lattice(
        self,
        exponent: Callable[[int, float, Complexes], Complexes],
        mean: float,
        sd: float,
        skewness: float,
    ) -> Lattice:
        """For few claims: the mass at zero and the claims on a lattice long enough that nothing wraps around."""
        step = (mean + 40.0 * sd * (1.0 + min(max(skewness, 0.0), 10.0))) / _LATTICE
        parts = [np.fft.rfft(discretise(law, step, _LATTICE)) - 1.0 for law in self.pool.laws]
        masses = np.maximum(np.fft.irfft(self._mixed(exponent, parts), _LATTICE), 0.0)
        return Lattice(masses / masses.sum(), step)

    def after_specific(self, groups: NDArray[np.bool_], part: str) -> Distribution | None:
        """The law of the groups' net or ceded cost under specific cover alone, by the law of each class's member."""
        known = (part, groups.tobytes())
        if known not in self._known:
            laws, classes = _net_laws(self.pool, part), self.pool.classes
            if laws is None or classes is None:
                return None
            self._known[known] = laws.distribution(classes.counts[groups].sum(axis=0))
        return self._known[known]


def twins(pool: Pool) -> Twins | None:
    """The twins of a pool; None where its shocks are too many for a quadrature."""
    grid = shock_grid(pool.shocks)
    return None if grid is None else Twins(pool, grid, [quadrature(law) for law in pool.laws])


@dataclass(frozen=True, slots=True, eq=False)
class _NetLaws:
    """Part of a member's cost by class at nodes of the common shock: laws [nodes x classes]; z, weights [z]."""

    nodes: Floats
    laws: PointLaws
    z: Floats
    weights: Floats

    def _summed(self, counts: NDArray[np.int64], values: NDArray[Number]) -> NDArray[Number]:
        """Sums over the members of each class at each node: [nodes, ..] of values [nodes x classes, ..]."""
        used = counts > 0
        each = values.reshape(len(self.nodes), len(counts), -1)
        return np.asarray(np.tensordot(counts[used], each[:, used], (0, 1)))

    def _at_z(self, values: NDArray[Number]) -> NDArray[Number]:
        if len(self.nodes) == 1:
            return values[np.zeros(len(self.z), int)]
        inside = np.clip(self.z, self.nodes[0], self.nodes[-1])
        return np.asarray(interpolate.CubicSpline(self.nodes, values)(inside))

    def distribution(self, counts: NDArray[np.int64]) -> Fourier | None:
        """The law of the sum over `counts` members of each class, mixed over the shock.

        None where it has not vanished after 768 frequencies: too few members for a series of that length.
        """
        cumulants = self._summed(counts, self.laws.cumulants())
        first, second, third = self._at_z(cumulants).T
        mean = float(self.weights @ first)
        gap = first - mean
        variance = float(self.weights @ second + self.weights @ gap**2)
        if variance <= 0:
            return None
        sd = float(np.sqrt(variance))
        third_central = float(self.weights @ third + 3 * (self.weights @ (gap * second)) + self.weights @ gap**3)

        def characteristic(t: Floats) -> Complexes:
            exponent = self._summed(counts, np.log(self.laws.characteristic(t, cores())))
            # the phase of the mean is taken out before the spline and put back after it
            smooth = self._at_z(exponent - 1j * np.outer(cumulants[:, 0], t))
            return np.asarray(self.weights @ np.exp(smooth + 1j * np.outer(first, t)))

        law = invert(characteristic, mean, sd, third_central / variance**1.5, frequencies=_MOST_FREQUENCIES)
        return law if law.decayed else None


def _net_laws(pool: Pool, part: str) -> _NetLaws | None:
    laws, grid = pool.class_laws, shock_grid(pool.shocks)
    if laws is None or grid is None:
        return None
    attachment, limit, ppm = pool.specific
    over = np.clip(laws.points.values - attachment / CENTS, 0.0, limit / CENTS) * (ppm / MILLION)
    kept = over if part == "ceded" else laws.points.values - over
    z = grid.rates[:, laws.shocked] if laws.shocked >= 0 else np.ones(len(grid.weights))
    return _NetLaws(laws.nodes, PointLaws(laws.points.starts, kept, laws.points.weights), z, grid.weights)
