"""`GET /v1/members/{id}/score` from the owning shard, or from PostgreSQL with its age; and the score's history."""

import asyncio
import datetime as dt
import json
import time
from typing import Annotated, Any

import ray
from fastapi import APIRouter, HTTPException, Path, Query
from fastapi.concurrency import run_in_threadpool
from pydantic import AwareDatetime, BaseModel
from ray.actor import ActorHandle
from ray.exceptions import RayError

from actors.names import NAMESPACE
from engine.domain.events import MAX_ID
from engine.storage.queries import Queries
from engine.streams.topics import partition_of
from serve_apps.problems import PROBLEM_RESPONSES
from serve_apps.scoring import ScoreResponse, response

_SHARD_SECONDS = 1.0
_OWNER_SECONDS = 5.0
MemberId = Annotated[str, Path(min_length=1, max_length=MAX_ID, description="the member")]


class ScoreHistory(BaseModel):
    """A member's scores, newest first. `next_before` asks for the following page; null on the last."""

    member_id: str
    scores: list[ScoreResponse]
    next_before: dt.datetime | None


class Shards:
    """Asks the shard that holds a member's partition, by the lease; an owner is remembered for a few seconds."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries
        self._owners: dict[int, tuple[float, ActorHandle]] = {}

    async def score(self, member_id: str) -> dict[str, Any] | None:
        """The live score; None where the shard is away, does not answer in time, or does not know the member."""
        partition = partition_of(member_id)
        try:
            handle = await self._owner(partition)
            if handle is None:
                return None
            row: dict[str, Any] | None = await asyncio.wait_for(handle.score.remote(member_id), _SHARD_SECONDS)
        except (RayError, ValueError, TimeoutError):
            self._owners.pop(partition, None)
            return None
        return row

    async def _owner(self, partition: int) -> ActorHandle | None:
        known = self._owners.get(partition)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        name = await run_in_threadpool(self._queries.owner, partition)
        if name is None:
            return None
        handle = ray.get_actor(name, namespace=NAMESPACE)
        self._owners[partition] = (time.monotonic() + _OWNER_SECONDS, handle)
        return handle


def _live(row: dict[str, Any], titles: dict[str, str]) -> ScoreResponse:
    row = {**row, "risk_factors": json.loads(row["risk_factors"])}
    as_of = dt.datetime.fromtimestamp(row["as_of"] / 1e6, dt.UTC)
    return response(row, titles, member_id=row["member_id"], as_of=as_of, answered_by="shard", age_seconds=0.0)


def _stored(row: dict[str, Any], titles: dict[str, str]) -> ScoreResponse:
    age = (dt.datetime.now(dt.UTC) - row["scored_at"]).total_seconds()
    return response(
        row, titles, member_id=row["member_id"], as_of=row["as_of"], answered_by="postgres", age_seconds=max(age, 0.0)
    )


def router(queries: Queries, titles: dict[str, str]) -> APIRouter:
    """The endpoints, given the database and the titles of the interventions by code."""
    routes = APIRouter(prefix="/v1/members", tags=["members"], responses=PROBLEM_RESPONSES)
    shards = Shards(queries)

    @routes.get("/{member_id}/score")
    async def score(member_id: MemberId) -> ScoreResponse:
        """The member's current score: live from the owning shard, else the newest stored one with its age."""
        row = await shards.score(member_id)
        if row is not None:
            return _live(row, titles)
        stored = await run_in_threadpool(queries.score_history, member_id, 1)
        if not stored:
            raise HTTPException(404, f"member_id is {member_id!r}: no such member has a score")
        return _stored(stored[0], titles)

    @routes.get("/{member_id}/score/history")
    async def history(
        member_id: MemberId,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        before: Annotated[AwareDatetime | None, Query(description="only scores as of before this instant")] = None,
    ) -> ScoreHistory:
        """The member's stored scores, newest first."""
        rows = await run_in_threadpool(queries.score_history, member_id, limit, before)
        if not rows and not await run_in_threadpool(queries.member_exists, member_id):
            raise HTTPException(404, f"member_id is {member_id!r}: no such member")
        return ScoreHistory(
            member_id=member_id,
            scores=[_stored(row, titles) for row in rows],
            next_before=rows[-1]["as_of"] if len(rows) == limit else None,
        )

    return routes
