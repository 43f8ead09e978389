"""Budget against actual, split exactly: members, mix, use, unit cost and one-offs, in cents that sum to the whole."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext

from engine.finance.money import FinanceError, rounded


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment's year or month: member-months, services, and what they cost in cents; `one_off` is apart from cost."""

    months: int
    services: int
    cost: int
    one_off: int = 0


@dataclass(frozen=True, slots=True)
class Split:
    """By how many cents actual is above budget, and why."""

    members: int
    mix: int
    use: int
    unit_cost: int
    one_offs: int

    @property
    def total(self) -> int:
        """All causes: actual less budget."""
        return self.members + self.mix + self.use + self.unit_cost + self.one_offs


def split(budget: Mapping[str, Segment], actual: Mapping[str, Segment]) -> Split:
    """Why costs are not those of the budget, over the same segments.

    In order: more members at the budget's mean cost; another mix of segments at the budget's cost of each; more
    services a member at the budget's cost of one; another cost of a service; one-offs. Each step holds the ones before
    it at actual, so that the steps sum to the difference; the cents go by largest remainder. Raises FinanceError where
    a segment is in one alone, or has no members or services in the budget.
    """
    if set(budget) != set(actual):
        odd = sorted(set(budget) ^ set(actual))
        raise FinanceError("segments", f"segment {odd[0]!r} is in one of budget and actual alone")
    names = sorted(budget)
    planned, held = sum(budget[n].months for n in names), sum(actual[n].months for n in names)
    if planned <= 0:
        raise FinanceError("months", "the budget has no member-months")
    with localcontext(Context(prec=60)):
        whole = Decimal(sum(budget[n].cost for n in names))
        members = whole * (held - planned) / planned
        mix = use = unit = Decimal(0)
        for name in names:
            was, now = budget[name], actual[name]
            if min(was.months, was.services) <= 0:
                raise FinanceError("services", f"segment {name!r} has no member-months or services in the budget")
            a_month = Decimal(was.cost) / was.months
            rate, price = Decimal(was.services) / was.months, Decimal(was.cost) / was.services
            mix += a_month * (now.months - Decimal(was.months) * held / planned)
            use += price * (now.services - rate * now.months)
            unit += now.cost - price * now.services
        one_offs = sum(actual[n].one_off - budget[n].one_off for n in names)
        exact = [part.quantize(Decimal("1e-12")) for part in (members, mix, use, unit)]
        exact[-1] += Decimal(sum(actual[n].cost - budget[n].cost for n in names)) - sum(exact, Decimal(0))
        by_members, by_mix, by_use, by_unit = rounded(exact)
        return Split(by_members, by_mix, by_use, by_unit, one_offs)
