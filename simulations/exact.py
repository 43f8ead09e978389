"""Exact distributions of aggregate cost: characteristic functions inverted by Fourier series, and lattice recursions.

Conventions: VaR_q(X) = inf{x : F(x) >= q}; TVaR_q(X) = VaR_q + E[(X - VaR_q)+] / (1 - q), which averages the worst
1 - q of the outcomes even where an atom straddles the level. Dollars throughout.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from simulations.kernels.fourier import characteristic, series
from simulations.severity import Empirical, Severity
from simulations.threads import in_slices

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]
Integers = NDArray[np.int64]
CharacteristicFunction = Callable[[Floats], Complexes]
_CHUNK = 256
_NEGLIGIBLE = 1e-14


class Distribution(Protocol):
    """The law of an aggregate cost."""

    @property
    def mean(self) -> float:
        """E[X]."""

    @property
    def sd(self) -> float:
        """Standard deviation."""

    def cdf(self, x: Floats) -> Floats:
        """P(X <= x)."""

    def quantile(self, level: float) -> float:
        """VaR at the level."""

    def tvar(self, level: float) -> float:
        """TVaR at the level."""

    def mapped(self, g: Callable[[Floats], Floats]) -> "Distribution":
        """The law of g(X) for a non-decreasing g."""


@dataclass(frozen=True, slots=True, eq=False)
class PointLaws:
    """Laws of weighted points, one after the other: those of law i from starts[i] to starts[i + 1]. Dollars."""

    starts: Integers
    values: Floats
    weights: Floats

    @classmethod
    def of(cls, laws: Sequence[tuple[Floats, Floats]]) -> "PointLaws":
        """From each law's values and weights."""
        starts = np.cumsum([0, *(len(values) for values, _ in laws)])
        return cls(starts, *(np.concatenate([law[i] for law in laws]) for i in (0, 1)))

    def characteristic(self, t: Floats, threads: int = 1) -> Complexes:
        """E[exp(i t X)] of each law at evenly spaced t (1/dollars): [laws, t]."""
        out = np.empty((len(self.starts) - 1, len(t)), complex)
        step = float(t[1] - t[0]) if len(t) > 1 else 0.0

        def work(first: int, size: int) -> None:
            starts = self.starts[first : first + size + 1]
            for at in range(0, len(t), _CHUNK):
                characteristic(
                    float(t[at]), step, starts, self.values, self.weights, out[first : first + size, at : at + _CHUNK]
                )

        in_slices(len(out), threads, work)
        return out

    def cumulants(self) -> Floats:
        """The first three cumulants of each law: [laws, 3]."""
        owner = np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))
        mean = np.bincount(owner, self.weights * self.values, len(self.starts) - 1)
        centred = self.values - mean[owner]
        higher = [np.bincount(owner, self.weights * centred**k, len(self.starts) - 1) for k in (2, 3)]
        return np.stack([mean, *higher], axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class Quadrature:
    """A severity as weighted points: sum of weights x g(points) is E[g(X)] for smooth g."""

    points: Floats
    weights: Floats

    def characteristic(self, t: Floats) -> Complexes:
        """E[exp(i t X)] at evenly spaced t (1/dollars)."""
        return np.asarray(PointLaws.of([(self.points, self.weights)]).characteristic(t)[0])

    def moment(self, order: int) -> float:
        """E[X^order]."""
        return float(self.weights @ self.points**order)


def quadrature(law: Severity, octaves: int = 52, order: int = 10) -> Quadrature:
    """Gauss-Legendre points of the quantile function, panel by octave of the tail probability on both sides."""
    if isinstance(law, Empirical):
        values, counts = np.unique(law.losses, return_counts=True)
        return Quadrature(values, counts / len(law.losses))
    nodes, weights = np.polynomial.legendre.leggauss(order)
    width = np.ldexp(1.0, -np.arange(2, octaves + 2))  # the panel [2^-(k+1), 2^-k], k = 1, 2, ..
    p = (width[:, None] * (1.0 + 0.5 * (nodes + 1.0))).ravel()
    w = (width[:, None] * 0.5 * weights).ravel()
    points = np.concatenate([law.quantile(p), law.upper_quantile(p)])
    both = np.concatenate([w, w])
    return Quadrature(points, both / both.sum())


@dataclass(frozen=True, eq=False)
class Fourier:
    """A distribution by the Fourier series of its density on a window outside which it has no mass to speak of.

    With coefficients c_k = phi(t_k) exp(-i t_k low), t_k = 2 pi k / width: density, distribution function and its
    integral are sums over k and exact up to the mass outside the window (below 1e-12 by choice of the window) and the
    frequencies left out (below 1e-14). Source: the Fourier-cosine argument of Fang and Oosterlee, SIAM J. Sci. Comput.
    31 (2008), 826-848, with the complex series.
    """

    low: float
    width: float
    coefficients: Complexes
    mean: float
    sd: float
    skewness: float
    decayed: bool
    _known: dict[float, float] = field(default_factory=dict, repr=False)  # quantiles by level

    @cached_property
    def _waves(self) -> tuple[Floats, Complexes]:
        """(t_k, c_k / (-i t_k)): frequencies, and the coefficients of the distribution function."""
        t = 2.0 * np.pi * np.arange(1, len(self.coefficients) + 1) / self.width
        return np.asarray(t, np.float64), np.asarray(self.coefficients / (-1j * t), np.complex128)

    def cdf(self, x: Floats) -> Floats:
        y = np.clip(np.atleast_1d(np.asarray(x, float)) - self.low, 0.0, self.width)
        waves = np.empty(len(y))
        series(-2.0 * np.pi / self.width * y, self._waves[1], waves)
        return np.clip(y / self.width + 2.0 / self.width * waves, 0.0, 1.0)

    def grid(self, points: int = 1 << 13) -> tuple[Floats, Floats]:
        """(x, F(x)) on an even grid over the window."""
        points = max(points, 4 * len(self.coefficients))
        factors = self._waves[1]
        spectrum = np.zeros(points // 2 + 1, complex)
        spectrum[1 : len(factors) + 1] = np.conj(factors)
        waves = np.fft.irfft(spectrum, points) * points / self.width
        y = self.width * np.arange(points) / points
        return self.low + y, np.clip(y / self.width + waves - waves[0], 0.0, 1.0)

    def quantile(self, level: float) -> float:
        if level not in self._known:
            self._known[level] = self._quantile(level)
        return self._known[level]

    @cached_property
    def _grid(self) -> tuple[Floats, Floats]:
        return self.grid()

    def _quantile(self, level: float) -> float:
        x, cumulative = self._grid
        at = int(np.searchsorted(cumulative, level))
        low, high = x[max(at - 1, 0)], x[min(at, len(x) - 1)]

        def gap(value: float) -> float:
            return float(self.cdf(np.array([value]))[0]) - level

        if gap(low) >= 0 or gap(high) <= 0:
            return float(high)
        return float(optimize.brentq(gap, low, high, xtol=1e-13 * self.width, rtol=1e-15))

    def stop_loss(self, x: float) -> float:
        """E[(X - x)+]."""
        y = x - self.low
        t, factors = self._waves

        def integral(upper: float) -> float:
            waves = (np.exp(-1j * t * upper) - 1.0) / (-1j * t) - upper
            return upper**2 / (2.0 * self.width) + 2.0 / self.width * float((factors @ waves).real)

        return (self.width - y) - (integral(self.width) - integral(y))

    def tvar(self, level: float) -> float:
        value = self.quantile(level)
        return value + self.stop_loss(value) / (1.0 - level)

    def mapped(self, g: Callable[[Floats], Floats]) -> "Atoms":
        x, cumulative = self.grid(1 << 15)
        return Atoms(g(0.5 * (x[1:] + x[:-1])), np.maximum(np.diff(cumulative), 0.0))


def invert(
    characteristic: CharacteristicFunction,
    mean: float,
    sd: float,
    skewness: float = 0.0,
    reach: tuple[float, float] = (14.0, 24.0),
    frequencies: int = 16 * _CHUNK,
) -> Fourier:
    """The distribution of a characteristic function with the given first three moments.

    The window is mean - reach[0] sd to mean + reach[1] sd, longer where the law is skew. Frequencies are taken until
    the function has vanished; where it has not after `frequencies` (a law with few atoms) the series is damped and
    `decayed` is false: such a result is smooth where the law has steps.
    """
    low, high = mean - reach[0] * sd, mean + reach[1] * sd * (1.0 + max(skewness, 0.0))
    width = high - low
    parts: list[Complexes] = []
    decayed = False
    while not decayed and len(parts) * _CHUNK < frequencies:
        t = np.asarray(2.0 * np.pi * np.arange(len(parts) * _CHUNK + 1, (len(parts) + 1) * _CHUNK + 1) / width)
        values = characteristic(t) * np.exp(-1j * t * low)
        parts.append(values)
        decayed = bool(np.max(np.abs(values[-16:])) < _NEGLIGIBLE)
    coefficients = np.concatenate(parts)
    if not decayed:
        ratio = np.arange(1, len(coefficients) + 1) / len(coefficients)
        coefficients = coefficients * np.exp(-18.0 * ratio**2)
    return Fourier(low, width, coefficients, mean, sd, skewness, decayed)


def compound_poisson(law: Severity, expected: float) -> Fourier:
    """The aggregate of a Poisson number (mean `expected`) of claims of the law; the mass at 0 should be negligible."""
    points = quadrature(law)
    first, second, third = (points.moment(k) for k in (1, 2, 3))
    skewness = third / second**1.5 / np.sqrt(expected)
    return invert(
        lambda t: np.exp(expected * (points.characteristic(t) - 1.0)),
        expected * first,
        float(np.sqrt(expected * second)),
        float(skewness),
    )


def of_severity(law: Severity, level: float) -> tuple[float, float]:
    """(VaR, TVaR) of a claim from its quantile and limited mean: TVaR = VaR + (E[X] - E[min(X, VaR)])/(1 - q)."""
    value = law.upper_quantile(np.array([1.0 - level]))
    excess = law.moment(1) - float(law.limited_mean(value)[0])
    return float(value[0]), float(value[0]) + excess / (1.0 - level)


@dataclass(frozen=True, slots=True, eq=False)
class Lattice:
    """A distribution on 0, step, 2 step, ..: masses [n]."""

    masses: Floats
    step: float

    @property
    def _values(self) -> Floats:
        return np.asarray(self.step * np.arange(len(self.masses)), np.float64)

    @property
    def mean(self) -> float:
        """E[X]."""
        return float(self.masses @ self._values)

    @property
    def sd(self) -> float:
        """Standard deviation."""
        return float(np.sqrt(self.masses @ (self._values - self.mean) ** 2))

    @property
    def skewness(self) -> float:
        """Third central moment over sd^3."""
        return float(self.masses @ (self._values - self.mean) ** 3) / self.sd**3

    def cdf(self, x: Floats) -> Floats:
        cumulative = np.cumsum(self.masses)
        at = np.floor(np.atleast_1d(x) / self.step * (1 + 1e-15)).astype(int)
        return np.where(at < 0, 0.0, cumulative[np.clip(at, 0, len(cumulative) - 1)])

    def quantile(self, level: float) -> float:
        at = int(np.searchsorted(np.cumsum(self.masses), level - 1e-14))
        return self.step * min(at, len(self.masses) - 1)

    def tvar(self, level: float) -> float:
        value = self.quantile(level)
        return value + float(self.masses @ np.maximum(self._values - value, 0.0)) / (1.0 - level)

    def mapped(self, g: Callable[[Floats], Floats]) -> "Atoms":
        return Atoms(g(self._values), self.masses)

    def conditional_tail(self, level: float) -> float:
        """E[X | X > VaR], which some texts call CTE: unlike TVaR it leaves an atom at the quantile out."""
        beyond = self._values > self.quantile(level) + 0.5 * self.step
        return float(self.masses[beyond] @ self._values[beyond]) / float(self.masses[beyond].sum())


@dataclass(frozen=True, slots=True, eq=False)
class Atoms:
    """A discrete law: non-decreasing values and their masses."""

    values: Floats
    masses: Floats

    @property
    def mean(self) -> float:
        """E[X]."""
        return float(self.masses @ self.values) / float(self.masses.sum())

    @property
    def sd(self) -> float:
        """Standard deviation."""
        return float(np.sqrt(self.masses @ (self.values - self.mean) ** 2 / self.masses.sum()))

    def cdf(self, x: Floats) -> Floats:
        cumulative = np.concatenate([[0.0], np.cumsum(self.masses) / self.masses.sum()])
        return np.asarray(cumulative[np.searchsorted(self.values, np.atleast_1d(x), side="right")])

    def quantile(self, level: float) -> float:
        cumulative = np.cumsum(self.masses) / self.masses.sum()
        return float(self.values[min(int(np.searchsorted(cumulative, level - 1e-14)), len(self.values) - 1)])

    def tvar(self, level: float) -> float:
        value = self.quantile(level)
        over = float(self.masses @ np.maximum(self.values - value, 0.0)) / float(self.masses.sum())
        return value + over / (1.0 - level)

    def mapped(self, g: Callable[[Floats], Floats]) -> "Atoms":
        return Atoms(g(self.values), self.masses)


def discretise(law: Severity, step: float, points: int) -> Floats:
    """Masses [points] on 0, step, ..: mean kept ("unbiased"): local matching of the first moment.

    Source: Klugman, Panjer, Willmot, "Loss Models", method of local moment matching with one moment.
    """
    limited = law.limited_mean(step * np.arange(points + 1.0))
    masses = np.empty(points)
    masses[0] = 1.0 - limited[1] / step
    masses[1:] = (2.0 * limited[1:-1] - limited[:-2] - limited[2:]) / step
    return np.maximum(masses, 0.0)


def panjer_poisson(severity: Floats, expected: float, points: int) -> Floats:
    """Masses [points] of a compound Poisson law by Panjer's recursion: slow and independent of any transform.

    Source: Panjer, "Recursive evaluation of a family of compound distributions", ASTIN Bulletin 12 (1981), 22-26.
    """
    out = np.zeros(points)
    out[0] = np.exp(-expected * (1.0 - severity[0]))
    weighted = expected * np.arange(len(severity)) * severity
    for s in range(1, points):
        n = min(s, len(severity) - 1)
        out[s] = weighted[1 : n + 1] @ out[s - n : s][::-1] / s
    return out


def compound_fft(severity: Floats, log_pgf: Callable[[Complexes], Complexes], points: int) -> Floats:
    """Masses [points] of the compound law whose count has exp(log_pgf) as generating function, by FFT.

    Mass beyond points x step is wrapped around: choose `points` so that there is none.
    """
    transform = np.fft.rfft(severity, points)
    return np.asarray(np.maximum(np.fft.irfft(np.exp(log_pgf(transform)), points), 0.0))


def normal_nodes(order: int) -> tuple[Floats, Floats]:
    """Gauss-Hermite nodes and weights of the standard normal law."""
    nodes, weights = special.roots_hermitenorm(order)
    return np.asarray(nodes), np.asarray(weights / weights.sum())
