"""`POST /v1/simulations` and what became of it: a run is submitted to Ray Jobs and answered from PostgreSQL."""

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, HTTPException, Path, Query, Request, Response
from pydantic import BaseModel, Field

from actors.jobs import SimulationJobs
from engine.domain.events import DEFAULT_TENANT
from engine.domain.tables import TABLE
from serve_apps.access.caller import caller_of
from serve_apps.conditional import UNCHANGED, conditional
from serve_apps.paging import Cursor, cursor_of, place_of
from serve_apps.problems import CONFLICT, PROBLEM_RESPONSES, Refusal
from serve_apps.threads import in_thread
from simulations.errors import SpecError
from simulations.scenario import Scenario, named_files, parse

_CURSOR = "simulations"
_INNER = re.compile(rf"({'|'.join(TABLE)})(_\d{{4}}_\d{{2}})?|pg_.*|alembic_version")
"""Tables of the engine, their monthly partitions, and those of PostgreSQL."""
MOST_OPEN = 20
"""Runs of a tenant that may be queued or running at once: a simulation can take a whole cluster."""
RunId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="the run, as POST answered it")]
_EXAMPLES: list[Any] = [
    {
        "kind": "reserve",
        "seed": 20261123,
        "paths": 10000,
        "portfolio": {"synthetic": {"members": 100000, "seed": 1}},
        "group_by": "market",
        "categories": [
            {
                "name": "inpatient",
                "frequency": {"distribution": "poisson", "rate": "ip_rate"},
                "severity": {"distribution": "lognormal", "mu": 9.1, "sigma": 1.1},
            }
        ],
        "cover": {"specific": {"attachment": 250000}},
    },
    {"kind": "ibnr", "seed": 1, "paths": 10000, "triangle": [[100, 150, 160], [110, 170], [120]]},
]
Document = Annotated[
    dict[str, Any],
    Body(description="A scenario as in a scenario file, but that it names no files", examples=_EXAMPLES),
]


class Progress(BaseModel):
    """Batches that are done; `of` is 0 until the run has begun."""

    done: int
    of: int


class RunResponse(BaseModel):
    """A simulation run."""

    run_id: str
    kind: str
    status: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    paths: int
    seed: int
    progress: Progress
    error: str | None
    submitted_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None


class RunList(BaseModel):
    """Runs, newest first."""

    runs: list[RunResponse]
    next_cursor: str | None = Field(description="asks for the following page; null on the last")


def _response(row: dict[str, Any]) -> RunResponse:
    progress = Progress(done=row["batches_done"], of=row["batches"])
    left_out = ("scenarios", "tenant_id")
    return RunResponse(paths=row["scenarios"], progress=progress, **{k: row[k] for k in row if k not in left_out})


def _checked(document: dict[str, Any], tenant: str) -> Scenario:
    unstorable = next(_unstorable(document), None)
    if unstorable is not None:
        raise SpecError(*unstorable)
    scenario = parse(document)
    for field, name in named_files(scenario):
        raise SpecError(field, f"names the file {name!r}: over HTTP give a view of the database or the data")
    for field, view in named_views(document):
        _check_view(field, view, tenant)
    return scenario


