"""`vitanexus simulate`: reserve, premium and IBNR distributions from a scenario file."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from cluster.commands.ray_session import ray_session
from cluster.commands.stack import DEFAULT

if TYPE_CHECKING:
    from cluster.simulation.files import Inputs
    from cluster.simulation.job import Outcome
    from simulations.reserve import Runner
    from simulations.scenario import Scenario

_console = Console(highlight=False)


def simulate(
    scenario: Annotated[Path, typer.Argument(help="YAML file; configs/scenarios/ has one of each kind")],
    paths: Annotated[int | None, typer.Option(help="number of scenarios, in place of the file's")] = None,
    seed: Annotated[int | None, typer.Option(help="seed, in place of the file's")] = None,
    workers: Annotated[int, typer.Option(help="Ray workers; 0 runs in this process on all cores", min=0)] = 0,
    address: Annotated[str, typer.Option(help="Ray cluster; empty starts one here for --workers")] = "",
    out: Annotated[Path, typer.Option(help="folder for results; an unfinished job there is resumed")] = Path("out"),
    keep_paths: Annotated[bool, typer.Option("--keep-paths", help="also write every scenario's costs")] = False,
    store: Annotated[bool, typer.Option("--store", help="write run and measures to PostgreSQL")] = False,
    check: Annotated[bool, typer.Option("--check", help="only validate; say method, cost and memory")] = False,
) -> None:
    """Simulate a scenario: result.json, manifest.json, report.html and plots.

    The same bits on any number of workers. Exit code 2 where the simulation disagrees with its exact twin.
    Example: vitanexus simulate configs/scenarios/reserve.yaml --out out
    """
    from cluster.simulation import job, report
    from cluster.simulation.files import Inputs, read_scenario

    changes = {name: value for name, value in (("paths", paths), ("seed", seed)) if value is not None}
    spec, document = read_scenario(scenario, changes)
    inputs = Inputs(scenario.parent, os.environ.get("VITANEXUS_POSTGRES_URL", ""))
    if check:
        tell_scenario(spec, inputs)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with ray_session(workers, address) as held, Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("batches", total=None)
        kept = job.Checkpointed(
            runner(held, growing=bool(address) and not workers),
            out / "checkpoint",
            document,
            lambda done, of: progress.update(task, completed=done, total=of),
            inputs.hashes,
        )
        outcome = job.run(spec, document, inputs, kept)
    job.write(outcome, out, keep_paths)
    if store:
        _store(outcome, document)
    page = report.write(outcome, out)
    kept.clear()
    if kept.resumed:
        typer.echo(f"{kept.resumed} batches were taken from the checkpoint of an earlier run")
    show(outcome.result)
    for note in outcome.result["notes"]:
        typer.echo(note)
    typer.echo(f"{page or out / 'result.json'}")
    if outcome.agrees is False:
        raise typer.Exit(2)


def tell_scenario(spec: "Scenario", inputs: "Inputs") -> None:
    """Prints what the scenario's files hold, and how, how long and in how much memory it would be simulated."""
    from simulations.choose import choose
    from simulations.pool import join
    from simulations.scenario import IbnrScenario, PremiumScenario

    if isinstance(spec, IbnrScenario):
        triangle, _ = inputs.triangle(spec)
        _told(inputs)
        typer.echo(f"valid: {triangle.size} origins, {spec.paths:,} resamples")
        return
    pool = join(spec, inputs.portfolio(spec), inputs.losses)
    if isinstance(spec, PremiumScenario):
        inputs.experience(spec.premium)
    _told(inputs)
    choice = choose(pool)
    typer.echo(f"valid: {len(pool.exposure.groups):,} members in {len(pool.names)} groups")
    typer.echo(f"method {choice.method}: {choice.why}")
    for option in choice.options:
        state = f"no: {option.refusal}" if option.refusal else f"about {option.seconds:.3g} core-seconds"
        typer.echo(f"  {option.method:<10} {state}, {option.memory / 1e6:,.0f} MB")


def _told(inputs: "Inputs") -> None:
    from cluster.commands.described import tell_columns

    for name, table in inputs.tables.items():
        tell_columns(name, table)
    for note in inputs.notes:
        typer.echo(note)


def runner(workers: int, growing: bool = False) -> "Runner":
    """Runs batches on Ray workers, or without any in this process on all cores.

    On a cluster that grows, `workers` is what it has now; batches that wait ask for more (configs/autoscaling.toml).
    """
    if not workers:
        from simulations.reserve import here
        from simulations.threads import cores

        return here(cores())
    from actors.simulation import RayRunner, Workers
    from engine.settings import load_simulation_scaling

    return RayRunner(Workers(workers, *(load_simulation_scaling() if growing else ())))


def _store(outcome: "Outcome", document: dict[str, Any]) -> None:
    from importlib import metadata

    from cluster.bootstrap import connect
    from cluster.simulation import stored
    from engine.storage.runs import Runs

    runs, result = Runs(connect(DEFAULT, "postgres").postgres, pool_size=1), outcome.result
    runs.queue(
        result["run"], document | {"seed": result["seed"], "paths": result["paths"]}, metadata.version("vitanexus")
    )
    runs.begin(result["run"])
    stored.store(runs, outcome)
    runs.close()


def show(result: dict[str, Any]) -> None:
    """Prints a result's main figures."""
    part = "unpaid" if result["kind"] == "ibnr" else "net"
    whole = result["groups"]["total"][part]
    table = Table(
        "measure", "dollars", "error", title=f"{result['kind']}: {part} cost of {result['paths']:,} scenarios"
    )
    table.add_row("mean", f"{whole['mean']:,.0f}", f"se {whole['mean_se']:,.0f}")
    for quantile, tail in zip(whole["quantiles"], whole["tvar"], strict=True):
        span = f"{quantile['lower']:,.0f} to {quantile['upper']:,.0f}"
        table.add_row(f"VaR {quantile['level']:.1%}", f"{quantile['value']:,.0f}", span)
        table.add_row(f"TVaR {tail['level']:.1%}", f"{tail['value']:,.0f}", f"se {tail['se']:,.0f}")
    _console.print(table)
    _console.print(f"method {result['method']}: {result['why_method']}")
    if part == "net":
        _console.print(f"formula reserve {result['reserve']['formula']:,.0f}; exact twin: {result['exact']['verdict']}")
