"""What a programme saves: holdouts drawn before it begins, intention to treat, and what is paid for it.

Savings are predicted - actual - investment, and "predicted" is what these members would have cost without the offer.
Only chance can tell: each programme keeps a holdout drawn from (seed, programme, member), and months, investment and
leavers count as assigned. A model's prediction made before may be a covariate, never the benchmark: its bias would be
booked as savings.

Errors: HC2 by member (MacKinnon and White 1985), CR2 by assigned cluster with Satterthwaite degrees (Bell and McCaffrey
2002), and a permutation test beside.
"""

import hashlib
import math
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from engine.domain.batch import TextColumn
from engine.domain.raw_bytes import address_of
from engine.domain.siphash import siphash
from engine.finance.estimates import Randomised, detectable_effect
from engine.finance.money import FinanceError, allocate

Reals = NDArray[np.float64]
HOLDOUT = 0.10


@njit(cache=True, nogil=True)
def _draws(
    data: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64], low: Any, high: Any, out: Reals
) -> None:
    base = address_of(data)
    for i in range(len(starts)):
        word = siphash(base + starts[i], lengths[i], low, high)
        out[i] = np.float64(word >> np.uint64(11)) / 2.0**53


def draws(seed: int, programme: str, members: TextColumn) -> Reals:
    """A uniform number in [0, 1) of each member for a programme: a function of seed, programme and member alone."""
    key = hashlib.blake2b(f"{seed}/{programme}".encode(), digest_size=16, person=b"vitanexus-hold").digest()
    low, high = np.frombuffer(key, "<u8")
    out = np.empty(len(members))
    _draws(members.data, members.starts, members.lengths, np.uint64(low), np.uint64(high), out)
    return out


def held_out(seed: int, programme: str, members: TextColumn, share: float = HOLDOUT) -> NDArray[np.bool_]:
    """Who is not offered the programme, so that its effect can be known; about `share` of the members."""
    if not 0 < share < 1:
        raise FinanceError("holdout", f"holdout is {share}: must lie between 0 and 1")
    return np.asarray(draws(seed, programme, members) < share)


@dataclass(frozen=True, slots=True)
class Trial:
    """Members of a programme, a row each: whether `offered`, `cost` in dollars, weights (months) and covariates [n, k].

    Covariates are of before the offer, and are centred here. `cluster` numbers what was assigned together, such as
    families or clinics; None where members were. `took` says who took the offer up.
    """

    offered: NDArray[np.bool_]
    cost: Reals
    weights: Reals | None = None
    covariates: Reals | None = None
    cluster: NDArray[np.int64] | None = None
    took: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        n = len(self.offered)
        for name in ("cost", "weights", "covariates", "cluster", "took"):
            column = getattr(self, name)
            if column is not None and len(column) != n:
                raise FinanceError(name, f"{name} has {len(column)} rows, offered has {n}")
        if not 1 < self.offered.sum() < n - 1:
            raise FinanceError("offered", f"{int(self.offered.sum())} of {n} are offered: both groups need two members")
        if not np.isfinite(self.cost).all():
            raise FinanceError(
                "cost", f"row {int(np.flatnonzero(~np.isfinite(self.cost))[0]) + 1}: cost is not a number"
            )
        if self.weights is not None and not (self.weights > 0).all():
            raise FinanceError("weights", f"row {int(np.flatnonzero(self.weights <= 0)[0]) + 1}: weight is not above 0")


@dataclass(frozen=True, slots=True)
class Fit:
    """A weighted least-squares fit of cost on the offer: coefficients, the scaled design and residuals."""

    design: Reals
    residuals: Reals
    bread: Reals
    coefficients: Reals


def _fit(trial: Trial) -> Fit:
    n = len(trial.cost)
    columns = [np.ones(n), trial.offered.astype(np.float64)]
    root = np.ones(n) if trial.weights is None else np.sqrt(trial.weights)
    if trial.covariates is not None:
        mean = np.average(trial.covariates, axis=0, weights=root**2)
        columns += list((trial.covariates - mean).T)
    design = np.column_stack(columns) * root[:, None]
    bread = np.linalg.inv(design.T @ design)
    coefficients = bread @ (design.T @ (trial.cost * root))
    return Fit(design, trial.cost * root - design @ coefficients, bread, coefficients)


