"""`vitanexus replay` and `vitanexus score`: events into Kafka."""

import datetime as dt
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from cluster.commands.stack import DEFAULT, Directory
from engine.domain.events import SourceEvent

score = typer.Typer(help="Score members.", no_args_is_help=True)


def replay(
    source: Annotated[str, typer.Argument(help="fitabase, lifesnaps or tuva")],
    path: Annotated[Path, typer.Argument(help="folder with the source's files")],
    rate: Annotated[float, typer.Option(help="events a second; 0 sends as fast as the broker takes them")] = 0.0,
    check: Annotated[
        bool, typer.Option("--check", help="only read; say what is in the files, and send nothing")
    ] = False,
    directory: Directory = DEFAULT,
) -> None:
    """Turn real files into events and send them.

    Example: vitanexus replay fitabase ~/fitbit_fitabase_2016 --rate 500
    """
    from cluster.bootstrap import connect
    from cluster.scoring_commands import progress_bar
    from engine.interop.sources import read
    from engine.streams.producer import EventProducer

    if rate < 0:
        raise typer.BadParameter(f"{rate} is negative", param_hint="--rate")
    events = list(read(source, path))
    if check:
        from cluster.commands.described import tell_events

        tell_events(events)
        return
    endpoints = connect(directory)
    with EventProducer(endpoints.kafka) as producer, progress_bar() as progress:
        task = progress.add_task(f"replaying {source}", total=len(events))
        started = time.monotonic()
        producer.send_all(progress.track(_paced(events, rate), task_id=task))
    seconds = time.monotonic() - started
    typer.echo(f"{len(events):,} events sent in {seconds:.1f} s ({len(events) / max(seconds, 1e-9):,.0f}/s)")


def _paced(events: Iterable[SourceEvent], rate: float) -> Iterator[SourceEvent]:
    started = time.monotonic()
    for count, event in enumerate(events):
        ahead = count / rate - (time.monotonic() - started) if rate else 0.0
        if ahead > 0.01:
            time.sleep(ahead)
        yield event


@score.command("batch")
def score_batch(
    as_of: Annotated[
        dt.datetime | None,
        typer.Option(
            help="score as of this UTC moment; now where it is left out", formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="score from the database's stored events into this Parquet file instead")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="processes of Ray that score, with --out")] = 2,
    address: Annotated[str, typer.Option(help="Ray cluster, with --out; on this machine where left out")] = "",
    directory: Directory = DEFAULT,
) -> None:
    """The daily batch: score every member anew, claims, fills and labs included.

    Sends one command to each partition and waits until every shard has committed its own. With --out it leaves the
    shards alone: it rebuilds every member from the events in PostgreSQL and scores them on Ray, to the same bits.
    """
    moment = dt.datetime.now(dt.UTC) if as_of is None else as_of.replace(tzinfo=dt.UTC)
    if out is not None:
        _score_database(directory, moment, out, workers, address)
        return
    from cluster.bootstrap import connect
    from cluster.scoring_commands import run_batch
    from engine.storage.queries import Queries

    endpoints = connect(directory)
    queries = Queries(endpoints.postgres, pool_size=1)
    scored = run_batch(endpoints.kafka, queries, moment)
    typer.echo(f"{scored:,} members scored as of {moment.isoformat(timespec='seconds')}")


def _score_database(directory: Path, as_of: dt.datetime, out: Path, workers: int, address: str) -> None:
    from cluster.commands.ray_session import ray_session

    with ray_session(workers, address):
        from actors.batch import BatchPlan, score_database
        from cluster.bootstrap import connect
        from cluster.scoring_commands import progress_bar
        from engine.learning.registry import folder
        from engine.settings import load_rules, load_settings
        from engine.storage.models import ModelStore
        from engine.storage.queries import Queries

        url = connect(directory, "postgres").postgres
        plan = BatchPlan(
            url,
            load_rules(),
            ModelStore(url, pool_size=1).champions(),
            folder(load_settings().models.folder),
            int(as_of.timestamp()) * 1_000_000,
        )
        with progress_bar() as progress:
            task = progress.add_task("scoring from the database", total=Queries(url, pool_size=1).count("members"))
            scored = score_database(plan, out, workers, lambda done: progress.update(task, completed=done))
    typer.echo(f"{scored:,} members scored as of {as_of.isoformat(timespec='seconds')} by {plan.models}: {out}")
