"""Records of a topic partition as columns over one buffer, and the kernel that finds them in Kafka's record batches.

Format: Apache Kafka, "Record Batch" and "Record" of message format v2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numba import njit
from numpy.typing import NDArray

from engine.errors import StreamError

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]
NULL = -1
"""Length of a value that is null."""


@dataclass(frozen=True)
class RecordBatch:
    """Consecutive records of one topic partition, as columns.

    The value of record i is data[starts[i] : starts[i] + lengths[i]]; a length of NULL is no value. `next_offset` is
    where to go on; `timestamps_ms` are the record's own, by which "the future" is judged.
    """

    topic: str
    partition: int
    data: Bytes
    starts: Integers
    lengths: Integers
    offsets: Integers
    timestamps_ms: Integers
    next_offset: int

    @classmethod
    def of(
        cls,
        topic: str,
        partition: int,
        offsets: Sequence[int],
        timestamps_ms: Sequence[int],
        values: Sequence[bytes | None],
        next_offset: int,
    ) -> "RecordBatch":
        """A batch of values that are Python's."""
        lengths = np.array([NULL if value is None else len(value) for value in values], np.int64)
        starts = np.cumsum(np.maximum(lengths, 0)) - np.maximum(lengths, 0)
        data = np.frombuffer(b"".join(value or b"" for value in values), np.uint8)
        at, taken = np.array(offsets, np.int64), np.array(timestamps_ms, np.int64)
        return cls(topic, partition, data, starts, lengths, at, taken, next_offset)

    def __len__(self) -> int:
        return len(self.offsets)

    @cached_property
    def _raw(self) -> bytes:
        return self.data.tobytes()

    def value(self, i: int) -> bytes | None:
        """The value of one record."""
        if self.lengths[i] == NULL:
            return None
        return self._raw[self.starts[i] : self.starts[i] + self.lengths[i]]

    @classmethod
    def joined(cls, batches: Sequence["RecordBatch"]) -> "RecordBatch":
        """At least one batch, and those that follow it."""
        begins = np.cumsum([0, *(len(batch.data) for batch in batches)])
        return cls(
            batches[0].topic,
            batches[0].partition,
            np.concatenate([batch.data for batch in batches]),
            np.concatenate([batch.starts + begin for batch, begin in zip(batches, begins, strict=False)]),
            np.concatenate([batch.lengths for batch in batches]),
            np.concatenate([batch.offsets for batch in batches]),
            np.concatenate([batch.timestamps_ms for batch in batches]),
            batches[-1].next_offset,
        )

    def between(self, start: int, stop: int) -> "RecordBatch":
        """The records from offset `start` up to, not including, `stop`."""
        rows = slice(*np.searchsorted(self.offsets, [start, stop]).tolist())
        return RecordBatch(
            self.topic,
            self.partition,
            self.data,
            self.starts[rows],
            self.lengths[rows],
            self.offsets[rows],
            self.timestamps_ms[rows],
            stop,
        )


@dataclass(frozen=True, slots=True)
class RawBatch:
    """One of Kafka's record batches: its records as they lie in `data` from `start`, decompressed, and its header.

    `appended_ms` is the broker's time for all records, or NULL where each has its own.
    """

    data: bytes | bytearray
    start: int
    count: int
    base_offset: int
    next_offset: int
    first_ms: int
    appended_ms: int


@njit(cache=True, nogil=True)
def _varint(data: Bytes, at: int, end: int) -> tuple[int, int]:
    """A zigzag varint of at most ten bytes and where it ends; -1 as its end where there is none."""
    value = np.uint64(0)
    for i in range(10):
        if at >= end:
            break
        byte = data[at]
        at += 1
        value |= np.uint64(byte & 127) << np.uint64(7 * i)
        if byte < 128:
            return int(np.int64(value >> np.uint64(1)) ^ -np.int64(value & np.uint64(1))), at
    return 0, -1


@njit(cache=True, nogil=True)
def walk(
    data: Bytes,
    at: int,
    count: int,
    first_ms: int,
    appended_ms: int,
    base_offset: int,
    starts: Integers,
    lengths: Integers,
    offsets: Integers,
    times_ms: Integers,
) -> int:
    """Finds `count` records from data[at] on and fills the columns [count]. -1, or the bad one."""
    for i in range(count):
        length, at = _varint(data, at, len(data))
        end = at + length
        if at < 0 or length < 1 or end > len(data):
            return i
        at += 1  # attributes
        delta_ms, at = _varint(data, at, end)
        if at < 0:
            return i
        delta, at = _varint(data, at, end)
        if at < 0:
            return i
        key, at = _varint(data, at, end)
        if at < 0 or key < -1 or at + max(key, 0) > end:
            return i
        value, at = _varint(data, at + max(key, 0), end)
        if at < 0 or value < -1 or at + max(value, 0) > end:
            return i
        starts[i], lengths[i], offsets[i] = at, value, base_offset + delta
        times_ms[i] = first_ms + delta_ms if appended_ms == -1 else appended_ms
        at = end  # headers say nothing to us
    return -1


def columns_of(topic: str, partition: int, position: int, raw: Sequence[RawBatch]) -> RecordBatch:
    """The records of consecutive raw batches from offset `position` on. Raises StreamError for a malformed record."""
    data = np.frombuffer(b"".join(batch.data for batch in raw), np.uint8)
    columns = np.empty((4, sum(batch.count for batch in raw)), np.int64)
    begin = row = 0
    for batch in raw:
        wrong = walk(
            data[: begin + len(batch.data)],
            begin + batch.start,
            batch.count,
            batch.first_ms,
            batch.appended_ms,
            batch.base_offset,
            *columns[:, row : row + batch.count],
        )
        if wrong >= 0:
            raise StreamError(
                f"topic {topic} partition {partition}: record {wrong} of the batch at offset {batch.base_offset} is "
                "malformed: its checksum was right, so a producer has written it so"
            )
        begin, row = begin + len(batch.data), row + batch.count
    starts, lengths, offsets, times = columns
    first = int(np.searchsorted(offsets, position))  # a fetch may begin in the middle of a batch
    return RecordBatch(
        topic,
        partition,
        data,
        starts[first:],
        lengths[first:],
        offsets[first:],
        times[first:],
        raw[-1].next_offset,
    )
