"""The reserve of a pool: next year's gross, ceded and net cost, the formula reserve and the simulated one."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulations.batch import Batch, Partial, Paths, cut
from simulations.choose import Choice, choose, plan
from simulations.exact import Distribution
from simulations.kernels.layers import MILLION, UNLIMITED, apply_pool
from simulations.measures import (
    Check,
    Convergence,
    Measures,
    Share,
    co_tvar,
    compare,
    convergence,
    exceedance,
    family_limit,
    measure,
)
from simulations.plans import ClaimantsPlan, CollapsePlan, MemberPlan, Plan
from simulations.pool import TOTAL, Pool, cents
from simulations.severity import table_hash
from simulations.tables import CENTS
from simulations.threads import cores, in_slices
from simulations.twins import Twins, twins

Floats = NDArray[np.float64]
Cents = NDArray[np.int64]
Runner = Callable[[Plan, list[Batch]], Iterable[Partial]]
PARTS = ("gross", "ceded", "net")
_EXACT_GROUPS = 64


@dataclass(frozen=True, slots=True)
class ReserveLevel:
    """The simulated reserve at a level: VaR and TVaR of net cost less the mean already in premium, dollars."""

    level: float
    quantile: float
    quantile_se: float
    tvar: float
    tvar_se: float


@dataclass(frozen=True, slots=True)
class Exact:
    """The exact law's numbers of one target, and what they say of the simulated ones."""

    mean: float
    sd: float
    quantiles: tuple[tuple[float, float], ...]
    tvar: tuple[tuple[float, float], ...]
    checks: tuple[Check, ...]
    distance: float  # Kolmogorov-Smirnov distance of the simulated costs


@dataclass(frozen=True, slots=True, eq=False)
class ReserveResult:
    """Everything a reserve job says. measures[group][part]; net [paths] is the pool's net cost in dollars."""

    choice: Choice
    measures: Mapping[str, Mapping[str, Measures]]
    exact: Mapping[str, Mapping[str, Exact]]
    why_no_exact: str
    formula: float
    simulated: tuple[ReserveLevel, ...]
    convergence: tuple[Convergence, ...]
    shares: tuple[Share, ...]
    curve: tuple[Floats, Floats]
    table_hashes: Mapping[str, str]
    paths: Paths  # after all covers
    names: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """True where the pool's numbers are within 3 standard errors of the exact ones, and the groups' as a family."""
        return all(check.passed for parts in self.exact.values() for exact in parts.values() for check in exact.checks)


