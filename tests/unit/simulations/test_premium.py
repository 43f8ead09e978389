"""Premium: factors within the rules, rebates by hand, experience blended by credibility."""

from typing import Any

import numpy as np
import pytest

from engine.finance.mlr import credibility_adjustment
from simulations.errors import SpecError
from simulations.experience import Experience, blend
from simulations.pool import Pool, join
from simulations.portfolio import Labels, Portfolio
from simulations.premium import finish, premiums, rebates
from simulations.reserve import here, simulate
from simulations.scenario import PremiumTerms, parse

TERMS: dict[str, Any] = {"line_of_business": "individual", "base_rate": 1000.0}
MEMBERS = Portfolio(
    {
        "age": np.array([10.0, 21.0, 40.9, 70.0]),
        "smokes": np.array([0.0, 1.0, 0.0, 1.0]),
        "area": Labels(np.array([0, 1, 1, 0], np.int32), ("north", "south")),
        "tier": Labels(np.array([0, 0, 1, 1], np.int32), ("single", "family")),
        "risk_score": np.ones(4),
    },
    4,
    "test",
)


def terms(**changes: Any) -> PremiumTerms:
    return PremiumTerms.model_validate({**TERMS, **changes})


def test_a_premium_is_the_product_of_its_factors() -> None:
    given = terms(
        age="age", area="area", area_factors={"north": 1.1, "south": 0.9}, tier="tier",
        tier_factors={"single": 1.0, "family": 2.5}, tobacco="smokes", tobacco_factor=1.5,
    )  # fmt: skip
    expected = [1000 * 0.765 * 1.1, 1000 * 0.9 * 1.5, 1000 * 1.278 * 0.9 * 2.5, 1000 * 3.0 * 1.1 * 2.5 * 1.5]
    np.testing.assert_allclose(premiums(given, MEMBERS, 1.0), expected)
    np.testing.assert_allclose(premiums(given, MEMBERS, 0.5), np.array(expected) / 2)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"age": "age", "age_curve": {21: 1.0, 64: 3.2}}, "147.102"),
        ({"tobacco": "smokes", "tobacco_factor": 1.6}, "tobacco"),
        ({"area": "risk_score"}, "health factor"),
        ({"area": "area", "area_factors": {"north": 1.0}}, "south"),
        ({"tobacco": "age", "tobacco_factor": 1.2}, "row 1"),
    ],
)
def test_what_may_not_vary_a_premium_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(SpecError, match=told):
        premiums(terms(**changes), MEMBERS, 1.0)


def test_the_wider_age_band_is_allowed_where_the_rule_does_not_hold() -> None:
    curve = {21: 1.0, 64: 3.2}
    found = premiums(terms(line_of_business="large_group", age="age", age_curve=curve), MEMBERS, 1.0)
    assert found[3] == 3200.0


def test_a_rebate_by_hand() -> None:
    # 12,000,000 premium, 2 % taxes: 11,760,000; MLR (8,500,000 + 96,000) / 11,760,000 = 0.73095; 10,000 life-years
    # add 0.026: 0.757; 0.80 - 0.757 = 0.043 of 11,760,000
    mlr, rebate = rebates(np.array([8.5e6, 9.9e6]), 12e6, 10_000, terms(tax_ratio=0.02))
    assert mlr[0] == pytest.approx(0.7309524, abs=1e-7)
    np.testing.assert_allclose(rebate, [0.043 * 11.76e6, 0.0])
    _, none = rebates(np.array([1.0]), 12e6, 999, terms())
    assert none[0] == 0.0 and credibility_adjustment(999) is None


def pool(portfolio: Portfolio, rates: Any, **changes: Any) -> Pool:
    document = {
        "kind": "premium",
        "seed": 5,
        "paths": 4000,
        "portfolio": "unused",
        "group_by": "group",
        "categories": [
            {
                "name": "all",
                "frequency": {"distribution": "poisson", "rate": rates},
                "severity": {"distribution": "gamma", "shape": 2.0, "scale": 500.0},
            }
        ],
        "premium": TERMS,
    }
    return join(parse({**document, **changes}), portfolio)


