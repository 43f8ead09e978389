"""The financial core's arithmetic against figures that are published, filed, or of public data, to the last digit."""

import math
from decimal import Decimal
from statistics import NormalDist

import numpy as np
import pyarrow.parquet as pq
import pytest

from engine.finance.completion import complete
from engine.finance.estimates import Randomised, detectable_effect, fieller, return_on_investment
from engine.finance.filing import Category, Filing, PlanTerms, plan_rate
from engine.finance.mlr import MlrYear, deductible_factor, medical_loss_ratio
from engine.finance.money import allocate, cents_of, dollars_of
from engine.finance.savings import Trial, by_take_up, intention_to_treat, permutation_test
from engine.finance.transfer import PlanInMarket, transfers
from tests.conftest import shared_data

D = Decimal


def plan(name: str, metal: str, score: Decimal, age: Decimal) -> PlanInMarket:
    return PlanInMarket(name, "1", metal, D(1000), score, age, induced_demand=D(1))


@pytest.mark.parametrize(
    ("metals", "scores", "age", "premium", "transfer"),
    [
        (("silver", "silver"), (D(4) / 3, D(2) / 3), D(1), D(350), "116.67"),
        (("gold", "silver"), (D(32) / 23, D(14) / 23), D(1), D(1150) / 3, "124.44"),
        (("gold", "silver"), (D(32) / 23, D(14) / 23), D("1.5"), D(1150) / 3, "49.12"),
    ],
)
def test_transfers_of_two_halves(metals: tuple, scores: tuple, age: Decimal, premium: Decimal, transfer: str) -> None:
    """Pope et al., MMRR 4(3) 2014, exhibit 4."""
    plans = [plan("sicker", metals[0], scores[0], age), plan("healthier", metals[1], scores[1], D(1))]
    got = transfers(plans, premium, part=D(1))
    assert [round(each.a_month, 2) for each in got] == [D(transfer), -D(transfer)]
    assert sum(each.cents for each in got) == 0


def test_the_rebate_of_a_filed_form() -> None:
    """A form of 2015: numerator and denominator of three years, and the last year's premium less taxes."""
    last = cents_of("317423508.66")
    before = MlrYear(cents_of("854762479.21"), 0, cents_of("1087503316.26") - last, 0, D(200_000))
    got = medical_loss_ratio("individual", [before, MlrYear(0, 0, last, 0, D(100_000))])
    assert (got.ratio, dollars_of(got.rebate)) == (D("0.786"), D("4443929.12"))


@pytest.mark.parametrize(
    ("deductible", "factor"),
    [("5592.72", "1.441593696"), ("1740.53", "1"), ("2500", "1.164"), ("5000", "1.402"), ("12000", "1.736")],
)
def test_the_deductible_factor_is_linear_and_unrounded(deductible: str, factor: str) -> None:
    assert deductible_factor(deductible) == D(factor)


def test_costs_of_eight_members_by_intention_to_treat() -> None:
    offered = np.array([1, 1, 1, 1, 0, 0, 0, 0], np.bool_)
    cost = np.array([400, 0, 1200, 300, 500, 100, 900, 700], float)
    months = np.array([12, 6, 12, 3, 12, 12, 9, 3], float)
    assert intention_to_treat(Trial(offered, cost)).value == pytest.approx(-75)
    weighted = intention_to_treat(Trial(offered, cost, months), "HC1")
    assert weighted.value == pytest.approx(125.757576, abs=5e-7)
    assert weighted.standard_error == pytest.approx(351.2667, abs=5e-5)


def test_money_is_shared_out_to_the_cent() -> None:
    assert allocate(cents_of("1000000.01"), np.array([70, 30]), ["profit", "rebate"]).tolist() == [
        70_000_001,
        30_000_000,
    ]
    shares = allocate(cents_of("300000.00"), np.array([12, 12, 11, 7, 3, 12, 1]), list("abcdefg"))
    wanted = ["62068.97", "62068.97", "56896.55", "36206.90", "15517.24", "62068.96", "5172.41"]
    assert [dollars_of(share) for share in shares.tolist()] == list(map(D, wanted))


