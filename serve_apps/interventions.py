"""`GET /v1/interventions`: the catalogue, with the evidence behind each entry."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Request, Response
from pydantic import BaseModel, Field

from engine.scoring.health_score import CATEGORIES
from engine.scoring.interventions import Intervention
from serve_apps.conditional import UNCHANGED, conditional
from serve_apps.problems import PROBLEM_RESPONSES


class InterventionResponse(BaseModel):
    """An entry of the catalogue."""

    code: str
    title: str = Field(description="what a member reads")
    factors: list[str] = Field(description="risk factors it answers; none where it is for everyone of the category")
    minimum_category: str = Field(description="offered from this risk category on")
    evidence: str = Field(description="why it is offered")


class Catalogue(BaseModel):
    """All interventions, in the catalogue's order."""

    version: str = Field(description="version of the scoring rules the catalogue belongs to")
    interventions: list[InterventionResponse]


def _told(entry: Intervention) -> InterventionResponse:
    return InterventionResponse(
        code=entry.code,
        title=entry.title,
        factors=list(entry.factors),
        minimum_category=CATEGORIES[entry.minimum_category],
        evidence=entry.evidence,
    )


def router(catalogue: Sequence[Intervention], version: str) -> APIRouter:
    """The endpoints, given the catalogue and the version of the rules it belongs to."""
    routes = APIRouter(prefix="/v1/interventions", tags=["interventions"], responses=PROBLEM_RESPONSES)
    entries = {entry.code: _told(entry) for entry in catalogue}
    whole = Catalogue(version=version, interventions=list(entries.values()))

    @routes.get("", response_model=Catalogue, responses=UNCHANGED)
    async def all_interventions(request: Request) -> Response:
        """The whole catalogue: it is short, so it has no pages."""
        return conditional(request, whole)

    @routes.get("/{code}", response_model=InterventionResponse, responses=UNCHANGED)
    async def one_intervention(code: Annotated[str, Path(max_length=64)], request: Request) -> Response:
        """One entry."""
        if code not in entries:
            raise HTTPException(404, f"code is {code!r}: no such intervention")
        return conditional(request, entries[code])

    return routes
