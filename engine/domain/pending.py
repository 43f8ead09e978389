"""Events of members who are not enrolled yet, held by their partition until the enrolment comes or their time is up.

Bounded: what does not fit is refused. Part of the partition's state, so a snapshot keeps it and a move takes it along.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_EVENTS = 10_000
"""Events a partition holds at most."""
MOST_BYTES = 4 << 20
"""Bytes of payload a partition holds at most: 256 MB over 64 partitions."""


@dataclass(frozen=True, slots=True)
class Held:
    """One event that waits, as the log has it. `taken_ms` is its record's timestamp, `cluster_id` that of its log."""

    member_id: str
    topic: str
    kafka_offset: int
    taken_ms: int
    cluster_id: str
    payload: bytes


class Pending:
    """The events that a partition holds, by member."""

    def __init__(self, most_events: int = MOST_EVENTS, most_bytes: int = MOST_BYTES) -> None:
        self._most_events, self._most_bytes = most_events, most_bytes
        self._of: dict[str, list[Held]] = {}
        self._events = self._bytes = 0

    def __len__(self) -> int:
        return self._events

    def __contains__(self, member_id: str) -> bool:
        return member_id in self._of

    def hold(self, event: Held) -> bool:
        """Holds the event; False where there is no room for it."""
        if self._events >= self._most_events or self._bytes + len(event.payload) > self._most_bytes:
            return False
        self._of.setdefault(event.member_id, []).append(event)
        self._events, self._bytes = self._events + 1, self._bytes + len(event.payload)
        return True

    def release(self, members: Iterable[str]) -> list[Held]:
        """Gives up the events of these members, in the order of their offsets."""
        return self._give_up([event for member in dict.fromkeys(members) for event in self._of.get(member, ())])

    def expire(self, until_ms: int) -> list[Held]:
        """Gives up the events whose records are of `until_ms` or earlier, in the order of their offsets."""
        return self._give_up([event for event in self._all() if event.taken_ms <= until_ms])

    def of_other_logs(self, cluster_id: str) -> list[Held]:
        """Gives up the events whose offsets belong to another cluster's log."""
        return self._give_up([event for event in self._all() if event.cluster_id != cluster_id])

    def _all(self) -> list[Held]:
        return [event for events in self._of.values() for event in events]

    def _give_up(self, gone: list[Held]) -> list[Held]:
        if gone:
            leaving = set(map(id, gone))
            for member in dict.fromkeys(event.member_id for event in gone):
                kept = [event for event in self._of.pop(member) if id(event) not in leaving]
                if kept:
                    self._of[member] = kept
            self._events -= len(gone)
            self._bytes -= sum(len(event.payload) for event in gone)
        return sorted(gone, key=_place)

    def dump(self) -> dict[str, NDArray[np.generic]]:
        """The events as arrays for `load`. Equal events dump equal arrays."""
        events = sorted(self._all(), key=_place)
        texts = [(e.member_id.encode(), e.topic.encode(), e.cluster_id.encode(), e.payload) for e in events]
        return {
            "numbers": np.array([(e.kafka_offset, e.taken_ms) for e in events], np.int64).reshape(-1, 2),
            "lengths": np.array([[len(text) for text in row] for row in texts], np.int64).reshape(-1, 4),
            "texts": np.frombuffer(b"".join(text for row in texts for text in row), np.uint8),
        }

    @classmethod
    def load(cls, numbers: NDArray[np.int64], lengths: NDArray[np.int64], texts: NDArray[np.uint8]) -> "Pending":
        """The events that `dump` described."""
        pending, data, at = cls(), texts.tobytes(), 0
        for (offset, taken_ms), sizes in zip(numbers.tolist(), lengths.tolist(), strict=True):
            parts = []
            for size in sizes:
                parts.append(data[at : at + size])
                at += size
            member, topic, cluster = (part.decode() for part in parts[:3])
            pending.hold(Held(member, topic, offset, taken_ms, cluster, parts[3]))
        return pending


def _place(event: Held) -> tuple[str, str, int]:
    return event.cluster_id, event.topic, event.kafka_offset
