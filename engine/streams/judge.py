"""Judges a batch of records: what can be decoded and placed, and what becomes a dead letter."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.domain.batch import Rows, TextColumn
from engine.domain.events import ENROLLMENT, KIND_OF_TOPIC, READING, SCORING_COMMAND, EventKind
from engine.domain.pending import MOST_BYTES, MOST_EVENTS, Held
from engine.domain.tables import DEAD_LETTERS
from engine.errors import InvalidRecordError
from engine.scoring.member_state import PartitionState
from engine.streams import readings
from engine.streams.beside import beside
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
    `events` and `payloads` stay empty. `strangers` are member, offset and payload of events set aside: their member is
    not enrolled. `batch` is what the log held.
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
    strangers: list[tuple[str, int, bytes]] = field(default_factory=list)
    batch: RecordBatch | None = None

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
    judged = Judged(kind, batch.partition, batch.next_offset, len(batch), batch=batch)
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


def judge_all(batches: Sequence[RecordBatch]) -> list[Judged]:
    """Judges all of a micro-batch."""
    return beside(judge, batches, sum(map(len, batches)))


def after(held: Sequence[Held], judged: Judged) -> Judged:
    """The batch with events before it that were held and are due now; they are none of its own records."""
    offsets, times = [event.kafka_offset for event in held], [event.taken_ms for event in held]
    payloads = [event.payload for event in held]
    before = judge(RecordBatch.of(judged.kind.topic, judged.partition, offsets, times, payloads, judged.next_offset))
    if before.readings is not None:
        own = judged.readings
        judged.readings = before.readings if own is None else before.readings.followed_by(own)
    judged.offsets = before.offsets + judged.offsets
    judged.events = before.events + judged.events
    judged.payloads = before.payloads + judged.payloads
    judged.refused = before.refused + judged.refused
    return judged


def members_wanted(judged: Judged, state: PartitionState) -> set[str]:
    """The members the events speak of who are not enrolled, though they must be before the events can be applied."""
    if judged.kind is SCORING_COMMAND:
        return set()
    if judged.readings is not None:
        members = judged.readings.text(MEMBER)
        judged.slots = state.slots_of(members)
        return {members[i] for i in np.flatnonzero(judged.slots < 0).tolist()}
    names = [event.member_id for event in judged.events]
    return {names[i] for i in np.flatnonzero(state.slots_of(TextColumn.of(names)) < 0).tolist()}


def refuse_misplaced(judged: Judged, state: PartitionState) -> None:
    """Refuses events that lie in another partition than their member's key puts them; sets aside those of strangers.

    A stranger is who is not enrolled here but would be. An enrolment makes its member known.
    """
    if judged.kind is SCORING_COMMAND:
        return
    if judged.readings is not None:
        members = judged.readings.text(MEMBER)
        if len(judged.slots) != len(members) or (judged.slots < 0).any():
            judged.slots = state.slots_of(members)
        unknown = judged.slots < 0
        for i in np.flatnonzero(unknown).tolist():
            _set_aside(judged, members[i], int(judged.readings.offsets[i]), judged.readings.payload(i))
        judged.filter(~unknown)
        return
    enrols = judged.kind is ENROLLMENT
    keep: list[bool] = []
    known = (state.slots_of(TextColumn.of([event.member_id for event in judged.events])) >= 0).tolist()
    for enrolled, offset, event, payload in zip(known, judged.offsets, judged.events, judged.payloads, strict=True):
        member = event.member_id
        keep.append(enrolled or (enrols and partition_of(member) == judged.partition))
        if not keep[-1]:
            _set_aside(judged, member, offset, payload)
    if not all(keep):
        judged.filter(keep)


def _set_aside(judged: Judged, member: str, offset: int, payload: bytes) -> None:
    home = partition_of(member)
    if home == judged.partition:
        judged.strangers.append((member, offset, payload))
    else:
        message = f"member_id is {member!r}: its key belongs to partition {home}"
        judged.refused.append((offset, InvalidRecordError("wrong_partition", "member_id", message), payload))


def hold_strangers(judged: Judged, state: PartitionState, cluster_id: str) -> int:
    """Holds the events of strangers as pending, and refuses those there is no room for; returns how many it holds."""
    if not judged.strangers or judged.batch is None:
        return 0
    held = 0
    offsets, times = judged.batch.offsets, judged.batch.timestamps_ms
    for member, offset, payload in judged.strangers:
        taken_ms = int(times[np.searchsorted(offsets, offset)])
        if state.pending.hold(Held(member, judged.kind.topic, offset, taken_ms, cluster_id, payload)):
            held += 1
            continue
        message = (
            f"member_id is {member!r}: no such member is enrolled, and the partition holds {len(state.pending):,} such "
            f"events already (at most {MOST_EVENTS:,} and {MOST_BYTES >> 20} MB)"
        )
        judged.refused.append((offset, InvalidRecordError("pending_full", "member_id", message), payload))
    return held


def dead_letter_rows(judged: Judged, rows: Rows, cluster_id: str) -> None:
    """Appends the refused records to the rows of the dead-letter table."""
    for offset, error, payload in sorted(judged.refused, key=lambda refusal: refusal[0]):
        _letter(rows, (judged.kind.topic, judged.partition, offset, cluster_id), error, payload)


def expired_rows(expired: Sequence[Held], partition: int, rows: Rows, why: str) -> None:
    """Appends events that were held in vain to the rows of the dead-letter table."""
    for event in expired:
        message = f"member_id is {event.member_id!r}: no such member is enrolled, {why}"
        error = InvalidRecordError("unknown_member", "member_id", message)
        _letter(rows, (event.topic, partition, event.kafka_offset, event.cluster_id), error, event.payload)


def _letter(rows: Rows, place: tuple[str, int, int, str], error: InvalidRecordError, payload: bytes) -> None:
    topic, partition, offset, cluster_id = place
    rows.append(
        topic=topic,
        partition=partition,
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
