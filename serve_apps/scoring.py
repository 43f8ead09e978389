"""`POST /v1/scores`: scores a record the caller supplies. The schema, and the route behind the quick one of `hot`."""

import datetime as dt
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator, model_validator

from engine.domain.events import CONDITIONS, LINES_OF_BUSINESS, METALS
from engine.domain.metrics import LAB_INDEX, LAB_TESTS, METRIC_INDEX, METRICS
from engine.scoring.record import HealthRecord
from serve_apps.problems import PROBLEM_RESPONSES
from serve_apps.records import (
    DIAGNOSIS,
    FIRST_BIRTH,
    FUTURE,
    MOST_COST,
    MOST_COUNT,
    MOST_DIAGNOSES,
    MOST_DRUGS,
    MOST_OBSERVED,
    NDC,
    SERVICES,
    record_of,
)
from serve_apps.score_codec import plain
from serve_apps.scores import Scores

Cost = Annotated[float, Field(ge=0, le=MOST_COST, description="USD in the last 12 months")]
Count = Annotated[int, Field(ge=0, le=MOST_COUNT, description="number in the last 12 months")]
Rating = Annotated[int, Field(ge=1, le=5, description="1 excellent to 5 poor")]


class Utilisation(BaseModel):
    """Care of the last 12 months in one service category."""

    model_config = ConfigDict(extra="forbid")
    cost: Cost = 0.0
    count: Count = 0


class WearableMonth(BaseModel):
    """What a wearable says of the last 30 days: mean daily value, and days that have readings."""

    model_config = ConfigDict(extra="forbid")
    mean: float
    days: Annotated[int, Field(ge=1, le=30)]


class ScoreRequest(BaseModel):
    """A person as the caller knows them. Leave out what is not known; zero means none."""

    model_config = ConfigDict(extra="forbid")
    birth_date: dt.date
    sex: Literal["female", "male"]
    as_of: AwareDatetime | None = Field(default=None, description="when this was so; now where it is left out")
    care: dict[Literal[SERVICES], Utilisation] = Field(
        default={}, description="care of the last 12 months by service category; one left out had none"
    )
    other_cost: Cost = 0.0
    diagnoses: list[str] = Field(
        default=[], max_length=MOST_DIAGNOSES, description="ICD-10-CM codes on claims of this year and the last"
    )
    conditions: list[str] = Field(default=[], description=f"of: {', '.join(CONDITIONS)}")
    general_health: Rating | None = None
    mental_health: Rating | None = None
    wearables: dict[str, WearableMonth] = Field(default={}, description="30 days by metric")
    vitals: dict[str, float] = Field(default={}, description="vital signs of the last 24 hours by metric, in its unit")
    labs: dict[str, float] = Field(default={}, description="latest results of two years by test, in its unit")
    observed_days: Annotated[int, Field(ge=0, le=MOST_OBSERVED)] = Field(
        default=365, description="days for which the person's care has been known; fewer than 365 widen the interval"
    )
    line_of_business: Literal[LINES_OF_BUSINESS] | None = Field(
        default=None,
        description="market of the policy: of individual and small_group the clinical component is HHS-HCC, "
        "`clinical_commercial`, of others CMS-HCC, `clinical`",
    )
    metal: Literal[METALS] | None = Field(
        default=None, description="level of an individual or small-group plan; silver where it is left out"
    )
    drugs: list[str] = Field(
        default=[],
        max_length=MOST_DRUGS,
        description="NDCs dispensed this year and the last, of 11 digits or 5-4-2; they count in HHS-HCC",
    )

    @field_validator("conditions")
    @classmethod
    def _known(cls, value: list[str]) -> list[str]:
        for code in value:
            if code not in CONDITIONS:
                raise ValueError(f"{code!r} is not one of {', '.join(CONDITIONS)}")
        return value

    @field_validator("diagnoses")
    @classmethod
    def _codes(cls, value: list[str]) -> list[str]:
        for code in value:
            if not DIAGNOSIS.fullmatch(code):
                raise ValueError(f"{code!r} is not an ICD-10-CM code")
        return value

    @field_validator("drugs")
    @classmethod
    def _dispensed(cls, value: list[str]) -> list[str]:
        for code in value:
            if not NDC.fullmatch(code):
                raise ValueError(f"{code!r} is not an NDC of 11 digits")
        return value

    @field_validator("wearables", "vitals")
    @classmethod
    def _possible(cls, value: dict[str, Any]) -> dict[str, Any]:
        for code, measured in value.items():
            if code not in METRIC_INDEX:
                raise ValueError(f"{code!r} is not one of {', '.join(METRIC_INDEX)}")
            metric = METRICS[METRIC_INDEX[code]]
            number = measured.mean if isinstance(measured, WearableMonth) else measured
            if not metric.low <= number <= metric.high:
                raise ValueError(f"{code} is {number:g}: lies between {metric.low:g} and {metric.high:g} {metric.unit}")
        return value

    @field_validator("labs")
    @classmethod
    def _resulted(cls, value: dict[str, float]) -> dict[str, float]:
        for code, result in value.items():
            if code not in LAB_INDEX:
                raise ValueError(f"{code!r} is not one of {', '.join(LAB_INDEX)}")
            test = LAB_TESTS[LAB_INDEX[code]]
            if not test.low <= result <= test.high:
                raise ValueError(f"{code} is {result:g}: lies between {test.low:g} and {test.high:g} {test.unit}")
        return value

    @model_validator(mode="after")
    def _born(self) -> "ScoreRequest":
        if self.as_of is None:
            self.as_of = dt.datetime.now(dt.UTC)
        if self.as_of > dt.datetime.now(dt.UTC) + FUTURE:
            raise ValueError(f"as_of is {self.as_of.isoformat()}: lies in the future")
        if not FIRST_BIRTH <= self.birth_date <= self.as_of.date():
            raise ValueError(f"birth_date is {self.birth_date.isoformat()}: must lie between 1880 and as_of")
        return self

    def record(self) -> HealthRecord:
        """The record in the engine's terms."""
        assert self.as_of is not None
        return record_of(self, self.as_of)


