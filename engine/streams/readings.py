"""Readings from records to columns: a kernel for the documented JSON object, msgspec for whatever the kernel leaves.

The kernel leaves, record by record, every object that `flat_json` is not sure of and every value outside its bounds.
Those go through `codec.decode`, which takes them or says what is wrong.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from engine.domain.batch import TextColumn
from engine.domain.duplicates import digest, digest_of
from engine.domain.events import FIRST_VERSION, READING, SCHEMA_VERSION
from engine.domain.metrics import METRIC_INDEX, METRICS
from engine.domain.raw_bytes import address_of, same
from engine.errors import InvalidRecordError
from engine.streams import flat_json
from engine.streams.codec import EARLIEST_MS, FUTURE_TOLERANCE_MS, MAX_PAYLOAD, decode
from engine.streams.records import Bytes, Integers, RecordBatch

EVENT_ID, SOURCE, MEMBER = range(3)
"""Indices of the texts of a reading."""
Refused = list[tuple[int, InvalidRecordError]]
_TEXTS = (flat_json.EVENT, flat_json.SOURCE, flat_json.MEMBER)
_CODE_BYTES, _CODE_AT = flat_json.packed(tuple(metric.code for metric in METRICS))
_UNIT_BYTES, _UNIT_AT = flat_json.packed(tuple(metric.unit for metric in METRICS))
_OFFSETS = READING.schema["utc_offset_min"]
_FROM_MIN, _TO_MIN = _OFFSETS.low or 0, _OFFSETS.high or 0
_LOW, _HIGH = np.array([metric.low for metric in METRICS]), np.array([metric.high for metric in METRICS])


class Change(NamedTuple):
    """What a reading is that is not simply new: its sign, the event it adjusts, and its revision."""

    sign: int | None
    adjusts: str | None
    revision: int | None


_NEW = Change(None, None, None)


@dataclass(frozen=True, slots=True)
class Readings:
    """Accepted readings as columns, in order of their offsets.

    `texts` [n, 3, 2] are start and length in `data` of EVENT_ID, SOURCE and MEMBER; `records` [n, 2] of the whole
    record. `metrics` index METRICS, `digests` name the events for the duplicate window, `utc_offsets` are minutes, NaN
    where none is given. `changes` has the few, by Kafka offset, that say they are not simply new.
    """

    data: Bytes
    offsets: Integers
    times_ms: Integers
    metrics: Integers
    values: NDArray[np.float64]
    digests: NDArray[np.uint64]
    utc_offsets: NDArray[np.float64]
    texts: Integers
    records: Integers
    changes: Mapping[int, Change] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.offsets)

    def kept(self, keep: NDArray[np.bool_]) -> "Readings":
        """Those so marked."""
        return self if keep.all() else self.taken(keep)

    def taken(self, which: NDArray[np.bool_] | Integers) -> "Readings":
        """Those so marked, or those at these places, in that order."""
        return replace(self, **{name: getattr(self, name)[which] for name in _COLUMNS})

    def followed_by(self, other: "Readings") -> "Readings":
        """These and then those."""
        begin = np.array([len(self.data), 0])
        moved = replace(other, texts=other.texts + begin, records=other.records + begin)
        both = {name: np.concatenate([getattr(self, name), getattr(moved, name)]) for name in ("data", *_COLUMNS)}
        return Readings(**both, changes={**self.changes, **other.changes})

    def signs(self) -> NDArray[np.int8]:
        """1 for what is new, -1 for what is taken back."""
        signs = np.ones(len(self), np.int8)
        if self.changes:
            signs[:] = [1 if change.sign is None else change.sign for change in self._each_change()]
        return signs

    def change_columns(self) -> tuple[Any, Any, Any]:
        """Sign, event that is adjusted and revision, as columns of the table."""
        if not self.changes:
            none = np.full(len(self), np.nan)
            return none, TextColumn(self.data[:0], *np.array([[0], [-1]]).repeat(len(self), axis=1)), none
        changes = self._each_change()
        signs = np.array([np.nan if change.sign is None else change.sign for change in changes], np.float64)
        revisions = np.array([np.nan if change.revision is None else change.revision for change in changes], np.float64)
        return signs, TextColumn.of([change.adjusts for change in changes]), revisions

    def _each_change(self) -> list[Change]:
        return [self.changes.get(offset, _NEW) for offset in self.offsets.tolist()]

    def text(self, which: int) -> TextColumn:
        """The column of EVENT_ID, SOURCE or MEMBER."""
        return TextColumn(self.data, self.texts[:, which, 0], self.texts[:, which, 1])

    def payload(self, i: int) -> bytes:
        """The whole record."""
        start, length = self.records[i].tolist()
        return self.data[start : start + length].tobytes()


_COLUMNS = ("offsets", "times_ms", "metrics", "values", "digests", "utc_offsets", "texts", "records")


def codes(metrics: Integers) -> TextColumn:
    """The metrics' codes."""
    return TextColumn(_CODE_BYTES, _CODE_AT[metrics], _CODE_AT[metrics + 1] - _CODE_AT[metrics])


