"""`vitanexus jobs`: simulations on a cluster through Ray Jobs, their rows in PostgreSQL."""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from cluster.commands.ray_session import ray_session
from cluster.commands.simulate import runner, show, tell_scenario
from cluster.commands.stack import DEFAULT, Directory
from cluster.stack import ray_environment
from engine.errors import JobError

if TYPE_CHECKING:
    from actors.jobs import SimulationJobs

jobs = typer.Typer(
    help="Simulations on a cluster: submit, list, show, logs, cancel.",
    epilog="Needs a stack (`vitanexus up`), or VITANEXUS_POSTGRES_URL and VITANEXUS_RAY_JOBS_URL of a cluster.",
    no_args_is_help=True,
)
Run = Annotated[str, typer.Argument(help="the run's id, as `jobs submit` and `jobs list` print it")]
_console = Console(highlight=False)


@contextlib.contextmanager
def _connected(directory: Path) -> Iterator["SimulationJobs"]:
    ray_environment.join(directory)  # before anything imports Ray
    from actors.jobs import SimulationJobs
    from cluster.bootstrap import connect
    from engine.storage.runs import Runs

    endpoints = connect(directory, "postgres", "jobs")
    runs = Runs(endpoints.postgres, pool_size=1)
    try:
        yield SimulationJobs(runs, endpoints.jobs, str(directory.resolve()))
    finally:
        runs.close()


@jobs.command()
def submit(
    scenario: Annotated[Path, typer.Argument(help="YAML file; the files it names are sent along")],
    paths: Annotated[int | None, typer.Option(help="number of scenarios, in place of the file's")] = None,
    seed: Annotated[int | None, typer.Option(help="seed, in place of the file's")] = None,
    out: Annotated[
        Path | None, typer.Option(help="folder the cluster can write: report and checkpoint; results are stored anyhow")
    ] = None,
    directory: Directory = DEFAULT,
    check: Annotated[bool, typer.Option("--check", help="only validate; say method, cost and memory")] = False,
) -> None:
    """Submit a scenario; prints the run's id.

    Example: vitanexus jobs submit configs/scenarios/reserve.yaml --paths 100000
    """
    from cluster.bootstrap import where
    from cluster.simulation.files import Inputs, read_scenario
    from simulations.scenario import named_files

    changes = {name: value for name, value in (("paths", paths), ("seed", seed)) if value is not None}
    spec, document = read_scenario(scenario, changes)
    if check:
        tell_scenario(spec, Inputs(scenario.parent, where(directory).postgres))
        return
    with _connected(directory) as held, tempfile.TemporaryDirectory() as staging:
        names = [name for _, name in named_files(spec)]
        for name in names:
            _stage(scenario.parent, name, Path(staging))
        run_id = held.submit(spec, document, Path(staging) if names else None, str(out.resolve()) if out else "")
    typer.echo(run_id)


def _stage(folder: Path, name: str, staging: Path) -> None:
    source, target = folder / name, (staging / name).resolve()
    if not source.is_file():
        raise JobError(f"{source} is not a file")
    if not target.is_relative_to(staging.resolve()):
        raise JobError(f"{name} is outside the scenario's folder: put it there, or name a view of the database")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


@jobs.command("list")
def show_all(
    limit: Annotated[int, typer.Option(help="the newest so many", min=1, max=1000)] = 20, directory: Directory = DEFAULT
) -> None:
    """List the newest runs."""
    table = Table(Column("run", no_wrap=True), "kind", "scenarios", "status", "batches", "submitted", "seconds")
    with _connected(directory) as held:
        for row in held.summaries(limit):
            table.add_row(row["run_id"], row["kind"], f"{row['scenarios']:,}", row["status"], _batches(row),
                          f"{row['submitted_at']:%Y-%m-%d %H:%M:%S}", _seconds(row))  # fmt: skip
    Console(highlight=False, width=max(_console.width, 120)).print(table)


def _batches(row: dict[str, Any]) -> str:
    return f"{row['batches_done']}/{row['batches']}" if row["batches"] else ""


def _seconds(row: dict[str, Any]) -> str:
    if row["started_at"] is None or row["finished_at"] is None:
        return ""
    return f"{(row['finished_at'] - row['started_at']).total_seconds():.1f}"


@jobs.command("show")
def show_one(
    run: Run,
    as_json: Annotated[bool, typer.Option("--json", help="the whole result as JSON")] = False,
    directory: Directory = DEFAULT,
) -> None:
    """Show a run and, once it has succeeded, its result."""
    with _connected(directory) as held:
        row, result = _known(held, run), held.result(run)
    if as_json:
        typer.echo(json.dumps(result, indent=1))
        return
    _console.print(f"{row['kind']} {run}: {row['status']} {_batches(row)}".rstrip())
    if row["error"]:
        _console.print(f"error: {row['error']}", markup=False)
    if result is not None:
        show(result)


def _known(held: "SimulationJobs", run: str) -> dict[str, Any]:
    row = held.summary(run)
    if row is None:
        raise JobError(f"run {run!r} is not known to this database: `vitanexus jobs list` shows the newest")
    return row


@jobs.command()
def logs(run: Run, directory: Directory = DEFAULT) -> None:
    """Print what a run's job has printed."""
    with _connected(directory) as held:
        _known(held, run)
        typer.echo(held.logs(run), nl=False)


@jobs.command()
def cancel(run: Run, directory: Directory = DEFAULT) -> None:
    """Cancel a run that has not ended."""
    with _connected(directory) as held:
        row = _known(held, run)
        if not held.cancel(run):
            raise JobError(f"run {run} has {row['status']} already: nothing to cancel")
    typer.echo("cancelled")


@jobs.command("run", hidden=True)
def execute(
    run: Run,
    out: Annotated[Path | None, typer.Option(help="folder for report and checkpoint")] = None,
    directory: Directory = DEFAULT,
) -> None:
    """Run a queued run here: what a submitted job does."""
    ray_environment.join(directory)
    from cluster.bootstrap import connect
    from cluster.simulation import stored
    from engine.storage.runs import Runs

    endpoints = connect(directory, "postgres")
    database = endpoints.postgres
    runs = Runs(database, pool_size=1)
    with ray_session(0, _cluster_of_job(endpoints.ray)) as workers:
        show(stored.execute(runs, run, runner(workers, growing=True), database, out, typer.echo))
    runs.close()


def _cluster_of_job(known: str) -> str:
    """Ray's address for a job: of the stack it was given where that has one.

    Ray itself tells a job the address of some cluster of the machine, which need not be the one that took the job
    (ray.dashboard's job supervisor asks for "auto").
    """
    return known or os.environ.get("RAY_ADDRESS", "auto")
