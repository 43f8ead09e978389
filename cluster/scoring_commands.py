"""Commands to every partition: sent through the log, and waited for until all shards have committed them."""

import datetime as dt
import time
import uuid

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from engine.domain.events import SCORING_COMMAND
from engine.errors import StreamError
from engine.storage.models import ModelStore, Promotion
from engine.storage.queries import Queries
from engine.streams.producer import EventProducer
from engine.streams.topics import PARTITIONS

_WAIT_SECONDS = 600.0
_POLL_SECONDS = 0.2


def progress_bar() -> Progress:
    """The progress bar of every long command."""
    return Progress(TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())


def run_batch(bootstrap: str, queries: Queries, as_of: dt.datetime) -> int:
    """The daily batch: scores all members as of a moment, and returns how many they are."""
    _command(bootstrap, queries, f"batch-{uuid.uuid4().hex}", as_of, "scoring the batch")
    return queries.scored_members()[1]


def change_champions(bootstrap: str, queries: Queries, store: ModelStore, promotion: Promotion) -> None:
    """Brings a change of champion into every partition's log; once more where it was broken off, to the same effect."""
    moment = promotion.decided_at
    name = f"promotion-{promotion.number}-{int(moment.timestamp())}"
    _command(bootstrap, queries, name, moment, "changing champions", models=str(promotion.models))
    store.applied(promotion)


def _command(bootstrap: str, queries: Queries, name: str, as_of: dt.datetime, doing: str, **more: str) -> None:
    """Raises StreamError where a shard has not answered in time."""

    def taken() -> int:
        row = {row.topic: row for row in queries.consumed()}.get(SCORING_COMMAND.topic)
        return 0 if row is None else row.taken

    expected = taken() + PARTITIONS
    with EventProducer(bootstrap) as producer:
        for partition in range(PARTITIONS):
            fields = {"event_id": f"{name}-{partition}", "source": "vitanexus", "member_id": "*", **more}
            producer.send_to(SCORING_COMMAND, partition, fields | {"time": int(as_of.timestamp() * 1000)})
        producer.flush()
    deadline = time.monotonic() + _WAIT_SECONDS
    with progress_bar() as progress:
        task = progress.add_task(doing, total=PARTITIONS)
        while (done := taken()) < expected:
            progress.update(task, completed=PARTITIONS - (expected - done))
            if time.monotonic() > deadline:
                raise StreamError(
                    f"{expected - done} partitions have not scored after {_WAIT_SECONDS:g} s: see `vitanexus status`"
                )
            time.sleep(_POLL_SECONDS)
        progress.update(task, completed=PARTITIONS)
