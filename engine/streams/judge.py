"""Judges a batch of records: what can be decoded and placed, and what becomes a dead letter."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.domain.batch import Rows
from engine.domain.events import ENROLLMENT, KIND_OF_TOPIC, READING, SCORING_COMMAND, EventKind
from engine.domain.tables import DEAD_LETTERS
from engine.errors import InvalidRecordError
from engine.scoring.member_state import PartitionState
from engine.streams import readings
from engine.streams.codec import decode
from engine.streams.readings import MEMBER, Readings
from engine.streams.records import RecordBatch
from engine.streams.topics import partition_of

DEAD_LETTER_COLUMNS = tuple(name for name in DEAD_LETTERS.names if name not in ("recorded_at", "replayed_at"))
KEPT_BYTES = 4096
"""How much of a dead letter's payload is kept."""


@dataclass(slots=True)
class Judged:
    """Records of one topic partition after decoding: events with their offsets, and refusals with theirs.

    Readings come as columns in `readings`, with their members' `slots` once misplaced ones are refused, and `offsets`,
    `events` and `payloads` stay empty.
    """

    kind: EventKind
    partition: int
    next_offset: int
    records: int
    offsets: list[int] = field(default_factory=list)
    events: list[Any] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    readings: Readings | None = None
    slots: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    refused: list[tuple[int, InvalidRecordError, bytes]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.events) if self.readings is None else len(self.readings)

    def filter(self, keep: Sequence[bool] | NDArray[np.bool_]) -> None:
        """Keeps the events so marked."""
        if self.readings is not None:
            marked = np.asarray(keep, np.bool_)
            self.readings, self.slots = self.readings.kept(marked), self.slots[marked]
            return
        self.offsets = [value for value, kept in zip(self.offsets, keep, strict=True) if kept]
        self.events = [value for value, kept in zip(self.events, keep, strict=True) if kept]
        self.payloads = [value for value, kept in zip(self.payloads, keep, strict=True) if kept]


def judge(batch: RecordBatch) -> Judged:
    """Decodes the records; whatever cannot be an event of the topic is refused with its reason."""
    kind = KIND_OF_TOPIC[batch.topic]
    judged = Judged(kind, batch.partition, batch.next_offset, len(batch))
    if kind is READING:
        judged.readings, refused = readings.read(batch)
        judged.refused = [(int(batch.offsets[i]), error, batch.value(i) or b"") for i, error in refused]
        return judged
    for i, (offset, taken_ms) in enumerate(zip(batch.offsets.tolist(), batch.timestamps_ms.tolist(), strict=True)):
        payload = batch.value(i)
        try:
            event = decode(kind, payload, taken_ms)
        except InvalidRecordError as error:
            judged.refused.append((offset, error, payload or b""))
        else:
            judged.offsets.append(offset)
            judged.events.append(event)
            judged.payloads.append(payload or b"")
    return judged


def members_wanted(judged: Judged, state: PartitionState) -> set[str]:
    """The members the events speak of who are not enrolled, though they must be before the events can be applied."""
    if judged.kind is SCORING_COMMAND:
        return set()
    if judged.readings is not None:
        members = judged.readings.text(MEMBER)
        return {members[i] for i in np.flatnonzero(state.slots_of(members) < 0).tolist()}
    return {event.member_id for event in judged.events} - state.slot_of.keys()


def refuse_misplaced(judged: Judged, state: PartitionState) -> None:
    """Refuses events that lie in another partition than their member's key puts them, and events of unknown members.

    An enrolment makes its member known.
    """
    if judged.kind is SCORING_COMMAND:
        return
    if judged.readings is not None:
        members = judged.readings.text(MEMBER)
        judged.slots = state.slots_of(members)
        unknown = judged.slots < 0
        for i in np.flatnonzero(unknown).tolist():
            offset, payload = int(judged.readings.offsets[i]), judged.readings.payload(i)
            judged.refused.append((offset, _stranger(members[i], judged.partition), payload))
        judged.filter(~unknown)
        return
    enrols = judged.kind is ENROLLMENT
    keep: list[bool] = []
    for offset, event, payload in zip(judged.offsets, judged.events, judged.payloads, strict=True):
        member = event.member_id
        misplaced = member not in state.slot_of and partition_of(member) != judged.partition
        keep.append(member in state.slot_of or (enrols and not misplaced))
        if not keep[-1]:
            judged.refused.append((offset, _stranger(member, judged.partition), payload))
    if not all(keep):
        judged.filter(keep)


def _stranger(member: str, partition: int) -> InvalidRecordError:
    """Why an event of a member that the partition does not know is refused."""
    home = partition_of(member)
    if home != partition:
        message = f"member_id is {member!r}: its key belongs to partition {home}"
        return InvalidRecordError("wrong_partition", "member_id", message)
    return InvalidRecordError("unknown_member", "member_id", f"member_id is {member!r}: no such member is enrolled")


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
