"""Work on several batches at once gives what it gives one by one."""

import threading

import numpy as np
import pytest

from engine.domain.events import READING
from engine.streams.beside import beside
from engine.streams.judge import judge, judge_all
from engine.streams.judged import JudgedReadings
from engine.streams.records import RecordBatch

MANY = 20_000


def test_the_order_is_that_of_the_items_and_many_records_are_worked_on_at_once() -> None:
    meet = threading.Barrier(2, timeout=30)

    def work(item: int) -> int:
        meet.wait()  # passes only if another thread is here too
        return 10 * item

    assert beside(work, [1, 2], MANY) == [10, 20]


def test_few_records_stay_in_the_thread_that_asks() -> None:
    assert set(beside(lambda _: threading.get_ident(), [1, 2], MANY - 1)) == {threading.get_ident()}
    assert beside(lambda _: threading.get_ident(), [1], MANY) == [threading.get_ident()]


def test_an_error_is_raised_to_who_asks() -> None:
    def work(item: int) -> None:
        raise ValueError(f"item {item}")

    with pytest.raises(ValueError, match="item 1"):
        beside(work, [1, 2], MANY)


def test_large_batches_are_judged_as_each_alone() -> None:
    def batch(partition: int) -> RecordBatch:
        template = (
            '{"v":1,"event_id":"%d","source":"s","member_id":"M%d","time":1735689600000,"metric":"steps","value":%d,'
            '"unit":"count"}'
        )
        values = [(template % (i, i % 50, i)).encode() for i in range(MANY // 2)] + [b"{", b"null"]
        count = len(values)
        return RecordBatch.of(READING.topic, partition, range(count), [1_735_689_600_500] * count, values, count)

    batches = [batch(3), batch(4)]
    for found, alone in zip(judge_all(batches), map(judge, batches), strict=True):
        assert found.partition == alone.partition and len(found) == MANY // 2
        assert [(offset, str(error)) for offset, error, _ in found.refused] == [
            (offset, str(error)) for offset, error, _ in alone.refused
        ]
        assert isinstance(found, JudgedReadings) and isinstance(alone, JudgedReadings)
        for name in ("times_ms", "metrics", "values", "digests"):
            np.testing.assert_array_equal(getattr(found.readings, name), getattr(alone.readings, name))
