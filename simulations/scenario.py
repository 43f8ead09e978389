"""The scenario file as a checked specification. Unknown keys and impossible values are refused with their path."""

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from simulations.errors import SpecError

MOST_DOLLARS = 1e14
"""Largest amount a scenario may name: below what 64-bit cents hold, above any cost there is."""
LEAST, MOST = 1e-9, 1e15
"""Bounds of what must be positive: no quantity of a pool is smaller or larger, and its cube is still a number."""
Positive = Annotated[float, Field(ge=LEAST, le=MOST)]
NotNegative = Annotated[float, Field(ge=0)]
Limit = Annotated[float, Field(gt=0, le=MOST_DOLLARS, description="dollars; left out for no limit")]
Amount = Annotated[float, Field(ge=0, le=MOST_DOLLARS, description="dollars")]
Share = Annotated[float, Field(gt=0, le=1)]
Level = Annotated[float, Field(gt=0, lt=1)]


def _none_or_some(value: float) -> float:
    if 0 < value < LEAST:
        raise ValueError(f"Input should be 0 or at least {LEAST}")
    return value


ColumnOrNumber = (
    Annotated[float, Field(ge=0, le=10_000, description="a member-year"), AfterValidator(_none_or_some)] | str
)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True, allow_inf_nan=False)


class LognormalSpec(_Strict):
    """log X normal with mean mu and standard deviation sigma."""

    distribution: Literal["lognormal"]
    mu: Annotated[float, Field(allow_inf_nan=False)]
    sigma: Positive


class GammaSpec(_Strict):
    """Mean shape x scale."""

    distribution: Literal["gamma"]
    shape: Positive
    scale: Positive


class ParetoSpec(_Strict):
    """Type II: P(X > x) = (theta / (x + theta))^alpha."""

    distribution: Literal["pareto"]
    alpha: Annotated[float, Field(gt=2)]
    theta: Positive


class WeibullSpec(_Strict):
    """P(X > x) = exp(-(x / scale)^shape)."""

    distribution: Literal["weibull"]
    shape: Positive
    scale: Positive


class EmpiricalSpec(_Strict):
    """Claims of a file's column, each equally likely."""

    distribution: Literal["empirical"]
    file: str
    column: str = "amount"


Simple = Annotated[LognormalSpec | GammaSpec | ParetoSpec | WeibullSpec, Field(discriminator="distribution")]


class MixtureSpec(_Strict):
    """One of the parts with its weight."""

    distribution: Literal["mixture"]
    weights: Annotated[tuple[Positive, ...], Field(min_length=1)]
    parts: tuple[Simple, ...]


SeveritySpec = Annotated[
    LognormalSpec | GammaSpec | ParetoSpec | WeibullSpec | EmpiricalSpec | MixtureSpec,
    Field(discriminator="distribution"),
]


class PoissonSpec(_Strict):
    """Poisson counts; rate: claims a member-year, a number or a column."""

    distribution: Literal["poisson"]
    rate: ColumnOrNumber


class NegativeBinomialSpec(_Strict):
    """Counts with Var = m + m^2 / dispersion for each member."""

    distribution: Literal["negative_binomial"]
    rate: ColumnOrNumber
    dispersion: Positive


class PerClaim(_Strict):
    """Cedes min(max(claim - deductible, 0), limit) of every claim of the category."""

    deductible: Amount
    limit: Limit | None = None


class Category(_Strict):
    """A service category. Expected claims of a member: rate x exposure x relativity x (1 + trend) x season."""

    name: Annotated[str, Field(min_length=1)]
    frequency: Annotated[PoissonSpec | NegativeBinomialSpec, Field(discriminator="distribution")]
    severity: SeveritySpec
    trend: Annotated[float, Field(gt=-1, le=2, description="0.07 is 7 %")] = 0.0
    season: Annotated[float, Field(gt=0, le=12)] = 1.0
    per_claim: PerClaim | None = None


class Shock(_Strict):
    """A common factor of mean 1 on the claim rates of its categories, one draw a scenario."""

    name: Annotated[str, Field(min_length=1)]
    distribution: Literal["gamma", "lognormal"]
    cv: Annotated[float, Field(gt=0, le=10)]
    categories: Annotated[tuple[str, ...], Field(min_length=1)]


class Specific(_Strict):
    """Cedes coinsurance x min(max(a member's annual claims - attachment, 0), limit)."""

    attachment: Amount
    limit: Limit | None = None
    coinsurance: Share = 1.0


