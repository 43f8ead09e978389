"""The risk adjustment transfer of the individual and small-group markets: who pays whom for the health of whom.

T_i = [PLRS.IDF.GCF / sum(s.PLRS.IDF.GCF) - AV.ARF.IDF.GCF / sum(s.AV.ARF.IDF.GCF)] x P a member-month, over the plans
and rating areas of one market of a state, each weighed by its share s of billable member-months.

Source read: Pope, Bachofer, Pearlman, Kautter, Hunter, Miller, Keenan, "Risk Transfer Formula for Individual and Small
Group Markets Under the Affordable Care Act", Medicare & Medicaid Research Review 4(3), 2014. That P is the market's
mean premium less 14 % is of the notice for 2018 and later [confirm].
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext

from engine.domain.events import METALS
from engine.finance.money import FinanceError, rounded

ACTUARIAL_VALUE: Mapping[str, Decimal] = {
    "catastrophic": Decimal("0.57"),
    "bronze": Decimal("0.6"),
    "silver": Decimal("0.7"),
    "gold": Decimal("0.8"),
    "platinum": Decimal("0.9"),
}
INDUCED_DEMAND: Mapping[str, Decimal] = {
    "catastrophic": Decimal(1),
    "bronze": Decimal(1),
    "silver": Decimal("1.03"),
    "gold": Decimal("1.08"),
    "platinum": Decimal("1.15"),
}
ADMINISTRATIVE = Decimal("0.86")
"""The part of the market's mean premium that is transferred since 2018."""


@dataclass(frozen=True, slots=True)
class PlanInMarket:
    """A plan in a rating area of a market. `months` are billable member-months; `risk_score` is the plan liability risk
    score over them; `geographic` the cost of the area and `age` the mean rating factor by age, each against the
    market's."""

    plan_id: str
    rating_area: str
    metal: str
    months: Decimal
    risk_score: Decimal
    age: Decimal = Decimal(1)
    geographic: Decimal = Decimal(1)
    induced_demand: Decimal | None = None

    @property
    def induced(self) -> Decimal:
        """How much more care the plan's level leads to: HHS's factor of the metal, unless one is given."""
        return INDUCED_DEMAND[self.metal] if self.induced_demand is None else self.induced_demand

    def __post_init__(self) -> None:
        if self.metal not in METALS:
            raise FinanceError("metal", f"plan {self.plan_id}: metal is {self.metal!r}: one of {', '.join(METALS)}")
        for name in ("months", "risk_score", "age", "geographic"):
            if getattr(self, name) <= 0:
                raise FinanceError(name, f"plan {self.plan_id}: {name} is {getattr(self, name)}: must be above 0")


@dataclass(frozen=True, slots=True)
class Transfer:
    """What a plan in a rating area receives (+) or pays (-): dollars a billable member-month, and cents in all."""

    plan: PlanInMarket
    a_month: Decimal
    cents: int


def transfers(plans: Sequence[PlanInMarket], mean_premium: Decimal, part: Decimal = ADMINISTRATIVE) -> list[Transfer]:
    """The transfers within a market of a state, by its `mean_premium` in dollars a billable member-month.

    `part` of the premium is transferred.
    Catastrophic plans are a pool of their own. The cents of each pool sum to zero. Raises FinanceError for a market
    without plans, or a premium that is not above 0.
    """
    if not plans:
        raise FinanceError("plans", "a market without plans has no transfers")
    if mean_premium <= 0 or not 0 < part <= 1:
        raise FinanceError("mean_premium", f"mean_premium is {mean_premium} and the part {part}: must be above 0")
    found: dict[int, Transfer] = {}
    for pool in (True, False):
        places = [i for i, plan in enumerate(plans) if (plan.metal == "catastrophic") == pool]
        if places:
            own = _in_pool([plans[i] for i in places], mean_premium * part)
            found.update(zip(places, own, strict=True))
    return [found[i] for i in range(len(plans))]


def _in_pool(plans: Sequence[PlanInMarket], premium: Decimal) -> list[Transfer]:
    with localcontext(Context(prec=60)):
        whole = sum((plan.months for plan in plans), Decimal(0))
        risks = [plan.risk_score * plan.induced * plan.geographic for plan in plans]
        rated = [ACTUARIAL_VALUE[plan.metal] * plan.age * plan.induced * plan.geographic for plan in plans]
        mean_risk = sum((p.months * r for p, r in zip(plans, risks, strict=True)), Decimal(0)) / whole
        mean_rated = sum((p.months * r for p, r in zip(plans, rated, strict=True)), Decimal(0)) / whole
        a_month = [(r / mean_risk - v / mean_rated) * premium for r, v in zip(risks, rated, strict=True)]
        exact = [(t * plan.months * 100).quantize(Decimal("1e-9")) for t, plan in zip(a_month, plans, strict=True)]
        exact[-1] -= sum(exact, Decimal(0))  # what 60 digits have lost, far below a cent
        return [Transfer(p, t, c) for p, t, c in zip(plans, a_month, rounded(exact), strict=True)]
