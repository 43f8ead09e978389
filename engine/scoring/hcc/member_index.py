"""Member ids to rows: a hash index over the bytes of an Arrow column, built once and asked for many columns."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit
from numpy.typing import NDArray

from engine.errors import HccError

_OFFSET_BASIS, _PRIME = np.uint64(0xCBF2_9CE4_8422_2325), np.uint64(0x0000_0100_0000_01B3)
_GOLDEN = np.uint64(0x9E37_79B9_7F4A_7C15)


@njit(cache=True, inline="always")
def _hash(text: NDArray[np.uint8], start: int, stop: int, shift: int) -> np.int64:
    """FNV-1a of the bytes (Fowler, Noll, Vo), spread by a multiplication: a place in a table of 2^(64 - shift)."""
    value = _OFFSET_BASIS
    for i in range(start, stop):
        value = (value ^ np.uint64(text[i])) * _PRIME
    return np.int64((value * _GOLDEN) >> np.uint64(shift))


@njit(cache=True, inline="always")
def _same(a: NDArray[np.uint8], i: int, b: NDArray[np.uint8], j: int, length: int) -> bool:
    for k in range(length):  # noqa: SIM110 -- a kernel has no generators
        if a[i + k] != b[j + k]:
            return False
    return True


@njit(cache=True)
def _build(offsets: NDArray[Any], text: NDArray[np.uint8], shift: int, places: NDArray[np.int32]) -> None:
    mask = len(places) - 1
    for row in range(len(offsets) - 1):
        place = _hash(text, offsets[row], offsets[row + 1], shift)
        while places[place] >= 0:
            place = (place + 1) & mask
        places[place] = row


@njit(cache=True)
def _find(
    offsets: NDArray[Any],
    text: NDArray[np.uint8],
    own_offsets: NDArray[Any],
    own_text: NDArray[np.uint8],
    shift: int,
    places: NDArray[np.int32],
    out: NDArray[np.int64],
) -> None:
    """Rows of the ids between `offsets`, -1 where there is none; an id equal to the one before costs a comparison."""
    mask = len(places) - 1
    for i in range(len(out)):
        start, length = offsets[i], offsets[i + 1] - offsets[i]
        if i > 0 and length == start - offsets[i - 1] and _same(text, start, text, offsets[i - 1], length):
            out[i] = out[i - 1]
            continue
        place = _hash(text, start, start + length, shift)
        row = places[place]
        while row >= 0:
            own = own_offsets[row]
            if own_offsets[row + 1] - own == length and _same(text, start, own_text, own, length):
                break
            place = (place + 1) & mask
            row = places[place]
        out[i] = row


def _bytes(ids: pa.Array) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Offsets [n + 1] and bytes of a column of text or integers."""
    n = len(ids)
    if pa.types.is_integer(ids.type):
        values = np.ascontiguousarray(pc.fill_null(pc.cast(ids, pa.int64()), -1).to_numpy(zero_copy_only=False))
        return np.arange(n + 1) * 8, values.view(np.uint8)
    wide = pa.types.is_large_string(ids.type)
    _, offsets, text = ids.buffers()
    if not n or offsets is None:
        return np.zeros(n + 1, np.int64), np.zeros(1, np.uint8)
    bounds = np.frombuffer(offsets, np.int64 if wide else np.int32)[ids.offset : ids.offset + n + 1]
    empty = text is None or not text.size
    return bounds, np.zeros(1, np.uint8) if empty else np.frombuffer(text, np.uint8)


def _plain(ids: pa.Array) -> pa.Array:
    return ids.dictionary_decode() if pa.types.is_dictionary(ids.type) else ids


class MemberIndex:
    """Rows of member ids, which are text or integers and differ from one another."""

    def __init__(self, members: pa.Array) -> None:
        members = _plain(members)
        if not (
            pa.types.is_integer(members.type)
            or pa.types.is_string(members.type)
            or pa.types.is_large_string(members.type)
        ):
            raise HccError(f"column member_id of the members is {members.type}, not text or integer")
        self._type = members.type
        self._offsets, self._text = _bytes(members)
        size = 1 << max(4, (2 * len(members) - 1).bit_length())
        self._shift = 64 - (size.bit_length() - 1)
        self._places = np.full(size, -1, np.int32)
        _build(self._offsets, self._text, self._shift, self._places)

    def rows(self, ids: pa.Array) -> NDArray[np.int64]:
        """The row of each id, -1 where it is no member's or null. Raises HccError for ids of another kind."""
        ids = _plain(ids)
        if pa.types.is_integer(ids.type) != pa.types.is_integer(self._type):
            try:
                ids = pc.cast(ids, self._type)
            except pa.ArrowException as error:
                raise HccError(f"member_id is {self._type} in members and {ids.type} in diagnoses: {error}") from error
        out = np.empty(len(ids), np.int64)
        _find(*_bytes(ids), self._offsets, self._text, self._shift, self._places, out)
        if ids.null_count:
            out[np.asarray(pc.is_null(ids))] = -1
        return out
