"""Runs a simulation that is queued in PostgreSQL, and writes back its progress and its end."""

import json
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster.simulation import job, report
from cluster.simulation.files import Inputs
from engine.errors import JobError
from engine.storage.runs import Runs
from simulations.errors import CancelledError
from simulations.reserve import Runner
from simulations.scenario import parse

_SECONDS_BETWEEN = 0.5


class _Told:
    """Progress into the run's row and the job's log, at most twice a second."""

    def __init__(self, runs: Runs, run_id: str, say: Callable[[str], None]) -> None:
        self._runs, self._run_id, self._say, self._next = runs, run_id, say, 0.0

    def __call__(self, done: int, of: int) -> None:
        now = time.monotonic()
        if now < self._next and done < of:
            return
        self._next = now + _SECONDS_BETWEEN
        self._say(f"{done} of {of} batches")
        self._runs.progress(self._run_id, done, of)


def execute(
    runs: Runs, run_id: str, runner: Runner, database: str, out: Path | None, say: Callable[[str], None]
) -> dict[str, Any]:
    """Runs the queued run on files of the current folder, telling `say` how far it is; returns its result.

    With `out`, results, report and checkpoint go there, so that a run killed with its machine can go on. A run that
    was cancelled meanwhile stays so. Raises what the simulation raises, after the run's row has it.
    """
    document = runs.document(run_id, "spec")
    if document is None:
        raise JobError(f"run {run_id!r} is not known to this database")
    if not runs.begin(run_id):
        raise JobError(f"run {run_id} has been {(runs.summary(run_id) or {}).get('status')} and is not run again")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            folder = (out or Path(scratch)) / "checkpoint"
            inputs = Inputs(Path.cwd(), database)
            kept = job.Checkpointed(runner, folder, document, _Told(runs, run_id, say), inputs.hashes)
            outcome = job.run(parse(document), document, inputs, kept, run_id)
        if out is not None:
            job.write(outcome, out, keep_paths=False)
            report.write(outcome, out)
        store(runs, outcome)  # last: who reads that the run has succeeded finds its files
        if out is not None:
            kept.clear()
    except (CancelledError, KeyboardInterrupt):
        runs.end(run_id, "cancelled")
        raise
    except Exception as error:
        runs.end(run_id, "failed", f"{error}" or type(error).__name__)
        raise
    return outcome.result


def store(runs: Runs, outcome: job.Outcome) -> None:
    """Writes the result of a run that has begun."""
    manifest = json.loads(json.dumps(outcome.manifest, default=str))
    runs.succeed(outcome.result["run"], outcome.result, manifest, job.rows(outcome))
