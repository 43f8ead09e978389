"""`POST /v1/premiums/recommendation`: the premium formula for a cohort, in exact decimals."""

import datetime as dt
import uuid
from dataclasses import asdict
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from engine.domain.events import LINES_OF_BUSINESS, MAX_ID
from engine.finance.premium import RATE_REVIEW_THRESHOLD, CohortExperience, recommend
from engine.storage.queries import Queries
from serve_apps.problems import PROBLEM_RESPONSES

Factor = Annotated[Decimal, Field(max_digits=20, decimal_places=10)]


class PremiumRequest(BaseModel):
    """A cohort's experience. There is no field for a member: a premium never follows one person's health."""

    model_config = ConfigDict(extra="forbid")
    cohort_id: Annotated[str, Field(min_length=1, max_length=MAX_ID)]
    line_of_business: str | None = Field(default=None, description=f"of: {', '.join(LINES_OF_BUSINESS)}")
    members: int | None = Field(default=None, ge=1, description="size of a cohort that has no enrolled members yet")
    base_premium: Annotated[Decimal, Field(gt=0, max_digits=14, decimal_places=2, description="USD a member a month")]
    health_improvement_factor: Factor = Field(description="share by which the cohort's expected cost fell: 0.02 = 2 %")
    utilisation_factor: Factor = Field(description="change of utilisation: 0.01 = 1 % more")
    regional_cost_index: Factor = Field(description="1 = the national cost level")
    changes_last_12_months: list[Factor] = Field(default=[], max_length=12, description="earlier changes, 0.04 = 4 %")
    effective_date: dt.date


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


def router(queries: Queries) -> APIRouter:
    """The endpoint, given the database."""
    routes = APIRouter(prefix="/v1/premiums", tags=["premiums"], responses=PROBLEM_RESPONSES)

    @routes.post("/recommendation")
    async def recommendation(request: PremiumRequest) -> PremiumResponse:
        """Recommends a cohort's premium, stores the recommendation, and returns every factor."""
        enrolled, market = await run_in_threadpool(queries.cohort, request.cohort_id)
        members = enrolled or request.members
        if members is None:
            raise HTTPException(
                404, f"cohort_id is {request.cohort_id!r}: no such cohort has members; give `members` for a new one"
            )
        line = _line_of_business(request, market)
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
        factors = {name: str(value) for name, value in asdict(result).items()}
        answer = PremiumResponse(
            recommendation_id=str(uuid.uuid4()),
            cohort_id=request.cohort_id,
            line_of_business=line,
            members=members,
            effective_date=request.effective_date,
            inputs=inputs,
            **asdict(result),
        )
        await run_in_threadpool(
            queries.insert,
            "premium_recommendations",
            {
                "recommendation_id": answer.recommendation_id,
                "cohort_id": request.cohort_id,
                "line_of_business": line,
                "effective_date": request.effective_date,
                "base_premium": request.base_premium,
                "recommended_premium": result.recommended_premium,
                "factors": {"inputs": inputs, **factors},
                "rate_review": result.rate_review,
            },
        )
        return answer

    return routes
