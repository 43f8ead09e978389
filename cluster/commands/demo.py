"""`vitanexus demo`: the main job, end to end, on one machine."""

import contextlib
import shutil
import time
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cluster.commands.stack import DEFAULT

_JOB = "cluster.demo"
_console = Console(highlight=False)


def demo(
    members: Annotated[int, typer.Option(help="synthetic members", min=11)] = 1000,
    days: Annotated[int, typer.Option(help="days of readings", min=1, max=366)] = 30,
    seed: Annotated[int, typer.Option(help="seed of the synthetic population")] = 2025,
    data: Annotated[
        Path | None,
        typer.Option(help="use the real files in this folder (fitbit_fitabase_2016, tuva_demo_100) instead"),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="leave the stack running until Ctrl-C")] = False,
    directory: Annotated[Path, typer.Option("--dir", help="state directory; emptied first")] = DEFAULT / "demo",
) -> None:
    """Run the main job: events in, scores and a premium out, then check that nothing was lost.

    Starts the whole stack, sends a month of readings, claims, labs and self reports through Kafka into the member
    shards, scores everybody, asks the API for a score and a premium recommendation, checks itself, and stops.
    """
    from cluster.stack import ray_environment, serving_environment
    from cluster.stack.orphans import down
    from engine.settings import load_settings

    started, settings = time.monotonic(), load_settings()
    down(directory)
    shutil.rmtree(directory, ignore_errors=True)
    ray_environment.prepare(directory, settings.ray.address)
    serving_environment.prepare(directory)
    from cluster.bootstrap import stack
    from cluster.memory import PeakMemory

    local = stack(directory, settings, lambda text: _console.print(f"[dim]{text} ...[/dim]"), [_JOB], jobs=keep)
    with PeakMemory() as memory, local as endpoints:
        up = time.monotonic() - started
        _console.print(f"the stack is up after {up:.1f} s: {endpoints.http}/docs")
        outcome = import_module(_JOB).run(endpoints, members, days, seed, data)
        if keep:
            _console.print(f"kept running: {endpoints.http}/docs   Ctrl-C stops everything")
            with contextlib.suppress(KeyboardInterrupt):
                local.watch()
    seconds = time.monotonic() - started
    _console.print(f"{seconds:.1f} s in all, {up:.1f} s of them to start; peak memory {memory.peak_bytes / 1e9:.2f} GB")
    verdict = "[green]check holds[/green]" if outcome.holds else "[red]CHECK FAILS[/red]"
    _console.print(
        f"{verdict}: {outcome.produced:,} produced = {outcome.applied:,} applied + {outcome.duplicates:,} duplicates + "
        f"{outcome.dead_letters:,} dead letters + {outcome.pending:,} held for members not enrolled; "
        f"{outcome.scored:,} of {outcome.members:,} members scored"
    )
    if not outcome.holds:
        raise typer.Exit(1)
