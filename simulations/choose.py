"""Which of the three ways can simulate a pool, what each would cost, and its plan."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from simulations.errors import SpecError
from simulations.kernels.member import BLOCK
from simulations.kernels.severity import ROWS
from simulations.ladder import Ladder, build_ladder
from simulations.member_law import MemberLaw, build_member_law
from simulations.plans import ClaimantsPlan, CollapsePlan, MemberPlan, Plan, Shocks
from simulations.pool import Pool
from simulations.tables import CENTS, table_of, table_of_atoms

Floats = NDArray[np.float64]
METHODS = ("collapse", "claimants", "member")
_MAX_LAWS = 512
_NODES = 17
_MAX_SKEWNESS = 0.2
_MAX_KURTOSIS = 0.1
# seconds on one core, measured by benchmarks/simulation.py; used to compare methods, never in results
_PER_CELL, _PER_GAMMA, _PER_BINOMIAL, _PER_CLAIM, _PER_BLOCK = 1.5e-6, 6e-8, 9e-8, 8e-9, 3e-7


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


def _same_touch(shocks: Shocks) -> bool:
    return bool(np.all(shocks.touches == shocks.touches[:1]))


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
    if pool.classes is None or len(pool.classes.means) > _MAX_LAWS:
        return f"there are more than {_MAX_LAWS} kinds of members, each of which needs a law of its own"
    if not _same_touch(pool.shocks):
        return "shocks on different categories move a member's law in more than one direction"
    if build_member_law(pool.laws, pool.dispersion, pool.specific[0] / CENTS) is None:
        return "a severity's tail is too heavy for a lattice of members' costs"
    skewness, kurtosis = _rest_shape(pool)
    if skewness > _MAX_SKEWNESS or kurtosis > _MAX_KURTOSIS:
        return (
            f"the smallest group's cost below the attachment has skewness {skewness:.2f} and excess kurtosis "
            f"{kurtosis:.2f}: too few members for its first four cumulants to fix the law"
        )
    return ""


def _rest_shape(pool: Pool) -> tuple[float, float]:
    """Greatest skewness and excess kurtosis over groups of the cost of members below the attachment, without shock."""
    law, classes = _law_of(pool)
    plain = np.ones(len(pool.laws))
    counts = pool.classes.counts if pool.classes is not None else np.zeros((1, 0))
    cumulants = np.array([_class_cumulants(law, row, plain, pool.specific[0])[1] for row in classes])
    total = counts @ cumulants
    variance = np.maximum(total[:, 1], 1e-300)
    used = counts.sum(axis=1) > 0
    skewness = np.abs(total[:, 2]) / variance**1.5
    kurtosis = np.abs(total[:, 3]) / variance**2
    return float(np.max(skewness[used])), float(np.max(kurtosis[used]))


def _law_of(pool: Pool) -> tuple[MemberLaw, Floats]:
    law = build_member_law(pool.laws, pool.dispersion, pool.specific[0] / CENTS)
    if law is None or pool.classes is None:
        raise SpecError("method", "claimants: " + _claimants_refusal(pool))
    return law, pool.classes.means


def options(pool: Pool) -> tuple[Option, ...]:
    """All three methods with refusal, estimated core-seconds and memory."""
    paths, groups, categories = pool.scenario.paths, len(pool.names), len(pool.laws)
    members = pool.exposure.means.shape[1]
    results = 16 * paths * groups
    cells = np.count_nonzero(pool.classes.counts) if pool.classes is not None else members
    mixed = int(np.count_nonzero(pool.dispersion > 0))
    claims = float(pool.group_means.sum())
    blocks = members / BLOCK + groups
    collapse = paths * (groups * categories * _PER_CELL + cells * mixed * _PER_GAMMA)
    # about one member in a hundred is beyond a usual attachment
    beyond = paths * (cells * _PER_BINOMIAL + 0.01 * members * _PER_CLAIM)
    member = paths * (claims * _PER_CLAIM + blocks * categories * _PER_BLOCK)
    tables = 2 * ROWS * 8
    return (
        Option("collapse", _collapse_refusal(pool), collapse, results + 24 * categories * tables),
        Option("claimants", _claimants_refusal(pool), beyond, results + cells // max(groups, 1) * _NODES * tables),
        Option("member", "", member, results + 2 * pool.exposure.means.nbytes),
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
    build = {"collapse": collapse_plan, "claimants": claimants_plan, "member": member_plan}[method]
    return build(pool)


def _greatest_factor(pool: Pool) -> Floats:
    """A bound of each category's shock factor that one scenario in a million passes (beyond it work, not truth, grows)."""
    draws = pool.shocks.rates(0, min(pool.scenario.paths, 10_000))
    return np.asarray(1.5 * draws.max(axis=0, initial=1.0))