def test_savings_at_the_floor_flow_back_in_three_years() -> None:
    """Premium 10 million a year, claims 8 million, 300,000 saved once: a third is rebated in each of three years."""
    lives, ten, eight = D(100_000), 1_000_000_000, 800_000_000
    years = [MlrYear(eight - (30_000_000 if i == 2 else 0), 0, ten, 0, lives) for i in range(5)]
    rebates = [medical_loss_ratio("individual", years[i : i + 3]).rebate for i in range(3)]
    assert rebates == [10_000_000] * 3
    outcomes = [
        medical_loss_ratio("individual", [MlrYear(claims, 0, ten, 0, lives)]) for claims in (7 * 10**8, 9 * 10**8)
    ]
    assert sum(each.rebate for each in outcomes) / 2 == 50_000_000  # the mean rebate
    assert medical_loss_ratio("individual", [MlrYear(eight, 0, ten, 0, lives)]).rebate == 0  # is not that of the mean


def test_months_are_completed() -> None:
    paid = [cents_of(x) for x in ("412000", "398500", "365200", "301900", "180400")]
    months = complete(paid, [D(x) for x in (".998", ".985", ".945", ".795", ".460")])
    ultimate, unpaid = (sum(getattr(m, name) for m in months) for name in ("ultimate", "unpaid"))
    assert (dollars_of(ultimate), dollars_of(unpaid)) == (D("1975771.55"), D("317771.55"))
    assert round(100 * unpaid / ultimate, 2) == 16.08  # what claims not yet paid would "save"


def test_the_rand_experiment() -> None:
    """RAND Health Insurance Experiment: free care against 95 % coinsurance, individual deductible plans left out."""
    table = pq.read_table(shared_data("rand_hie") / "RandHIE.parquet").to_pydict()
    columns = {name: np.array(table[name]) for name in ("coins", "idp", "meddol", "zper")}
    of = np.isin(columns["coins"], (0, 95))

    def free_care(own: np.ndarray, errors: str, cluster: bool) -> Randomised:
        person = columns["zper"][own] if cluster else None
        return intention_to_treat(Trial(columns["coins"][own] == 0, columns["meddol"][own], cluster=person), errors)

    own = of & (columns["idp"] == 0)
    plain, by_person = free_care(own, "HC1", False), free_care(own, "HC1", True)
    assert plain.value == pytest.approx(68.1779, abs=5e-5)
    assert plain.standard_error == pytest.approx(13.2018, abs=5e-5)
    assert by_person.standard_error == pytest.approx(17.2321, abs=0.01)
    assert 100 < by_person.degrees < len(np.unique(columns["zper"][own]))

    def elasticity(own: np.ndarray) -> float:
        low, high = (columns["meddol"][own & (columns["coins"] == c)].mean() for c in (95, 0))
        return float((high - low) / (high + low) / ((0 - 95) / (0 + 95)))

    assert elasticity(own) == pytest.approx(-0.2079, abs=5e-5)
    assert elasticity(of) == pytest.approx(-0.1723, abs=5e-5)


def test_return_on_investment_by_fieller() -> None:
    known = return_on_investment(150, 60, 100, 20)
    assert known.value == pytest.approx(0.5)
    assert (known.low, known.high) == pytest.approx((-0.6825, 2.2272), abs=5e-5)
    delta = NormalDist().inv_cdf(0.975) * math.sqrt((60 / 100) ** 2 + (150 * 20 / 100**2) ** 2)
    assert (0.5 - delta, 0.5 + delta) == pytest.approx((-0.8148, 1.8148), abs=5e-5)  # what it is not
    assert not fieller(240, 90, 125, 80).bounded


