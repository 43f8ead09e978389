"""What `RecordReader` promises, asked of the real one and of the simulator's fake alike."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import pytest
from kafka import KafkaProducer, TopicPartition

from engine.domain.events import READING
from engine.streams.reader import KafkaReader, RecordReader
from tests.simulator.kafka import FakeBroker, FakeReader
from tests.simulator.world import Process, World


class Log(Protocol):
    """A topic's partition to be filled, and readers of it."""

    def append(self, values: Sequence[bytes | None]) -> None: ...
    def reader(self) -> RecordReader: ...


PLACE = (READING.topic, 3)


class KafkaTopic:
    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._readers: list[KafkaReader] = []

    def append(self, values: Sequence[bytes | None]) -> None:
        producer = KafkaProducer(bootstrap_servers=self._bootstrap, linger_ms=20)
        for value in values:
            producer.send(PLACE[0], key=b"k", value=value, partition=PLACE[1])
        producer.flush()
        producer.close()

    def reader(self) -> KafkaReader:
        self._readers.append(KafkaReader(self._bootstrap, "contract"))
        return self._readers[-1]

    def close(self) -> None:
        for reader in self._readers:
            reader.close()


class FakeTopic:
    def __init__(self) -> None:
        self.world = World(2)
        self.world.faults.delay = 0.3
        self._broker = FakeBroker(self.world)

    def append(self, values: Sequence[bytes | None]) -> None:
        for value in values:
            self._broker.append(PLACE, value)

    def reader(self) -> FakeReader:
        return FakeReader(self._broker, Process("contract", 0.0))


@pytest.fixture(params=["broker", "fake"])
def on_log(request: pytest.FixtureRequest) -> Iterator[Callable[..., None]]:
    """Runs a test's body on a log."""
    if request.param == "fake":
        fake = FakeTopic()
        yield lambda body: fake.world.run("test", lambda: body(fake))
        return
    real = KafkaTopic(request.getfixturevalue("any_bootstrap"))
    yield lambda body: body(real)
    real.close()


def read_to(reader: RecordReader, end: int, most: int = 100) -> list[tuple[int, bytes | None]]:
    """Offsets and values up to `end`, checked to follow each other."""
    found: list[tuple[int, bytes | None]] = []
    following = -1
    for _ in range(2000):
        for batch in reader.poll(most, 20):
            assert (batch.topic, batch.partition) == PLACE
            offsets = batch.offsets.tolist()
            assert offsets == sorted(offsets)
            assert not offsets or (following <= offsets[0] and offsets[-1] < batch.next_offset)
            following = batch.next_offset
            found += [(offset, batch.value(i)) for i, offset in enumerate(offsets)]
        if following >= end:
            return found
    raise AssertionError(f"read up to {following}, not to {end}")


def test_a_reader_gives_everything_from_its_offset_in_order(on_log: Callable[..., None]) -> None:
    def body(log: Log) -> None:
        values = [b"x%d" % i if i % 7 else None for i in range(100)]
        log.append(values)
        reader = log.reader()
        assert reader.begin_offsets([PLACE]) == {PLACE: 0}
        assert reader.end_offsets([PLACE])[PLACE] == 100
        for start in (0, 37, 99):
            reader.assign({PLACE: start})
            assert read_to(reader, 100) == [(i, values[i]) for i in range(start, 100)]
        log.append([b"more"])
        assert read_to(reader, 101) == [(100, b"more")]

    on_log(body)


def test_a_reader_at_the_end_waits_and_gives_nothing(on_log: Callable[..., None]) -> None:
    def body(log: Log) -> None:
        log.append([b"a", b"b"])
        reader = log.reader()
        reader.assign({PLACE: 2, (READING.topic, 4): 0})
        assert all(not len(batch) for _ in range(3) for batch in reader.poll(100, 30))
        reader.assign({})
        assert reader.poll(100, 10) == []

    on_log(body)


def test_a_poll_takes_about_what_it_was_asked_for_however_much_there_is(on_log: Callable[..., None]) -> None:
    def check(topic: Log) -> None:
        for _ in range(8):  # each of them in a record batch of its own
            topic.append([b"x"] * 25)
        reader = topic.reader()
        reader.assign({PLACE: 0})
        found = 0
        while found < 200:
            taken = sum(len(batch) for batch in reader.poll(50, 50))
            assert taken < 50 + 25
            found += taken

    on_log(check)


def test_lag_is_what_lies_behind_the_batch(on_log: Callable[..., None]) -> None:
    def body(log: Log) -> None:
        log.append([b"%d" % i for i in range(50)])
        reader = log.reader()
        reader.assign({PLACE: 0})
        batches = []
        while not batches:
            batches = reader.poll(10, 50)
        assert reader.lag(batches) == {PLACE: 50 - batches[-1].next_offset}

    on_log(body)


@pytest.mark.java
def test_offsets_without_a_record_are_passed_over(kafka_bootstrap: str) -> None:
    """Markers of transactions: on the real broker and on the fake, the next offset goes on behind them."""
    producer = KafkaProducer(bootstrap_servers=kafka_bootstrap, transactional_id="contract", acks="all")
    producer.init_transactions()
    for value in (b"a", b"b"):
        producer.begin_transaction()
        producer.send(PLACE[0], value=value, partition=PLACE[1])
        producer.commit_transaction()
    producer.close()
    reader = KafkaReader(kafka_bootstrap, "contract")
    try:
        reader.assign({PLACE: 0})
        real = read_to(reader, 4)
        assert reader._consumer.position(TopicPartition(*PLACE)) == 4
    finally:
        reader.close()
    fake, found = FakeTopic(), []

    def body() -> None:
        for value in (b"a", b"b"):
            fake.append([value])
            fake._broker.append_marker(PLACE)
        of_fake = fake.reader()
        of_fake.assign({PLACE: 0})
        found.extend(read_to(of_fake, 4))

    fake.world.run("test", body)
    assert real == found == [(0, b"a"), (2, b"b")]


def test_a_poll_takes_no_more_bytes_than_memory_is_meant_for(
    any_bootstrap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records may be a megabyte each: as many as are asked for of small ones would not fit."""
    monkeypatch.setattr("engine.streams.reader.MOST_BYTES", 1_000_000)
    topic = KafkaTopic(any_bootstrap)
    values = [bytes([65 + i]) * 900_000 for i in range(14)]
    for value in values:
        topic.append([value])  # in a record batch of its own; a fetch brings four or five
    reader = topic.reader()
    reader.assign({PLACE: 0})
    found: list[bytes | None] = []
    while len(found) < len(values):
        taken = [batch.value(i) for batch in reader.poll(1000, 50) for i in range(len(batch))]
        assert len(taken) <= 5
        found += taken
    assert found == values
    topic.close()
