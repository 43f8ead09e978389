"""Members into classes: those with equal expected counts in every category."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from simulations.kernels.rng import philox

_MIX = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)


@njit(cache=True, nogil=True)
def classify(means: NDArray[np.float64], out: NDArray[np.int32], distinct: NDArray[np.float64]) -> int:
    """Writes each member's class to out [n] and the classes' rows to distinct [cap, q]; returns how many there are.

    means [q, n]. Two members share a class where their rows are equal bit for bit. Classes are numbered as first met.
    Returns cap + 1, with `out` unfinished, where there are more than cap.
    """
    categories, n = means.shape
    cap = distinct.shape[0]
    size = 64
    while size < 4 * cap:
        size *= 2
    slots = np.full(size, -1, np.int32)
    mask = np.uint64(size - 1)
    found = 0
    for i in range(n):
        h = np.uint64(0)
        for q in range(categories):
            h = (h ^ np.float64(means[q, i]).view(np.uint64)) * _MIX
            h ^= h >> _SHIFT
        at = np.int64(h & mask)
        while True:
            c = slots[at]
            if c < 0:
                if found == cap:
                    return cap + 1
                for q in range(categories):
                    distinct[found, q] = means[q, i]
                slots[at] = found
                out[i] = found
                found += 1
                break
            same = True
            for q in range(categories):
                if distinct[c, q] != means[q, i]:
                    same = False
                    break
            if same:
                out[i] = c
                break
            at = np.int64((np.uint64(at) + np.uint64(1)) & mask)
    return found


@njit(cache=True, nogil=True)
def count_cells(groups: NDArray[np.int32], classes: NDArray[np.int32], out: NDArray[np.int64]) -> None:
    """Adds each member to out[group, class]."""
    for i in range(len(groups)):
        out[groups[i], classes[i]] += 1


@njit(cache=True, nogil=True)
def sum_cells(groups: NDArray[np.int32], values: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Adds each member's value to out[group], in member order."""
    for i in range(len(groups)):
        out[groups[i]] += values[i]


@njit(cache=True, nogil=True)
def synthetic_codes(
    groups: NDArray[np.int32],
    classes: NDArray[np.int32],
    markets: int,
    kinds: int,
    k0: np.uint64,
    k1: np.uint64,
) -> None:
    """Market and class of each synthetic member, from one block each: market sizes fall like 1 / (5 + rank)."""
    edges = np.empty(markets)
    total = 0.0
    for m in range(markets):
        total += 1.0 / (5.0 + m)
        edges[m] = total
    for i in range(len(groups)):
        a, b, _, _ = philox(np.uint64(i & 0xFFFFFFFF), np.uint64(i >> 32), np.uint64(0), np.uint64(0), k0, k1)
        u = (float(a) + 0.5) / 4294967296.0 * total
        groups[i] = min(int(np.searchsorted(edges, u)), markets - 1)
        classes[i] = np.int32((b * np.uint64(kinds)) >> np.uint64(32))
