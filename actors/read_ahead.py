"""Reads the log's next batch while the one before is worked on."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from actors.pace import Place
from actors.ports import Worker
from engine.errors import StreamError
from engine.streams.reader import RecordReader
from engine.streams.records import RecordBatch


class ReadAhead:
    """A `RecordReader` one poll ahead of its caller, as long as the log holds more than was taken.

    A caller who has taken all there was gets what has come by the time it asks again, and not what had come a batch
    earlier. Whatever else is asked waits for the poll under way, for the reader has one user at a time.
    """

    def __init__(self, reader: RecordReader, worker: Worker) -> None:
        self._reader, self._worker = reader, worker
        self._underway: Future[Any] | None = None
        self._lag: dict[Place, int] = {}

    def assign(self, positions: Mapping[Place, int]) -> None:
        """Reads exactly these topic partitions from now on; what was read ahead is read again."""
        self._alone()
        self._lag = {}
        self._reader.assign(positions)

    def poll(self, max_records: int, timeout_ms: int) -> list[RecordBatch]:
        """As the reader's. What was read ahead has as many records as were asked for a poll earlier."""
        batches: list[RecordBatch]
        if self._underway is None:
            batches, lag = self._read(max_records, timeout_ms)
        else:
            underway, self._underway = self._underway, None
            batches, lag = underway.result()
        self._lag = lag
        if any(lag.values()):
            self._underway = self._worker.submit(lambda: self._read(max_records, timeout_ms))
        return batches

    def _read(self, max_records: int, timeout_ms: int) -> tuple[list[RecordBatch], dict[Place, int]]:
        batches = self._reader.poll(max_records, timeout_ms)
        return batches, self._reader.lag(batches)

    def lag(self, batches: Sequence[RecordBatch]) -> dict[Place, int]:
        """How many records the log held behind each of the batches, which are of the last poll."""
        return {place: self._lag[place] for place in ((b.topic, b.partition) for b in batches) if place in self._lag}

    def end_offsets(self, partitions: Sequence[Place]) -> dict[Place, int]:
        """The log end of each topic partition as the broker tells it now."""
        return self._asked(self._reader.end_offsets, partitions)

    def begin_offsets(self, partitions: Sequence[Place]) -> dict[Place, int]:
        """The first offset each topic partition still holds."""
        return self._asked(self._reader.begin_offsets, partitions)

    def _asked(self, ask: Callable[[Sequence[Place]], dict[Place, int]], about: Sequence[Place]) -> dict[Place, int]:
        if self._underway is not None:
            with suppress(StreamError):  # is told to who polls
                self._underway.result()
        return ask(about)

    def _alone(self) -> None:
        if self._underway is not None:
            underway, self._underway = self._underway, None
            with suppress(StreamError):  # read again, it fails again
                underway.result()

    def close(self) -> None:
        """Gives the connection back."""
        self._alone()
        self._reader.close()
