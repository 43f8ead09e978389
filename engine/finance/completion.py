"""What claims of past months will still cost: completion of paid amounts, and how an estimate of it has moved since.

Completion factors are the part of a month's claims that is paid by its age: unpaid = paid / factor - paid. That is the
chain ladder read backwards; its error is Mack's, from the triangle (`simulations.triangles` has both).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal, localcontext

from engine.finance.money import FinanceError


@dataclass(frozen=True, slots=True)
class Completed:
    """A month of incurral, in cents: what is paid, what it will cost in the end, and what is left."""

    paid: int
    factor: Decimal
    ultimate: int

    @property
    def unpaid(self) -> int:
        """What is still to be paid."""
        return self.ultimate - self.paid


def complete(paid: Sequence[int], factors: Sequence[Decimal]) -> list[Completed]:
    """Months of incurral by what is paid of them, cents, and the part that is paid at their age.

    Each ultimate is rounded to the cent. Raises FinanceError for a factor outside (0, 1] or another number of them.
    """
    if len(paid) != len(factors):
        raise FinanceError("factors", f"{len(factors)} completion factors for {len(paid)} months")
    found = []
    with localcontext(Context(prec=60)):
        for month, factor in zip(paid, factors, strict=True):
            if not 0 < factor <= 1:
                raise FinanceError("factors", f"completion factor {factor}: must be above 0 and at most 1")
            ultimate = (Decimal(month) / factor).quantize(Decimal(1), ROUND_HALF_UP)
            found.append(Completed(month, factor, int(ultimate)))
    return found


@dataclass(frozen=True, slots=True)
class Movement:
    """How the liability of a month of incurral went from one estimate to the next, in cents.

    opening + incurred - paid + development = closing: what was owed, claims of the period itself, what was paid, and by
    how much the first estimate has turned out wrong (+ too low). `incurred` is of months that begin in the period.
    """

    opening: int
    incurred: int
    paid: int
    closing: int

    @property
    def development(self) -> int:
        """Development of prior periods, of what was owed at the beginning: adverse is positive."""
        return self.closing + self.paid - self.opening - self.incurred


def movements(
    opening: Mapping[str, int], closing: Mapping[str, int], paid: Mapping[str, int], period: Sequence[str]
) -> dict[str, Movement]:
    """The movement of each month of incurral between two estimates, months as YYYY-MM.

    `opening` and `closing` are liabilities by month at the two dates, `paid` what was paid in between, `period` the
    months of incurral that lie in it: all that is incurred in those is new, and nothing of it development. Raises
    FinanceError for an opening liability of a month of the period.
    """
    new, found = set(period), {}
    for month in sorted({*opening, *closing, *paid, *new}):
        owed, left, spent = (table.get(month, 0) for table in (opening, closing, paid))
        if month in new and owed:
            raise FinanceError(
                "opening", f"month {month} begins in the period and has an opening liability of {owed} cents"
            )
        found[month] = Movement(owed, left + spent if month in new else 0, spent, left)
    return found


def total(of: Mapping[str, Movement]) -> Movement:
    """All months together."""
    every = list(of.values())
    return Movement(*(sum(getattr(m, name) for m in every) for name in ("opening", "incurred", "paid", "closing")))


def premium_deficiency(expected: Mapping[str, tuple[int, int]]) -> dict[str, int]:
    """The reserve by grouping where future premium does not cover future claims and expenses, in cents.

    Of (premium, claims and expenses) by grouping: a gain of one never pays for another's loss (SSAP 54 [confirm]).
    """
    return {name: max(cost - premium, 0) for name, (premium, cost) in expected.items()}
