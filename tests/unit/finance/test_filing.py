"""Rebates, filings, completion and movements: what the law and the books ask, and what each refuses."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.finance.completion import Movement, complete, movements, premium_deficiency, total
from engine.finance.filing import Category, FiledRate, Filing, FilingState, PlanTerms, market_rate, plan_rate
from engine.finance.mlr import MlrYear, medical_loss_ratio, short_of_standard
from engine.finance.money import FinanceError

D = Decimal
FILING = Filing([Category("all", D(500), D("0.05"), D("0.02"))], D(1), D(480), D("0.8"), transfer=D(-9))


@given(st.decimals("-30", "30", places=2), st.decimals("0.5", "1.5", places=3), st.decimals("0", "0.3", places=3))
def test_the_steps_of_a_bridge_sum_to_its_rate(transfer: Decimal, factor: Decimal, loads: Decimal) -> None:
    bridge = plan_rate(
        Filing(FILING.categories, D(2), D(480), D("0.8"), morbidity=factor, transfer=transfer),
        PlanTerms(D("0.7"), loads=loads),
    )
    assert sum((step.change for step in bridge.steps), D(0)) == pytest.approx(bridge.rate, rel=D("1e-40"))
    assert bridge.steps[0].name == "experience"


def test_a_receipt_lowers_the_rate_and_a_payment_raises_it() -> None:
    none = market_rate(Filing(FILING.categories, D(1), D(480), D("0.8"))).rate
    assert market_rate(FILING).rate == none + 9


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"categories": []}, "categories"),
        ({"credibility": D("1.1")}, "credibility"),
        ({"morbidity": D(0)}, "morbidity"),
        ({"exchange_fee": D(1)}, "exchange_fee"),
    ],
)
def test_a_filing_that_cannot_be_is_named(change: dict, field: str) -> None:
    given_fields = {name: getattr(FILING, name) for name in Filing.__dataclass_fields__}
    with pytest.raises(FinanceError) as refused:
        Filing(**given_fields | change)
    assert refused.value.field == field


def test_only_an_approved_rate_is_notified_and_another_person_approves() -> None:
    rate = FiledRate("F1", D("439.58"))
    with pytest.raises(FinanceError, match="F1 is draft: only an approved rate"):
        rate.notified()
    with pytest.raises(FinanceError, match="F1 is draft: it cannot become approved"):
        rate.to(FilingState.APPROVED, "ann")
    filed = rate.to(FilingState.FILED, "ann")
    with pytest.raises(FinanceError, match="filed by ann: another person"):
        filed.to(FilingState.APPROVED, "ann")
    approved = filed.to(FilingState.APPROVED, "ben")
    assert approved.notified() == approved.to(FilingState.EFFECTIVE, "ben").notified() == D("439.58")
    with pytest.raises(FinanceError, match="withdrawn"):
        filed.to(FilingState.WITHDRAWN, "ann").to(FilingState.FILED, "ann")


def year(claims: int, premium: int = 1_000_000_00, lives: int = 20_000, **more: int) -> MlrYear:
    return MlrYear(claims, 0, premium, 0, D(lives), **more)


def test_the_transfer_counts_once_in_the_numerator() -> None:
    plain = medical_loss_ratio("individual", [year(700_000_00)])
    received = medical_loss_ratio("individual", [year(800_000_00, transfer=100_000_00)])
    assert received.preliminary == plain.preliminary == D("0.7") and received.rebate == plain.rebate


def test_credibility_spares_the_small_and_not_those_who_fall_short_each_year() -> None:
    small = medical_loss_ratio("individual", [year(790_000_00, lives=1_000)])
    assert (small.adjustment, small.rebate) == (D("0.083"), 0)
    tiny = medical_loss_ratio("individual", [year(100_000_00, lives=900)])
    assert (tiny.adjustment, tiny.rebate) == (None, 0) and "fewer than 1,000" in tiny.why
    years = [year(780_000_00, lives=1_200)] * 3
    assert short_of_standard("individual", years)
    spared, not_spared = (medical_loss_ratio("individual", years, fell_short_alone=own) for own in (False, True))
    assert spared.rebate == 0 and not_spared.rebate == 2_000_000
    assert not short_of_standard("individual", [year(900_000_00), *years[:2]])


def test_the_rebate_is_of_the_last_years_premium() -> None:
    years = [year(700_000_00, lives=80_000), year(700_000_00, lives=80_000), year(7_000_00, 10_000_00, 80_000)]
    assert medical_loss_ratio("individual", years).rebate == 1_000_00


@pytest.mark.parametrize(
    ("line", "years", "field"),
    [
        ("self_funded", [year(1)], "line_of_business"),
        ("individual", [], "years"),
        ("individual", [year(1, 0)], "premium"),
    ],
)
def test_a_ratio_that_cannot_be_is_named(line: str, years: list[MlrYear], field: str) -> None:
    with pytest.raises(FinanceError) as refused:
        medical_loss_ratio(line, years)
    assert refused.value.field == field


@pytest.mark.parametrize("factor", ["0", "-0.5", "1.01"])
def test_a_completion_factor_is_a_part(factor: str) -> None:
    with pytest.raises(FinanceError, match="completion factor"):
        complete([100], [D(factor)])


amounts = st.dictionaries(st.sampled_from(["2024-10", "2024-11", "2024-12", "2025-01"]), st.integers(0, 10**9))


@given(amounts, amounts, amounts)
def test_a_liability_moves_by_what_happened(opening: dict, closing: dict, paid: dict) -> None:
    opening.pop("2025-01", None)
    got = movements(opening, closing, paid, ["2025-01"])
    for month, each in got.items():
        assert each.opening + each.incurred - each.paid + each.development == each.closing, month
    assert got["2025-01"].development == 0
    whole = total(got)
    assert whole.development == sum(each.development for each in got.values())
    assert whole.closing == sum(closing.values())


def test_development_is_what_the_first_estimate_got_wrong() -> None:
    assert Movement(1_000, 0, 700, 450).development == 150
    with pytest.raises(FinanceError, match="2025-01 begins in the period"):
        movements({"2025-01": 5}, {}, {}, ["2025-01"])


def test_one_groupings_gain_pays_for_no_others_loss() -> None:
    assert premium_deficiency({"a": (100, 90), "b": (100, 130)}) == {"a": 0, "b": 30}
