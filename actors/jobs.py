"""Simulations as Ray Jobs: the run's row in PostgreSQL says what to do and what came of it, Ray Jobs does it."""

import datetime as dt
import shlex
import sys
import time
import uuid
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ray.job_submission import JobStatus, JobSubmissionClient

from engine.domain.events import DEFAULT_TENANT
from engine.errors import JobError
from engine.storage.runs import Runs
from simulations.scenario import Scenario

_NO_AGENT = "No available agent"
_AGENT_SECONDS = 60.0
_OPEN = ("queued", "running")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class SimulationJobs:
    """Submits, watches and cancels runs through the Ray Jobs at `url`.

    A job is told its run and the state directory; where it is not on this machine it finds PostgreSQL by its own
    environment. No password goes into a job's description, which everybody who may see the cluster may read.
    """

    def __init__(self, runs: Runs, url: str, state_directory: str) -> None:
        self._runs, self._url, self._state_directory = runs, url, state_directory
        self._made: JobSubmissionClient | None = None

    @property
    def _client(self) -> JobSubmissionClient:
        if not self._url:
            raise JobError("no Ray Jobs to submit to: set VITANEXUS_RAY_JOBS_URL, or start a stack with `vitanexus up`")
        if self._made is None:
            try:
                self._made = JobSubmissionClient(self._url)
            except (ConnectionError, RuntimeError) as error:
                raise JobError(f"Ray Jobs at {self._url} does not answer: {error}") from error
        return self._made

    def submit(
        self,
        scenario: Scenario,
        document: Mapping[str, Any],
        files: Path | None = None,
        out: str = "",
        tenant: str = DEFAULT_TENANT,
    ) -> str:
        """Queues a checked scenario and submits it; returns the run's id. `files` holds the files it names.

        Raises JobError where Ray does not take it; the run is then kept as failed.
        """
        run_id = uuid.uuid4().hex
        full = dict(document) | {"seed": scenario.seed, "paths": scenario.paths}
        client = self._client
        self._runs.queue(run_id, full, metadata.version("vitanexus"), tenant)
        # a cluster elsewhere has its own interpreter on its path
        python = sys.executable if urlsplit(self._url).hostname in _LOOPBACK else "python"
        words = [python, "-m", "cluster.cli", "jobs", "run", run_id]
        words += ["--dir", self._state_directory] if self._state_directory else []
        words += ["--out", out] if out else []
        environment = {"working_dir": str(files)} if files is not None else {}
        try:
            _submitted(client, shlex.join(words), _job(run_id), environment)
        except (RuntimeError, ValueError) as error:
            self._runs.end(run_id, "failed", f"not submitted: {error}")
            raise JobError(f"Ray Jobs at {self._url} did not take the run: {error}") from error
        return run_id

    def summary(self, run_id: str) -> dict[str, Any] | None:
        """The run's row without its documents, or None. A run whose job died without a word is ended as failed."""
        row = self._runs.summary(run_id)
        if row is None or row["status"] not in _OPEN or not self._url:
            return row
        ended = self._ended(run_id)
        if ended is not None:
            self._runs.end(run_id, *ended)
            return self._runs.summary(run_id)
        return row

    def _ended(self, run_id: str) -> tuple[str, str] | None:
        try:
            info = self._client.get_job_info(_job(run_id))
        except RuntimeError as error:
            return ("failed", "the cluster that held the job is gone") if "does not exist" in str(error) else None
        if info.status == JobStatus.STOPPED:
            return "cancelled", "stopped"
        return ("failed", f"the job died: {info.message}") if info.status.is_terminal() else None

    def summaries(
        self, limit: int, tenant: str | None = None, before: tuple[dt.datetime, str] | None = None
    ) -> list[dict[str, Any]]:
        """The newest runs, as `summary` gives each; see Runs.summaries."""
        found = self._runs.summaries(limit, tenant, before)
        return [self.summary(row["run_id"]) or row if row["status"] in _OPEN else row for row in found]

    def open_runs(self, tenant: str) -> int:
        """Runs of the tenant that are queued or running."""
        return self._runs.open_runs(tenant)

    def result(self, run_id: str) -> dict[str, Any] | None:
        """The result of a run that has succeeded, else None."""
        return self._runs.document(run_id, "result")

    def logs(self, run_id: str) -> str:
        """What the job has printed."""
        try:
            return str(self._client.get_job_logs(_job(run_id)))
        except RuntimeError as error:
            raise JobError(f"run {run_id}: Ray keeps no log of it: {error}") from error

    def cancel(self, run_id: str) -> bool:
        """Stops an open run; False where it had ended."""
        if not self._runs.end(run_id, "cancelled"):
            return False
        try:
            self._client.stop_job(_job(run_id))
        except RuntimeError as error:
            raise JobError(f"run {run_id} is marked as cancelled, but its job could not be stopped: {error}") from error
        return True


def _submitted(client: JobSubmissionClient, entrypoint: str, job: str, environment: dict[str, str]) -> None:
    """Submits the job, asking again while the cluster is so young that no agent of its nodes has reported yet."""
    deadline = time.monotonic() + _AGENT_SECONDS
    while True:
        try:
            client.submit_job(entrypoint=entrypoint, submission_id=job, runtime_env=environment)
            return
        except RuntimeError as error:
            if _NO_AGENT not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def _job(run_id: str) -> str:
    return f"simulation-{run_id}"
