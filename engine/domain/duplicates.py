"""Which events a partition has already applied: a bounded window of 64-bit digests of (source, event_id).

Two generations of `generation` digests each: when the younger is full, the older is forgotten and the two change
places. So at least the last `generation` and at most the last 2 x `generation` applied events are remembered. Memory is
16 bytes a digest and generation at the table's load of one half: 4 MB a partition at the default. Two different events
collide with probability window / 2^64, 7e-15 for each event at the default.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from engine.domain.raw_bytes import address_of
from engine.domain.siphash import siphash

GENERATION = 65_536
_LOW, _HIGH = np.uint64(0x56697461), np.uint64(0x4E657875)  # any key will do; another one forgets every window
_FIRST_SLOTS = 1024


@njit(cache=True, nogil=True)
def digest_of(source: int, source_length: int, event: int, event_length: int) -> np.uint64:
    """64-bit digest of an event's name, texts at two addresses, never 0: its id under a key made from its source."""
    key = siphash(source, source_length, _LOW, _HIGH)
    found = siphash(event, event_length, key, _HIGH)
    return found if found != 0 else np.uint64(1)


def digest(source: str, event_id: str) -> int:
    """The digest of a name that is Python's."""
    first, second = source.encode(), event_id.encode()
    data = np.frombuffer(first + second, np.uint8)
    return int(_digest(data, len(first)))


@njit(cache=True, nogil=True)
def _digest(data: NDArray[np.uint8], source_length: int) -> Any:
    at = address_of(data)
    return digest_of(at, source_length, at + source_length, len(data) - source_length)


@njit(cache=True, nogil=True)
def _find(table: NDArray[np.uint64], value: np.uint64) -> np.int64:
    """Slot of `value`, or ~slot of the free slot where it belongs; linear probing, table size a power of two."""
    mask = len(table) - 1
    slot = np.int64(value & np.uint64(mask))
    while table[slot] != 0:
        if table[slot] == value:
            return slot
        slot = (slot + 1) & mask
    return ~slot


@njit(cache=True, nogil=True)
def _insert_all(table: NDArray[np.uint64], values: NDArray[np.uint64]) -> int:
    """Puts the values into the table; returns how many were new."""
    new = 0
    for i in range(len(values)):
        slot = _find(table, values[i])
        if slot < 0:
            table[~slot] = values[i]
            new += 1
    return new


@njit(cache=True, nogil=True)
def _claim(
    young: NDArray[np.uint64], old: NDArray[np.uint64], values: NDArray[np.uint64], seen: NDArray[np.bool_]
) -> int:
    """Marks the values that are in either table and puts the others into `young`; returns how many were new."""
    new = 0
    for i in range(len(values)):
        slot = _find(young, values[i])
        if slot >= 0 or _find(old, values[i]) >= 0:
            seen[i] = True
        else:
            young[~slot] = values[i]
            new += 1
    return new


class DuplicateWindow:
    """The window of one partition. Tables grow with use, up to twice `generation` slots each."""

    def __init__(self, generation: int = GENERATION) -> None:
        if generation < 1:
            raise ValueError(f"duplicate window: generation {generation} must be at least 1")
        self._generation = generation
        self._young = np.zeros(_FIRST_SLOTS, np.uint64)
        self._old = np.zeros(_FIRST_SLOTS, np.uint64)
        self._count = 0

    def claim(self, digests: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """True for each digest that is in the window or earlier in `digests`; the others are remembered from now on."""
        seen = np.zeros(len(digests), bool)
        start = 0
        while start < len(digests):
            if self._count >= self._generation:
                self._old, self._young, self._count = self._young, np.zeros(_FIRST_SLOTS, np.uint64), 0
            stop = min(len(digests), start + self._generation - self._count)
            self._grow(self._count + stop - start)
            self._count += int(_claim(self._young, self._old, digests[start:stop], seen[start:stop]))
            start = stop
        return seen

    def _grow(self, count: int) -> None:
        slots = len(self._young)
        while slots < 2 * count:
            slots *= 2
        if slots > len(self._young):
            table = np.zeros(slots, np.uint64)
            _insert_all(table, self._young[self._young != 0])
            self._young = table

    def nbytes(self) -> int:
        """Bytes of both tables."""
        return self._young.nbytes + self._old.nbytes

    def dump(self) -> dict[str, NDArray[np.uint64]]:
        """The digests of both generations, sorted: equal windows dump equal bytes."""
        return {"young": np.sort(self._young[self._young != 0]), "old": np.sort(self._old[self._old != 0])}

    @classmethod
    def load(
        cls, young: NDArray[np.uint64], old: NDArray[np.uint64], generation: int = GENERATION
    ) -> "DuplicateWindow":
        """The window that `dump` described."""
        window = cls(generation)
        window._grow(len(old))
        _insert_all(window._young, old)
        window._old, window._young = window._young, np.zeros(_FIRST_SLOTS, np.uint64)
        window._grow(len(young))
        window._count = int(_insert_all(window._young, young))
        return window