def test_a_filing_in_the_order_of_the_template() -> None:
    categories = [
        Category("inpatient", D(150), D("0.03"), D("0.01")),
        Category("outpatient", D(220), D("0.04"), D("0.02")),
        Category("pharmacy", D(100), D("0.06"), D("0.03")),
    ]
    filing = Filing(
        categories,
        years=D(2),
        manual=D(560),
        credibility=D("0.7"),
        morbidity=D("0.99"),
        demographics=D("1.01"),
        transfer=D(18),
        paid_to_allowed=D("0.72"),
        exchange_fee=D("0.03"),
    )
    terms = PlanTerms(D("0.72"), D("0.97"), D("1.005"), D("0.155"))
    shown = dict(plan_rate(filing, terms).shown())
    names = ["use trend", "plan design", "credibility: index rate", "exchange fee: market-adjusted index rate", "loads"]
    assert [shown[name] for name in names] == list(map(D, ("529.10", "529.05", "538.33", "529.21", "439.58")))
    wrong = Filing(**{name: getattr(filing, name) for name in Filing.__dataclass_fields__} | {"transfer": D(-18)})
    assert plan_rate(wrong, terms).shown()[-1][1] == D("482.40")


@pytest.mark.parametrize(("members", "share"), [(1_000, 0.57), (10_000, 0.18), (100_000, 0.057), (1_000_000, 0.018)])
def test_what_a_study_of_so_many_members_can_see(members: int, share: float) -> None:
    """MEPS 2013: mean 3,611 and standard deviation 11,612 dollars, halves."""
    seen = detectable_effect(11_612, members / 2, members / 2) / 3_611
    assert seen == pytest.approx(share, rel=0.02)
    assert detectable_effect(11_612, members * 0.9, members * 0.1) / 3_611 / seen == pytest.approx(1.67, abs=0.005)
    assert detectable_effect(11_612, members / 2, members / 2, r2=0.237) / 3_611 / seen == pytest.approx(
        0.87, abs=0.005
    )


def test_a_share_of_noise_is_not_nothing() -> None:
    """30 % of max(0, noise) of 1,000 members is 88 dollars a member-year, for nothing."""
    error = 11_612 * math.sqrt(4 / 1_000)
    paid = 0.3 * error * NormalDist().pdf(0)
    assert paid == pytest.approx(88, abs=0.5)


def test_the_most_expensive_fall_back_by_themselves() -> None:
    """MEPS 2012 and 2013, nobody treated: a trended pre-post study of the top tenth would book 41 % as saved."""
    folder = shared_data("meps")
    first, second = (
        pq.read_table(folder / f"meps_{year}.parquet", columns=["dupersid", "panel", cost]).to_pylist()
        for year, cost in ((2012, "totexp12"), (2013, "totexp13"))
    )
    later = {(row["dupersid"], row["panel"]): row["totexp13"] for row in second}
    pairs = np.array(
        [(r["totexp12"], later[r["dupersid"], r["panel"]]) for r in first if (r["dupersid"], r["panel"]) in later],
        float,
    )
    top = pairs[np.argsort(-pairs[:, 0], kind="stable")[: round(len(pairs) / 10)]]
    before, after = top.mean(axis=0)
    trend = pairs[:, 1].mean() / pairs[:, 0].mean()
    assert before > 20_000 and after < 0.75 * before and trend > 1
    assert 1 - after / (before * trend) == pytest.approx(0.407, abs=0.02)


def test_the_effect_on_who_took_it_up_is_that_of_the_offer_over_its_take_up() -> None:
    chance = np.random.default_rng(5)
    offered = chance.random(4_000) < 0.5
    took = offered & (chance.random(4_000) < 0.6)
    trial = Trial(offered, chance.gamma(0.5, 4_000, 4_000) - 900 * took, took=took)
    itt, iv = intention_to_treat(trial), by_take_up(trial)
    assert iv.value == pytest.approx(itt.value / took[offered].mean())
    assert iv.standard_error == pytest.approx(itt.standard_error / took[offered].mean(), rel=0.05)
    assert permutation_test(trial, 1, 200) == pytest.approx(
        2 * NormalDist().cdf(-abs(itt.value / itt.standard_error)), abs=0.1
    )
