"""Where a member's slot is, found by a kernel from the bytes of the id."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from engine.domain.batch import TextColumn
from engine.domain.raw_bytes import address_of, same
from engine.domain.siphash import siphash
from engine.scoring.sparse import grown

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]
_FIRST = 64
_LOW, _HIGH = np.uint64(0x6D656D62), np.uint64(0x65727321)


@njit(cache=True, nogil=True)
def _place(table: NDArray[np.int32], pool: int, ends: Integers, start: int, length: int) -> int:
    """Where in the table the id at address `start` is or belongs, of ids packed at address `pool`.

    Linear probing; free places are -1, the table's size is a power of two.
    """
    mask = len(table) - 1
    at = int(np.int64(siphash(start, length, _LOW, _HIGH) & np.uint64(mask)))
    while True:
        slot = table[at]
        if slot < 0 or (ends[slot + 1] - ends[slot] == length and same(pool + ends[slot], start, length)):
            break
        at = (at + 1) & mask
    return at


@njit(cache=True, nogil=True)
def _rebuild(table: NDArray[np.int32], pool: Bytes, ends: Integers, count: int) -> None:
    """Puts the ids of slots 0 .. count - 1 into an empty table."""
    ids = address_of(pool)
    for slot in range(count):
        table[_place(table, ids, ends, ids + ends[slot], ends[slot + 1] - ends[slot])] = slot


@njit(cache=True, nogil=True)
def _add(
    table: NDArray[np.int32],
    pool: Bytes,
    ends: Integers,
    count: int,
    data: Bytes,
    starts: Integers,
    lengths: Integers,
    slots: Integers,
) -> int:
    """Slots of ids that are ranges of `data`, the next ones for those that are new; returns the count after it."""
    ids, base = address_of(pool), address_of(data)
    for i in range(len(starts)):
        at = _place(table, ids, ends, base + starts[i], lengths[i])
        if table[at] < 0:
            begin = ends[count]
            for k in range(lengths[i]):
                pool[begin + k] = data[starts[i] + k]
            table[at] = count
            count += 1
            ends[count] = begin + lengths[i]
        slots[i] = table[at]
    return count


@njit(cache=True, nogil=True)
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
    ids, base = address_of(pool), address_of(data)
    for i in range(len(starts)):
        slots[i] = table[_place(table, ids, ends, base + starts[i], lengths[i])]


class MemberIndex:
    """Ids by slot and slots by id, in order of first appearance.

    Memory: the ids, 8 bytes each for where they end, and 8 to 16 for the table.
    """

    def __init__(self) -> None:
        self._table = np.full(2 * _FIRST, -1, np.int32)
        self._pool = np.zeros(16 * _FIRST, np.uint8)
        self._ends = np.zeros(_FIRST + 1, np.int64)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, ids: TextColumn) -> Integers:
        """Slots of the ids; one that is new gets the next."""
        count, size = self._count + len(ids), int(self._ends[self._count]) + int(ids.lengths.sum())
        if count >= len(self._ends):
            self._ends = grown(self._ends, count + 1)
        if size > len(self._pool):
            self._pool = grown(self._pool, size)
        if 2 * count > len(self._table):
            self._table = np.full(1 << int(2 * count).bit_length(), -1, np.int32)
            _rebuild(self._table, self._pool, self._ends, self._count)
        slots = np.empty(len(ids), np.int64)
        self._count = int(
            _add(self._table, self._pool, self._ends, self._count, ids.data, ids.starts, ids.lengths, slots)
        )
        return slots

    def find(self, ids: TextColumn) -> Integers:
        """Slots of the ids; -1 for an id that is not there."""
        slots = np.empty(len(ids), np.int64)
        _find(self._table, self._pool, self._ends, ids.data, ids.starts, ids.lengths, slots)
        return slots

    def ids(self, slots: Integers) -> TextColumn:
        """The ids in these slots."""
        starts = self._ends[slots]
        return TextColumn(self._pool, starts, self._ends[slots + 1] - starts)

    def nbytes(self) -> int:
        """Bytes in use."""
        return int(self._ends[self._count]) + 8 * (self._count + 1) + self._table.nbytes
