"""Simulation runs: queued, running, then succeeded, failed or cancelled. An end stays what it was."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from engine.domain.events import DEFAULT_TENANT
from engine.storage.database import Database
from engine.storage.schema import CORE

_RUNS, _RESULTS = CORE["simulation_runs"], CORE["simulation_results"]
_OPEN = ("queued", "running")
_SUMMARY = [column for column in _RUNS.c if column.name not in ("spec", "result", "manifest")]


class Runs(Database):
    """The rows of `simulation_runs` and `simulation_results`."""

    def queue(self, run_id: str, spec: Mapping[str, Any], engine_version: str, tenant: str = DEFAULT_TENANT) -> None:
        """Enters a run that waits to begin. `spec` has at least kind and seed."""
        row = {
            "run_id": run_id,
            "tenant_id": tenant,
            "kind": spec["kind"],
            "spec": dict(spec),
            "engine_version": engine_version,
        }
        self._write(insert(_RUNS).values(**row, seed=spec["seed"], scenarios=spec["paths"], status="queued"))

    def begin(self, run_id: str) -> bool:
        """Marks a queued run as running; False where it was cancelled or has begun already."""
        return self._change(run_id, ("queued",), status="running", started_at=sa.func.clock_timestamp())

    def progress(self, run_id: str, done: int, of: int) -> None:
        """How many batches of a running run are done."""
        self._change(run_id, ("running",), batches_done=done, batches=of)

    def succeed(
        self, run_id: str, result: Mapping[str, Any], manifest: Mapping[str, Any], measures: Sequence[Mapping[str, Any]]
    ) -> bool:
        """Stores what a running run found, document and measures in one transaction; False where it had ended."""
        update = (
            sa.update(_RUNS)
            .where(_RUNS.c.run_id == run_id, _RUNS.c.status == "running")
            .values(
                status="succeeded",
                finished_at=sa.func.clock_timestamp(),
                result=dict(result),
                manifest=dict(manifest),
            )
        )
        return self._write(update, insert(_RESULTS).values([dict(row) for row in measures]))

    def end(self, run_id: str, status: str, error: str = "") -> bool:
        """Ends an open run as failed or cancelled; False where it had ended."""
        return self._change(run_id, _OPEN, status=status, error=error or None, finished_at=sa.func.clock_timestamp())

    def summary(self, run_id: str) -> dict[str, Any] | None:
        """The run without its documents, or None."""
        found = self._rows(sa.select(*_SUMMARY).where(_RUNS.c.run_id == run_id))
        return dict(found[0]) if found else None

    def summaries(
        self, limit: int, tenant: str | None = None, before: tuple[dt.datetime, str] | None = None
    ) -> list[dict[str, Any]]:
        """The newest runs without their documents; only the tenant's, where one is named.

        `before` (submitted_at, run_id) names the last of the page before.
        """
        query = sa.select(*_SUMMARY)
        if tenant is not None:
            query = query.where(_RUNS.c.tenant_id == tenant)
        if before is not None:
            query = query.where(sa.tuple_(_RUNS.c.submitted_at, _RUNS.c.run_id) < sa.tuple_(*before))
        ordered = query.order_by(_RUNS.c.submitted_at.desc(), _RUNS.c.run_id.desc())
        return [dict(row) for row in self._rows(ordered.limit(limit))]

    def open_runs(self, tenant: str) -> int:
        """Number of the tenant's runs that have not ended."""
        query = sa.select(sa.func.count().label("n")).where(_RUNS.c.tenant_id == tenant, _RUNS.c.status.in_(_OPEN))
        return int(self._rows(query)[0]["n"])

    def document(self, run_id: str, name: str) -> dict[str, Any] | None:
        """The run's `spec`, `result` or `manifest`; None where it has none."""
        found = self._rows(sa.select(_RUNS.c[name]).where(_RUNS.c.run_id == run_id))
        return dict(found[0][name]) if found and found[0][name] is not None else None

    def _change(self, run_id: str, states: Sequence[str], **values: Any) -> bool:
        statement = sa.update(_RUNS).where(_RUNS.c.run_id == run_id, _RUNS.c.status.in_(states)).values(**values)
        return self._write(statement)