def batches(pool: Pool, chosen: Plan, scenarios_each: int | None = None) -> list[Batch]:
    """The job's batches: about 64 of them, so that progress shows and a lost one costs little."""
    paths = pool.scenario.paths
    each = scenarios_each or max(1, min(2000, -(-paths // 16)))
    return cut(paths, chosen.cells, each, chosen.cells_each)


def here(threads: int) -> Runner:
    """A runner in this process."""

    def run(chosen: Plan, work: list[Batch]) -> Iterable[Partial]:
        return (chosen.run(batch, threads) for batch in work)

    return run


def simulate(pool: Pool, runner: Runner, scenarios_each: int | None = None) -> ReserveResult:
    """Chooses the method, simulates, and measures. The runner decides where batches run, never what they give."""
    choice = choose(pool)
    chosen = plan(pool, choice.method)
    paths = Paths.zeros(pool.scenario.paths, chosen.groups)
    for partial in runner(chosen, batches(pool, chosen, scenarios_each)):
        paths.add(partial)
    return finish(pool, choice, paths, table_hashes(chosen))


def table_hashes(chosen: Plan) -> dict[str, str]:
    """SHA-256 of the quantile tables a plan draws from."""
    match chosen:
        case CollapsePlan():
            return {
                "small": table_hash(chosen.small),
                "large": table_hash(chosen.large),
                "ladder": table_hash(chosen.ladder),
            }
        case ClaimantsPlan():
            return {"claimants": table_hash(chosen.tables), "cumulants": table_hash(chosen.cumulants)}
        case MemberPlan():
            return {"severity": table_hash(chosen.tables)}
        case _:
            return {}


def finish(pool: Pool, choice: Choice, paths: Paths, hashes: Mapping[str, str]) -> ReserveResult:
    """Pool covers, measures, exact twins and the reserve from the merged paths."""
    twin = twins(pool)
    ceded = pool_cover(pool, paths, twin)
    levels = pool.scenario.levels
    measures: dict[str, dict[str, Measures]] = {}
    for name, gross, over in [(TOTAL, paths.gross.sum(axis=1), ceded.sum(axis=1))] + [
        (name, paths.gross[:, g], ceded[:, g]) for g, name in enumerate(pool.names)
    ]:
        parts = {"gross": gross, "ceded": over, "net": gross - over}
        measures[name] = {part: measure(amounts / CENTS, levels) for part, amounts in parts.items()}
    net_groups = (paths.gross - ceded) / CENTS
    net = net_groups.sum(axis=1)
    whole = measures[TOTAL]["net"]
    simulated = tuple(
        ReserveLevel(q.level, q.value - whole.mean, q.se, t.value - whole.mean, t.se)
        for q, t in zip(whole.quantiles, whole.tvar, strict=True)
    )
    exact, why = _exact(pool, twin, Paths(paths.gross, ceded), measures)
    return ReserveResult(
        choice,
        measures,
        exact,
        why,
        pool.formula_reserve,
        simulated,
        convergence(net, levels),
        co_tvar(net_groups, pool.names, levels),
        exceedance(net),
        hashes,
        Paths(paths.gross, ceded),
        pool.names,
    )


def _pool_terms(pool: Pool, expected: float) -> tuple[int, int, int, int, int, int, int]:
    """Arguments of `apply_pool` from an expected cost after specific cover, dollars."""
    cover = pool.scenario.cover
    quota = round(cover.quota_share.share * MILLION) if cover.quota_share else 0
    left = expected * (1.0 - quota / MILLION)
    attachment, limit, ppm = UNLIMITED, UNLIMITED, 0
    if cover.aggregate:
        attachment = cents(left * cover.aggregate.attachment_ratio)
        limit, ppm = cents(cover.aggregate.limit), round(cover.aggregate.coinsurance * MILLION)
    width, corridor = 0, 0
    if cover.corridor:
        width, corridor = round(cover.corridor.width * MILLION), round(cover.corridor.share * MILLION)
    return quota, attachment, limit, ppm, cents(left), width, corridor


def _has_pool_cover(pool: Pool) -> bool:
    cover = pool.scenario.cover
    return cover.quota_share is not None or cover.aggregate is not None or cover.corridor is not None


def pool_cover(pool: Pool, paths: Paths, twin: Twins | None) -> Cents:
    """Ceded cents [paths, groups] to all covers; what pool covers cede is shared by the groups' remaining cost.

    The expected value that aggregate cover and corridor refer to is exact where the twin exists, else the simulated
    mean.
    """
    if not _has_pool_cover(pool):
        return paths.ceded
    remaining = paths.gross - paths.ceded
    total = remaining.sum(axis=1)
    law = _before_pool_cover(pool, twin)
    expected = law.mean if law is not None else float(total.mean()) / CENTS
    taken = np.empty_like(total)
    apply_pool(total, taken, *_pool_terms(pool, expected))
    # exact division of whole cents: each group gets the difference of rounded cumulative shares
    upto = np.cumsum(remaining, axis=1)
    share = np.where(total > 0, taken / np.maximum(total, 1), 0.0)
    cumulative = np.rint(upto * share[:, None]).astype(np.int64)
    cumulative[:, -1] = taken
    return np.asarray(paths.ceded + np.diff(cumulative, axis=1, prepend=0))


def _before_pool_cover(pool: Pool, twin: Twins | None) -> Distribution | None:
    """The exact law of the pool's cost after per-claim and specific cover, where it exists."""
    if twin is None:
        return None
    every = np.ones(len(pool.names), bool)
    if pool.specific[0] >= 0:
        return twin.after_specific(every, "net")
    return twin.cost(every, "net" if np.any(pool.layer[:, 0] >= 0) else "gross")


def _laws(pool: Pool, twin: Twins, groups: NDArray[np.bool_], whole: bool) -> dict[str, Distribution]:
    """The exact laws that exist for the groups: gross always, net and ceded where no pool cover or one that maps."""
    found: dict[str, Distribution | None] = {"gross": twin.cost(groups)}
    per_claim = bool(np.any(pool.layer[:, 0] >= 0))
    specific = pool.specific[0] >= 0
    if whole and (specific != per_claim):
        for part in ("net", "ceded"):
            found[part] = twin.after_specific(groups, part) if specific else twin.cost(groups, part)
    if not specific and not per_claim:
        found["net"] = found["gross"]
    if _has_pool_cover(pool):
        before = found.pop("net", None)
        found.pop("ceded", None)
        if whole and before is not None:
            terms = _pool_terms(pool, before.mean)
            found["net"] = before.mapped(lambda x: x - _ceded_of(x, terms))
    return {part: law for part, law in found.items() if law is not None and law.sd > 0}


def _ceded_of(x: Floats, terms: tuple[int, int, int, int, int, int, int]) -> Floats:
    amounts = np.rint(np.maximum(x, 0.0) * CENTS).astype(np.int64)
    out = np.empty_like(amounts)
    apply_pool(amounts, out, *terms)
    return np.asarray(out / CENTS)


def _exact(
    pool: Pool, twin: Twins | None, paths: Paths, measures: Mapping[str, Mapping[str, Measures]]
) -> tuple[dict[str, dict[str, Exact]], str]:
    if twin is None:
        return {}, "more than two shocks: no quadrature over them is kept"
    targets = [(TOTAL, np.ones(len(pool.names), bool))]
    if len(pool.names) <= _EXACT_GROUPS:
        targets += [(name, np.arange(len(pool.names)) == g) for g, name in enumerate(pool.names)]
    out: dict[str, dict[str, Exact]] = {name: {} for name, _ in targets}  # in their order, whichever is done first

    def work(first: int, size: int) -> None:
        for name, groups in targets[first : first + size]:
            gross = paths.gross[:, groups].sum(axis=1) / CENTS
            ceded = paths.ceded[:, groups].sum(axis=1) / CENTS
            samples = {"gross": gross, "ceded": ceded, "net": gross - ceded}
            limit = 3.0 if name == TOTAL else family_limit(len(pool.names))
            for part, law in _laws(pool, twin, groups, name == TOTAL).items():
                out[name][part] = _beside(f"{name} {part}", samples[part], measures[name][part], law, limit)

    in_slices(len(targets), cores(), work)
    if not out[TOTAL]:
        return {}, "negative binomial members of more than 512 kinds"
    return out, ""


def _beside(target: str, sample: Floats, measures: Measures, law: Distribution, limit: float) -> Exact:
    levels = [quantile.level for quantile in measures.quantiles]
    x = np.sort(sample)
    # the supremum over the steps of the sample; at an atom of the law its own step is no distance, and where exactly
    # the atom lies is known to a cent or a millionth of the spread
    step = max(1.0 / CENTS, 1e-6 * law.sd)
    n, last = len(x), _last(x)
    above = np.max((np.arange(1, n + 1) / n - law.cdf(x + step))[last])
    under = np.max(law.cdf(x - step) - np.arange(n) / n)
    distance = float(max(under, above, 0.0))
    return Exact(
        law.mean,
        law.sd,
        tuple((level, law.quantile(level)) for level in levels),
        tuple((level, law.tvar(level)) for level in levels),
        compare(target, sample, measures, law, limit),
        distance,
    )


def _last(x: Floats) -> NDArray[np.bool_]:
    """Marks the last of each run of equal values."""
    return np.append(x[1:] > x[:-1], True)
