"""Development triangles: chain ladder, completion factors, Bornhuetter-Ferguson, Cape Cod, Mack, ODP, Merz-Wuthrich.

A triangle is cumulative, [origins, developments], NaN where not yet observed: cell (i, j) is known where
i + j < origins. Any currency; errors of prediction are root mean square errors in the same currency.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulations.errors import SpecError

Floats = NDArray[np.float64]
MOST_AMOUNT = 1e18
"""In the smallest of currencies."""


@dataclass(frozen=True, slots=True, eq=False)
class Triangle:
    """Cumulative amounts with the names of its origins."""

    cumulative: Floats
    origins: tuple[str, ...]

    def __post_init__(self) -> None:
        rows, columns = self.cumulative.shape
        if rows != columns or rows < 2:
            raise SpecError("triangle", f"{rows} origins by {columns} developments: a square of at least 2 is needed")
        known = self.known
        if np.isnan(self.cumulative[known]).any():
            i, j = np.argwhere(known & np.isnan(self.cumulative))[0]
            raise SpecError("triangle", f"origin {self.origins[i]}, development {j + 1} is missing")
        large = known & ~(np.abs(self.cumulative) <= MOST_AMOUNT)
        if large.any():
            i, j = np.argwhere(large)[0]
            raise SpecError(
                "triangle",
                f"origin {self.origins[i]}, development {j + 1}: {self.cumulative[i, j]:.3g} is no amount of money "
                f"(the largest taken is {MOST_AMOUNT:.0e})",
            )
        if not np.all(self.cumulative[known & (np.arange(columns) == 0)] >= 0):
            raise SpecError("triangle", "a first development is negative")

    @property
    def size(self) -> int:
        """Origins."""
        return len(self.cumulative)

    @property
    def known(self) -> NDArray[np.bool_]:
        """True where a cell is observed."""
        n = len(self.cumulative)
        return np.add.outer(np.arange(n), np.arange(n)) < n

    @property
    def latest(self) -> Floats:
        """The latest diagonal [origins]."""
        n = self.size
        return np.asarray(self.cumulative[np.arange(n), n - 1 - np.arange(n)])

    @property
    def incremental(self) -> Floats:
        """Amounts of each development alone, NaN where not observed."""
        return np.diff(self.cumulative, axis=1, prepend=0.0)


@dataclass(frozen=True, slots=True, eq=False)
class ChainLadder:
    """Volume-weighted development: factors [n - 1], completion [n] by development, ultimates and reserves [origins]."""

    factors: Floats
    completion: Floats
    ultimate: Floats
    reserve: Floats


def link_factors(cumulative: Floats, recent: int | None = None) -> Floats:
    """Factors f_j = sum C_{i,j+1} / sum C_{i,j} over the origins that have both, or the `recent` latest of them."""
    n = len(cumulative)
    factors = np.ones(n - 1)
    for j in range(n - 1):
        stop = n - 1 - j
        start = 0 if recent is None else max(0, stop - recent)
        base = cumulative[start:stop, j].sum()
        if base <= 0:
            raise SpecError("triangle", f"development {j + 1} adds up to {base}: no factor can be formed")
        factors[j] = cumulative[start:stop, j + 1].sum() / base
    return factors


def chain_ladder(triangle: Triangle, recent: int | None = None) -> ChainLadder:
    """Chain ladder; `completion[j]` is the share of the ultimate that has emerged by development j (1 at the last)."""
    factors = link_factors(triangle.cumulative, recent)
    completion = 1.0 / np.append(np.cumprod(factors[::-1])[::-1], 1.0)
    at = triangle.size - 1 - np.arange(triangle.size)
    ultimate = triangle.latest / completion[at]
    return ChainLadder(factors, completion, ultimate, ultimate - triangle.latest)


def bornhuetter_ferguson(triangle: Triangle, expected: Floats, recent: int | None = None) -> Floats:
    """Reserves [origins]: the expected ultimates [origins] x the share not yet emerged.

    Source: Bornhuetter and Ferguson, "The actuary and IBNR", PCAS 59 (1972), 181-195.
    """
    fit = chain_ladder(triangle, recent)
    at = triangle.size - 1 - np.arange(triangle.size)
    return np.asarray(expected * (1.0 - fit.completion[at]))


def cape_cod(triangle: Triangle, exposure: Floats, recent: int | None = None) -> tuple[float, Floats]:
    """(expected ratio, reserves [origins]): the ratio is latest over used-up exposure (Stanard; Buhlmann, 1983)."""
    if not np.all(exposure > 0):
        raise SpecError("exposure", f"exposures {exposure} must be positive")
    fit = chain_ladder(triangle, recent)
    at = triangle.size - 1 - np.arange(triangle.size)
    ratio = float(triangle.latest.sum() / (exposure @ fit.completion[at]))
    return ratio, bornhuetter_ferguson(triangle, ratio * exposure, recent)


def link_variances(triangle: Triangle, factors: Floats) -> Floats:
    """Mack's sigma^2 [n - 1]; the last by his rule min(s_{n-2}^2 / s_{n-3}, s_{n-3}, s_{n-2}), all variances."""
    c = triangle.cumulative
    n = triangle.size
    out = np.zeros(n - 1)
    for j in range(n - 2):
        rows = n - 1 - j
        base = c[:rows, j]
        if np.any(base <= 0):
            raise SpecError(
                "triangle", f"development {j + 1} holds an amount of 0 or below: Mack's variance needs more"
            )
        out[j] = float(base @ (c[:rows, j + 1] / base - factors[j]) ** 2) / (rows - 1)
    if n >= 4:
        a, b = out[n - 3], out[n - 4]
        out[n - 2] = min(a * a / b if b > 0 else 0.0, b, a)
    elif n == 3:
        out[1] = out[0]
    return out


