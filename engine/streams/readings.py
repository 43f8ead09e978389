"""Readings from records to columns: a kernel for the documented JSON object, msgspec for whatever the kernel leaves.

The kernel takes the object's keys in any order, with any white space. It leaves, record by record, everything it is not
sure of: escapes and non-ASCII text, exponents and numbers of more than 15 digits, unknown, repeated and missing keys,
and every value outside its bounds. Those go through `codec.decode`, which takes them or says what is wrong.
"""

from dataclasses import dataclass, replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from engine.domain.batch import TextColumn
from engine.domain.duplicates import digest, digest_of
from engine.domain.events import MAX_ID, READING, SCHEMA_VERSION
from engine.domain.metrics import METRIC_INDEX, METRICS
from engine.errors import InvalidRecordError
from engine.streams.codec import EARLIEST_MS, FUTURE_TOLERANCE_MS, MAX_PAYLOAD, decode
from engine.streams.records import Bytes, Integers, RecordBatch

_KEYS = ("v", "event_id", "source", "member_id", "time", "metric", "value", "unit")
_V, _EVENT, _SOURCE, _MEMBER, _TIME, _METRIC, _VALUE, _UNIT = range(8)
_DIGITS = 15
EVENT_ID, SOURCE, MEMBER = range(3)
"""Indices of the texts of a reading."""
Refused = list[tuple[int, InvalidRecordError]]


def _packed(texts: tuple[str, ...]) -> tuple[Bytes, Integers]:
    """The texts' bytes one after the other, and where each begins, with the end."""
    ends = np.cumsum([0, *(len(text.encode()) for text in texts)])
    return np.frombuffer("".join(texts).encode(), np.uint8), ends


_KEY_BYTES, _KEY_AT = _packed(_KEYS)
_CODE_BYTES, _CODE_AT = _packed(tuple(metric.code for metric in METRICS))
_UNIT_BYTES, _UNIT_AT = _packed(tuple(metric.unit for metric in METRICS))
_LOW, _HIGH = np.array([metric.low for metric in METRICS]), np.array([metric.high for metric in METRICS])
_POWERS = 10.0 ** np.arange(_DIGITS + 1)


@dataclass(frozen=True, slots=True)
class Readings:
    """Accepted readings as columns, in order of their offsets.

    `texts` [n, 3, 2] are start and length in `data` of EVENT_ID, SOURCE and MEMBER; `records` [n, 2] of the whole
    record. `metrics` index METRICS, `digests` name the events for the duplicate window.
    """

    data: Bytes
    offsets: Integers
    times_ms: Integers
    metrics: Integers
    values: NDArray[np.float64]
    digests: NDArray[np.uint64]
    texts: Integers
    records: Integers

    def __len__(self) -> int:
        return len(self.offsets)

    def kept(self, keep: NDArray[np.bool_]) -> "Readings":
        """Those so marked."""
        if keep.all():
            return self
        names = ("offsets", "times_ms", "metrics", "values", "digests", "texts", "records")
        return replace(self, **{name: getattr(self, name)[keep] for name in names})

    def followed_by(self, other: "Readings") -> "Readings":
        """These and then those."""
        begin = np.array([len(self.data), 0])
        moved = replace(other, texts=other.texts + begin, records=other.records + begin)
        names = ("data", "offsets", "times_ms", "metrics", "values", "digests", "texts", "records")
        return Readings(*(np.concatenate([getattr(self, name), getattr(moved, name)]) for name in names))

    def text(self, which: int) -> TextColumn:
        """The column of EVENT_ID, SOURCE or MEMBER."""
        return TextColumn(self.data, self.texts[:, which, 0], self.texts[:, which, 1])

    def payload(self, i: int) -> bytes:
        """The whole record."""
        start, length = self.records[i].tolist()
        return self.data[start : start + length].tobytes()


