"""Judges a batch of records: what can be decoded and placed, and what becomes a dead letter."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.domain.batch import Rows
from engine.domain.events import KIND_OF_TOPIC, SCORING_COMMAND, EventKind
from engine.domain.tables import DEAD_LETTERS
from engine.errors import InvalidRecordError
from engine.streams.codec import decode
from engine.streams.reader import RecordBatch
from engine.streams.topics import partition_of

DEAD_LETTER_COLUMNS = tuple(name for name in DEAD_LETTERS.names if name != "recorded_at")
KEPT_BYTES = 4096
"""How much of a dead letter's payload is kept."""


@dataclass(slots=True)
class Judged:
    """Records of one topic partition after decoding: events with their offsets, and refusals with theirs."""

    kind: EventKind
    partition: int
    next_offset: int
    records: int
    offsets: list[int] = field(default_factory=list)
    events: list[Any] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    refused: list[tuple[int, InvalidRecordError, bytes]] = field(default_factory=list)

    def filter(self, keep: Sequence[bool]) -> None:
        """Keeps the events so marked."""
        self.offsets = [value for value, kept in zip(self.offsets, keep, strict=True) if kept]
        self.events = [value for value, kept in zip(self.events, keep, strict=True) if kept]
        self.payloads = [value for value, kept in zip(self.payloads, keep, strict=True) if kept]


def judge(batch: RecordBatch) -> Judged:
    """Decodes the records one by one; whatever cannot be an event of the topic is refused with its reason."""
    kind = KIND_OF_TOPIC[batch.topic]
    judged = Judged(kind, batch.partition, batch.next_offset, len(batch.offsets))
    for offset, taken_ms, payload in zip(batch.offsets, batch.timestamps_ms, batch.values, strict=True):
        try:
            event = decode(kind, payload, taken_ms)
        except InvalidRecordError as error:
            judged.refused.append((offset, error, payload or b""))
        else:
            judged.offsets.append(offset)
            judged.events.append(event)
            judged.payloads.append(payload or b"")
    return judged


def members_wanted(judged: Judged) -> set[str]:
    """The members the events speak of, who must be enrolled before the events can be applied."""
    return set() if judged.kind is SCORING_COMMAND else {event.member_id for event in judged.events}


def refuse_misplaced(judged: Judged, known: dict[str, int]) -> None:
    """Refuses events that lie in another partition than their member's key puts them, and events of unknown members.

    An enrolment makes its member known; `known` maps members to slots.
    """
    if judged.kind is SCORING_COMMAND:
        return
    enrols = judged.kind.table == "enrollment_changes"
    keep: list[bool] = []
    for offset, event, payload in zip(judged.offsets, judged.events, judged.payloads, strict=True):
        member = event.member_id
        if member in known:
            keep.append(True)
            continue
        if partition_of(member) != judged.partition:
            message = f"member_id is {member!r}: its key belongs to partition {partition_of(member)}"
            judged.refused.append((offset, InvalidRecordError("wrong_partition", "member_id", message), payload))
            keep.append(False)
        elif not enrols:
            message = f"member_id is {member!r}: no such member is enrolled"
            judged.refused.append((offset, InvalidRecordError("unknown_member", "member_id", message), payload))
            keep.append(False)
        else:
            keep.append(True)
    if not all(keep):
        judged.filter(keep)


def dead_letter_rows(judged: Judged, rows: Rows, cluster_id: str) -> None:
    """Appends the refused records to the rows of the dead-letter table."""
    for offset, error, payload in sorted(judged.refused, key=lambda refusal: refusal[0]):
        rows.append(
            topic=judged.kind.topic,
            partition=judged.partition,
            kafka_offset=offset,
            cluster_id=cluster_id,
            reason=error.reason,
            field=_printable(error.field)[:200],
            message=_printable(str(error))[:1000],
            payload=payload[:KEPT_BYTES],
            payload_bytes=len(payload),
        )


def _printable(text: str) -> str:
    """The text without what PostgreSQL cannot store: NUL and lone surrogates."""
    return text.replace("\x00", "\\x00").encode("utf-8", "replace").decode()
