"""`GET /v1/members/{id}/score/history`: the stored scores of a member, page by page."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from engine.storage.queries import Queries
from serve_apps.access.reads import Reads
from serve_apps.conditional import UNCHANGED, conditional
from serve_apps.members import VOLATILE, MemberId
from serve_apps.paging import Cursor, FormerCursor, cursor_of, place_of
from serve_apps.problems import PROBLEM_RESPONSES, Refusal
from serve_apps.score_codec import stored_answer
from serve_apps.scoring import ScoreResponse
from serve_apps.threads import in_thread

_CURSOR = "history"


class ScoreHistory(BaseModel):
    """A member's scores, newest first."""

    member_id: str
    scores: list[ScoreResponse]
    next_cursor: str | None = Field(description="asks for the following page; null on the last")
    next_before: str | None = Field(deprecated=True, description="`next_cursor` by its former name, until 2027-06-30")


def router(queries: Queries, titles: dict[str, str], reads: Reads) -> APIRouter:
    """The endpoint, given the database, the titles of the interventions by code, and what admits reads."""
    routes = APIRouter(prefix="/v1/members", tags=["members"], responses=PROBLEM_RESPONSES)

    @routes.get("/{member_id:path}/score/history", response_model=ScoreHistory, responses=UNCHANGED)
    async def history(
        member_id: MemberId,
        request: Request,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        cursor: Cursor = None,
        before: FormerCursor = None,
    ) -> Response:
        """The member's stored scores, newest first."""
        if cursor is not None and before is not None:
            raise Refusal(400, "cursor and before are two names of one thing: give cursor alone")
        place = place_of(cursor or before, _CURSOR, (int,))
        await reads.member(request.scope, member_id, "member.score.history")
        rows = await in_thread(queries.score_history, member_id, limit + 1, place and place[0])
        page = rows[:limit]
        following = cursor_of(_CURSOR, page[-1]["seq"]) if len(rows) > limit else None
        answer = {
            "member_id": member_id,
            "scores": [stored_answer(row, titles) for row in page],
            "next_cursor": following,
            "next_before": following,
        }
        return conditional(request, answer, VOLATILE)

    return routes