def _unstorable(value: Any, field: str = "") -> Iterator[tuple[str, str]]:
    """Texts, and keys, that PostgreSQL cannot hold: the path of each, and why."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from _unstorable(name, field)
            yield from _unstorable(each, f"{field}.{name}".lstrip("."))
    elif isinstance(value, list):
        for i, each in enumerate(value):
            yield from _unstorable(each, f"{field}.{i}")
    elif isinstance(value, str):
        if "\x00" in value:
            yield field, "a text holds the character U+0000, which cannot be stored"
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            yield field, "a text holds half of a surrogate pair, which is no character"


def named_views(document: Any, field: str = "") -> Iterator[tuple[str, str]]:
    """Views of the database that a checked scenario names, with the path of each."""
    if isinstance(document, Mapping):
        if isinstance(document.get("view"), str):
            yield f"{field}.view".lstrip("."), document["view"]
        for name, value in document.items():
            yield from named_views(value, f"{field}.{name}".lstrip("."))
    elif isinstance(document, list):
        for i, value in enumerate(document):
            yield from named_views(value, f"{field}.{i}")


def _check_view(field: str, view: str, tenant: str) -> None:
    """A tenant sees the views of the schema that has its name; the default tenant those of `public`.

    What a view shows is the operator's decision; the engine's own tables hold every tenant's members.
    """
    schema, _, name = view.lower().rpartition(".")
    own = "public" if tenant == DEFAULT_TENANT else tenant.lower()
    if (schema or "public") != own or _INNER.fullmatch(name):
        raise SpecError(
            field, f"{view!r} is not a view of this tenant: the operator makes those, in the schema {own!r}"
        )


def router(jobs: SimulationJobs) -> APIRouter:
    """The endpoints, given what submits and watches."""
    routes = APIRouter(prefix="/v1/simulations", tags=["simulations"], responses=PROBLEM_RESPONSES)

    async def found(request: Request, run_id: str) -> RunResponse:
        row = await in_thread(jobs.summary, run_id)
        if row is None or row["tenant_id"] != caller_of(request.scope).tenant:
            raise HTTPException(404, f"run_id is {run_id!r}: no such run")
        return _response(row)

    @routes.post("", status_code=202, responses=CONFLICT)
    async def submit(document: Document, request: Request, response: Response) -> RunResponse:
        """Submit a scenario. Answers at once; `Location` is where the run is watched. Takes an Idempotency-Key."""
        tenant = caller_of(request.scope).tenant
        scenario = await in_thread(_checked, document, tenant)
        if await in_thread(jobs.open_runs, tenant) >= MOST_OPEN:
            raise Refusal(429, f"{MOST_OPEN} simulations are queued or running: wait for one", {"Retry-After": "60"})
        run_id = await in_thread(jobs.submit, scenario, document, tenant=tenant)
        response.headers["Location"] = f"/v1/simulations/{run_id}"
        return await found(request, run_id)

    @routes.get("", response_model=RunList, responses=UNCHANGED)
    async def newest(
        request: Request, limit: Annotated[int, Query(ge=1, le=100)] = 20, cursor: Cursor = None
    ) -> Response:
        """The tenant's runs, newest first."""
        place = place_of(cursor, _CURSOR, (dt.datetime, str))
        rows = await in_thread(jobs.summaries, limit + 1, caller_of(request.scope).tenant, place)
        page = rows[:limit]
        last = cursor_of(_CURSOR, page[-1]["submitted_at"], page[-1]["run_id"]) if len(rows) > limit else None
        return conditional(request, RunList(runs=[_response(row) for row in page], next_cursor=last))

    @routes.get("/{run_id}", response_model=RunResponse, responses=UNCHANGED)
    async def run(run_id: RunId, request: Request) -> Response:
        """Where a run stands."""
        return conditional(request, await found(request, run_id))

    @routes.get("/{run_id}/results", response_model=dict[str, Any], responses=UNCHANGED | CONFLICT)
    async def results(run_id: RunId, request: Request) -> Response:
        """The whole result of a run that has succeeded; 409 while there is none."""
        row = await found(request, run_id)
        result = await in_thread(jobs.result, run_id)
        if result is None:
            raise HTTPException(409, f"run {run_id} is {row.status}: {row.error or 'it has no result'}")
        return conditional(request, result)

    @routes.delete("/{run_id}", responses=CONFLICT)
    async def cancel(run_id: RunId, request: Request) -> RunResponse:
        """Cancel a run that has not ended; 409 where it has."""
        row = await found(request, run_id)
        if not await in_thread(jobs.cancel, run_id):
            raise HTTPException(409, f"run {run_id} is {row.status} already")
        return await found(request, run_id)

    return routes
