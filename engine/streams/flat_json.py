"""One flat JSON object of known keys, read by kernels: its texts as places in the buffer, its numbers as numbers.

Keys come in any order with any white space, each once. What a kernel is not sure of it leaves to msgspec: escapes and
non-ASCII text, exponents, numbers of more than 15 digits, unknown, repeated and missing keys.

A producer writes one object like the other, so what stands between the values of the last object is looked for first:
where an object is `like` it, only its values are read.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from engine.domain.events import MAX_ID
from engine.domain.raw_bytes import address_of, byte_at, same, string_end
from engine.streams.records import Bytes, Integers

KEYS = ("v", "event_id", "source", "member_id", "time", "metric", "value", "unit", "utc_offset_min")
V, EVENT, SOURCE, MEMBER, TIME, METRIC, VALUE, UNIT, UTC_OFFSET = range(9)
NEEDED = 8
"""The first so many keys must be there."""
SHAPE = (len(KEYS) + 1, 3)
"""Of `read`'s shape: start and length of what stands before each value, in order, with the value's key; in the last row
those of what stands behind the values, and how many they are."""
_DIGITS = 15
_POWERS = 10.0 ** np.arange(_DIGITS + 1)


def packed(texts: tuple[str, ...]) -> tuple[Bytes, Integers]:
    """The texts' bytes one after the other, and where each begins, with the end."""
    ends = np.cumsum([0, *(len(text.encode()) for text in texts)])
    return np.frombuffer("".join(texts).encode(), np.uint8), ends


_KEY_BYTES, _KEY_AT = packed(KEYS)
_ALL_NEEDED = (1 << NEEDED) - 1


@njit(cache=True, nogil=True)
def which(at: int, length: int, texts: int, places: Integers) -> int:
    """Index of the text, of those packed at address `texts`, that stands at `at`; -1 for none."""
    found = -1
    for k in range(len(places) - 1):
        if places[k + 1] - places[k] == length and same(at, texts + places[k], length):
            found = k
            break
    return found


@njit(cache=True, nogil=True)
def _spaces(at: int, end: int) -> int:
    """Where white space ends."""
    while at < end:
        byte = byte_at(at)
        if byte != 32 and byte != 9 and byte != 10 and byte != 13:
            break
        at += 1
    return at


@njit(cache=True, nogil=True)
def _digits(at: int, end: int, mantissa: int, most: int) -> tuple[int, int]:
    """The number with the digits from `at` on behind it, and where they end: behind `most` of them at the latest."""
    stop = min(end, at + most)
    while at < stop:
        digit = byte_at(at) - 48
        if digit < 0 or digit > 9:
            break
        mantissa = mantissa * 10 + digit
        at += 1
    return mantissa, at


@njit(cache=True, nogil=True)
def _number(at: int, end: int) -> tuple[float, int, bool]:
    """A JSON number of at most 15 digits without an exponent, exactly; where it ends (-1: not one), and if integer.

    Digits fit 53 bits and so does the power of ten, so the one division is rounded as IEEE 754 rounds the decimal.
    """
    negative = at < end and byte_at(at) == 45
    first = at + negative
    mantissa, at = _digits(first, end, 0, _DIGITS + 1)
    whole = at - first
    if whole == 0 or whole > _DIGITS or (whole > 1 and byte_at(first) == 48):
        return 0.0, -1, False
    integer, fraction = at >= end or byte_at(at) != 46, 0
    if not integer:
        point = at
        mantissa, at = _digits(point + 1, end, mantissa, _DIGITS + 1 - whole)
        fraction = at - point - 1
        if fraction == 0 or whole + fraction > _DIGITS:
            return 0.0, -1, False
    if at < end and (byte_at(at) == 101 or byte_at(at) == 69):
        return 0.0, -1, False
    value = float(mantissa) / _POWERS[fraction]
    # -0 is the integer zero, which has no sign; -0.0 has one
    return (-value if negative and not (integer and mantissa == 0) else value), at, integer


@njit(cache=True, nogil=True)
def _value(at: int, end: int, key: int) -> tuple[float, int]:
    """The number there, or 0 for a text behind its opening quote; and where it ends, -1 where it is left to msgspec."""
    number = 0.0
    if key in (V, TIME, VALUE, UTC_OFFSET):
        number, stop, integer = _number(at, end)
        if not integer and key != VALUE:
            stop = -1
    else:
        stop = string_end(at, end)
        if stop <= at or stop - at > MAX_ID:
            stop = -1
    return number, stop


@njit(cache=True, nogil=True)
def _any(at: int, end: int, shape: Integers, places: Integers, numbers: NDArray[np.float64]) -> bool:
    """Reads an object of any shape, and tells its shape."""
    seen, behind, keys = 0, at, address_of(_KEY_BYTES)
    at = _spaces(at, end)
    if at >= end or byte_at(at) != 123:
        return False
    for member in range(len(KEYS)):
        at = _spaces(at + 1, end)  # past { or ,
        if at >= end or byte_at(at) != 34:
            return False
        stop = string_end(at + 1, end)
        if stop < 0:
            return False
        key = which(at + 1, stop - at - 1, keys, _KEY_AT)
        if key < 0 or seen >> key & 1:
            return False
        seen |= 1 << key
        at = _spaces(stop + 1, end)
        if at >= end or byte_at(at) != 58:
            return False
        at = _spaces(at + 1, end)
        text = key not in (V, TIME, VALUE, UTC_OFFSET)
        if at >= end or (text and byte_at(at) != 34):
            return False
        at += text
        shape[member, 0], shape[member, 1], shape[member, 2] = behind, at - behind, key
        numbers[key], behind = _value(at, end, key)
        places[key, 0], places[key, 1] = at, behind - at
        if behind < 0:
            return False
        at = _spaces(behind + text, end)
        if at >= end:
            return False
        if byte_at(at) == 125:
            shape[len(KEYS), 0], shape[len(KEYS), 1], shape[len(KEYS), 2] = behind, end - behind, member + 1
            return bool(seen & _ALL_NEEDED == _ALL_NEEDED and _spaces(at + 1, end) == end)
        if byte_at(at) != 44:
            return False
    return False


@njit(cache=True, nogil=True)
def _like(at: int, end: int, shape: Integers, places: Integers, numbers: NDArray[np.float64]) -> bool:
    """Reads an object in which the same bytes stand around the values as in the one whose shape is given."""
    for member in range(shape[len(KEYS), 2]):
        length = shape[member, 1]
        if at + length > end or not same(at, shape[member, 0], length):
            return False
        key, begin = shape[member, 2], at + length
        numbers[key], at = _value(begin, end, key)
        if at < 0:
            return False
        places[key, 0], places[key, 1] = begin, at - begin
    return bool(at + shape[len(KEYS), 1] == end and same(at, shape[len(KEYS), 0], end - at))


@njit(cache=True, nogil=True)
def read(at: int, end: int, shape: Integers, places: Integers, numbers: NDArray[np.float64]) -> bool:
    """Reads the object between two addresses: addresses and lengths of its texts into places [keys, 2], and `numbers`
    [keys]; a number that is not there stays as it was. False where it is left to msgspec.

    `shape` [SHAPE] is that of the last object that was read, which must still stand there; all zero before the first.
    """
    found = shape[0, 1] > 0 and _like(at, end, shape, places, numbers)
    if not found:
        found = _any(at, end, shape, places, numbers)
        if not found:
            shape[0, 1] = 0
    return bool(found)
