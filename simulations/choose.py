"""Which of the three ways can simulate a pool, what each would cost, and its plan."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulations.class_laws import MAX_LAWS, NODES, ClassLaws, shock_range
from simulations.errors import SpecError
from simulations.kernels.member import BLOCK
from simulations.kernels.severity import ROWS
from simulations.ladder import Ladder, build_ladder
from simulations.plans import ClaimantsPlan, CollapsePlan, MemberPlan, Plan, Shocks
from simulations.pool import Pool
from simulations.portfolio import Classes
from simulations.tables import CENTS, table_of

Floats = NDArray[np.float64]
METHODS = ("collapse", "claimants", "member")
_MAX_SKEWNESS = 0.5  # at the limits a quantile is off by less than 0.01 sd of the group's cost
_MAX_KURTOSIS = 0.5
# seconds on one core, measured by benchmarks/simulation.py; used to compare methods, never in results
_PER_CELL, _PER_GAMMA, _PER_BINOMIAL, _PER_CLAIM, _PER_BLOCK, _PER_CLUSTER = (
    1.5e-6,
    6e-8,
    9e-8,
    8e-9,
    3e-7,
    6e-8,
)


@dataclass(frozen=True, slots=True)
class Option:
    """A method, why it cannot be used (empty where it can), its estimated core-seconds and memory in bytes."""

    method: str
    refusal: str
    seconds: float
    memory: int


@dataclass(frozen=True, slots=True)
class Choice:
    """The method taken and why."""

    method: str
    why: str
    options: tuple[Option, ...]


def _collapse_refusal(pool: Pool) -> str:
    if pool.specific[0] >= 0:
        return "a specific cover needs the cost of single members, a collapse has totals only"
    if pool.classes is None and np.any(pool.dispersion > 0):
        return "negative binomial members of more than 4,096 kinds do not add up to a law of few parameters"
    return ""


def _claimants_refusal(pool: Pool) -> str:
    if pool.specific[0] <= 0:
        return "there is no specific attachment beyond which members could be drawn apart"
    if np.any(pool.layer[:, 0] >= 0):
        return "per-claim covers need single claims"
    if pool.classes is None or len(pool.classes.means) > MAX_LAWS:
        return f"there are more than {MAX_LAWS} kinds of members, each of which needs a law of its own"
    if not pool.shocks.aligned:
        return "shocks on different categories move a member's law in more than one direction"
    if pool.class_laws is None:
        return "a severity's tail is too heavy for a lattice of members' costs"
    skewness, kurtosis = _rest_shape(pool.class_laws, pool.classes)
    if skewness > _MAX_SKEWNESS or kurtosis > _MAX_KURTOSIS:
        return (
            f"the smallest group's cost below the attachment has skewness {skewness:.2f} and excess kurtosis "
            f"{kurtosis:.2f}: too few members for its first four cumulants to fix the law"
        )
    return ""


def _rest_shape(laws: ClassLaws, classes: Classes) -> tuple[float, float]:
    """Greatest skewness and excess kurtosis, over groups and shock nodes, of the cost below the attachment."""
    used = classes.counts.sum(axis=1) > 0
    total = np.einsum("gc,ick->igk", classes.counts[used], laws.cumulants)
    variance = np.maximum(total[..., 1], 1e-300)
    return float(np.max(np.abs(total[..., 2]) / variance**1.5)), float(np.max(np.abs(total[..., 3]) / variance**2))


def options(pool: Pool) -> tuple[Option, ...]:
    """All three methods with refusal, estimated core-seconds and memory."""
    paths, groups, categories = pool.scenario.paths, len(pool.names), len(pool.laws)
    members = pool.exposure.means.shape[1]
    results = 16 * paths * groups
    cells = int(np.count_nonzero(pool.classes.counts)) if pool.classes is not None else members
    mixed = int(np.count_nonzero(pool.dispersion > 0))
    claims = float(pool.group_means.sum())
    clustered = float(pool.group_means[:, pool.dispersion > 0].sum())
    blocks = members / BLOCK + groups
    collapse = paths * (groups * categories * _PER_CELL + cells * mixed * _PER_GAMMA)
    # about one member in a hundred is beyond a usual attachment
    beyond = paths * (cells * _PER_BINOMIAL + 0.01 * members * _PER_CLAIM)
    member = paths * (claims * _PER_CLAIM + clustered * _PER_CLUSTER + blocks * categories * _PER_BLOCK)
    tables = 2 * ROWS * 8
    return (
        Option("collapse", _collapse_refusal(pool), collapse, results + 24 * categories * tables),
        Option("claimants", _claimants_refusal(pool), beyond, results + cells // max(groups, 1) * NODES * tables),
        Option("member", "", member, results + 2 * int(pool.exposure.means.nbytes)),
    )


def choose(pool: Pool) -> Choice:
    """The cheapest method that is valid, or the forced one. Raises SpecError where the forced one is not valid."""
    every = options(pool)
    forced = pool.scenario.method
    if forced != "auto":
        option = next(option for option in every if option.method == forced)
        if option.refusal:
            raise SpecError("method", f"{forced} cannot be used: {option.refusal}")
        return Choice(forced, "forced by the scenario", every)
    best = min((option for option in every if not option.refusal), key=lambda option: option.seconds)
    others = [
        f"{o.method}: {o.refusal or f'about {o.seconds:.3g} core-seconds'}" for o in every if o.method != best.method
    ]
    why = f"cheapest valid, about {best.seconds:.3g} core-seconds ({'; '.join(others)})"
    return Choice(best.method, why, every)


def plan(pool: Pool, method: str) -> Plan:
    """The plan of a method."""
    build: dict[str, Callable[[Pool], Plan]] = {
        "collapse": collapse_plan,
        "claimants": claimants_plan,
        "member": member_plan,
    }
    return build[method](pool)


def _greatest_factor(shocks: Shocks) -> Floats:
    """A bound of each category's shock factor; a scenario beyond it takes longer and is no less right."""
    out = np.ones(shocks.touches.shape[1])
    for kind, cv, touches in zip(shocks.kinds, shocks.cvs, shocks.touches, strict=True):
        out[touches] *= shock_range(int(kind), float(cv))[1]
    return out