@dataclass(frozen=True, slots=True, eq=False)
class Mack:
    """Errors of prediction of the chain ladder reserve: by origin [origins] and in total."""

    by_origin: Floats
    total: float


def mack(triangle: Triangle) -> Mack:
    """Distribution-free standard errors. Source: Mack, ASTIN Bulletin 23 (1993), 213-225, theorem 3, corollary."""
    fit = chain_ladder(triangle)
    n = triangle.size
    f, s2 = fit.factors, link_variances(triangle, fit.factors)
    c = triangle.cumulative
    base = np.array([c[: n - 1 - j, j].sum() for j in range(n - 1)])
    squares = np.zeros(n)
    total = 0.0
    for i in range(1, n):
        at = n - 1 - i
        projected = triangle.latest[i] * np.append(1.0, np.cumprod(f[at:]))[:-1]
        ratio = s2[at:] / f[at:] ** 2
        squares[i] = fit.ultimate[i] ** 2 * float(ratio @ (1.0 / projected + 1.0 / base[at:]))
        later = fit.ultimate[i + 1 :].sum()
        total += squares[i] + 2.0 * fit.ultimate[i] * later * float(ratio @ (1.0 / base[at:]))
    return Mack(np.sqrt(squares), float(np.sqrt(total)))


def merz_wuthrich(triangle: Triangle) -> Mack:
    """Errors of the one-year claims development result seen from today.

    Source: Merz and Wuthrich, "Modelling the claims development result for solvency purposes", CAS E-Forum, Fall 2008,
    results 3.1 and 3.3 (linear approximation).
    """
    fit = chain_ladder(triangle)
    n = triangle.size
    f, s2 = fit.factors, link_variances(triangle, fit.factors)
    c = triangle.cumulative
    now = np.array([c[: n - 1 - j, j].sum() for j in range(n - 1)])
    diagonal = np.array([c[n - 1 - j, j] for j in range(n - 1)])
    later = now + diagonal  # the column sums of next year
    ratio = s2 / f**2
    weight = (diagonal / later) ** 2
    squares, phi, shared = np.zeros(n), np.zeros(n), np.zeros(n)
    for i in range(1, n):
        at = n - 1 - i
        tail = slice(at + 1, n - 1)
        phi[i] = float(np.sum(weight[tail] * ratio[tail] / diagonal[tail]))
        column = float(np.sum(weight[tail] * ratio[tail] / now[tail]))
        squares[i] = fit.ultimate[i] ** 2 * (phi[i] + ratio[at] / c[i, at] + ratio[at] / now[at] + column)
        shared[i] = phi[i] + ratio[at] / later[at] + diagonal[at] / later[at] * ratio[at] / now[at] + column
    total = squares.sum()
    for i in range(1, n):
        total += 2.0 * fit.ultimate[i] * fit.ultimate[i + 1 :].sum() * shared[i]
    return Mack(np.sqrt(squares), float(np.sqrt(total)))


