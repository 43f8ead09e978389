"""Reads record batches of assigned partitions: no consumer group, explicit offsets, loud on a gap in the log."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from kafka import KafkaConsumer, TopicPartition

from engine.errors import StreamError
from engine.streams.client import BOOTSTRAP_MS, broker_errors

_FETCH_BYTES = 4 << 20
_ASK_MS = 5_000
"""How long one question for log ends may take: the caller asks again, with fresh metadata, rather than wait for an old
connection's timeout."""


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """Consecutive records of one topic partition, as columns.

    `next_offset` is where to go on; `timestamps_ms` are the record's own, by which "the future" is judged.
    """

    topic: str
    partition: int
    offsets: list[int]
    timestamps_ms: list[int]
    values: list[bytes | None]
    next_offset: int

    def joined(self, later: "RecordBatch") -> "RecordBatch":
        """This batch and the one that follows it."""
        return RecordBatch(
            self.topic,
            self.partition,
            self.offsets + later.offsets,
            self.timestamps_ms + later.timestamps_ms,
            self.values + later.values,
            later.next_offset,
        )

    def between(self, start: int, stop: int) -> "RecordBatch":
        """The records from offset `start` up to, not including, `stop`."""
        rows = slice(bisect_left(self.offsets, start), bisect_left(self.offsets, stop))
        return RecordBatch(
            self.topic, self.partition, self.offsets[rows], self.timestamps_ms[rows], self.values[rows], stop
        )


class RecordReader(Protocol):
    """Guarantees: batches of a topic partition arrive in offset order without loss, from the offset sought."""

    def assign(self, positions: Mapping[tuple[str, int], int]) -> None:
        """Reads exactly these topic partitions from now on, each from its offset."""

    def poll(self, max_records: int, timeout_ms: int) -> list[RecordBatch]:
        """What is there, at most `max_records` in all; [] after the timeout. Raises StreamError."""

    def end_offsets(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """The log end of each topic partition as the broker tells it now."""

    def close(self) -> None:
        """Gives the connection back."""


class KafkaReader:
    """`RecordReader` on kafka-python's consumer."""

    def __init__(self, bootstrap: str, client_id: str, fetch_wait_ms: int = 200) -> None:
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
            )

    def assign(self, positions: Mapping[tuple[str, int], int]) -> None:
        """Reads exactly these topic partitions from now on, each from its offset."""
        with broker_errors(self._bootstrap, "assign partitions"):
            self._consumer.assign([TopicPartition(topic, partition) for topic, partition in positions])
            for (topic, partition), offset in positions.items():
                self._consumer.seek(TopicPartition(topic, partition), offset)

    def poll(self, max_records: int, timeout_ms: int) -> list[RecordBatch]:
        """What is there, at most `max_records` in all; [] after the timeout. Raises StreamError."""
        with broker_errors(self._bootstrap, "read"):
            polled = self._consumer.poll(timeout_ms=timeout_ms, max_records=max_records)
        return [
            RecordBatch(
                place.topic,
                place.partition,
                [record.offset for record in records],
                [record.timestamp for record in records],
                [record.value for record in records],
                records[-1].offset + 1,
            )
            for place, records in polled.items()
        ]

    def end_offsets(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """The log end of each topic partition as the broker tells it now. Raises StreamError while it is away."""
        places = [TopicPartition(topic, partition) for topic, partition in partitions]
        with broker_errors(self._bootstrap, "ask for log ends"):
            ends = self._consumer.end_offsets(places, timeout_ms=_ASK_MS)
        return {(place.topic, place.partition): int(offset) for place, offset in ends.items()}

    def begin_offsets(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """The first offset each topic partition still holds: where a new consumer begins."""
        places = [TopicPartition(topic, partition) for topic, partition in partitions]
        with broker_errors(self._bootstrap, "ask for log starts"):
            starts = self._consumer.beginning_offsets(places)
        return {(place.topic, place.partition): int(offset) for place, offset in starts.items()}

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