def units(metrics: Integers) -> TextColumn:
    """The metrics' units."""
    return TextColumn(_UNIT_BYTES, _UNIT_AT[metrics], _UNIT_AT[metrics + 1] - _UNIT_AT[metrics])


@njit(cache=True, nogil=True)
def parse(
    data: Bytes,
    starts: Integers,
    lengths: Integers,
    taken_ms: Integers,
    times_ms: Integers,
    metrics: Integers,
    values: NDArray[np.float64],
    digests: NDArray[np.uint64],
    utc_offsets: NDArray[np.float64],
    texts: Integers,
    done: NDArray[np.bool_],
) -> None:
    """Parses records into columns, and marks those that are `done`; the others are left to msgspec."""
    keys, base = len(flat_json.KEYS), address_of(data)
    shape, places, numbers = np.zeros(flat_json.SHAPE, np.int64), np.zeros((keys, 2), np.int64), np.zeros(keys)
    code_bytes, unit_bytes = address_of(_CODE_BYTES), address_of(_UNIT_BYTES)
    for i in range(len(starts)):
        start, length = base + starts[i], lengths[i]
        numbers[flat_json.UTC_OFFSET] = np.nan
        if length < 2 or length > MAX_PAYLOAD or not flat_json.read(start, start + length, shape, places, numbers):
            continue
        time, value = np.int64(numbers[flat_json.TIME]), numbers[flat_json.VALUE]
        version, ahead = numbers[flat_json.V], numbers[flat_json.UTC_OFFSET]
        if time < EARLIEST_MS or time > taken_ms[i] + FUTURE_TOLERANCE_MS:
            continue
        first = version == FIRST_VERSION and ahead != ahead
        if not first and (version != SCHEMA_VERSION or ahead < _FROM_MIN or ahead > _TO_MIN):
            continue
        metric = flat_json.which(places[flat_json.METRIC, 0], places[flat_json.METRIC, 1], code_bytes, _CODE_AT)
        if metric < 0 or not _LOW[metric] <= value <= _HIGH[metric]:
            continue
        begin, size = _UNIT_AT[metric], _UNIT_AT[metric + 1] - _UNIT_AT[metric]
        if places[flat_json.UNIT, 1] != size or not same(places[flat_json.UNIT, 0], unit_bytes + begin, size):
            continue
        times_ms[i], metrics[i], values[i], utc_offsets[i] = time, metric, value, ahead
        for k, key in enumerate(_TEXTS):
            texts[i, k, 0], texts[i, k, 1] = places[key, 0] - base, places[key, 1]
        source, event = base + texts[i, SOURCE, 0], base + texts[i, EVENT_ID, 0]
        digests[i] = digest_of(source, texts[i, SOURCE, 1], event, texts[i, EVENT_ID, 1])
        done[i] = True


def read(batch: RecordBatch) -> tuple[Readings, Refused]:
    """The readings of a batch, and the records refused: their row in the batch and why."""
    n = len(batch)
    times, metrics, values, ahead = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n), np.zeros(n)
    digests, texts, done = np.zeros(n, np.uint64), np.zeros((n, 3, 2), np.int64), np.zeros(n, np.bool_)
    columns = (times, metrics, values, digests, ahead, texts)
    parse(batch.data, batch.starts, batch.lengths, batch.timestamps_ms, *columns, done)
    refused: Refused = []
    changes: dict[int, Change] = {}
    extra = bytearray()
    for i in np.flatnonzero(~done).tolist():
        try:
            event = decode(READING, batch.value(i), int(batch.timestamps_ms[i]))
        except InvalidRecordError as error:
            refused.append((i, error))
            continue
        times[i], metrics[i], values[i] = event.time, METRIC_INDEX[event.metric], event.value
        digests[i], done[i] = digest(event.source, event.event_id), True
        ahead[i] = np.nan if event.utc_offset_min is None else event.utc_offset_min
        change = Change(event.sign, event.adjusts, event.revision)
        if change != _NEW:
            changes[int(batch.offsets[i])] = change
        for k, text in enumerate((event.event_id, event.source, event.member_id)):
            raw = text.encode()
            texts[i, k] = len(batch.data) + len(extra), len(raw)
            extra += raw
    data = np.concatenate([batch.data, np.frombuffer(bytes(extra), np.uint8)]) if extra else batch.data
    records = np.stack([batch.starts, batch.lengths], axis=1)
    return Readings(data, batch.offsets, *columns, records, changes).kept(done), refused