@dataclass(frozen=True, slots=True, eq=False)
class OverDispersedPoisson:
    """The ODP model of the chain ladder: fitted increments [n, n] (past and future), residuals, dispersion, errors.

    residuals: Pearson, unscaled, NaN off the triangle and where nothing is expected. degrees: observations less
    parameters, both of origins and developments in which something was paid.
    """

    fitted: Floats
    residuals: Floats
    phi: float
    degrees: int
    reserve: float
    estimation_error: float
    prediction_error: float


def over_dispersed_poisson(triangle: Triangle) -> OverDispersedPoisson:
    """Fits increments with mean exp(origin + development) and variance phi x mean, whose fit is the chain ladder's.

    Estimation error: delta method on the quasi-likelihood covariance; prediction adds phi x reserve.
    Source: England and Verrall, "Analytic and bootstrap estimates of prediction errors in claims reserving", Insurance:
    Mathematics and Economics 25 (1999), 281-293.
    """
    fit = chain_ladder(triangle)
    n = triangle.size
    pattern = np.diff(fit.completion, prepend=0.0)
    if np.any(pattern < 0):
        raise SpecError(
            "triangle",
            f"development {int(np.argmin(pattern)) + 1} takes back money in total, which the bootstrap cannot draw",
        )
    if np.any(triangle.latest < 0):
        at = int(np.argmin(triangle.latest))
        raise SpecError("triangle", f"origin {triangle.origins[at]} stands below 0, at {triangle.latest[at]:g}")
    fitted = np.outer(fit.ultimate, pattern)
    known = triangle.known
    told = known & (fitted > 0)  # where nothing was ever paid nothing varies, and no parameter is estimated
    residuals = np.full((n, n), np.nan)
    residuals[told] = (triangle.incremental[told] - fitted[told]) / np.sqrt(fitted[told])
    paid_origins, paid_developments = fit.ultimate > 0, pattern > 0
    degrees = int(told.sum()) - int(paid_origins.sum() + paid_developments.sum() - 1)
    if degrees < 1:
        raise SpecError("triangle", f"{n} origins leave no degree of freedom for the dispersion")
    phi = float(np.nansum(residuals**2)) / degrees
    design = np.zeros((n, n, 2 * n - 1))
    for i in range(n):
        design[i, :, i] = 1.0
        for j in range(1, n):
            design[i, j, n + j - 1] = 1.0
    design = design[:, :, np.concatenate([paid_origins, paid_developments[1:]])]
    past, future = design[known], design[~known]
    information = past.T @ (past * fitted[known][:, None])
    gradient = future.T @ fitted[~known]
    try:
        estimation = phi * float(gradient @ np.linalg.solve(information, gradient))
    except np.linalg.LinAlgError as error:
        raise SpecError(
            "triangle", f"amounts from {fitted[told].min():.3g} to {fitted[told].max():.3g}: too far apart to fit"
        ) from error
    reserve = float(fitted[~known].sum())
    return OverDispersedPoisson(
        fitted,
        residuals,
        phi,
        degrees,
        reserve,
        float(np.sqrt(estimation)),
        float(np.sqrt(estimation + phi * reserve)),
    )


def from_lines(origin: NDArray[np.int64], lag: NDArray[np.int64], amount: Floats, size: int) -> Floats:
    """Cumulative triangle [size, size] from claim lines: origin period 0.., lag in periods, amounts."""
    grid = np.zeros((size, size))
    inside = (origin >= 0) & (origin < size) & (lag >= 0) & (origin + lag < size)
    np.add.at(grid, (origin[inside], lag[inside]), amount[inside])
    cumulative = np.cumsum(grid, axis=1)
    cumulative[np.add.outer(np.arange(size), np.arange(size)) >= size] = np.nan
    return cumulative
