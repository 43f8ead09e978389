"""`POST /v1/premiums/recommendation`: the premium formula for a cohort, in exact decimals; and what was recommended."""

import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import asdict
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from engine.domain.events import LINES_OF_BUSINESS, MAX_ID
from engine.domain.records import STORABLE
from engine.finance.guardrails import check_rating_factors, refuse_persons
from engine.finance.premium import LEAST_CHANGE, MOST_CHANGE, RATE_REVIEW_THRESHOLD, CohortExperience, recommend
from engine.storage.queries import Queries
from serve_apps.access.caller import caller_of
from serve_apps.conditional import UNCHANGED, conditional
from serve_apps.paging import Cursor, cursor_of, place_of
from serve_apps.problems import CONFLICT, PROBLEM_RESPONSES
from serve_apps.threads import in_thread

Factor = Annotated[Decimal, Field(max_digits=20, decimal_places=10)]
Change = Annotated[Decimal, Field(ge=LEAST_CHANGE, le=MOST_CHANGE, max_digits=20, decimal_places=10)]
Ratio = Annotated[Decimal, Field(gt=0, le=1000, max_digits=8, decimal_places=4)]
_CURSOR = "recommendations"


class PremiumRequest(BaseModel):
    """A cohort's experience. There is no field for a member: a premium never follows one person's health."""

    model_config = ConfigDict(extra="forbid")
    cohort_id: Annotated[str, Field(min_length=1, max_length=MAX_ID, pattern=STORABLE)]
    line_of_business: str | None = Field(default=None, description=f"of: {', '.join(LINES_OF_BUSINESS)}")
    members: int | None = Field(
        default=None, ge=1, le=10**9, description="size of a cohort that has no enrolled members yet"
    )
    base_premium: Annotated[Decimal, Field(gt=0, max_digits=14, decimal_places=2, description="USD a member a month")]
    health_improvement_factor: Factor = Field(description="share by which the cohort's expected cost fell: 0.02 = 2 %")
    utilisation_factor: Factor = Field(description="change of utilisation: 0.01 = 1 % more")
    regional_cost_index: Factor = Field(description="1 = the national cost level")
    rating_factors: dict[str, Ratio] = Field(
        default={},
        max_length=20,
        description="by what premiums inside the cohort are to vary: highest to lowest, such as {'age': '3'}",
    )
    changes_last_12_months: list[Change] = Field(default=[], max_length=12, description="earlier changes, 0.04 = 4 %")
    effective_date: dt.date

    @model_validator(mode="before")
    @classmethod
    def _lawful(cls, given: Any) -> Any:
        """Says which law forbids a field before saying that there is no such field."""
        if isinstance(given, Mapping):
            refuse_persons(name for name in given if isinstance(name, str))
        return given


class PremiumResponse(BaseModel):
    """The recommendation for the filing, with every input and factor. Decimals are strings, to stay exact."""

    recommendation_id: str
    cohort_id: str
    line_of_business: str
    members: int
    effective_date: dt.date
    inputs: dict[str, Any]
    health_factor: Decimal = Field(description="1 - health improvement")
    utilisation_factor: Decimal = Field(description="1 + utilisation")
    regional_factor: Decimal
    combined_factor: Decimal
    recommended_premium: Decimal = Field(description="USD a member a month, rounded half up to the cent")
    change: Decimal
    change_12_months: Decimal
    rate_review: bool = Field(description=f"change in 12 months of {RATE_REVIEW_THRESHOLD:%} or more: 45 CFR 154.200")
    basis: str = (
        "Filing recommendation for the cohort as a whole; not a premium of any member (45 CFR 147.102, 146.121)"
    )


class Recommendation(BaseModel):
    """A stored recommendation. Decimals are strings, to stay exact."""

    recommendation_id: str
    cohort_id: str
    line_of_business: str
    effective_date: dt.date
    base_premium: Decimal
    recommended_premium: Decimal
    factors: dict[str, Any] = Field(description="every input and factor")
    rate_review: bool
    created_at: dt.datetime


class Recommendations(BaseModel):
    """The tenant's recommendations, newest first."""

    recommendations: list[Recommendation]
    next_cursor: str | None = Field(description="asks for the following page; null on the last")