def groups(sizes: tuple[int, ...]) -> Portfolio:
    codes = np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)
    names = tuple(f"g{i}" for i in range(len(sizes)))
    return Portfolio({"group": Labels(codes, names)}, sum(sizes), "test")


def test_adequacy_and_loss_ratio_of_a_pool() -> None:
    portfolio = groups((1500, 500))
    some = pool(portfolio, 0.8, premium={**TERMS, "base_rate": 1000.0, "expense_ratio": 0.1, "tax_ratio": 0.02})
    paths = simulate(some, here(1)).paths
    found = finish(some, portfolio, some.scenario.premium, paths)
    whole = found.groups["total"]
    assert whole.premium == 2_000_000 and whole.life_years == 2000
    assert abs(whole.loss_ratio.mean - 0.8) < 4 * whole.loss_ratio.mean_se
    left = 2_000_000 * (1 - 0.1 - 0.008 - 0.02)
    assert whole.adequacy == np.mean((paths.gross - paths.ceded).sum(axis=1) / 100 <= left)
    # a rate changed as indicated just meets expected claims and loadings
    changed = whole.premium * (1 + whole.indicated_change)
    assert changed * (1 - 0.1 - 0.008 - 0.02) == pytest.approx(whole.expected_claims)
    assert whole.rebate.mean == pytest.approx(sum(found.groups[g].rebate.mean for g in ("g0", "g1")))
    assert found.groups["g1"].credibility is None and found.groups["g0"].credibility is not None


def past(claims: list[list[float]], years: list[list[float]]) -> Experience:
    n, m = np.shape(claims)
    rows, columns = (index.ravel().astype(np.int32) for index in np.indices((n, m)))
    names, periods = tuple(f"g{i}" for i in range(n)), tuple(str(2020 + j) for j in range(m))
    return Experience(Labels(rows, names), Labels(columns, periods), np.ravel(claims).astype(float), np.ravel(years))


def test_a_large_group_is_believed_more_than_a_small_one() -> None:
    some = pool(groups((2000, 50, 300)), 0.8)
    years = [[2000.0] * 3, [50.0] * 3, [300.0] * 3]
    ratio = np.array([[1.30, 1.25, 1.32], [0.2, 2.0, 0.7], [0.9, 0.95, 1.0]])
    claims = (ratio * 800.0 * np.array(years)).tolist()
    found = blend(some, np.array([2000.0, 50.0, 300.0]), past(claims, years))
    assert found["g0"].credibility > found["g2"].credibility > found["g1"].credibility > 0
    assert found["g0"].manual_cost == pytest.approx(2000 * 800)
    assert found["g0"].observed_ratio == pytest.approx(1.29)
    for g in found.values():
        collective = (g.blended_ratio - g.credibility * g.observed_ratio) / (1 - g.credibility)
        assert collective == pytest.approx(
            sum(x.credibility * x.observed_ratio for x in found.values()) / sum(x.credibility for x in found.values())
        )
        assert g.blended_cost == pytest.approx(g.blended_ratio * g.manual_cost)


@pytest.mark.parametrize(
    ("change", "told"), [("years", "row 2: 0.0 member-years"), ("missing", "no row for period '2021'"), ("name", "h9")]
)
def test_experience_that_cannot_be_used_is_named(change: str, told: str) -> None:
    some = pool(groups((20, 30)), 0.8)
    given = past([[10.0, 20.0], [30.0, 40.0]], [[1.0, 0.0 if change == "years" else 1.0], [1.0, 1.0]])
    if change == "missing":
        keep = np.array([True, False, True, True])
        names = given.groups.names, given.periods.names
        given = Experience(
            Labels(given.groups.codes[keep], names[0]), Labels(given.periods.codes[keep], names[1]),
            given.claims[keep], given.member_years[keep],
        )  # fmt: skip
    if change == "name":
        given = Experience(Labels(given.groups.codes, ("g0", "h9")), given.periods, given.claims, given.member_years)
    with pytest.raises(SpecError, match=told):
        blend(some, np.array([20.0, 30.0]), given)
