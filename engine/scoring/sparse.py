"""Values by member and kind that take memory only where there are any: most members have few metrics, tests and claims.

Three levels. A member has a row only when any kind has values, a row names a block for each kind, and a block holds the
values. Row 0 and block 0 are everybody's who has none and stay all zeros, so readers need no branch, and memory that
the operating system gives as zeros is empty blocks already.

Memory: 4 bytes a member, 4 x kinds a member with values, `width` x 8 bytes a member and kind with values.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Integers = NDArray[np.int64]
_FIRST_ROWS, _FIRST_BLOCKS = 16, 16


@njit(cache=True, nogil=True)
def _give_rows(row_of: NDArray[np.int32], slots: Integers, count: int) -> int:
    """Gives a row to each member who has none, numbered from `count` on; returns the count after it."""
    for i in range(len(slots)):
        if row_of[slots[i]] == 0:
            row_of[slots[i]] = count
            count += 1
    return count


@njit(cache=True, nogil=True)
def _give_blocks(
    row_of: NDArray[np.int32],
    block_of: NDArray[np.int32],
    slots: Integers,
    kinds: Integers,
    count: int,
    out: NDArray[np.int32],
) -> int:
    """Finds each member's and kind's block into out [n], given anew from `count` on; returns the count after it."""
    for i in range(len(slots)):
        row = row_of[slots[i]]
        if block_of[row, kinds[i]] == 0:
            block_of[row, kinds[i]] = count
            count += 1
        out[i] = block_of[row, kinds[i]]
    return count


@njit(cache=True, nogil=True)
def _spread(rows: Integers, used: NDArray[np.bool_], block_of: NDArray[np.int32]) -> None:
    """Numbers the used blocks of each row from 1 on, row by row."""
    number = 1
    for i in range(len(rows)):
        for kind in range(used.shape[1]):
            if used[i, kind]:
                block_of[rows[i], kind] = number
                number += 1


def grown(array: NDArray[Any], length: int) -> NDArray[Any]:
    """The array with at least so many rows, the new ones zero; by half as much again, for growth costs a copy."""
    if length <= len(array):
        return array
    out = np.zeros((max(length, len(array) + len(array) // 2), *array.shape[1:]), array.dtype)
    out[: len(array)] = array
    return out


class Sparse:
    """Integers [members, kinds, width] of which few are there.

    `row_of` [members], `block_of` [rows, kinds] and `blocks` [blocks, width] are for kernels: the values of a member
    and kind are blocks[block_of[row_of[slot], kind]].
    """

    def __init__(self, kinds: int, width: int) -> None:
        self.kinds = kinds
        self.row_of = np.zeros(0, np.int32)
        self.block_of = np.zeros((_FIRST_ROWS, kinds), np.int32)
        self.blocks = np.zeros((_FIRST_BLOCKS, width), np.int64)
        self._rows = self._blocks = 1

    def reserve(self, members: int) -> None:
        """Makes room for members in slots below `members`."""
        self.row_of = grown(self.row_of, members)

    def own(self, slots: Integers, kinds: Integers) -> NDArray[np.int32]:
        """The block [n] of each member and kind, made where there was none."""
        self._rows = int(_give_rows(self.row_of, slots, self._rows))
        self.block_of = grown(self.block_of, self._rows)
        out = np.empty(len(slots), np.int32)
        self._blocks = int(_give_blocks(self.row_of, self.block_of, slots, kinds, self._blocks, out))
        self.blocks = grown(self.blocks, self._blocks)
        return out

    def of(self, slots: Integers, kind: int | None = None) -> Integers:
        """Values [n, kinds, width] of the members, or [n, width] of one kind; zeros where there are none."""
        blocks = self.block_of[self.row_of[slots]]
        return np.asarray(self.blocks[blocks if kind is None else blocks[:, kind]])

    def nbytes(self) -> int:
        """Bytes in use."""
        used = self.row_of.nbytes + self._rows * self.block_of[0].nbytes + self._blocks * self.blocks[0].nbytes
        return int(used)

    def dump(self, name: str, members: int, *, filled: bool = False) -> dict[str, NDArray[Any]]:
        """Arrays for `load`, in order of member and kind: equal values dump equal arrays, whatever came first.

        Only the blocks that are `filled` if so asked: others, all zero, may have held what was taken back.
        """
        owners = np.flatnonzero(self.row_of[:members])
        blocks = self.block_of[self.row_of[owners]]
        used = np.asarray(self.blocks.any(axis=1))[blocks] if filled else blocks > 0
        if filled:
            own = used.any(axis=1)
            owners, blocks, used = owners[own], blocks[own], used[own]
        return {
            f"{name}_owners": owners.astype(np.int32),
            f"{name}_used": np.packbits(used, axis=1),
            f"{name}_blocks": self.blocks[blocks[used]],
        }

    def load(self, name: str, arrays: Any) -> None:
        """Takes the place of what `dump` described. Room for the members must be there."""
        owners = arrays[f"{name}_owners"].astype(np.int64)
        used = np.unpackbits(arrays[f"{name}_used"], axis=1, count=self.kinds).astype(np.bool_)
        self._rows = len(owners) + 1
        self.block_of = grown(np.zeros((0, self.kinds), np.int32), self._rows)
        self.row_of[owners] = np.arange(1, self._rows, dtype=np.int32)
        _spread(self.row_of[owners].astype(np.int64), used, self.block_of)
        filled = arrays[f"{name}_blocks"]
        self._blocks = len(filled) + 1
        # a snapshot of before may have narrower blocks
        self.blocks = np.zeros((self._blocks, self.blocks.shape[1]), np.int64)
        self.blocks[1:, : filled.shape[1]] = filled
