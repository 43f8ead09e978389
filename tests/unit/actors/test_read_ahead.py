"""The reader one poll ahead: in order, never twice, and alone with its reader whoever asks."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import pytest

from actors.pace import Place
from actors.read_ahead import ReadAhead
from engine.errors import StreamError
from engine.streams.records import RecordBatch

PLACE = ("t", 0)


class Log:
    """A reader of one topic partition of `end` records, that counts what it was asked."""

    def __init__(self, end: int) -> None:
        self.end, self.position, self.polls, self.closed, self.fail = end, 0, 0, False, False

    def assign(self, positions: Mapping[Place, int]) -> None:
        self.position = positions[PLACE]

    def poll(self, max_records: int, timeout_ms: int) -> list[RecordBatch]:
        self.polls += 1
        if self.fail:
            raise StreamError("the broker is away")
        start, self.position = self.position, min(self.end, self.position + max_records)
        n = self.position - start
        values = [b"x"] * n
        return [RecordBatch.of(*PLACE, range(start, self.position), [0] * n, values, self.position)] if n else []

    def lag(self, batches: Sequence[RecordBatch]) -> dict[Place, int]:
        return {(batch.topic, batch.partition): self.end - batch.next_offset for batch in batches}

    def end_offsets(self, partitions: Sequence[Place]) -> dict[Place, int]:
        return dict.fromkeys(partitions, self.end)

    def begin_offsets(self, partitions: Sequence[Place]) -> dict[Place, int]:
        return dict.fromkeys(partitions, 0)

    def close(self) -> None:
        self.closed = True


class AtOnce:
    """A worker that has done what it is given."""

    def submit(self, action: Callable[[], Any]) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(action())
        except StreamError as error:
            future.set_exception(error)
        return future

    def close(self) -> None:
        """Nothing is under way."""


def offsets(batches: Sequence[RecordBatch]) -> list[int]:
    return [offset for batch in batches for offset in batch.offsets.tolist()]


def test_while_the_log_holds_more_the_next_batch_is_there_already() -> None:
    log = Log(25)
    reader = ReadAhead(log, AtOnce())
    taken = reader.poll(10, 0)
    assert log.polls == 2  # this one and the next
    assert reader.lag(taken) == {PLACE: 15}
    taken += reader.poll(10, 0)
    last = reader.poll(10, 0)
    assert offsets(taken + last) == list(range(25))
    assert reader.lag(last) == {PLACE: 0} and log.polls == 3  # all is taken: nothing is read before it is asked for
    assert reader.poll(10, 0) == [] and log.polls == 4


def test_what_was_read_ahead_is_read_again_from_where_it_is_assigned() -> None:
    log = Log(100)
    reader = ReadAhead(log, AtOnce())
    reader.poll(10, 0)
    assert log.position == 20
    reader.assign({PLACE: 10})
    assert offsets(reader.poll(5, 0)) == [10, 11, 12, 13, 14]


def test_an_error_is_told_to_the_poll_that_would_have_met_it() -> None:
    log = Log(100)
    reader = ReadAhead(log, AtOnce())
    log_fails_after(log, reader)
    assert reader.end_offsets([PLACE]) == {PLACE: 100}
    with pytest.raises(StreamError, match="away"):
        reader.poll(10, 0)
    log.fail = False
    log_fails_after(log, reader)
    reader.assign({PLACE: 0})  # of what was read ahead nobody hears
    log.fail = False
    assert offsets(reader.poll(3, 0)) == [0, 1, 2]
    reader.close()
    assert log.closed


def log_fails_after(log: Log, reader: ReadAhead) -> None:
    """The next poll succeeds, and what is read ahead of the one after it fails."""
    read = log.poll

    def once(max_records: int, timeout_ms: int) -> list[RecordBatch]:
        batches = read(max_records, timeout_ms)
        log.poll, log.fail = read, True  # type: ignore[method-assign]
        return batches

    log.poll = once  # type: ignore[method-assign]
    reader.poll(10, 0)
