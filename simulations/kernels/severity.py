"""Inverse-CDF tables with octave spacing toward both tails, read by one random word.

A 32-bit word gives the side (top bit: 0 lower half, 1 upper half) and a position v in the half, so that the tail
probability on that side is p = v / 2^32. The table has `OCTAVES` octaves of p on each side, each in `BUCKETS` equal
buckets: the exponent and the leading mantissa bits of float64(v) are the bucket. Where v < 2^11 (once in a million) a
second word refines it, so that the tails reach 2^-65. A bucket holds (base, width): base + width x fraction, chosen so
that the bucket keeps its conditional mean and variance exactly; hence the table keeps the first two moments.
Uniformly spaced buckets lose the tail: with 4096 of them the standard deviation of a lognormal is off by percents.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from simulations.kernels.rng import REFINE, word

OCTAVES = 64
BUCKETS = 32
SIDE = OCTAVES * BUCKETS
ROWS = 2 * SIDE
LOWEST = -33  # exponent of the outermost octave of v
REFINE_BELOW = np.uint64(1 << 11)
MAX_CENTS = 9.0e15

_BUCKET_BITS = 5
_SHIFT = np.int64(52 - _BUCKET_BITS)
_FRACTION = np.int64((1 << (52 - _BUCKET_BITS)) - 1)
_SCALE = 1.0 / (1 << (52 - _BUCKET_BITS))
_OFFSET = np.int64((1023 + LOWEST) << _BUCKET_BITS)
_31 = np.uint64(31)
_LOW31 = np.uint64(0x7FFFFFFF)
_STEP32 = 1.0 / 4294967296.0


@njit(cache=True, inline="always")
def lookup(side: np.uint64, position: float, table: NDArray[np.float64]) -> float:
    """The value at tail position `position` (p x 2^32, in (0, 2^31)) of the given side."""
    bits = np.float64(position).view(np.int64)
    row = np.uint64((bits >> _SHIFT) - _OFFSET + np.int64(side) * SIDE)  # unsigned: no wrap-around test in the loop
    fraction = float(bits & _FRACTION) * _SCALE
    return float(table[row, 0] + table[row, 1] * fraction)


@njit(cache=True)
def refined(
    w: np.uint64,
    table: NDArray[np.float64],
    slot: int,
    cell: int,
    scenario: int,
    tag: int,
    k0: np.uint64,
    k1: np.uint64,
) -> float:
    """The value for a word in the outer tail, refined by the slot's second word under the purpose REFINE + 256 tag."""
    second = word(slot, cell, scenario, REFINE + 256 * tag, k0, k1)
    return lookup(w >> _31, float(w & _LOW31) + (float(second) + 0.5) * _STEP32, table)


@njit(cache=True, inline="always")
def to_cents(value: float) -> int:
    """Rounds an amount in cents half up. Tables hold values in [0, 9e15] only, so that the conversion is exact."""
    return np.int64(value + 0.5)


@njit(cache=True)
def draw(
    table: NDArray[np.float64],
    slot: int,
    cell: int,
    scenario: int,
    purpose: int,
    k0: np.uint64,
    k1: np.uint64,
) -> float:
    """One variate by the word of one slot, refined in the outer tail."""
    w = word(slot, cell, scenario, purpose, k0, k1)
    position = w & _LOW31
    if position < REFINE_BELOW:
        return refined(w, table, slot, cell, scenario, purpose, k0, k1)
    return lookup(w >> _31, float(position) + 0.5, table)


@njit(cache=True)
def locate(words: NDArray[np.uint32], n: int, rows: NDArray[np.int64], fractions: NDArray[np.float64]) -> int:
    """Table row and fraction within it of each word; returns how many words lie in the outer tail.

    Kept apart from the reading of the table because this half is all arithmetic and compiles to vector code.
    """
    rare = np.int64(0)
    for j in range(n):
        w = np.int64(words[j])
        position = w & np.int64(0x7FFFFFFF)
        bits = np.float64(float(position) + 0.5).view(np.int64)
        rows[j] = (bits >> _SHIFT) - _OFFSET + (w >> 31) * SIDE
        fractions[j] = float(bits & _FRACTION) * _SCALE
        rare += np.int64(position < 2048)
    return rare


@njit(cache=True)
def fill_cents(
    out: NDArray[np.int64],
    words: NDArray[np.uint32],
    rows: NDArray[np.int64],
    fractions: NDArray[np.float64],
    n: int,
    table: NDArray[np.float64],
    first_slot: int,
    cell: int,
    scenario: int,
    tag: int,
    k0: np.uint64,
    k1: np.uint64,
) -> int:
    """Amounts in cents for words[:n], the words of slots first_slot..; returns their sum.

    `rows` and `fractions` are scratch of at least n. The outer tail is refined one by one.
    """
    rare = locate(words, n, rows, fractions)
    total = np.int64(0)
    for j in range(n):
        row = np.uint64(rows[j])
        amount = to_cents(table[row, 0] + table[row, 1] * fractions[j])
        out[j] = amount
        total += amount
    if rare:
        for j in range(n):
            w = np.uint64(words[j])
            if (w & _LOW31) < REFINE_BELOW:
                amount = to_cents(refined(w, table, first_slot + j, cell, scenario, tag, k0, k1))
                total += amount - out[j]
                out[j] = amount
    return total


@njit(cache=True, nogil=True)
def sums_to(
    edges: NDArray[np.float64],
    values: NDArray[np.float64],
    masses: NDArray[np.float64],
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    atom: NDArray[np.float64],
) -> None:
    """Of a discrete law, atom after atom: E[X; up to p] and E[X^2; up to p] at each p of `edges`, and the atom there.

    An atom is spread evenly over its mass. The edges increase.
    """
    reach, one, two, at = 0.0, 0.0, 0.0, 0
    for e in range(len(edges)):
        while at < len(values) and reach + masses[at] <= edges[e]:
            reach += masses[at]
            one += masses[at] * values[at]
            two += masses[at] * values[at] * values[at]
            at += 1
        x = values[min(at, len(values) - 1)]
        over = edges[e] - reach if at < len(values) else 0.0
        first[e] = one + over * x
        second[e] = two + over * x * x
        atom[e] = x
