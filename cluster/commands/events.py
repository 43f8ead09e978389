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
    directory: Directory = DEFAULT,
) -> None:
    """The daily batch: score every member anew, claims, fills and labs included.

    Sends one command to each partition and waits until every shard has committed its own.
    """
    from cluster.bootstrap import connect
    from cluster.scoring_commands import run_batch
    from engine.storage.queries import Queries

    endpoints = connect(directory)
    queries = Queries(endpoints.postgres, pool_size=1)
    moment = dt.datetime.now(dt.UTC) if as_of is None else as_of.replace(tzinfo=dt.UTC)
    scored = run_batch(endpoints.kafka, queries, moment)
    typer.echo(f"{scored:,} members scored as of {moment.isoformat(timespec='seconds')}")
