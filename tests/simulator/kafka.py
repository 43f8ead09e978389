"""A log of events as a shard sees it: topic partitions read by offset, in order, without loss, when it pleases.

Obeys what `Log` and `RecordReader` promise; the contract tests hold it and a real broker to that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from engine.domain.batch import TopicIdentity
from engine.domain.events import KIND_OF_TOPIC
from engine.errors import StreamError
from engine.streams.records import RecordBatch
from tests.oracle import LogRecord
from tests.simulator.world import Process, World

Place = tuple[str, int]
TAKEN_MS = 1_714_521_600_000  # 2024-05-01: after everything that happens in the events


@dataclass
class _Partition:
    """Records by offset; offsets without a record are markers of transactions."""

    records: list[LogRecord] = field(default_factory=list)
    end: int = 0


class FakeBroker:
    """The topics and what they hold."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.away_until = 0.0
        self.partitions: dict[Place, _Partition] = {}

    def away(self) -> bool:
        """Whether it is down."""
        return self.world.now < self.away_until

    def at(self, place: Place) -> _Partition:
        """One topic partition."""
        return self.partitions.setdefault(place, _Partition())

    def append(self, place: Place, payload: bytes | None, taken_ms: int = TAKEN_MS) -> int:
        """One more record, acknowledged."""
        found = self.at(place)
        found.records.append(LogRecord(*place, found.end, taken_ms, payload))
        found.end += 1
        return found.end - 1

    def append_marker(self, place: Place) -> None:
        """An offset without a record."""
        self.at(place).end += 1

    def log(self) -> list[LogRecord]:
        """Everything, for the oracle."""
        return [record for found in self.partitions.values() for record in found.records]

    def ends(self) -> dict[Place, int]:
        """The end of every topic partition that is not empty."""
        return {place: found.end for place, found in self.partitions.items() if found.end}


class FakeLog:
    """`Log` on a fake broker."""

    def __init__(self, broker: FakeBroker, process: Process) -> None:
        self._broker, self._process = broker, process

    def identities(self) -> dict[str, TopicIdentity]:
        """Which log every input topic is."""
        ask(self._broker, self._process, "identities")
        return {topic: TopicIdentity("simulated", topic) for topic in KIND_OF_TOPIC}

    def reader(self, client_id: str) -> "FakeReader":
        """A reader of its own."""
        ask(self._broker, self._process, "reader")
        return FakeReader(self._broker, self._process)


def ask(broker: FakeBroker, process: Process, what: str) -> None:
    """A question to the broker, which may be away or refuse it."""
    broker.world.port(process, f"log.{what}")
    if broker.away() or broker.world.chance(broker.world.faults.refused):
        raise StreamError(f"cannot {what}: the broker does not serve it")


class FakeReader:
    """`RecordReader` on a fake broker. Delivers any part of what there is, each topic partition when the seed says."""

    def __init__(self, broker: FakeBroker, process: Process) -> None:
        self._broker, self._world, self._process = broker, broker.world, process
        self._positions: dict[Place, int] = {}
        self._held_until: dict[Place, float] = {}

    def assign(self, positions: Mapping[Place, int]) -> None:
        """Reads exactly these topic partitions from now on, each from its offset."""
        self._world.alive(self._process)
        self._positions = dict(positions)
        self._held_until.clear()

    def poll(self, max_records: int, timeout_ms: int) -> list[RecordBatch]:
        """What is there, about `max_records` in all; [] after the timeout."""
        self._world.port(self._process, "log.poll")
        if self._world.chance(self._world.faults.refused / 10):
            raise StreamError("cannot read: the broker does not serve it")
        batches = self._taken(max_records)
        if not batches and timeout_ms:
            self._world.sleep(timeout_ms / 1000)
            batches = self._taken(max_records)
        return batches

    def _taken(self, max_records: int) -> list[RecordBatch]:
        world, batches = self._world, []
        if self._broker.away():
            return []
        for place, position in self._positions.items():
            found = self._broker.at(place)
            if position >= found.end or max_records <= 0 or self._held_until.get(place, 0.0) > world.now:
                continue
            if world.chance(world.faults.delay):
                self._held_until[place] = world.now + world.random.uniform(0.05, 3.0)
                world.count("delay")
                continue
            following = min(found.end, position + world.random.randint(1, 12))
            batches.append(batch_of(place, found.records, position, following))
            self._positions[place] = following
            max_records -= following - position
        return batches

    def lag(self, batches: Sequence[RecordBatch]) -> dict[Place, int]:
        """How many records the log held behind each of the batches."""
        places = [(batch.topic, batch.partition, batch.next_offset) for batch in batches]
        return {(topic, partition): self._broker.at((topic, partition)).end - o for topic, partition, o in places}

    def end_offsets(self, partitions: Sequence[Place]) -> dict[Place, int]:
        """The log end of each topic partition as the broker tells it now."""
        ask(self._broker, self._process, "end_offsets")
        return {place: self._broker.at(place).end for place in partitions}

    def begin_offsets(self, partitions: Sequence[Place]) -> dict[Place, int]:
        """The first offset each topic partition still holds."""
        ask(self._broker, self._process, "begin_offsets")
        return dict.fromkeys(partitions, 0)

    def close(self) -> None:
        """Gives the connection back."""
        self._world.alive(self._process)


def batch_of(place: Place, records: Sequence[LogRecord], start: int, stop: int) -> RecordBatch:
    """The records with offsets from `start` up to, not including, `stop`."""
    found = [record for record in records if start <= record.offset < stop]
    offsets, times = [record.offset for record in found], [record.taken_ms for record in found]
    return RecordBatch.of(*place, offsets, times, [record.payload for record in found], stop)
