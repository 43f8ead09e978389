"""Claim severities in dollars: moments, tails, limited means, quantiles, and their tables for the kernels."""

import hashlib
import math
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import special

from simulations.errors import SpecError

Floats = NDArray[np.float64]


class Severity(Protocol):
    """A claim size X >= 0 with a finite variance."""

    def moment(self, order: int) -> float:
        """E[X^order], dollars^order; infinite where it does not exist."""

    def survival(self, x: Floats) -> Floats:
        """P(X > x)."""

    def limited_mean(self, x: Floats) -> Floats:
        """E[min(X, x)], dollars."""

    def quantile(self, p: Floats) -> Floats:
        """inf{x : F(x) >= p}; accurate for p near 0."""

    def upper_quantile(self, p: Floats) -> Floats:
        """inf{x : P(X > x) <= p}; accurate for p near 0."""


LARGEST_CLAIM = 1e13
_ONE_IN = 2.0**40


def check_amounts(law: Severity) -> None:
    """Refuses a law of claims that are no amounts of money: one in 2^40 would exceed LARGEST_CLAIM dollars.

    Most often a mean in dollars was given where the mean of log dollars belongs. Raises SpecError.
    """
    with np.errstate(over="ignore"):
        largest = float(law.upper_quantile(np.array([1.0 / _ONE_IN]))[0])
    if largest <= LARGEST_CLAIM:
        return
    told = f"claims of {largest:.3g} dollars would come: no amount of money (the largest taken is {LARGEST_CLAIM:.0e})"
    if isinstance(law, Lognormal):
        hint = (
            f"; mu is the mean of log dollars: for a median of {law.mu:g} dollars it is {math.log(max(law.mu, 1)):.4g}"
        )
        raise SpecError("severity.mu", f"{law.mu:g} with sigma {law.sigma:g}: {told}{hint}")
    raise SpecError("severity", told)


