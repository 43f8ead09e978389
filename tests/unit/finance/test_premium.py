"""The premium formula in exact decimals, and the wall between a premium and one member's health."""

import dataclasses
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.finance.premium import MINIMUM_COHORT, CohortExperience, PremiumError, recommend

COHORT = CohortExperience("c", 500, Decimal("512.40"), Decimal("0.03"), Decimal("0.015"), Decimal("1.02"))


def test_the_formula_by_hand() -> None:
    got = recommend(COHORT)
    assert got.combined_factor == Decimal("0.97") * Decimal("1.015") * Decimal("1.02") == Decimal("1.00424100")
    assert got.recommended_premium == Decimal("514.57")
    assert got.change == Decimal("0.00424100")
    assert not got.rate_review


def test_half_a_cent_is_rounded_up() -> None:
    got = recommend(
        dataclasses.replace(
            COHORT,
            base_premium=Decimal("100.05"),
            health_improvement=Decimal("0.5"),
            utilisation=Decimal(0),
            regional_index=Decimal(1),
        )
    )
    assert got.recommended_premium == Decimal("50.03")


def test_rate_review_counts_twelve_months() -> None:
    level = dataclasses.replace(COHORT, health_improvement=Decimal(0), regional_index=Decimal(1))
    assert recommend(dataclasses.replace(level, utilisation=Decimal("0.15"))).rate_review
    assert not recommend(dataclasses.replace(level, utilisation=Decimal("0.149999"))).rate_review
    compounded = dataclasses.replace(level, utilisation=Decimal("0.05"), changes=(Decimal("0.10"),))
    assert recommend(compounded).change_12_months == Decimal("0.155")
    assert recommend(compounded).rate_review


@pytest.mark.parametrize("members", [1, MINIMUM_COHORT - 1])
def test_a_few_members_are_not_a_cohort(members: int) -> None:
    with pytest.raises(PremiumError, match=r"45 CFR") as refused:
        dataclasses.replace(COHORT, members=members)
    assert refused.value.field == "members"


@pytest.mark.parametrize(
    ("field", "value"),
    [("base_premium", "0"), ("health_improvement", "1"), ("utilisation", "-1"), ("regional_index", "0")],
)
def test_an_impossible_factor_is_named(field: str, value: str) -> None:
    with pytest.raises(PremiumError) as refused:
        dataclasses.replace(COHORT, **{field: Decimal(value)})
    assert refused.value.field == field


@pytest.mark.parametrize("change", ["-1.5", "-1", "4"])
def test_no_premium_became_negative_or_is_changed_by_per_cents(change: str) -> None:
    with pytest.raises(PremiumError, match=f"changes_last_12_months holds {change}") as refused:
        dataclasses.replace(COHORT, changes=(Decimal(change),))
    assert refused.value.field == "changes_last_12_months"


def test_no_digit_of_a_product_is_cut() -> None:
    tiny = Decimal("1E-10")
    level = CohortExperience("c", 100, Decimal(400), tiny, tiny, Decimal(1), (tiny,) * 12)
    exact = Fraction(1 - tiny) * Fraction(1 + tiny) * Fraction(1 + tiny) ** 12
    assert Fraction(recommend(level).change_12_months) == exact - 1  # 140 digits; decimals keep 28 unless told


factors = st.decimals("-0.5", "0.5", places=4)


@given(factors, factors, st.decimals("0.5", "2", places=3))
def test_better_health_never_costs_more(improvement: Decimal, utilisation: Decimal, index: Decimal) -> None:
    worse = CohortExperience("c", 100, Decimal(400), improvement, utilisation, index)
    better = dataclasses.replace(worse, health_improvement=improvement + Decimal("0.01"))
    assert recommend(better).recommended_premium <= recommend(worse).recommended_premium


def test_no_member_can_be_named() -> None:
    names = {field.name for field in dataclasses.fields(CohortExperience)}
    assert not names & {"member_id", "score", "health_score", "category"}
