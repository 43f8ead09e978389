"""`POST /v1/simulations` and what became of it: a run is submitted to Ray Jobs and answered from PostgreSQL."""

import datetime as dt
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, HTTPException, Path, Query, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel

from actors.jobs import SimulationJobs
from serve_apps.problems import PROBLEM_RESPONSES
from simulations.errors import SpecError
from simulations.scenario import Scenario, named_files, parse

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


def _response(row: dict[str, Any]) -> RunResponse:
    progress = Progress(done=row["batches_done"], of=row["batches"])
    return RunResponse(paths=row["scenarios"], progress=progress, **{k: v for k, v in row.items() if k != "scenarios"})


def _checked(document: dict[str, Any]) -> Scenario:
    scenario = parse(document)
    for field, name in named_files(scenario):
        raise SpecError(field, f"names the file {name!r}: over HTTP give a view of the database or the data")
    return scenario


def router(jobs: SimulationJobs) -> APIRouter:
    """The endpoints, given what submits and watches."""
    routes = APIRouter(prefix="/v1/simulations", tags=["simulations"], responses=PROBLEM_RESPONSES)

    def found(run_id: str) -> RunResponse:
        row = jobs.summary(run_id)
        if row is None:
            raise HTTPException(404, f"run_id is {run_id!r}: no such run")
        return _response(row)

    @routes.post("", status_code=202)
    async def submit(document: Document, response: Response) -> RunResponse:
        """Submit a scenario. Answers at once; `Location` is where the run is watched."""
        scenario = _checked(document)
        run_id = await run_in_threadpool(jobs.submit, scenario, document)
        response.headers["Location"] = f"/v1/simulations/{run_id}"
        return await run_in_threadpool(found, run_id)

    @routes.get("")
    async def newest(limit: Annotated[int, Query(ge=1, le=100)] = 20) -> RunList:
        """The newest runs."""
        rows = await run_in_threadpool(jobs.summaries, limit)
        return RunList(runs=[_response(row) for row in rows])

    @routes.get("/{run_id}")
    async def run(run_id: RunId) -> RunResponse:
        """Where a run stands."""
        return await run_in_threadpool(found, run_id)

    @routes.get("/{run_id}/results", responses={409: PROBLEM_RESPONSES[404]})
    async def results(run_id: RunId) -> dict[str, Any]:
        """The whole result of a run that has succeeded; 409 while there is none."""
        result = await run_in_threadpool(jobs.result, run_id)
        if result is None:
            row = await run_in_threadpool(found, run_id)
            raise HTTPException(409, f"run {run_id} is {row.status}: {row.error or 'it has no result'}")
        return result

    @routes.delete("/{run_id}")
    async def cancel(run_id: RunId) -> RunResponse:
        """Cancel a run that has not ended; 409 where it has."""
        row = await run_in_threadpool(found, run_id)
        if not await run_in_threadpool(jobs.cancel, run_id):
            raise HTTPException(409, f"run {run_id} is {row.status} already")
        return await run_in_threadpool(found, run_id)

    return routes