def _line_of_business(request: PremiumRequest, enrolled: str) -> str:
    given = request.line_of_business
    if given is not None and given not in LINES_OF_BUSINESS:
        raise HTTPException(422, f"line_of_business is {given!r}: must be one of {', '.join(LINES_OF_BUSINESS)}")
    if given is not None and enrolled and given != enrolled:
        raise HTTPException(422, f"line_of_business is {given!r}: cohort {request.cohort_id!r} is in {enrolled!r}")
    line = given or enrolled
    if not line:
        raise HTTPException(422, f"line_of_business is missing: cohort {request.cohort_id!r} has no members to tell it")
    return line


def _recommended(request: PremiumRequest, members: int, line: str) -> tuple[PremiumResponse, dict[str, Any]]:
    """The recommendation, and its row."""
    check_rating_factors(line, request.rating_factors)
    result = recommend(
        CohortExperience(
            request.cohort_id,
            members,
            request.base_premium,
            request.health_improvement_factor,
            request.utilisation_factor,
            request.regional_cost_index,
            request.changes_last_12_months,
        )
    )
    inputs = request.model_dump(mode="json")
    answer = PremiumResponse(
        recommendation_id=str(uuid.uuid4()),
        cohort_id=request.cohort_id,
        line_of_business=line,
        members=members,
        effective_date=request.effective_date,
        inputs=inputs,
        **asdict(result),
    )
    row = {
        "recommendation_id": answer.recommendation_id,
        "cohort_id": request.cohort_id,
        "line_of_business": line,
        "effective_date": request.effective_date,
        "base_premium": request.base_premium,
        "recommended_premium": result.recommended_premium,
        "factors": {"inputs": inputs, **{name: str(value) for name, value in asdict(result).items()}},
        "rate_review": result.rate_review,
    }
    return answer, row


def router(queries: Queries) -> APIRouter:
    """The endpoints, given the database."""
    routes = APIRouter(prefix="/v1/premiums", tags=["premiums"], responses=PROBLEM_RESPONSES)

    @routes.post("/recommendation", responses=CONFLICT)
    async def recommendation(asked: PremiumRequest, request: Request) -> PremiumResponse:
        """Recommends a cohort's premium, stores the recommendation, and returns every factor.

        Takes an Idempotency-Key.
        """
        tenant = caller_of(request.scope).tenant
        enrolled, market = await in_thread(queries.cohort, asked.cohort_id, tenant)
        members = enrolled or asked.members
        if members is None:
            raise HTTPException(
                404, f"cohort_id is {asked.cohort_id!r}: no such cohort has members; give `members` for a new one"
            )
        answer, row = _recommended(asked, members, _line_of_business(asked, market))
        await in_thread(queries.insert, "premium_recommendations", {**row, "tenant_id": tenant})
        return answer

    @routes.get("/recommendations", response_model=Recommendations, responses=UNCHANGED)
    async def recommendations(
        request: Request, limit: Annotated[int, Query(ge=1, le=100)] = 20, cursor: Cursor = None
    ) -> Response:
        """What was recommended, newest first."""
        place = place_of(cursor, _CURSOR, (dt.datetime, str))
        tenant = caller_of(request.scope).tenant
        rows = await in_thread(queries.recommendations, tenant, limit + 1, place)
        page = rows[:limit]
        last = cursor_of(_CURSOR, page[-1]["created_at"], page[-1]["recommendation_id"]) if len(rows) > limit else None
        return conditional(
            request, Recommendations(recommendations=[Recommendation(**row) for row in page], next_cursor=last)
        )

    @routes.get("/recommendations/{recommendation_id}", response_model=Recommendation, responses=UNCHANGED)
    async def one_recommendation(
        recommendation_id: Annotated[str, Path(pattern="^[0-9a-f-]{36}$")], request: Request
    ) -> Response:
        """One recommendation."""
        tenant = caller_of(request.scope).tenant
        rows = await in_thread(queries.recommendations, tenant, 1, None, recommendation_id)
        if not rows:
            raise HTTPException(404, f"recommendation_id is {recommendation_id!r}: no such recommendation")
        return conditional(request, Recommendation(**rows[0]))

    return routes