class QuotaShare(_Strict):
    """Cedes a share of the pool's cost after specific cover."""

    share: Share


class AggregateCover(_Strict):
    """Cedes coinsurance x what the remaining cost exceeds attachment_ratio x its expected value by, up to a limit."""

    attachment_ratio: Annotated[float, Field(gt=0, le=100)]
    limit: Limit | None = None
    coinsurance: Share = 1.0


class Corridor(_Strict):
    """Shares what lies beyond +- width x expected, both ways."""

    width: NotNegative
    share: Share


class Cover(_Strict):
    """Covers in their order: per claim (on the category), specific, quota share, aggregate, corridor."""

    specific: Specific | None = None
    quota_share: QuotaShare | None = None
    aggregate: AggregateCover | None = None
    corridor: Corridor | None = None


class Synthetic(_Strict):
    """A generated portfolio."""

    members: Annotated[int, Field(ge=1, le=1_000_000_000)]
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1


class SyntheticPortfolio(_Strict):
    """{synthetic: {members, seed}}"""

    synthetic: Synthetic


class ViewPortfolio(_Strict):
    """{view: NAME}: a table or view of the database."""

    view: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?$")]


class _Job(_Strict):
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    paths: Annotated[int, Field(ge=100, le=100_000_000)] = 10_000
    levels: Annotated[tuple[Level, ...], Field(min_length=1)] = (0.5, 0.75, 0.95, 0.99, 0.995)

    @model_validator(mode="after")
    def _levels_increase(self) -> "_Job":
        if list(self.levels) != sorted(set(self.levels)):
            raise ValueError(f"levels {list(self.levels)} must increase")
        return self


class PoolScenario(_Job):
    """Next year's cost of a portfolio: what reserve and premium jobs share."""

    method: Literal["auto", "collapse", "claimants", "member"] = "auto"
    portfolio: str | SyntheticPortfolio | ViewPortfolio
    group_by: str | None = None
    exposure: ColumnOrNumber = 1.0
    relativity: ColumnOrNumber = 1.0
    categories: Annotated[tuple[Category, ...], Field(min_length=1)]
    shocks: tuple[Shock, ...] = ()
    cover: Cover = Cover()
    safety_factor: Annotated[float, Field(gt=0, le=10, description="1.10 adds 10 %")] = 1.0

    @model_validator(mode="after")
    def _names_fit(self) -> "PoolScenario":
        names = [category.name for category in self.categories]
        if len(set(names)) != len(names):
            raise ValueError(f"category names repeat: {names}")
        for i, shock in enumerate(self.shocks):
            for name in shock.categories:
                if name not in names:
                    raise ValueError(f"shocks.{i}.categories names {name!r}, which is no category; they are {names}")
        return self


class ReserveScenario(PoolScenario):
    """The reserve of a portfolio: formula and simulated."""

    kind: Literal["reserve"]


class ExperienceSpec(_Strict):
    """Past claims of the groups: a file and its columns. Claims are dollars trended to next year's level."""

    file: str
    group: str = "group"
    period: str = "period"
    claims: str = "claims"
    member_years: str = "member_years"


class PremiumTerms(_Strict):
    """What is charged and filed. market: the column of `group_by` holds the rating pools of one line of business."""

    line_of_business: Literal["individual", "small_group", "large_group", "medicare_advantage"]
    base_rate: Positive  # dollars a member-year before factors
    age: str | None = None  # column of ages
    age_curve: dict[int, Positive] | None = None  # age -> factor; the federal default curve where absent
    area: str | None = None  # column of rating areas
    area_factors: dict[str, Positive] = {}
    tier: str | None = None  # column of family tiers, rated as subscriber x factor
    tier_factors: dict[str, Positive] = {}
    tobacco: str | None = None  # column: 1 for tobacco users
    tobacco_factor: Annotated[float, Field(ge=1)] = 1.0
    expense_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.12
    quality_improvement_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.008
    tax_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.02
    risk_transfer: float = 0.0  # dollars received (+) or paid (-) in risk adjustment, a year
    average_deductible: Annotated[float, Field(ge=0)] = 0.0  # dollars a person; moves the MLR's credibility adjustment
    experience: ExperienceSpec | None = None  # blended with the manual expectation by Buhlmann-Straub credibility