def _variance(fit: Fit, kind: str) -> float:
    """The variance of the offer's coefficient: HC1, or HC2 by leverage."""
    scaled = fit.residuals**2
    n, k = fit.design.shape
    if kind == "HC1":
        scaled = scaled * n / (n - k)
    else:
        scaled = scaled / (1 - np.einsum("ij,jk,ik->i", fit.design, fit.bread, fit.design))
    meat = (fit.design * scaled[:, None]).T @ fit.design
    return float((fit.bread @ meat @ fit.bread)[1, 1])


def _clustered(fit: Fit, cluster: NDArray[np.int64]) -> tuple[float, float]:
    """CR2's variance of the offer's coefficient by cluster, and its Satterthwaite degrees of freedom."""
    contrast, adjusted, total = fit.bread[1], [], 0.0
    for own in _groups(cluster):
        design = fit.design[own]
        hat = design @ fit.bread @ design.T
        values, vectors = np.linalg.eigh(np.eye(len(own)) - hat)
        power = np.where(values > 1e-10, 1 / np.sqrt(np.maximum(values, 1e-10)), 0.0)
        row = contrast @ design.T @ ((vectors * power) @ vectors.T)
        total += float(row @ fit.residuals[own]) ** 2
        adjusted.append((own, row))
    # the variance is a quadratic form of the residuals; its first two moments under independence give the degrees
    p = np.empty((len(adjusted), len(adjusted)))
    rows = [np.zeros(len(fit.residuals)) for _ in adjusted]
    for out, (own, row) in zip(rows, adjusted, strict=True):
        out[own] = row
        out -= fit.design @ (fit.bread @ (fit.design[own].T @ row))
    stacked = np.array(rows)
    p = stacked @ stacked.T
    return total, float(np.trace(p) ** 2 / np.sum(p**2))


def _groups(cluster: NDArray[np.int64]) -> list[NDArray[np.intp]]:
    order = np.argsort(cluster, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(cluster[order])) + 1)


def intention_to_treat(trial: Trial, errors: str = "HC2") -> Randomised:
    """What the offer changed in cost, offered less held out, taken up or not; negative where it saves.

    With covariates that of their regression. Errors: HC1 or HC2 by member, CR2 by cluster where one is given.
    """
    fit = _fit(trial)
    degrees: float | None = None
    if trial.cluster is not None:
        variance, degrees = _clustered(fit, trial.cluster)
        errors = "CR2"
    elif errors in ("HC1", "HC2"):
        variance = _variance(fit, errors)
    else:
        raise FinanceError("errors", f"errors are {errors!r}: HC1 or HC2")
    return _told(trial, fit, float(fit.coefficients[1]), variance, f"intention to treat, {errors}", degrees)


def _told(trial: Trial, fit: Fit, value: float, variance: float, method: str, degrees: float | None) -> Randomised:
    weights = np.ones(len(trial.cost)) if trial.weights is None else trial.weights
    effective = [float(weights[own].sum() ** 2 / (weights[own] ** 2).sum()) for own in (trial.offered, ~trial.offered)]
    spread = math.sqrt(float(np.average((trial.cost - np.average(trial.cost, weights=weights)) ** 2, weights=weights)))
    left = float(fit.residuals @ fit.residuals) / float(weights.sum())
    r2 = max(0.0, 1 - left / spread**2) if spread > 0 else 0.0
    seen = detectable_effect(spread, effective[0], effective[1], r2)
    return Randomised(value, math.sqrt(max(variance, 0.0)), len(trial.cost), method, seen, degrees)


