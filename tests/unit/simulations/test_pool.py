"""The three ways agree with each other and with the exact laws; any cut of the work gives the same bits."""

import copy
import dataclasses
from typing import Any

import numpy as np
import pytest

from simulations import plans
from simulations.batch import Batch, Paths
from simulations.choose import choose, plan
from simulations.errors import SpecError
from simulations.pool import Pool, join
from simulations.portfolio import Labels, Portfolio, synthetic
from simulations.reserve import ReserveResult, batches, here, simulate
from simulations.scenario import parse

MEMBERS = 2000
BASE: dict[str, Any] = {
    "kind": "reserve",
    "seed": 3,
    "paths": 5000,
    "portfolio": {"synthetic": {"members": MEMBERS, "seed": 1}},
    "categories": [
        {
            "name": "inpatient",
            "frequency": {"distribution": "poisson", "rate": "ip_rate"},
            "severity": {"distribution": "lognormal", "mu": 9.1, "sigma": 1.1},
        },
        {
            "name": "outpatient",
            "frequency": {"distribution": "negative_binomial", "rate": "op_rate", "dispersion": 1.5},
            "severity": {"distribution": "gamma", "shape": 2.0, "scale": 300.0},
        },
    ],
    "shocks": [{"name": "pandemic", "distribution": "gamma", "cv": 0.1, "categories": ["inpatient"]}],
}
SPECIFIC = {"specific": {"attachment": 30_000, "coinsurance": 0.9}}


def pool(**changes: Any) -> Pool:
    return join(parse({**copy.deepcopy(BASE), **changes}), synthetic(MEMBERS, 1))


def total(result: ReserveResult, part: str = "net") -> Any:
    return result.measures["total"][part]


@pytest.mark.parametrize(
    ("method", "cover"),
    [
        ("collapse", {}),
        ("member", {}),
        ("claimants", SPECIFIC),
        ("member", SPECIFIC),
        ("collapse", {"aggregate": {"attachment_ratio": 1.1}}),
        ("collapse", {"quota_share": {"share": 0.3}}),
    ],
)
def test_each_way_is_within_3_standard_errors_of_the_exact_law(method: str, cover: dict) -> None:
    result = simulate(pool(method=method, cover=cover), here(2))
    assert result.exact["total"], result.why_no_exact
    for part, law in result.exact["total"].items():
        for check in law.checks:
            assert check.passed, (part, check)
        assert law.distance < 1.95 / np.sqrt(BASE["paths"]), part  # Kolmogorov-Smirnov, 0.1 %


def test_ways_agree_where_several_are_valid() -> None:
    results = [simulate(pool(method=m, cover=SPECIFIC), here(2)) for m in ("claimants", "member")]
    for part in ("gross", "ceded", "net"):
        one, other = (total(result, part) for result in results)
        assert abs(one.mean - other.mean) < 4 * np.hypot(one.mean_se, other.mean_se), part
        assert one.sd == pytest.approx(other.sd, rel=0.05), part
    assert choose(pool(cover=SPECIFIC)).method == "claimants"
    assert choose(pool()).method == "collapse"


@pytest.mark.parametrize("method", ["collapse", "member"])
@pytest.mark.parametrize("scenarios", [100, 777])
def test_any_cut_and_order_gives_the_same_bits(method: str, scenarios: int) -> None:
    small = pool(method=method, paths=1000)
    chosen = plan(small, method)
    whole, parts = (Paths.zeros(1000, chosen.groups) for _ in range(2))
    for partial in here(1)(chosen, batches(small, chosen, 1000)):
        whole.add(partial)
    for partial in here(2)(chosen, list(reversed(batches(small, chosen, scenarios)))):
        parts.add(partial)
    np.testing.assert_array_equal(whole.gross, parts.gross)
    np.testing.assert_array_equal(whole.ceded, parts.ceded)


def test_another_seed_gives_other_bits_of_the_same_law() -> None:
    one, other = (simulate(pool(seed=seed), here(2)) for seed in (3, 4))
    assert (one.paths.gross != other.paths.gross).mean() > 0.99
    assert abs(total(one).mean - total(other).mean) < 4 * np.hypot(total(one).mean_se, total(other).mean_se)


