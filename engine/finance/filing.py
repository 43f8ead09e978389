"""A rate filing: from experience to plan rates in the order of the federal template, as a bridge of steps that add up.

Experience by benefit category, trended in cost and use; morbidity, demographics, plan design; credibility with the
manual: the index rate. Transfer, reinsurance and the exchange's fee: the market-adjusted index rate. Actuarial value,
network, other benefits and loads: the plan-adjusted index rate, which is calibrated by age, area and tobacco.

Sources read: CMS, Unified Rate Review Template v5 (up to trended EHB claims; the steps behind it [confirm]); 45 CFR
156.80(d): one pool a market and state. Health improvement enters once, as morbidity.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import ROUND_HALF_UP, Context, Decimal, localcontext
from enum import StrEnum

from engine.finance.money import FinanceError

CENT = Decimal("0.01")
_EXACT = Context(prec=60)


@dataclass(frozen=True, slots=True)
class Category:
    """Experience of a benefit category: allowed claims in dollars a member-month, and yearly trends as fractions."""

    name: str
    allowed: Decimal
    cost_trend: Decimal
    use_trend: Decimal


@dataclass(frozen=True, slots=True)
class Filing:
    """What a filing of one pool is made of.

    Factors are ratios (.99 is 1 % less), trends and loads fractions. `manual` in dollars a member-month is blended in
    with 1 - `credibility`. `transfer` and `reinsurance` are received (+) or paid (-), dollars a member-month of paid
    claims; `paid_to_allowed` brings them to the allowed basis of the index rate. Loads are of the premium, and so are
    grossed up; the exchange's fee is one by itself.
    """

    categories: Sequence[Category]
    years: Decimal
    manual: Decimal
    credibility: Decimal
    morbidity: Decimal = Decimal(1)
    demographics: Decimal = Decimal(1)
    plan_design: Decimal = Decimal(1)
    transfer: Decimal = Decimal(0)
    reinsurance: Decimal = Decimal(0)
    paid_to_allowed: Decimal = Decimal(1)
    exchange_fee: Decimal = Decimal(0)

    def __post_init__(self) -> None:
        if not self.categories:
            raise FinanceError("categories", "a filing needs the experience of at least one benefit category")
        if not 0 <= self.credibility <= 1:
            raise FinanceError("credibility", f"credibility is {self.credibility}: must lie between 0 and 1")
        for name in ("morbidity", "demographics", "plan_design", "paid_to_allowed"):
            if getattr(self, name) <= 0:
                raise FinanceError(name, f"{name} is {getattr(self, name)}: a factor is above 0")
        if not 0 <= self.exchange_fee < 1:
            raise FinanceError("exchange_fee", f"exchange_fee is {self.exchange_fee}: a part of the premium")


@dataclass(frozen=True, slots=True)
class PlanTerms:
    """What makes one plan's rate of the market's: actuarial value, network, other benefits, and loads of premium."""

    actuarial_value: Decimal
    network: Decimal = Decimal(1)
    other_benefits: Decimal = Decimal(1)
    loads: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the bridge: what it is called, the rate after it, and by how much it moved the rate; dollars."""

    name: str
    rate: Decimal
    change: Decimal


@dataclass(frozen=True, slots=True)
class Bridge:
    """The steps from the experience to a rate; the changes sum to it. Rates are exact until they are shown."""

    steps: tuple[Step, ...]

    @property
    def rate(self) -> Decimal:
        """The rate at the end."""
        return self.steps[-1].rate

    def shown(self) -> list[tuple[str, Decimal]]:
        """The rate after each step to the cent."""
        return [(step.name, step.rate.quantize(CENT, ROUND_HALF_UP)) for step in self.steps]


def market_rate(filing: Filing) -> Bridge:
    """The bridge to the market-adjusted index rate, dollars a member-month."""
    return _bridge(_market(filing))


