"""Reads record batches of assigned partitions: no consumer group, explicit offsets, loud on a gap in the log."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import Fetcher, IsolationLevel
from kafka.errors import CorruptRecordError

from engine.errors import StreamError
from engine.streams.beside import beside
from engine.streams.client import BOOTSTRAP_MS, broker_errors
from engine.streams.records import NULL, RawBatch, RecordBatch, columns_of

_FETCH_BYTES = 4 << 20
MOST_BYTES = 256 << 20
"""About how many bytes of records, decompressed, a poll takes at most: of large ones there are fewer than asked for."""
_NEXT_FETCH_MS = 50
_ASK_MS = 5_000
"""How long one question for log ends may take: the caller asks again, with fresh metadata, rather than wait for an old
connection's timeout."""
_ASK_AGAIN_SECONDS = 0.05


class _WholeBatches(Fetcher.PartitionRecords):  # type: ignore[misc]
    """A fetch response that gives record batches as they are, once checked, instead of records one by one."""

    def _unpack_records(self, tp: Any, records: Any, *deserializers: Any) -> Iterator[RawBatch]:
        """As the parent's, whose rules on checksums, control batches and aborted transactions hold here too."""
        while (batch := records.next_batch()) is not None:
            if self.check_crcs and not batch.validate_crc():
                raise CorruptRecordError(f"record batch of {tp} at offset {batch.base_offset} has a wrong checksum")
            if batch.magic != 2:
                raise CorruptRecordError(f"record batch of {tp} has format {batch.magic}: Kafka 0.11 brought format 2")
            self.leader_epoch, self.next_fetch_offset = batch.leader_epoch, batch.next_offset
            if not self._is_read(batch) or not batch.records_count:
                yield RawBatch(b"", 0, 0, batch.base_offset, batch.next_offset, 0, NULL)
                continue
            iter(batch)  # decompresses
            appended = batch.max_timestamp if batch.timestamp_type == batch.LOG_APPEND_TIME else NULL
            yield RawBatch(
                batch._buffer,
                batch._pos,
                batch.records_count,
                batch.base_offset,
                batch.next_offset,
                batch.first_timestamp,
                appended,
            )
        self.drain()

    def _is_read(self, batch: Any) -> bool:
        """Whether the batch holds events: neither a transaction's marker nor part of one that was aborted."""
        if self.isolation_level == IsolationLevel.READ_COMMITTED and batch.has_producer_id():
            self._consume_aborted_transactions_up_to(batch.last_offset)
            if self._contains_abort_marker(batch):
                self.aborted_producer_ids.discard(batch.producer_id)
                return False
            if self._is_batch_aborted(batch):
                return False
        return not batch.is_control_batch

    def _maybe_skip_record(self, batch: RawBatch) -> bool:
        """Nothing is skipped here: whole batches go on, and `columns_of` leaves out what lies before the position."""
        return False

    def take(self, n: int | None = None) -> list[RawBatch]:
        """Batches of at least `n` records together, where there are as many."""
        self._maybe_raise_next_inline_exception()
        taken = _Taken()
        try:
            while n is None or len(taken) < n:
                taken.append(next(self.record_iterator))
        except StopIteration:
            pass
        except Exception as error:
            if not taken:
                raise
            self._next_inline_exception = error
        return taken


class _Taken(list[RawBatch]):
    """Batches whose length is the number of their records, by which the fetcher counts how much it has returned."""

    def __len__(self) -> int:
        return sum(batch.count for batch in self)

    def __bool__(self) -> bool:
        return any(True for _ in self)