class PredictedCost(BaseModel):
    """Predicted cost of the next 12 months in US dollars, with its 90 % prediction interval."""

    mean: float
    lower_90: float
    upper_90: float


class Factor(BaseModel):
    """A risk factor; `dollars` a year against the average person, null for vital signs."""

    code: str
    label: str
    direction: Literal["raises", "lowers"]
    dollars: float | None
    value: float | None
    unit: str


class Recommended(BaseModel):
    """An intervention of the catalogue."""

    code: str
    title: str


class ScoreResponse(BaseModel):
    """A health score: 1 healthiest to 100, a percentile of predicted cost among the population of the United States."""

    member_id: str | None = None
    score: float | None = Field(ge=1, le=100, description="null where data are insufficient")
    category: Literal["Low", "Moderate", "High", "Critical", "Insufficient data"]
    predicted_annual_cost: PredictedCost | None = Field(description="null where data are insufficient")
    news2: int | None = Field(description="NEWS2 aggregate of the last 24 hours' vital signs; null without any")
    risk_factors: list[Factor]
    interventions: list[Recommended]
    components: list[str] = Field(description="component models that took part")
    model_version: str
    as_of: dt.datetime = Field(description="event time of the latest event the score knows of")
    answered_by: Literal["request", "shard", "postgres"]
    age_seconds: float = Field(description="time since the score was stored; 0 where it is live")


def response(row: dict[str, Any], titles: dict[str, str], **more: Any) -> ScoreResponse:
    """The response for a row of the score history or a scored record."""
    names = ("score", "category", "news2", "components", "model_version")
    return ScoreResponse(
        **{name: row[name] for name in names},
        risk_factors=msgspec.to_builtins(row["risk_factors"]),
        predicted_annual_cost=None
        if row["predicted_cost"] is None
        else PredictedCost(mean=row["predicted_cost"], lower_90=row["cost_lower_90"], upper_90=row["cost_upper_90"]),
        interventions=[Recommended(code=code, title=titles.get(code, code)) for code in row["interventions"]],
        **more,
    )


def router(scores: Scores, titles: dict[str, str]) -> APIRouter:
    """The endpoint, given what scores and the titles of the interventions by code."""
    routes = APIRouter(prefix="/v1", tags=["scores"], responses=PROBLEM_RESPONSES)

    @routes.post("/scores")
    async def score_a_record(request: ScoreRequest) -> ScoreResponse:
        """Scores a record the caller supplies; nothing is stored."""
        row = plain(await scores.score(request.record()))
        return response(row, titles, as_of=request.as_of, answered_by="request", age_seconds=0.0)

    return routes