def by_take_up(trial: Trial) -> Randomised:
    """What the programme changed in the cost of who took it up because of the offer: the offer as an instrument.

    ITT / the difference in take-up, with the error of two-stage least squares (HC1): the take-up's own error counts.
    """
    if trial.took is None:
        raise FinanceError("took", "who took the offer up is not given")
    took = trial.took.astype(np.float64)
    weights = np.ones(len(took)) if trial.weights is None else trial.weights
    if trial.covariates is not None or trial.cluster is not None:
        raise FinanceError("covariates", "by take-up only without covariates and clusters")
    z = trial.offered.astype(np.float64)
    z_own = z - np.average(z, weights=weights)
    first = float(np.sum(weights * z_own * took))
    if abs(first) < 1e-12:
        raise FinanceError("took", "as many took it up without the offer: there is no effect of taking it up to see")
    value = float(np.sum(weights * z_own * trial.cost)) / first
    base = np.average(trial.cost - value * took, weights=weights)
    residuals = trial.cost - base - value * took
    n = len(took)
    variance = float(np.sum((weights * z_own * residuals) ** 2)) / first**2 * n / (n - 2)
    return _told(trial, _fit(trial), value, variance, "effect on who took it up (IV), HC1", None)


def permutation_test(trial: Trial, seed: int, times: int = 2_000) -> float:
    """The two-sided p-value of no effect on anybody: how often a redrawn offer has a difference as large.

    Offers are drawn anew among members, or among clusters where these were assigned.
    """
    chance = np.random.Generator(np.random.Philox(seed))
    units = np.arange(len(trial.cost)) if trial.cluster is None else np.unique(trial.cluster, return_inverse=True)[1]
    first = np.zeros(units.max() + 1, np.bool_)
    first[units] = trial.offered
    seen = abs(_difference(trial, trial.offered))
    at_least = sum(abs(_difference(trial, chance.permutation(first)[units])) >= seen - 1e-12 for _ in range(times))
    return (1 + at_least) / (1 + times)


def _difference(trial: Trial, offered: NDArray[np.bool_]) -> float:
    weights = np.ones(len(offered)) if trial.weights is None else trial.weights
    means = [float(np.average(trial.cost[own], weights=weights[own])) for own in (offered, ~offered)]
    return means[0] - means[1]


def truncated(cost: Reals, percentile: float = 99.0) -> Reals:
    """Costs above the percentile set to it, as Medicare's shared savings do (42 CFR 425.604(a)); report both."""
    return np.minimum(cost, np.percentile(cost, percentile))


@dataclass(frozen=True, slots=True)
class Settlement:
    """What is paid on an estimate, in cents. `credited` savings are Z x estimate; `deficit` is carried to the next.

    The company's profit and the members' rebate sum to what is paid. Where the lower bound does not pass 0 nothing is
    paid, and `why` says so.
    """

    credibility: float
    credited: int
    paid: int
    profit: int
    rebate: int
    deficit: int
    why: str


def settle(
    saved: Randomised,
    units: float,
    investment: int,
    between: float,
    *,
    deficit: int = 0,
    profit_share: tuple[int, int] = (70, 30),
    level: float = 0.90,
) -> Settlement:
    """Settles savings a unit (positive where money is saved) over so many units, less the investment, in cents.

    Z = between / (between + se^2), `between` being the variance of true effects among programmes: at Z x estimate the
    winner's curse is not paid. Only when the one-sided lower bound passes 0; a deficit, of this and of before, is paid
    off first. Only a randomised estimate is settled: the type says so.
    """
    if not isinstance(saved, Randomised):
        raise TypeError(
            f"a {getattr(saved, 'grade', type(saved).__name__)} estimate pays nothing: only a randomised one"
        )
    if between < 0 or units <= 0:
        raise FinanceError("between", f"between is {between}, units {units}: a variance is not negative, units above 0")
    z = between / (between + saved.standard_error**2) if between > 0 else 0.0
    gross = Decimal(z * saved.value * units * 100).quantize(Decimal(1), ROUND_HALF_UP)
    credited = int(gross) - investment
    bound = saved.lower_bound(level)
    if bound <= 0:
        owed = max(deficit, 0) + max(-credited, 0)
        return Settlement(z, credited, 0, 0, 0, owed, f"the lower bound of {level:.0%} is {bound:.2f}, not above 0")
    left = credited - deficit
    if left <= 0:
        return Settlement(z, credited, 0, 0, 0, -left, "a deficit is paid off first")
    profit, rebate = allocate(left, np.array(profit_share), ["profit", "rebate"]).tolist()
    return Settlement(z, credited, left, profit, rebate, 0, "")