class RecordReader(Protocol):
    """Guarantees: batches of a topic partition arrive in offset order without loss, from the offset sought."""

    def assign(self, positions: Mapping[tuple[str, int], int]) -> None:
        """Reads exactly these topic partitions from now on, each from its offset."""

    def poll(self, max_records: int, timeout_ms: int) -> list[RecordBatch]:
        """What is there, about `max_records` in all; [] after the timeout. Raises StreamError."""

    def lag(self, batches: Sequence[RecordBatch]) -> dict[tuple[str, int], int]:
        """How many records the log held behind each of the batches, as the latest fetch told."""

    def end_offsets(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """The log end of each topic partition as the broker tells it now."""

    def begin_offsets(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """The first offset each topic partition still holds."""

    def close(self) -> None:
        """Gives the connection back."""


class KafkaReader:
    """`RecordReader` on kafka-python's consumer."""

    def __init__(self, bootstrap: str, client_id: str, fetch_wait_ms: int = 500) -> None:
        self._bootstrap = bootstrap
        with broker_errors(bootstrap, "connect a consumer"):
            self._consumer = KafkaConsumer(
                bootstrap_servers=bootstrap,
                client_id=client_id,
                enable_auto_commit=False,
                auto_offset_reset="none",
                fetch_max_wait_ms=fetch_wait_ms,
                fetch_max_bytes=16 * _FETCH_BYTES,
                max_partition_fetch_bytes=_FETCH_BYTES,
                allow_auto_create_topics=False,
                metrics_enabled=False,
                bootstrap_timeout_ms=BOOTSTRAP_MS,
                isolation_level="read_committed",
            )
        self._consumer._fetcher.PartitionRecords = _WholeBatches
        self._positions: dict[tuple[str, int], int] = {}

    def assign(self, positions: Mapping[tuple[str, int], int]) -> None:
        """Reads exactly these topic partitions from now on, each from its offset."""
        with broker_errors(self._bootstrap, "assign partitions"):
            self._consumer.assign([TopicPartition(topic, partition) for topic, partition in positions])
            for (topic, partition), offset in positions.items():
                self._consumer.seek(TopicPartition(topic, partition), offset)
        self._positions = dict(positions)

    def poll(self, max_records: int, timeout_ms: int) -> list[RecordBatch]:
        """What is there, about `max_records` in all: whole batches; [] after the timeout. Raises StreamError.

        One fetch brings 4 MB of a topic partition at most; while the log holds more, the next one is waited for. What
        is taken together is MOST_BYTES at most, and one fetch of each partition more.
        """
        taken: dict[TopicPartition, list[RawBatch]] = {}
        count = size = 0
        with broker_errors(self._bootstrap, "read"):
            while count < max_records and size < MOST_BYTES:
                polled = self._consumer.poll(timeout_ms=timeout_ms, max_records=max_records - count)
                for place, raw in polled.items():
                    taken.setdefault(place, []).extend(raw)
                    count += sum(batch.count for batch in raw)  # the client gives plain lists of batches
                    size += sum(len(batch.data) for batch in raw)
                timeout_ms = _NEXT_FETCH_MS
                if not polled or not self._behind(taken):
                    break
        batches = beside(self._columns, list(taken.items()), count)
        self._positions.update({(batch.topic, batch.partition): batch.next_offset for batch in batches})
        return batches

    def _columns(self, read: tuple[TopicPartition, Sequence[RawBatch]]) -> RecordBatch:
        place, raw = read
        return columns_of(place.topic, place.partition, self._positions[place.topic, place.partition], raw)

    def _behind(self, taken: Mapping[TopicPartition, Sequence[RawBatch]]) -> bool:
        """Whether the log holds more of these topic partitions than a fetch response has brought."""
        return any((self._consumer.highwater(place) or 0) > raw[-1].next_offset for place, raw in taken.items())

    def lag(self, batches: Sequence[RecordBatch]) -> dict[tuple[str, int], int]:
        """How many records the log held behind each of the batches, as the broker told with the latest fetch."""
        ends = {(b.topic, b.partition): self._consumer.highwater(TopicPartition(b.topic, b.partition)) for b in batches}
        following = {(b.topic, b.partition): b.next_offset for b in batches}
        return {place: max(0, end - following[place]) for place, end in ends.items() if end is not None}

    def end_offsets(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """The log end of each topic partition as the broker tells it now. Raises StreamError while it is away."""
        return self._ask("ask for log ends", self._consumer.end_offsets, partitions)

    def begin_offsets(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """The first offset each topic partition still holds: where a new consumer begins."""
        return self._ask("ask for log starts", self._consumer.beginning_offsets, partitions)

    def _ask(self, doing: str, question: Any, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        places = [TopicPartition(topic, partition) for topic, partition in partitions]
        deadline = time.monotonic() + _ASK_MS / 1000
        while True:
            try:
                with broker_errors(self._bootstrap, doing):
                    offsets = question(places, timeout_ms=_ASK_MS)
                return {(place.topic, place.partition): int(offset) for place, offset in offsets.items()}
            except KeyError as error:
                # the client leaves out, and then misses, a partition whose leader its metadata does not name yet, as
                # it does not for a topic that is not read just now; it has asked for newer metadata
                if time.monotonic() > deadline:
                    raise StreamError(
                        f"cannot {doing}: the broker at {self._bootstrap} names no leader: {error}"
                    ) from error
                time.sleep(_ASK_AGAIN_SECONDS)

    def close(self) -> None:
        """Gives the connection back."""
        self._consumer.close()


def check_held(starts: Mapping[tuple[str, int], int], positions: Mapping[tuple[str, int], int]) -> None:
    """Raises StreamError where the log has dropped records we have not read yet."""
    for place, offset in positions.items():
        if offset < starts[place]:
            raise StreamError(
                f"topic {place[0]} partition {place[1]}: we stand at offset {offset} but the log begins at "
                f"{starts[place]}: its retention has dropped events; restore them or reset the partition knowingly"
            )
