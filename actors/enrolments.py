"""Enrolments as a shard's step takes them: read apart, so that a member is known before their first event is judged."""

from collections.abc import Mapping, Sequence

from actors.pace import Place
from actors.ports import Clock
from engine.domain.events import ENROLLMENT
from engine.errors import StreamError
from engine.streams.judge import judge
from engine.streams.judged import Judged
from engine.streams.reader import RecordReader
from engine.streams.records import RecordBatch

_MOST = 100_000
_ASK_AGAIN_SECONDS = 0.1


class Enrolments:
    """Enrolments that have arrived in this step, joined by partition."""

    def __init__(self, reader: RecordReader, positions: Mapping[Place, int], clock: Clock) -> None:
        self._reader = reader
        self._positions = positions
        self._clock = clock
        self._held: dict[Place, RecordBatch] = {}

    def poll(self, timeout_ms: int) -> None:
        """Takes what is there."""
        for batch in self._reader.poll(_MOST, timeout_ms):
            place = (batch.topic, batch.partition)
            held = self._held.get(place)
            self._held[place] = batch if held is None else RecordBatch.joined([held, batch])

    def catch_up(self, judged: Sequence[Judged], retry_seconds: float) -> None:
        """Reads the enrolment log to its end: an event acknowledged after its member's enrolment finds the member."""
        partitions = {part.partition for part in judged}
        deadline = self._clock.now() + retry_seconds
        ends = self._ends([(ENROLLMENT.topic, partition) for partition in sorted(partitions)], deadline)
        while any(self._next(place) < end for place, end in ends.items()):
            if self._clock.now() > deadline:
                late = {place: (self._next(place), end) for place, end in ends.items() if self._next(place) < end}
                raise StreamError(f"the broker does not deliver enrolments it holds within {retry_seconds:g} s: {late}")
            self.poll(100)

    def _ends(self, places: Sequence[Place], deadline: float) -> dict[Place, int]:
        """Log ends, asked for until the broker answers: it may be away for as long as PostgreSQL may."""
        while True:
            try:
                return self._reader.end_offsets(places)
            except StreamError:
                if self._clock.now() > deadline:
                    raise
                self._clock.sleep(_ASK_AGAIN_SECONDS)

    def _next(self, place: Place) -> int:
        return self._held[place].next_offset if place in self._held else self._positions[place]

    def lag(self) -> dict[Place, int]:
        """Records of the log behind the enrolments."""
        return self._reader.lag(list(self._held.values()))

    def judged(self) -> list[Judged]:
        """The enrolments, decoded."""
        return [judge(batch) for batch in self._held.values()]
