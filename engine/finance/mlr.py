"""The medical loss ratio and its rebate: a market's three years against the standard, with credibility.

Sources read: 45 CFR 158.210 (standards), 158.220 (three years), 158.221 (formula), 158.230-232 (credibility and its
table), 158.243 (de minimis); the MLR annual reporting form, part 3.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal, localcontext
from typing import Final

from engine.finance.money import FinanceError, cents_of, dollars_of

STANDARD: Mapping[str, Decimal] = {
    "individual": Decimal("0.80"),
    "small_group": Decimal("0.80"),
    "large_group": Decimal("0.85"),
    "medicare_advantage": Decimal("0.85"),
}
"""The ratio below which a rebate is due, by line of business."""
LEAST_LIFE_YEARS: Final = 1_000
YEARS: Final = 3
_LIFE_YEARS: Final = (1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 75_000)
_BASE: Final = tuple(map(Decimal, ("0.083", "0.052", "0.037", "0.026", "0.016", "0.012", "0.000")))
_DEDUCTIBLES: Final = (2_500, 5_000, 10_000)
_FACTORS: Final = tuple(map(Decimal, ("1.164", "1.402", "1.736")))
_THREE = Decimal("0.001")
_CENT = Decimal("0.01")


def _between(at: Decimal, points: Sequence[int], values: Sequence[Decimal]) -> Decimal:
    """Linear between the points, constant beyond them."""
    if at <= points[0]:
        return values[0]
    for low, high, first, last in zip(points, points[1:], values, values[1:], strict=False):
        if at <= high:
            return first + (last - first) * (at - low) / (high - low)
    return values[-1]


def deductible_factor(average: Decimal | float | str) -> Decimal:
    """The factor by the average deductible a person, weighted by life-years, in dollars: 1 below 2,500; unrounded."""
    deductible = Decimal(average)
    if deductible < 0:
        raise FinanceError("average_deductible", f"average_deductible is {average}: must be at least 0")
    return Decimal(1) if deductible < _DEDUCTIBLES[0] else _between(deductible, _DEDUCTIBLES, _FACTORS)


def credibility_adjustment(life_years: Decimal | float | str, factor: Decimal = Decimal(1)) -> Decimal | None:
    """What is added to a ratio of so many life-years: base adjustment x deductible factor, unrounded.

    None below 1,000 life-years: such experience is not credible, and no rebate is due.
    """
    years = Decimal(life_years)
    return None if years < LEAST_LIFE_YEARS else _between(years, _LIFE_YEARS, _BASE) * factor


@dataclass(frozen=True, slots=True)
class MlrYear:
    """A year of a market (line of business and state); amounts in cents.

    `claims` are incurred, restated with what was paid until 31 March after; `quality` improvement activities;
    `transfer` received (+) or paid (-) in risk adjustment, `reinsurance` and `cost_sharing` received. All of the last
    three are taken from the numerator, and the transfer counts there alone. `premium` is earned, before transfers.
    """

    claims: int
    quality: int
    premium: int
    taxes: int
    life_years: Decimal
    transfer: int = 0
    reinsurance: int = 0
    cost_sharing: int = 0

    @property
    def numerator(self) -> int:
        """What was spent on care, net of what others paid for it."""
        return self.claims + self.quality - self.transfer - self.reinsurance - self.cost_sharing

    @property
    def denominator(self) -> int:
        """Premium less taxes and fees."""
        return self.premium - self.taxes


@dataclass(frozen=True, slots=True)
class MlrResult:
    """A market's ratio and rebate. `ratio` is to three decimals with the adjustment in, as the form reports it.

    `adjustment` is None where the experience is not credible; `why` says then, or in words, why no rebate is due.
    """

    preliminary: Decimal
    adjustment: Decimal | None
    ratio: Decimal
    standard: Decimal
    rebate: int
    why: str


def medical_loss_ratio(
    line_of_business: str,
    years: Sequence[MlrYear],
    average_deductible: Decimal | str = Decimal(0),
    *,
    fell_short_alone: bool = False,
    standard: Decimal | None = None,
) -> MlrResult:
    """The ratio of up to three `years`, the last of them the year of the report, and its rebate.

    Ratio = sum of numerators / sum of denominators + credibility adjustment, to three decimals; rebate = (standard -
    ratio) x the last year's denominator, to the cent. With `fell_short_alone`, that each of three years had 1,000
    life-years and a ratio below the standard, no adjustment is made: 158.232(d) [confirm]. `standard` takes the place
    of the federal one where a state's is higher. Raises FinanceError.
    """
    if line_of_business not in STANDARD:
        raise FinanceError(
            "line_of_business", f"line_of_business is {line_of_business!r}: no standard; one of {', '.join(STANDARD)}"
        )
    if not 1 <= len(years) <= YEARS:
        raise FinanceError("years", f"{len(years)} years are given: the ratio takes 1 to {YEARS}")
    least = STANDARD[line_of_business] if standard is None else standard
    denominator = sum(year.denominator for year in years)
    if denominator <= 0 or years[-1].denominator <= 0:
        raise FinanceError("premium", "premium less taxes is not above 0: there is no ratio")
    with localcontext(Context(prec=60)):
        preliminary = Decimal(sum(year.numerator for year in years)) / denominator
        lives = sum((year.life_years for year in years), Decimal(0))
        adjustment = credibility_adjustment(lives, deductible_factor(average_deductible))
        if adjustment is None:
            shown = preliminary.quantize(_THREE, ROUND_HALF_UP)
            return MlrResult(
                preliminary, None, shown, least, 0, f"{lives} life-years are fewer than {LEAST_LIFE_YEARS:,}"
            )
        if fell_short_alone and len(years) == YEARS:
            adjustment = Decimal(0)
        ratio = (preliminary + adjustment).quantize(_THREE, ROUND_HALF_UP)
        owed = (least - ratio) * dollars_of(years[-1].denominator)
        rebate = cents_of(owed.quantize(_CENT, ROUND_HALF_UP)) if ratio < least else 0
    return MlrResult(preliminary, adjustment, ratio, least, rebate, "" if rebate else f"{ratio} is not below {least}")


def short_of_standard(line_of_business: str, years: Sequence[MlrYear]) -> bool:
    """Whether each of three years by itself had 1,000 life-years and fell short of the standard."""
    least = STANDARD[line_of_business]
    return len(years) == YEARS and all(
        year.life_years >= LEAST_LIFE_YEARS and Decimal(year.numerator) < least * year.denominator for year in years
    )