def codes(metrics: Integers) -> TextColumn:
    """The metrics' codes."""
    return TextColumn(_CODE_BYTES, _CODE_AT[metrics], _CODE_AT[metrics + 1] - _CODE_AT[metrics])


def units(metrics: Integers) -> TextColumn:
    """The metrics' units."""
    return TextColumn(_UNIT_BYTES, _UNIT_AT[metrics], _UNIT_AT[metrics + 1] - _UNIT_AT[metrics])


@njit(cache=True, nogil=True)
def _spaces(data: Bytes, at: int, end: int) -> int:
    """Where white space ends."""
    while at < end and (data[at] == 32 or data[at] == 9 or data[at] == 10 or data[at] == 13):
        at += 1
    return at


@njit(cache=True, nogil=True)
def _string_end(data: Bytes, at: int, end: int) -> int:
    """Where the plain ASCII string that begins at `at` has its closing quote; -1 for any other."""
    while at < end:
        byte = data[at]
        if byte == 34:
            return at
        if byte < 32 or byte == 92 or byte > 126:
            return -1
        at += 1
    return -1


@njit(cache=True, nogil=True)
def _equal(data: Bytes, at: int, length: int, other: Bytes, begin: int, stop: int) -> bool:
    """Whether two ranges hold the same bytes."""
    if length != stop - begin:
        return False
    for i in range(length):  # noqa: SIM110 - numba compiles no generator
        if data[at + i] != other[begin + i]:
            return False
    return True


@njit(cache=True, nogil=True)
def _which(data: Bytes, at: int, length: int, texts: Bytes, places: Integers) -> int:
    """Index of the packed text that the range equals; -1 for none."""
    for k in range(len(places) - 1):
        if _equal(data, at, length, texts, places[k], places[k + 1]):
            return k
    return -1


@njit(cache=True, nogil=True)
def _number(data: Bytes, at: int, end: int) -> tuple[float, int, bool]:
    """A JSON number of at most 15 digits without an exponent, exactly; where it ends (-1: not one), and if integer.

    Digits fit 53 bits and so does the power of ten, so the one division is rounded as IEEE 754 rounds the decimal.
    """
    negative = at < end and data[at] == 45
    if negative:
        at += 1
    first, digits, mantissa, fraction = at, 0, np.int64(0), 0
    while at < end and 48 <= data[at] <= 57:
        mantissa = mantissa * 10 + (data[at] - 48)
        digits, at = digits + 1, at + 1
        if digits > 15:
            return 0.0, -1, False
    if digits == 0 or (digits > 1 and data[first] == 48):
        return 0.0, -1, False
    integer = at >= end or data[at] != 46
    if not integer:
        at += 1
        while at < end and 48 <= data[at] <= 57:
            mantissa = mantissa * 10 + (data[at] - 48)
            digits, fraction, at = digits + 1, fraction + 1, at + 1
            if digits > 15:
                return 0.0, -1, False
        if fraction == 0:
            return 0.0, -1, False
    if at < end and (data[at] == 101 or data[at] == 69):
        return 0.0, -1, False
    value = float(mantissa) / _POWERS[fraction]
    # -0 is the integer zero, which has no sign; -0.0 has one
    return (-value if negative and not (integer and mantissa == 0) else value), at, integer


