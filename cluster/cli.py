"""The command `vitanexus`."""

import sys

import typer

from cluster.commands import (
    backup,
    bench,
    cluster,
    dead_letters,
    demo,
    docs,
    evaluate,
    events,
    hcc,
    jobs,
    models,
    monitor,
    registry,
    series,
    shards,
    simulate,
    stack,
    token,
)
from cluster.stack.process import unproxied_loopback
from engine.errors import VitaNexusError

app = typer.Typer(
    help="Compute engine of a health insurer: live health scores, premium recommendations, simulations.",
    epilog="Begin with `vitanexus demo`. Settings: configs/settings.toml, each overridden by VITANEXUS_<AREA>_<NAME>.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(demo.demo)
app.command()(stack.up)
app.command()(stack.status)
app.command()(stack.down)
app.command()(stack.migrate)
app.command()(events.replay)
app.add_typer(events.score, name="score")
app.add_typer(shards.shards, name="shards")
app.add_typer(series.series, name="series")
app.add_typer(dead_letters.dead_letters, name="dead-letters")
app.command()(simulate.simulate)
app.add_typer(jobs.jobs, name="jobs")
app.add_typer(hcc.hcc, name="hcc")
app.add_typer(models.predict, name="predict")
app.add_typer(models.train, name="train")
app.add_typer(registry.models, name="models")
app.add_typer(monitor.monitor, name="monitor")
app.add_typer(token.token, name="token")
app.command()(evaluate.evaluate)
app.add_typer(backup.backup, name="backup")
app.add_typer(bench.bench, name="bench")
app.add_typer(cluster.cluster, name="cluster")
app.command()(docs.docs)


def main() -> None:
    """Runs the command line; an error of ours is one line for people, and exit code 1."""
    unproxied_loopback()
    try:
        app()
    except VitaNexusError as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
