"""`/healthz` and `/readyz`: whether this process lives, and whether each part behind it answers."""

from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from engine.errors import StorageError, StreamError
from engine.storage.queries import Queries
from engine.streams import topics
from serve_apps.access.caller import OPS, may
from serve_apps.threads import in_thread


class Part(BaseModel):
    """One part of the system."""

    ready: bool
    detail: str = ""


class Readiness(BaseModel):
    """Whether requests can be answered in full, and which part says no."""

    ready: bool
    parts: dict[Literal["postgres", "kafka", "shards"], Part]


def _postgres(queries: Queries) -> Part:
    try:
        current = queries.is_ready()
    except StorageError as error:
        return Part(ready=False, detail=str(error))
    return Part(ready=current, detail="" if current else "the schema is behind: run vitanexus migrate")


def _kafka(bootstrap: str) -> Part:
    try:
        topics.identities(bootstrap, timeout_ms=1500)
    except StreamError as error:
        return Part(ready=False, detail=str(error))
    return Part(ready=True)


def _shards(queries: Queries) -> Part:
    try:
        owned = queries.owned_partitions()
    except StorageError:
        return Part(ready=False, detail="not known while PostgreSQL is away")
    missing = topics.PARTITIONS - owned
    return Part(
        ready=missing == 0, detail=f"{missing} of {topics.PARTITIONS} partitions have no owner" if missing else ""
    )


def router(queries: Queries, bootstrap: str) -> APIRouter:
    """The endpoints, given the database and the broker."""
    routes = APIRouter(tags=["health"])

    @routes.get("/healthz")
    async def healthz() -> dict[str, str]:
        """This process answers."""
        return {"status": "ok"}

    @routes.get("/readyz", responses={503: {"model": Readiness}})
    async def readyz(request: Request, response: Response) -> Readiness:
        """Every part answers, or 503 and which does not; why not is told to callers with the scope `ops`."""
        parts = {
            "postgres": await in_thread(_postgres, queries),
            "kafka": await in_thread(_kafka, bootstrap),
            "shards": await in_thread(_shards, queries),
        }
        ready = all(part.ready for part in parts.values())
        if not may(request.scope, OPS):
            parts = {name: Part(ready=part.ready) for name, part in parts.items()}
        response.status_code = 200 if ready else 503
        return Readiness(ready=ready, parts=parts)

    return routes
