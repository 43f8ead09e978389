"""Dead letters as an operator sees them: what was refused and why, and what has been sent again."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from engine.storage.database import Database
from engine.storage.schema import CORE

_LETTERS = CORE["dead_letters"]
_KEY = ("cluster_id", "topic", "partition", "kafka_offset")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One refused event. `payload` is its first bytes, `payload_bytes` how many it had in all."""

    cluster_id: str
    topic: str
    partition: int
    kafka_offset: int
    reason: str
    field: str
    message: str
    payload: bytes
    payload_bytes: int
    recorded_at: dt.datetime
    replayed_at: dt.datetime | None

    @property
    def whole(self) -> bool:
        """Whether all of the payload was kept."""
        return len(self.payload) == self.payload_bytes


class DeadLetters(Database):
    """The table of dead letters."""

    def find(
        self, reason: str = "", topic: str = "", limit: int | None = None, again: bool = False
    ) -> list[DeadLetter]:
        """Dead letters in order of topic, partition and offset; with `again` also those that were sent again before."""
        query = sa.select(*(_LETTERS.c[name] for name in DeadLetter.__slots__)).order_by(*(_LETTERS.c[n] for n in _KEY))
        if reason:
            query = query.where(_LETTERS.c.reason == reason)
        if topic:
            query = query.where(_LETTERS.c.topic == topic)
        if not again:
            query = query.where(_LETTERS.c.replayed_at.is_(None))
        return [DeadLetter(**row) for row in self._rows(query.limit(limit))]

    def mark_replayed(self, letters: Sequence[DeadLetter]) -> None:
        """Notes that the letters have been sent again, now."""
        self._write(*(self._marked(letter) for letter in letters))

    @staticmethod
    def _marked(letter: DeadLetter) -> sa.Update:
        same = (_LETTERS.c[name] == getattr(letter, name) for name in _KEY)
        return sa.update(_LETTERS).where(*same).values(replayed_at=sa.func.now())