def collapse_plan(pool: Pool) -> CollapsePlan:
    """Method A's arrays: expected Poisson claims and gamma cells by group, ladders by category."""
    groups, categories = pool.group_means.shape
    poisson_mean = np.where(pool.dispersion > 0, 0.0, pool.group_means)
    start, shape, scale = [0], [], []
    for g in range(groups):
        for q in range(categories):
            if pool.dispersion[q] > 0 and pool.classes is not None:
                k = pool.dispersion[q]
                present = (pool.classes.counts[g] > 0) & (pool.classes.means[:, q] > 0)
                shape.append(k * pool.classes.counts[g][present])
                scale.append(pool.classes.means[present, q] / k)
            start.append(sum(len(part) for part in shape) if not shape else start[-1] + (
                len(shape[-1]) if pool.dispersion[q] > 0 and pool.classes is not None else 0))
    factors = _greatest_factor(pool)
    ladders: list[Ladder] = []
    for q, law in enumerate(pool.laws):
        deductible = pool.layer[q, 0] / CENTS if pool.layer[q, 0] >= 0 else np.inf
        ladders.append(build_ladder(law, float(pool.group_means[:, q].max() * factors[q]), deductible))
    levels = np.concatenate([ladder.levels for ladder in ladders])
    return CollapsePlan(
        pool.shocks,
        np.ascontiguousarray(poisson_mean),
        np.array(start, np.int64),
        np.concatenate([np.zeros(0), *shape]).astype(float),
        np.concatenate([np.zeros(0), *scale]),
        np.array([ladder.split.above for ladder in ladders]),
        np.array([ladder.split.small for ladder in ladders]),
        np.array([ladder.split.large for ladder in ladders]),
        levels if len(levels) else np.zeros((0, ROWS, 2)),
        np.concatenate([[0], np.cumsum([len(ladder.levels) for ladder in ladders])]).astype(np.int64),
        pool.layer,
    )


def _class_cumulants(law: MemberLaw, means: Floats, factors: Floats, attachment: int) -> tuple[float, Floats, Floats]:
    """(P(cost > attachment), cumulants [4] in cents given that it is not, masses)."""
    masses = law.masses(means, factors)
    cut = round(attachment / CENTS / law.step)
    below = masses[: cut + 1]
    inside = float(below.sum())
    x = CENTS * law.step * np.arange(cut + 1)
    p = below / inside
    mean = float(p @ x)
    centred = x - mean
    second, third, fourth = (float(p @ centred**k) for k in (2, 3, 4))
    return 1.0 - inside, np.array([mean, second, third, fourth - 3.0 * second**2]), masses


def shock_nodes(shocks: Shocks, count: int = _NODES) -> Floats:
    """Nodes of the common factor z, evenly spaced over what all but one scenario in 10^9 or so reach; [1] without shock."""
    if len(shocks.kinds) == 0:
        return np.ones(1)
    low = high = 1.0
    for kind, cv in zip(shocks.kinds, shocks.cvs, strict=True):
        if kind == 0:
            law = stats.gamma(1.0 / cv**2, scale=cv**2)
            low, high = low * law.ppf(1e-9), high * law.isf(1e-9)
        else:
            sigma = np.sqrt(np.log1p(cv**2))
            reach = -special.ndtri(1e-9) * sigma
            low, high = low * np.exp(-reach - sigma**2 / 2), high * np.exp(reach - sigma**2 / 2)
    return np.linspace(low, high, count)


def claimants_plan(pool: Pool) -> ClaimantsPlan:
    """Method B's arrays: each class's law at each node of the shock."""
    law, means = _law_of(pool)
    classes = pool.classes
    if classes is None:
        raise SpecError("method", "claimants: " + _claimants_refusal(pool))
    nodes = shock_nodes(pool.shocks)
    touched = np.flatnonzero(pool.shocks.touches.any(axis=0)) if len(pool.shocks.kinds) else np.zeros(0, np.int64)
    attachment = pool.specific[0]
    cut = round(attachment / CENTS / law.step)
    odds = np.empty((len(nodes), len(means)))
    cumulants = np.empty((len(nodes), len(means), 4))
    tables = np.zeros((len(nodes), len(means), ROWS, 2))
    for i, z in enumerate(nodes):
        factors = np.ones(len(pool.laws))
        factors[touched] = z
        for c, row in enumerate(means):
            probability, cumulants[i, c], masses = _class_cumulants(law, row, factors, attachment)
            probability = max(probability, 1e-15)
            odds[i, c] = np.log(probability) - np.log1p(-probability)
            tail = masses[cut + 1 :]
            if tail.sum() > 0:
                tables[i, c] = table_of_atoms(law.step * np.arange(cut + 1, len(masses)), tail)
    return ClaimantsPlan(
        pool.shocks, int(touched[0]) if len(touched) else -1, nodes, classes.counts, odds, cumulants, tables, pool.specific
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