def _positive(law: str, **values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise SpecError(f"severity.{name}", f"{law} {name} must be a positive number, not {value}")


@dataclass(frozen=True, slots=True)
class Lognormal:
    """log X is normal with mean mu and standard deviation sigma."""

    mu: float
    sigma: float

    def __post_init__(self) -> None:
        _positive("lognormal", sigma=self.sigma)
        if not math.isfinite(self.mu):
            raise SpecError("severity.mu", f"lognormal mu must be finite, not {self.mu}")

    def moment(self, order: int) -> float:
        return math.exp(order * self.mu + 0.5 * (order * self.sigma) ** 2)

    def _z(self, x: Floats) -> Floats:
        with np.errstate(divide="ignore"):
            return np.asarray((np.log(x) - self.mu) / self.sigma)

    def survival(self, x: Floats) -> Floats:
        return np.asarray(special.ndtr(-self._z(x)))

    def limited_mean(self, x: Floats) -> Floats:
        z = self._z(x)
        tail = np.where(np.isfinite(x), special.ndtr(-z), 0.0)
        return np.asarray(self.moment(1) * special.ndtr(z - self.sigma) + np.where(tail > 0, x, 0.0) * tail)

    def quantile(self, p: Floats) -> Floats:
        return np.asarray(np.exp(self.mu + self.sigma * special.ndtri(p)))

    def upper_quantile(self, p: Floats) -> Floats:
        return np.asarray(np.exp(self.mu - self.sigma * special.ndtri(p)))


@dataclass(frozen=True, slots=True)
class Gamma:
    """Density x^(shape - 1) exp(-x / scale) / (scale^shape Gamma(shape)); shape 1 is the exponential."""

    shape: float
    scale: float

    def __post_init__(self) -> None:
        _positive("gamma", shape=self.shape, scale=self.scale)

    def moment(self, order: int) -> float:
        return float(self.scale**order * special.poch(self.shape, order))

    def survival(self, x: Floats) -> Floats:
        return np.asarray(special.gammaincc(self.shape, np.asarray(x) / self.scale))

    def limited_mean(self, x: Floats) -> Floats:
        tail = self.survival(x)
        below = self.shape * self.scale * special.gammainc(self.shape + 1.0, np.asarray(x) / self.scale)
        return np.asarray(below + np.where(tail > 0, x, 0.0) * tail)

    def quantile(self, p: Floats) -> Floats:
        return np.asarray(self.scale * special.gammaincinv(self.shape, p))

    def upper_quantile(self, p: Floats) -> Floats:
        return np.asarray(self.scale * special.gammainccinv(self.shape, p))


@dataclass(frozen=True, slots=True)
class Pareto:
    """Type II (Lomax): P(X > x) = (theta / (x + theta))^alpha. The variance exists for alpha > 2 only."""

    alpha: float
    theta: float

    def __post_init__(self) -> None:
        _positive("pareto", alpha=self.alpha, theta=self.theta)
        if self.alpha <= 2.0:
            raise SpecError(
                "severity.alpha",
                f"pareto alpha {self.alpha} has no finite variance, so no standard error; give > 2",
            )

    def moment(self, order: int) -> float:
        if order >= self.alpha:
            return math.inf
        value = 1.0
        for i in range(1, order + 1):
            value *= i * self.theta / (self.alpha - i)
        return value

    def survival(self, x: Floats) -> Floats:
        return np.asarray((1.0 + np.asarray(x) / self.theta) ** -self.alpha)

    def limited_mean(self, x: Floats) -> Floats:
        return np.asarray(self.moment(1) * -np.expm1((1.0 - self.alpha) * np.log1p(np.asarray(x) / self.theta)))

    def quantile(self, p: Floats) -> Floats:
        return np.asarray(self.theta * np.expm1(-np.log1p(-np.asarray(p)) / self.alpha))

    def upper_quantile(self, p: Floats) -> Floats:
        return np.asarray(self.theta * np.expm1(-np.log(p) / self.alpha))


@dataclass(frozen=True, slots=True)
class Weibull:
    """P(X > x) = exp(-(x / scale)^shape)."""

    shape: float
    scale: float

    def __post_init__(self) -> None:
        _positive("weibull", shape=self.shape, scale=self.scale)

    def moment(self, order: int) -> float:
        return float(self.scale**order * special.gamma(1.0 + order / self.shape))

    def survival(self, x: Floats) -> Floats:
        return np.asarray(np.exp(-((np.asarray(x) / self.scale) ** self.shape)))

    def limited_mean(self, x: Floats) -> Floats:
        tail = self.survival(x)
        below = self.moment(1) * special.gammainc(1.0 + 1.0 / self.shape, (np.asarray(x) / self.scale) ** self.shape)
        return np.asarray(below + np.where(tail > 0, x, 0.0) * tail)

    def quantile(self, p: Floats) -> Floats:
        return np.asarray(self.scale * (-np.log1p(-np.asarray(p))) ** (1.0 / self.shape))

    def upper_quantile(self, p: Floats) -> Floats:
        return np.asarray(self.scale * (-np.log(p)) ** (1.0 / self.shape))


@dataclass(frozen=True, slots=True, eq=False)
class Empirical:
    """Observed claims, each equally likely."""

    losses: Floats
    _sums: Floats = field(init=False, repr=False)

    def __post_init__(self) -> None:
        losses = np.sort(np.asarray(self.losses, float))
        if len(losses) == 0 or not np.all(np.isfinite(losses)) or losses[0] < 0:
            raise SpecError("severity.file", "empirical losses must be finite, not negative, and at least one")
        object.__setattr__(self, "losses", losses)
        object.__setattr__(self, "_sums", np.concatenate([[0.0], np.cumsum(losses)]))

    def moment(self, order: int) -> float:
        return float(np.mean(self.losses**order))

    def survival(self, x: Floats) -> Floats:
        n = len(self.losses)
        return np.asarray((n - np.searchsorted(self.losses, x, side="right")) / n)

    def limited_mean(self, x: Floats) -> Floats:
        at = np.searchsorted(self.losses, x, side="right")
        above = len(self.losses) - at
        return np.asarray((self._sums[at] + np.where(above > 0, x, 0.0) * above) / len(self.losses))

    def quantile(self, p: Floats) -> Floats:
        n = len(self.losses)
        return np.asarray(self.losses[np.clip(np.ceil(np.asarray(p) * n).astype(int) - 1, 0, n - 1)])

    def upper_quantile(self, p: Floats) -> Floats:
        n = len(self.losses)
        return np.asarray(self.losses[np.clip(n - 1 - np.floor(np.asarray(p) * n).astype(int), 0, n - 1)])


@dataclass(frozen=True, slots=True)
class Mixture:
    """One of the parts, with probability weight (weights sum to 1)."""

    weights: tuple[float, ...]
    parts: tuple[Severity, ...]

    def __post_init__(self) -> None:
        if len(self.weights) != len(self.parts) or not self.parts:
            raise SpecError("severity.weights", f"{len(self.weights)} weights for {len(self.parts)} parts")
        if any(weight <= 0 for weight in self.weights) or abs(sum(self.weights) - 1.0) > 1e-9:
            raise SpecError("severity.weights", f"weights {self.weights} must be positive and sum to 1")
        if any(isinstance(part, (Mixture, Empirical)) for part in self.parts):
            raise SpecError("severity.parts", "a mixture is of lognormal, gamma, pareto and weibull parts")

    def moment(self, order: int) -> float:
        return sum(w * part.moment(order) for w, part in zip(self.weights, self.parts, strict=True))

    def survival(self, x: Floats) -> Floats:
        return np.asarray(sum(w * part.survival(x) for w, part in zip(self.weights, self.parts, strict=True)))

    def limited_mean(self, x: Floats) -> Floats:
        return np.asarray(sum(w * part.limited_mean(x) for w, part in zip(self.weights, self.parts, strict=True)))

    def _cdf(self, x: Floats) -> Floats:
        return 1.0 - self.survival(x)

    def quantile(self, p: Floats) -> Floats:
        p = np.asarray(p, float)
        bounds = np.array([part.quantile(p) for part in self.parts])
        low, high = bounds.min(axis=0), bounds.max(axis=0)
        for _ in range(80):
            middle = 0.5 * (low + high)
            below = self._cdf(middle) < p
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return np.asarray(high)

    def upper_quantile(self, p: Floats) -> Floats:
        p = np.asarray(p, float)
        bounds = np.array([part.upper_quantile(p) for part in self.parts])
        low, high = bounds.min(axis=0), bounds.max(axis=0)
        for _ in range(80):
            middle = 0.5 * (low + high)
            above = self.survival(middle) > p
            low, high = np.where(above, middle, low), np.where(above, high, middle)
        return np.asarray(high)


def table_hash(*tables: Floats) -> str:
    """SHA-256 over the bytes of the tables, for the manifest of a run."""
    digest = hashlib.sha256()
    for table in tables:
        digest.update(np.ascontiguousarray(table).tobytes())
    return digest.hexdigest()