def collapse_plan(pool: Pool) -> CollapsePlan:
    """Method A's arrays: expected Poisson claims and gamma cells by group, ladders by category."""
    groups, categories = pool.group_means.shape
    poisson_mean = np.where(pool.dispersion > 0, 0.0, pool.group_means)
    start, shape, scale = [0], [np.zeros(0)], [np.zeros(0)]
    for g in range(groups):
        for q in range(categories):
            if pool.dispersion[q] > 0 and pool.classes is not None:
                k = pool.dispersion[q]
                present = (pool.classes.counts[g] > 0) & (pool.classes.means[:, q] > 0)
                shape.append(k * pool.classes.counts[g][present])
                scale.append(pool.classes.means[present, q] / k)
            start.append(start[-1] + (len(shape[-1]) if pool.dispersion[q] > 0 else 0))
    factors = _greatest_factor(pool.shocks)
    ladders: list[Ladder] = []
    for q, law in enumerate(pool.laws):
        deductible = pool.layer[q, 0] / CENTS if pool.layer[q, 0] >= 0 else np.inf
        ladders.append(build_ladder(law, float(pool.group_means[:, q].max() * factors[q]), deductible))
    levels = np.concatenate([ladder.levels for ladder in ladders])
    return CollapsePlan(
        pool.shocks,
        np.ascontiguousarray(poisson_mean),
        np.array(start, np.int64),
        np.concatenate(shape),
        np.concatenate(scale),
        np.array([ladder.split.above for ladder in ladders]),
        np.array([ladder.split.small for ladder in ladders]),
        np.array([ladder.split.large for ladder in ladders]),
        levels if len(levels) else np.zeros((0, ROWS, 2)),
        np.concatenate([[0], np.cumsum([len(ladder.levels) for ladder in ladders])]).astype(np.int64),
        pool.layer,
    )


def claimants_plan(pool: Pool) -> ClaimantsPlan:
    """Method B's arrays: each class's law at each node of the shock."""
    laws, classes = pool.class_laws, pool.classes
    if laws is None or classes is None:
        raise SpecError("method", "claimants: " + _claimants_refusal(pool))
    return ClaimantsPlan(
        pool.shocks,
        laws.shocked,
        laws.nodes,
        classes.counts,
        laws.log_odds,
        laws.cumulants,
        laws.tables,
        pool.specific,
    )


def member_plan(pool: Pool) -> MemberPlan:
    """Method C's arrays: members in order of group, cut into blocks."""
    groups = pool.exposure.groups
    if np.all(groups[1:] >= groups[:-1]):
        means = pool.exposure.means
    else:
        means = np.ascontiguousarray(pool.exposure.means[:, np.argsort(groups, kind="stable")])
    sizes = np.bincount(groups, minlength=len(pool.names))
    start, owner, at = [0], [], 0
    for g, size in enumerate(sizes):
        for first in range(0, int(size), BLOCK):
            start.append(at + min(first + BLOCK, int(size)))
            owner.append(g)
        at += int(size)
    return MemberPlan(
        pool.shocks,
        len(pool.names),
        means,
        np.array(start, np.int64),
        np.array(owner, np.int64),
        pool.dispersion,
        np.array([table_of(law) for law in pool.laws]),
        pool.layer,
        pool.specific,
    )