class PremiumScenario(PoolScenario):
    """Loss ratio, rate adequacy and rebate of a portfolio under its rates."""

    kind: Literal["premium"]
    premium: PremiumTerms


class TriangleColumns(_Strict):
    """Names of a triangle or claims file's columns."""

    origin: str = "origin"
    development: str = "development"
    value: str = "value"
    service_date: str | None = None
    paid_date: str | None = None
    amount: str | None = None


class IbnrScenario(_Job):
    """Unpaid claims from a triangle or from claims (service and paid date, amount).

    A triangle is a file (origin, development, value), or its rows: the oldest origin first, each one value shorter.
    """

    kind: Literal["ibnr"]
    triangle: str | Annotated[tuple[tuple[float, ...], ...], Field(min_length=2)] | None = None
    claims: str | None = None
    columns: TriangleColumns = TriangleColumns()
    grain: Literal["annual", "monthly"] = "annual"
    cumulative: bool = True
    as_of: Annotated[str, Field(pattern=r"^\d{4}(-\d{2}(-\d{2})?)?$")] | None = None
    exposure: str | None = None
    apriori_ratio: Annotated[float, Field(gt=0, le=10, description="0.85 is 85 %")] | None = None
    process: Literal["gamma", "over_dispersed_poisson"] = "gamma"

    @model_validator(mode="after")
    def _one_source(self) -> "IbnrScenario":
        if (self.triangle is None) == (self.claims is None):
            raise ValueError("give either triangle or claims")
        if self.exposure is not None and not isinstance(self.triangle, str):
            raise ValueError("exposure is a column of a triangle file, and none is named")
        if self.as_of is not None and self.claims is None:
            raise ValueError("as_of is the last day that claims are counted to, and no claims are named")
        if isinstance(self.triangle, tuple):
            size = len(self.triangle)
            for i, row in enumerate(self.triangle):
                if len(row) != size - i:
                    raise ValueError(f"triangle.{i} has {len(row)} values: row {i + 1} of {size} has {size - i}")
        return self


Scenario = ReserveScenario | PremiumScenario | IbnrScenario
_KINDS: dict[str, type[Scenario]] = {
    "reserve": ReserveScenario,
    "premium": PremiumScenario,
    "ibnr": IbnrScenario,
}
# what pydantic puts into a path for the member of a union; the file itself has keys and positions only
_TAGS = {
    "lognormal",
    "gamma",
    "pareto",
    "weibull",
    "empirical",
    "mixture",
    "poisson",
    "negative_binomial",
} | {
    "str",
    "SyntheticPortfolio",
    "ViewPortfolio",
    "constrained-str",
    "float",
}


def named_files(scenario: Scenario) -> list[tuple[str, str]]:
    """The files a scenario names: (path of the field, name of the file)."""
    if isinstance(scenario, IbnrScenario):
        given = (("triangle", scenario.triangle), ("claims", scenario.claims))
        return [(field, name) for field, name in given if isinstance(name, str)]
    if isinstance(scenario, PremiumScenario) and scenario.premium.experience is not None:
        past = [("premium.experience.file", scenario.premium.experience.file)]
    else:
        past = []
    severities = ((i, category.severity) for i, category in enumerate(scenario.categories))
    found = [(f"categories.{i}.severity.file", s.file) for i, s in severities if isinstance(s, EmpiricalSpec)]
    return ([("portfolio", scenario.portfolio)] if isinstance(scenario.portfolio, str) else []) + found + past


def _plain(value: Any) -> Any:
    """The document with whole numbers as integers however they are written: 1e4 paths are 10,000."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


def parse(document: Any) -> Scenario:
    """The scenario in a document (as YAML or JSON loads it). Raises SpecError with the first bad field's path."""
    if not isinstance(document, dict):
        raise SpecError("scenario", f"must be a mapping, not {type(document).__name__}")
    kind = document.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise SpecError("kind", f"{kind!r} is not one of {sorted(_KINDS)}")
    try:
        return _KINDS[kind].model_validate_json(json.dumps(_plain(document)), strict=True)
    except (TypeError, RecursionError) as error:
        raise SpecError("scenario", f"is no document of texts, numbers and lists: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(
            str(part) for part in first["loc"] if part not in _TAGS and not str(part).startswith("function-")
        )
        given = first.get("input")
        shown = f" (given: {given!r})" if not isinstance(given, dict) else ""
        raise SpecError(path or "scenario", f"{first['msg'].removeprefix('Value error, ')}{shown}") from error
