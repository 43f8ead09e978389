"""`vitanexus demo`: the main job, end to end, on one machine."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from cluster.commands.stack import DEFAULT
from cluster.stack import ray_environment


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
    from cluster.stack.orphans import down

    down(directory)
    shutil.rmtree(directory, ignore_errors=True)
    ray_environment.prepare(directory)
    from cluster.demo import run

    if not run(members, days, seed, data, keep, directory):
        raise typer.Exit(1)
