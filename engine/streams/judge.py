"""Judges a batch of records: what can be decoded and placed, and what becomes a dead letter."""

from collections.abc import Sequence

import numpy as np

from engine.domain.batch import Rows
from engine.domain.events import KIND_OF_TOPIC, READING, EventKind
from engine.domain.pending import MOST_BYTES, MOST_EVENTS, Held
from engine.domain.tables import DEAD_LETTERS
from engine.errors import InvalidRecordError
from engine.scoring.member_state import PartitionState
from engine.streams import readings
from engine.streams.beside import beside
from engine.streams.codec import decode
from engine.streams.judged import Judged, JudgedEvents, JudgedReadings
from engine.streams.records import RecordBatch

DEAD_LETTER_COLUMNS = tuple(name for name in DEAD_LETTERS.names if name not in ("recorded_at", "replayed_at"))
KEPT_BYTES = 4096
"""How much of a dead letter's payload is kept."""


def judge(batch: RecordBatch) -> Judged:
    """Decodes the records; whatever cannot be an event of the topic is refused with its reason."""
    kind = KIND_OF_TOPIC[batch.topic]
    if kind is READING:
        found, wrong = readings.read(batch)
        refused = [(int(batch.offsets[i]), error, batch.value(i) or b"") for i, error in wrong]
        return JudgedReadings(kind, batch, refused, found)
    judged = JudgedEvents(kind, batch, [])
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


def judge_held(kind: EventKind, partition: int, next_offset: int, held: Sequence[Held]) -> Judged:
    """Events of a topic partition that were held and are due now; none of them is a record of the log's next batch."""
    offsets, times = [event.kafka_offset for event in held], [event.taken_ms for event in held]
    payloads = [event.payload for event in held]
    return judge(RecordBatch.of(kind.topic, partition, offsets, times, payloads, next_offset))


def hold_strangers(judged: Judged, state: PartitionState, cluster_id: str) -> int:
    """Holds the events of strangers as pending, and refuses those there is no room for; returns how many it holds."""
    if not judged.strangers:
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