def plan_rate(filing: Filing, plan: PlanTerms) -> Bridge:
    """The bridge to a plan's adjusted index rate, dollars a member-month before age, area and tobacco."""
    if plan.actuarial_value <= 0 or not 0 <= plan.loads < 1:
        raise FinanceError("loads", f"actuarial value {plan.actuarial_value} and loads {plan.loads}: above 0, below 1")

    def rates() -> Iterator[tuple[str, Decimal]]:
        rate = Decimal(0)
        for name, rate in _market(filing):
            yield name, rate
        for name, factor in (
            ("actuarial value", plan.actuarial_value),
            ("network", plan.network),
            ("other benefits", plan.other_benefits),
            ("loads", 1 / (1 - plan.loads)),
        ):
            rate *= factor
            yield name, rate

    return _bridge(rates())


def _market(filing: Filing) -> Iterator[tuple[str, Decimal]]:
    rate = sum((each.allowed for each in filing.categories), Decimal(0))
    yield "experience", rate
    rate = sum((each.allowed * (1 + each.cost_trend) ** filing.years for each in filing.categories), Decimal(0))
    yield "cost trend", rate
    rate = sum((_trended(each, filing.years) for each in filing.categories), Decimal(0))
    yield "use trend", rate
    for name in ("morbidity", "demographics", "plan_design"):
        rate *= getattr(filing, name)
        yield name.replace("_", " "), rate
    rate = filing.credibility * rate + (1 - filing.credibility) * filing.manual
    yield "credibility: index rate", rate
    for name in ("transfer", "reinsurance"):
        rate -= getattr(filing, name) / filing.paid_to_allowed  # a receipt lowers the rate
        yield name, rate
    rate /= 1 - filing.exchange_fee
    yield "exchange fee: market-adjusted index rate", rate


def _trended(category: Category, years: Decimal) -> Decimal:
    return category.allowed * ((1 + category.cost_trend) * (1 + category.use_trend)) ** years


def _bridge(rates: Iterator[tuple[str, Decimal]]) -> Bridge:
    steps, before = [], Decimal(0)
    with localcontext(_EXACT):
        for name, rate in rates:
            steps.append(Step(name, rate, rate - before))
            before = rate
    return Bridge(tuple(steps))


class FilingState(StrEnum):
    """Where a filing stands. Members are told of an approved rate alone."""

    DRAFT = "draft"
    FILED = "filed"
    APPROVED = "approved"
    EFFECTIVE = "effective"
    WITHDRAWN = "withdrawn"


_NEXT: Mapping[FilingState, tuple[FilingState, ...]] = {
    FilingState.DRAFT: (FilingState.FILED, FilingState.WITHDRAWN),
    FilingState.FILED: (FilingState.APPROVED, FilingState.WITHDRAWN),
    FilingState.APPROVED: (FilingState.EFFECTIVE,),
    FilingState.EFFECTIVE: (),
    FilingState.WITHDRAWN: (),
}


@dataclass(frozen=True, slots=True)
class FiledRate:
    """A rate on its way through review: by whom each state was given. Nobody approves what they filed themselves."""

    filing_id: str
    rate: Decimal
    state: FilingState = FilingState.DRAFT
    history: tuple[tuple[FilingState, str], ...] = field(default=())

    def to(self, state: FilingState, by: str) -> "FiledRate":
        """The rate in its next state. Raises FinanceError for a step that is none."""
        if state not in _NEXT[self.state]:
            raise FinanceError("state", f"filing {self.filing_id} is {self.state}: it cannot become {state}")
        filed_by = next((who for stood, who in self.history if stood is FilingState.FILED), "")
        if state is FilingState.APPROVED and by == filed_by:
            raise FinanceError("approver", f"filing {self.filing_id} was filed by {by}: another person approves it")
        return replace(self, state=state, history=(*self.history, (state, by)))

    def notified(self) -> Decimal:
        """The rate of which members may be told. Raises FinanceError before it is approved."""
        if self.state not in (FilingState.APPROVED, FilingState.EFFECTIVE):
            raise FinanceError("state", f"filing {self.filing_id} is {self.state}: only an approved rate is notified")
        return self.rate