def test_a_table_with_uniform_buckets_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """4,096 equal buckets miss the tails: the standard deviation is off and the exact law says so."""
    sound = pool(method="member", paths=20_000, categories=BASE["categories"][:1], shocks=[])
    right = plan(sound, "member")
    law, rows = sound.laws[0], right.tables.shape[1]
    edges = (np.arange(rows) + 0.5) / rows
    flat = np.stack([law.upper_quantile(1.0 - edges) * 100.0, np.zeros(rows)], axis=1)
    wrong = dataclasses.replace(right, tables=flat[None])
    monkeypatch.setattr("simulations.reserve.plan", lambda *_: wrong)
    assert not simulate(sound, here(2)).passed


def test_a_stream_that_two_categories_share_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids folded into too few bits: every group draws what the first draws, and the total is far too wide."""
    grouped = pool(method="collapse", group_by="sex", shocks=[])
    assert simulate(grouped, here(2)).passed
    run = plans.CollapsePlan.run

    def folded(self: plans.CollapsePlan, batch: Batch, threads: int = 1) -> Any:
        partial = run(self, batch, threads)
        partial.gross[:] = partial.gross[:, :1] * (self.poisson_mean[:, 0] / self.poisson_mean[0, 0])[None, :]
        return partial

    monkeypatch.setattr(plans.CollapsePlan, "run", folded)
    assert not simulate(grouped, here(2)).passed


def test_reserve_gross_ceded_and_net_add_up() -> None:
    result = simulate(pool(cover=SPECIFIC | {"aggregate": {"attachment_ratio": 1.05}}, group_by="sex"), here(2))
    for parts in result.measures.values():
        assert parts["gross"].mean == pytest.approx(parts["ceded"].mean + parts["net"].mean, rel=1e-12)
    groups = sum(parts["net"].mean for name, parts in result.measures.items() if name != "total")
    assert groups == pytest.approx(total(result).mean, rel=1e-9)
    for level in result.simulated:
        shares = sum(share.value for share in result.shares if share.level == level.level)
        assert shares == pytest.approx(level.tvar + total(result).mean, rel=1e-9)


def test_the_formula_reserve_is_score_times_cost_times_safety() -> None:
    columns = {"exposure": np.array([1.0, 0.5]), "risk_score": np.array([1.0, 3.0])}
    two = Portfolio(columns, 2, "two members")
    severity = {"distribution": "gamma", "shape": 1.0, "scale": 100.0}
    category = {"name": "all", "frequency": {"distribution": "poisson", "rate": 2.0}, "severity": severity}
    spec = {**BASE, "categories": [category], "shocks": [], "exposure": "exposure", "safety_factor": 1.1}
    assert join(parse(spec), two).formula_reserve == pytest.approx((200 * 1 + 100 * 3) * 1.1)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"colour": "red"}, "colour: Extra inputs"),
        ({"levels": [0.5, 1.2]}, r"levels\.1"),
        ({"paths": 3}, "paths"),
        ({"kind": "weather"}, "kind: 'weather' is not one of"),
        ({"shocks": [{"name": "x", "distribution": "gamma", "cv": 0.1, "categories": ["dental"]}]}, "dental"),
        ({"exposure": "years"}, "exposure: synthetic.* has no column 'years'"),
        ({"method": "collapse", "cover": SPECIFIC}, "method: collapse cannot be used"),
    ],
)
def test_a_scenario_that_cannot_be_simulated_is_named(change: dict, told: str) -> None:
    with pytest.raises(SpecError, match=told):
        simulate(pool(**change), here(1))


def test_bad_data_is_named_with_its_row() -> None:
    columns = {
        "ip_rate": np.array([0.1, np.nan]),
        "op_rate": np.ones(2),
        "market": Labels(np.zeros(2, np.int32), ("a",)),
    }
    with pytest.raises(SpecError, match=r"categories\.0\.frequency\.rate: column 'ip_rate' of two, row 2: nan"):
        join(parse(BASE), Portfolio(columns, 2, "two"))
