"""Where a member's slot is, found by a kernel from the bytes of the id."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from engine.domain.siphash import siphash

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]
_FIRST = 64
_LOW, _HIGH = np.uint64(0x6D656D62), np.uint64(0x65727321)


@njit(cache=True)
def _place(table: NDArray[np.int32], pool: Bytes, ends: Integers, data: Bytes, start: int, length: int) -> int:
    """Where in the table the id is or belongs; linear probing, free places are -1, table size a power of two."""
    mask = len(table) - 1
    at = int(np.int64(siphash(data, start, length, _LOW, _HIGH) & np.uint64(mask)))
    while table[at] >= 0:
        slot = table[at]
        begin = ends[slot]
        if ends[slot + 1] - begin == length:
            same = True
            for i in range(length):
                if pool[begin + i] != data[start + i]:
                    same = False
                    break
            if same:
                return at
        at = (at + 1) & mask
    return at


@njit(cache=True)
def _insert(table: NDArray[np.int32], pool: Bytes, ends: Integers, first: int, count: int) -> None:
    """Puts the ids of slots first .. count - 1 into the table."""
    for slot in range(first, count):
        table[_place(table, pool, ends, pool, ends[slot], ends[slot + 1] - ends[slot])] = slot


@njit(cache=True)
def _find(
    table: NDArray[np.int32],
    pool: Bytes,
    ends: Integers,
    data: Bytes,
    starts: Integers,
    lengths: Integers,
    slots: Integers,
) -> None:
    """Slots of ids that are ranges of `data`; -1 for those that are not there."""
    for i in range(len(starts)):
        slots[i] = table[_place(table, pool, ends, data, starts[i], lengths[i])]


class MemberIndex:
    """Slots by id, in order of their first appearance. Memory: the ids, 8 bytes each, and 8 to 16 for the table."""

    def __init__(self) -> None:
        self._table = np.full(2 * _FIRST, -1, np.int32)
        self._pool = np.zeros(16 * _FIRST, np.uint8)
        self._ends = np.zeros(_FIRST + 1, np.int64)
        self._count = 0

    def add(self, ids: list[str]) -> None:
        """Gives the next slots to ids that are new."""
        encoded = [member.encode() for member in ids]
        raw = b"".join(encoded)
        first, count = self._count, self._count + len(ids)
        begin = int(self._ends[first])
        if count >= len(self._ends):
            self._ends = np.concatenate([self._ends[: first + 1], np.zeros(count, np.int64)])
        if begin + len(raw) > len(self._pool):
            self._pool = np.concatenate([self._pool[:begin], np.zeros(begin + 2 * len(raw), np.uint8)])
        self._pool[begin : begin + len(raw)] = np.frombuffer(raw, np.uint8)
        self._ends[first + 1 : count + 1] = begin + np.cumsum([len(each) for each in encoded])
        if 2 * count > len(self._table):
            self._table = np.full(1 << int(2 * count).bit_length(), -1, np.int32)
            first = 0
        _insert(self._table, self._pool, self._ends, first, count)
        self._count = count

    def find(self, data: Bytes, starts: Integers, lengths: Integers) -> Integers:
        """Slots of the ids data[starts[i] : starts[i] + lengths[i]]; -1 for an id that is not there."""
        slots = np.empty(len(starts), np.int64)
        _find(self._table, self._pool, self._ends, data, starts, lengths, slots)
        return slots
