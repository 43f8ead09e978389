"""`GET /v1/members/{id}/score` and `/factors` from the owning shard, or from PostgreSQL with its age."""

import datetime as dt
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Request, Response
from pydantic import BaseModel

from engine.domain.events import MAX_ID
from engine.domain.records import STORABLE
from engine.storage.queries import Queries
from serve_apps.access.reads import Reads
from serve_apps.conditional import UNCHANGED, conditional
from serve_apps.live_scores import LiveScores
from serve_apps.problems import PROBLEM_RESPONSES
from serve_apps.score_codec import Answer, live_answer, stored_answer
from serve_apps.scoring import Factor, Recommended, ScoreResponse
from serve_apps.threads import in_thread

MemberId = Annotated[
    str,
    Path(
        min_length=1,
        max_length=MAX_ID,
        pattern=STORABLE,
        description="the member; percent-encode what a path cannot hold, a slash too",
    ),
]
"""Whoever can be enrolled can be asked for. Routes take `{member_id:path}`: servers decode %2F before they route."""
VOLATILE = ("age_seconds", "answered_by")
"""What changes of a score though the score does not."""


class Factors(BaseModel):
    """What moves a member's score, largest first, and the interventions that answer it."""

    member_id: str
    category: str
    risk_factors: list[Factor]
    interventions: list[Recommended]
    components: list[str]
    model_version: str
    as_of: dt.datetime


def router(queries: Queries, live: LiveScores, titles: dict[str, str], reads: Reads) -> APIRouter:
    """The endpoints, given the database, the shards' scores, titles of interventions by code, and what admits reads."""
    routes = APIRouter(prefix="/v1/members", tags=["members"], responses=PROBLEM_RESPONSES)

    async def current(member_id: str) -> Answer:
        row = await live.score(member_id)
        if row is not None:
            return live_answer(row, titles)
        rows = await in_thread(queries.score_history, member_id, 1)
        if not rows:
            raise HTTPException(404, f"member_id is {member_id!r}: no score yet")
        return stored_answer(rows[0], titles)

    @routes.get("/{member_id:path}/score", response_model=ScoreResponse, responses=UNCHANGED)
    async def score(member_id: MemberId, request: Request) -> Response:
        """The member's current score: live from the owning shard, else the newest stored one with its age."""
        await reads.member(request.scope, member_id, "member.score")
        return conditional(request, await current(member_id), VOLATILE)

    @routes.get("/{member_id:path}/factors", response_model=Factors, responses=UNCHANGED)
    async def factors(member_id: MemberId, request: Request) -> Response:
        """What moves the member's score, in dollars of predicted cost a year against the average person."""
        await reads.member(request.scope, member_id, "member.factors")
        found = await current(member_id)
        return conditional(request, {name: getattr(found, name) for name in Factors.model_fields})

    return routes
