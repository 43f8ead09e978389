"""`vitanexus up`, `status`, `down`, `migrate`: the local stack."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cluster.stack import ray_environment
from cluster.stack.state import StateDir, describe, processes

Directory = Annotated[Path, typer.Option("--dir", help="state directory of the stack", envvar="VITANEXUS_STATE_DIR")]
DEFAULT = Path(".vitanexus")
_DETACHED_SECONDS = 420.0
_console = Console(stderr=True, highlight=False)


def up(
    directory: Directory = DEFAULT,
    detach: Annotated[bool, typer.Option("--detach", help="run in the background; `vitanexus down` ends it")] = False,
) -> None:
    """Start PostgreSQL, the broker, Ray, the shards and Serve on this machine.

    A URL in the settings replaces a part: VITANEXUS_POSTGRES_URL, VITANEXUS_KAFKA_BOOTSTRAP, VITANEXUS_RAY_ADDRESS.
    Runs until Ctrl-C, or until a part dies, and takes the others down with it.
    """
    from engine.settings import load_settings

    settings = load_settings()
    StateDir(directory).prepare()
    ray_environment.prepare(directory, settings.ray.address)  # before anything imports Ray
    from cluster.stack.supervisor import wait_until_ready

    if detach:
        running = StateDir(directory)
        running.lock()  # says what is running, where something is
        running.unlock()
        with (directory / "supervisor.log").open("wb") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "cluster.cli", "up", "--dir", str(directory)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        state = wait_until_ready(directory, child.pid, _DETACHED_SECONDS)
        typer.echo(describe(state))
        return
    from cluster.stack import serving_environment

    serving_environment.prepare(directory, settings.http.tls_certificate, settings.http.tls_key)
    from cluster.bootstrap import stack

    local = stack(directory, settings, lambda text: _console.print(f"[dim]{text} ...[/dim]"))
    try:
        with local as endpoints:
            typer.echo(describe(StateDir(directory).read()))
            typer.echo(f"API documentation: {endpoints.http}/docs   Ctrl-C stops everything")
            local.watch()
    except KeyboardInterrupt:
        typer.echo("stopped")


def status(
    directory: Directory = DEFAULT,
    watch: Annotated[bool, typer.Option("--watch", help="go on until Ctrl-C")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document, after a second to measure rates")] = False,
    every: Annotated[float, typer.Option(min=1, help="seconds between two readings, with --watch")] = 2.0,
) -> None:
    """Show what runs and how it does: parts, shards, serving, simulations, models.

    Exit code 3 when nothing runs or a part is dead. Of a cluster it is run in the head's pod.
    """
    state = StateDir(directory).read()
    if state is None and "RAY_CLUSTER_NAME" not in os.environ:
        typer.echo(f"nothing runs in {directory}")
        raise typer.Exit(3)
    dead = state is not None and not all(part.process() for part in processes(state))
    if state is not None and not as_json:
        typer.echo(describe(state))
    if dead:
        typer.echo("a part is dead: `vitanexus down` clears up", err=as_json)
        raise typer.Exit(3)
    if state is not None and not state.ready:
        typer.echo("still starting", err=as_json)
        return
    from cluster.observability import live

    live.show(live.source(state), watch, as_json, every)


def down(directory: Directory = DEFAULT) -> None:
    """Stop the stack, and whatever a killed one left behind. Data in PostgreSQL stays."""
    from cluster.stack.orphans import down as end

    typer.echo("stopped" if end(directory) else f"nothing runs in {directory}")


def migrate(directory: Directory = DEFAULT) -> None:
    """Bring the database schema to the newest revision."""
    from cluster.bootstrap import connect
    from engine.storage.migrate import migrate as apply

    before, after = apply(connect(directory, "postgres").postgres)
    typer.echo(f"schema at revision {after}" + ("" if before == after else f" (was {before or 'empty'})"))
