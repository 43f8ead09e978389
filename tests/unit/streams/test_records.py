"""Kafka's record batches found by the kernel, against kafka-python's own record objects."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka import TopicPartition
from kafka.errors import CorruptRecordError
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder

from engine.errors import StreamError
from engine.streams.reader import _WholeBatches
from engine.streams.records import RawBatch, RecordBatch, columns_of

PLACE = TopicPartition("wearable.readings", 3)
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
Written = list[tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]]


def written(records: Written, codec: int, base: int = 100) -> bytes:
    builder = MemoryRecordsBuilder(magic=2, compression_type=codec, batch_size=1 << 24, offset=base)
    for i, (key, value, headers) in enumerate(records):
        assert builder.append(timestamp=1_700_000_000_000 + 7 * i, key=key, value=value, headers=headers)
    builder.close()
    return bytes(builder.buffer())


def read(raw: bytes, position: int) -> RecordBatch:
    part = _WholeBatches(position, PLACE, MemoryRecords(raw))
    return columns_of(*PLACE, position, part.take())


@given(
    st.lists(
        st.tuples(
            st.none() | st.binary(max_size=20),
            st.none() | st.binary(max_size=300),
            st.lists(st.tuples(st.text(max_size=5), st.none() | st.binary(max_size=9)), max_size=2),
        ),
        min_size=1,
        max_size=30,
    ),
    st.sampled_from(sorted(CODECS)),
    st.integers(0, 29),
)
@settings(max_examples=200)
def test_every_codec_and_a_seek_into_the_batch(records: Written, codec: str, skipped: int) -> None:
    found = read(written(records, CODECS[codec]), 100 + min(skipped, len(records) - 1))
    kept = records[min(skipped, len(records) - 1) :]
    assert [found.value(i) for i in range(len(found))] == [value for _, value, _ in kept]
    first = 100 + len(records) - len(kept)
    assert found.offsets.tolist() == list(range(first, 100 + len(records)))
    assert found.timestamps_ms.tolist() == [1_700_000_000_000 + 7 * (offset - 100) for offset in found.offsets.tolist()]
    assert found.next_offset == 100 + len(records)


def test_a_wrong_checksum_is_an_error() -> None:
    raw = bytearray(written([(b"k", b"value", [])], 0))
    raw[-4] ^= 1
    with pytest.raises(CorruptRecordError, match="offset 0 has a wrong checksum"):
        read(bytes(raw), 100)


def test_an_empty_batch_moves_the_position_on() -> None:
    """As compaction leaves one: the header keeps the offsets that its records had."""
    found = columns_of(*PLACE, 5, [RawBatch(b"", 0, 0, 5, 9, 0, -1)])
    assert len(found) == 0 and found.next_offset == 9


@given(st.binary(max_size=60), st.integers(1, 5))
@settings(max_examples=500)
def test_bytes_that_are_no_records_are_an_error_and_read_nothing_beyond(data: bytes, count: int) -> None:
    try:
        found = columns_of(*PLACE, 0, [RawBatch(data, 0, count, 0, count, 0, -1)])
    except StreamError as error:
        assert "is malformed" in str(error)
    else:
        inside = found.lengths >= 0
        assert (found.starts[inside] + found.lengths[inside] <= len(data)).all()


def test_batches_are_joined_and_cut_by_offset() -> None:
    one = RecordBatch.of("t", 1, [3, 4, 9], [1, 2, 3], [b"a", None, b"ccc"], 10)
    both = RecordBatch.joined([one, RecordBatch.of("t", 1, [10, 12], [4, 5], [b"", b"e"], 13)])
    assert [both.value(i) for i in range(len(both))] == [b"a", None, b"ccc", b"", b"e"]
    part = both.between(4, 11)
    assert [part.value(i) for i in range(len(part))] == [None, b"ccc", b""] and part.next_offset == 11
    np.testing.assert_array_equal(part.timestamps_ms, [2, 3, 4])