@njit(cache=True, nogil=True)
def _object(data: Bytes, at: int, end: int, places: Integers, numbers: NDArray[np.float64]) -> bool:
    """Reads one object: places [keys, 2] of its texts and `numbers` [keys]. False where it is left to msgspec."""
    seen = 0
    at = _spaces(data, at, end)
    if at >= end or data[at] != 123:
        return False
    while True:
        at = _spaces(data, at + 1, end)  # past { or ,
        if at >= end or data[at] != 34:
            return False
        stop = _string_end(data, at + 1, end)
        if stop < 0:
            return False
        key = _which(data, at + 1, stop - at - 1, _KEY_BYTES, _KEY_AT)
        if key < 0 or seen >> key & 1:
            return False
        seen |= 1 << key
        at = _spaces(data, stop + 1, end)
        if at >= end or data[at] != 58:
            return False
        at = _spaces(data, at + 1, end)
        if at >= end:
            return False
        if key in (_V, _TIME, _VALUE):
            numbers[key], at, integer = _number(data, at, end)
            if at < 0 or not (integer or key == _VALUE):
                return False
        else:
            if data[at] != 34:
                return False
            stop = _string_end(data, at + 1, end)
            if stop < 0 or stop == at + 1 or stop - at - 1 > MAX_ID:
                return False
            places[key, 0], places[key, 1] = at + 1, stop - at - 1
            at = stop + 1
        at = _spaces(data, at, end)
        if at >= end or (data[at] != 44 and data[at] != 125):
            return False
        if data[at] == 125:
            return bool(seen == 255 and _spaces(data, at + 1, end) == end)


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
    texts: Integers,
    done: NDArray[np.bool_],
) -> None:
    """Parses records into columns, and marks those that are `done`; the others are left to msgspec."""
    places, numbers = np.zeros((8, 2), np.int64), np.zeros(8)
    for i in range(len(starts)):
        start, length = starts[i], lengths[i]
        if length < 2 or length > MAX_PAYLOAD or not _object(data, start, start + length, places, numbers):
            continue
        time, value = np.int64(numbers[_TIME]), numbers[_VALUE]
        if numbers[_V] != SCHEMA_VERSION or time < EARLIEST_MS or time > taken_ms[i] + FUTURE_TOLERANCE_MS:
            continue
        metric = _which(data, places[_METRIC, 0], places[_METRIC, 1], _CODE_BYTES, _CODE_AT)
        if metric < 0 or not _LOW[metric] <= value <= _HIGH[metric]:
            continue
        begin, stop = _UNIT_AT[metric], _UNIT_AT[metric + 1]
        if not _equal(data, places[_UNIT, 0], places[_UNIT, 1], _UNIT_BYTES, begin, stop):
            continue
        times_ms[i], metrics[i], values[i] = time, metric, value
        digests[i] = digest_of(data, places[_SOURCE, 0], places[_SOURCE, 1], places[_EVENT, 0], places[_EVENT, 1])
        for k, key in enumerate((_EVENT, _SOURCE, _MEMBER)):
            texts[i, k, 0], texts[i, k, 1] = places[key, 0], places[key, 1]
        done[i] = True


def read(batch: RecordBatch) -> tuple[Readings, Refused]:
    """The readings of a batch, and the records refused: their row in the batch and why."""
    n = len(batch)
    times, metrics, values = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n)
    digests, texts, done = np.zeros(n, np.uint64), np.zeros((n, 3, 2), np.int64), np.zeros(n, np.bool_)
    parse(batch.data, batch.starts, batch.lengths, batch.timestamps_ms, times, metrics, values, digests, texts, done)
    refused: Refused = []
    extra = bytearray()
    for i in np.flatnonzero(~done).tolist():
        try:
            event = decode(READING, batch.value(i), int(batch.timestamps_ms[i]))
        except InvalidRecordError as error:
            refused.append((i, error))
            continue
        times[i], metrics[i], values[i] = event.time, METRIC_INDEX[event.metric], event.value
        digests[i], done[i] = digest(event.source, event.event_id), True
        for k, text in enumerate((event.event_id, event.source, event.member_id)):
            raw = text.encode()
            texts[i, k] = len(batch.data) + len(extra), len(raw)
            extra += raw
    data = np.concatenate([batch.data, np.frombuffer(bytes(extra), np.uint8)]) if extra else batch.data
    records = np.stack([batch.starts, batch.lengths], axis=1)
    return Readings(data, batch.offsets, times, metrics, values, digests, texts, records).kept(done), refused
