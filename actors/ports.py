"""What a shard's loop works on, behind interfaces: the log, the store, the clock, and how a fenced process ends.

The loop itself knows neither Kafka nor PostgreSQL nor the time of day, so that one seed of the simulator can drive it
through thousands of schedules, and the same loop runs on the real ones.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from actors.lasting import keep_loaded
from actors.pace import ShardPlan
from engine.domain.batch import PartitionCommit, Recovered, TopicIdentity
from engine.storage.shards import ShardStore
from engine.streams import topics
from engine.streams.processor import Scorers
from engine.streams.reader import KafkaReader, RecordReader


class Store(Protocol):
    """The durable side of a shard. Guarantees and errors: see `ShardStore`, the one on PostgreSQL."""

    def reconnect(self) -> None:
        """The first connection, or a new one in place of a broken one."""

    def close(self) -> None:
        """Closes the connection; the leases stay."""

    def enter(self, partitions: Sequence[int]) -> None:
        """Makes this process the one of its name; `partitions` become its own where nobody is assigned them yet."""

    def assigned(self, held: int, members: int, behind: int) -> list[int]:
        """The partitions that belong to this shard; tells at once what it holds. Raises LeaseLostError."""

    def acquire(self, partitions: Sequence[int]) -> list[int]:
        """Takes the leases that can be had; returns their partitions. Raises LeaseLostError.

        Those can be had that nobody has, that have expired, or whose owner's session has ended.
        """

    def renew(self, partitions: Sequence[int]) -> None:
        """Extends the leases. Raises LeaseLostError."""

    def release(self, partitions: Sequence[int]) -> None:
        """Gives the leases back."""

    def recover(self, partition: int) -> Recovered:
        """Where the partition stands."""

    def forget_offsets(self, partition: int) -> None:
        """Forgets the offsets of a log that was made anew."""

    def known_events(self, table: str, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], tuple[int, int]]:
        """Of the (source, event_id) keys, those stored, with partition and offset."""

    def commit(self, batches: Sequence[PartitionCommit], identities: Mapping[str, TopicIdentity]) -> None:
        """One transaction, or nothing. Raises LeaseLostError."""

    def is_committed(self, batch: PartitionCommit) -> bool:
        """The answer to a connection lost during COMMIT."""


class Log(Protocol):
    """The log of events: topics whose records are read by offset."""

    def identities(self) -> dict[str, TopicIdentity]:
        """Which log every input topic is. Raises StreamError while it is away."""

    def reader(self, client_id: str) -> RecordReader:
        """A reader of its own. Raises StreamError while the log is away."""


class Clock(Protocol):
    """Time as a shard spends it: for leases, deadlines and pauses, never for scores."""

    def now(self) -> float:
        """Seconds that only grow."""

    def sleep(self, seconds: float) -> None:
        """Returns after so many seconds."""


class Worker(Protocol):
    """Runs one thing after the other beside the loop, as the commit of a batch while the next one is read."""

    def submit(self, action: Callable[[], Any]) -> "Future[Any]":
        """Takes up the action; its outcome or error is the future's."""

    def close(self) -> None:
        """Ends after what it has taken up."""


class _KafkaLog:
    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap

    def identities(self) -> dict[str, TopicIdentity]:
        return topics.identities(self._bootstrap)

    def reader(self, client_id: str) -> RecordReader:
        return KafkaReader(self._bootstrap, client_id)


class _SystemClock:
    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class _Thread:
    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)

    def submit(self, action: Callable[[], Any]) -> "Future[Any]":
        return self._pool.submit(action)

    def close(self) -> None:
        self._pool.shutdown()


def _exit() -> NoReturn:
    """Ends the process at once: a fenced owner must write nothing more, and unwinding would."""
    os._exit(1)


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything outside the loop. `fenced` ends it for good when another owner has its leases.

    `worker` commits; `reading` reads the next batch meanwhile; `watcher` asks the log who it is, which takes too long
    for a batch to wait for. `warm` is called once the first batch has been applied, when all that lasts is loaded.
    `rehearse` has a shard that holds nothing do beforehand what it will do for the first time.
    """

    log: Log
    store: Store
    clock: Clock
    worker: Worker
    reading: Worker
    watcher: Worker
    fenced: Callable[[], NoReturn]
    warm: Callable[[], None]
    rehearse: Callable[[Scorers], None]


def _rehearse(scorers: Scorers) -> None:
    from actors.rehearsal import rehearse  # synthetic members, which only a shard that has none yet needs

    rehearse(scorers)


def live(plan: ShardPlan) -> Ports:
    """The plan's Kafka and PostgreSQL, threads that commit, read and watch, and the machine's clock."""
    return Ports(
        _KafkaLog(plan.bootstrap),
        ShardStore(plan.postgres_url, plan.name, plan.lease_seconds),
        _SystemClock(),
        _Thread(f"{plan.name}-commit"),
        _Thread(f"{plan.name}-read"),
        _Thread(f"{plan.name}-watch"),
        _exit,
        keep_loaded,
        _rehearse,
    )
