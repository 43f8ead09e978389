"""Philox4x32-10: a random word is a function of its coordinates, so that no order of work can change it.

Key = (seed, stream), counter = (slot block, cell, scenario, purpose), each a whole 32-bit word: identifiers are never
folded into fewer bits. A block holds four words; variate `slot` is word `slot & 3` of block `slot >> 2`. Rejection
samplers take the attempt as a sub-counter in the upper 24 bits of the purpose word.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), table 2 and section 4.3.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Words = tuple[np.uint64, np.uint64, np.uint64, np.uint64]

MASK = np.uint64(0xFFFFFFFF)
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_32, _2, _3 = np.uint64(32), np.uint64(2), np.uint64(3)
_26, _5, _6 = np.uint64(26), np.uint64(5), np.uint64(6)

# What a draw is for. Two draws of one scenario and cell differ at least in this word.
SHOCK = 1
COUNT = 2
SEVERITY = 3
REFINE = 4
MIXING = 5
MEMBER = 6
LADDER = 7
LARGE_COUNT = 8
LARGE = 9
CLAIMANTS = 10
EXCESS = 11
REST = 12
CLUSTER = 13
RESIDUAL = 14
PROCESS = 15
PARAMETER = 16
_ATTEMPT = 256
MAX_ATTEMPTS = 1 << 24


@njit(cache=True, inline="always")
def philox(c0: np.uint64, c1: np.uint64, c2: np.uint64, c3: np.uint64, k0: np.uint64, k1: np.uint64) -> Words:
    """The four 32-bit words (in uint64) of the block with counter (c0, c1, c2, c3) under the key (k0, k1)."""
    for _ in range(10):
        p0 = _M0 * c0
        p1 = _M1 * c2
        c0, c1, c2, c3 = (p1 >> _32) ^ c1 ^ k0, p1 & MASK, (p0 >> _32) ^ c3 ^ k1, p0 & MASK
        k0 = (k0 + _W0) & MASK
        k1 = (k1 + _W1) & MASK
    return c0, c1, c2, c3


@njit(cache=True)
def fill_words(
    out: NDArray[np.uint32], n: int, cell: int, scenario: int, purpose: int, k0: np.uint64, k1: np.uint64
) -> None:
    """Fills out[:n] with the words of slots 0..n-1; `out` must have room for n rounded up to a multiple of 4."""
    c1, c2, c3 = np.uint64(cell), np.uint64(scenario), np.uint64(purpose)
    for block in range((n + 3) >> 2):
        a, b, c, d = philox(np.uint64(block), c1, c2, c3, k0, k1)
        out[4 * block] = np.uint32(a)
        out[4 * block + 1] = np.uint32(b)
        out[4 * block + 2] = np.uint32(c)
        out[4 * block + 3] = np.uint32(d)


@njit(cache=True)
def word(slot: int, cell: int, scenario: int, purpose: int, k0: np.uint64, k1: np.uint64) -> np.uint64:
    """The 32-bit word of one slot."""
    a, b, c, d = philox(np.uint64(slot >> 2), np.uint64(cell), np.uint64(scenario), np.uint64(purpose), k0, k1)
    lane = slot & 3
    if lane == 0:
        return a
    if lane == 1:
        return b
    if lane == 2:
        return c
    return d


@njit(cache=True)
def unit(high: np.uint64, low: np.uint64) -> float:
    """A 53-bit uniform strictly between 0 and 1 from two 32-bit words: the centre of one of 2^53 equal cells."""
    whole = ((high >> _5) << _26) | (low >> _6)
    return (float(whole) + 0.5) * (1.0 / 9007199254740992.0)


@njit(cache=True)
def uniform_pair(
    slot: int, cell: int, scenario: int, purpose: int, attempt: int, k0: np.uint64, k1: np.uint64
) -> tuple[float, float]:
    """Two independent 53-bit uniforms of the slot's own block, for the given attempt of a rejection sampler.

    Here `slot` counts blocks, not words: samplers of this kind spend one block a variate and attempt.
    """
    tag = np.uint64(purpose + _ATTEMPT * attempt)
    a, b, c, d = philox(np.uint64(slot), np.uint64(cell), np.uint64(scenario), tag, k0, k1)
    return unit(a, b), unit(c, d)


@njit(cache=True)
def normal_quantile(p: float) -> float:
    """The standard normal quantile, relative error below 1e-15 for 1e-300 < p < 1.

    Source: Wichura, Algorithm AS 241 (PPND16), Applied Statistics 37 (1988), 477-484.
    """
    q = p - 0.5
    if abs(q) <= 0.425:
        r = 0.180625 - q * q
        top = 2509.0809287301226727
        for c in (33430.575583588128105, 67265.770927008700853, 45921.953931549871457, 13731.693765509461125,
                  1971.5909503065514427, 133.14166789178437745, 3.387132872796366608):  # fmt: skip
            top = top * r + c
        low = 5226.495278852854561
        for c in (28729.085735721942674, 39307.89580009271061, 21213.794301586595867, 5394.1960214247511077,
                  687.1870074920579083, 42.313330701600911252, 1.0):  # fmt: skip
            low = low * r + c
        return q * top / low
    r = p if q < 0.0 else 1.0 - p
    r = math.sqrt(-math.log(r))
    if r <= 5.0:
        r -= 1.6
        top = 7.7454501427834140764e-4
        for c in (0.0227238449892691845833, 0.24178072517745061177, 1.27045825245236838258, 3.64784832476320460504,
                  5.7694972214606914055, 4.6303378461565452959, 1.42343711074968357734):  # fmt: skip
            top = top * r + c
        low = 1.05075007164441684324e-9
        for c in (5.475938084995344946e-4, 0.0151986665636164571966, 0.14810397642748007459, 0.68976733498510000455,
                  1.6763848301838038494, 2.05319162663775882187, 1.0):  # fmt: skip
            low = low * r + c
    else:
        r -= 5.0
        top = 2.01033439929228813265e-7
        for c in (2.71155556874348757815e-5, 0.0012426609473880784386, 0.026532189526576123093,
                  0.29656057182850489123, 1.7848265399172913358, 5.4637849111641143699,
                  6.6579046435011037772):  # fmt: skip
            top = top * r + c
        low = 2.04426310338993978564e-15
        for c in (1.4215117583164458887e-7, 1.8463183175100546818e-5, 7.868691311456132591e-4,
                  0.0148753612908506148525, 0.13692988092273580531, 0.59983220655588793769, 1.0):  # fmt: skip
            low = low * r + c
    value = top / low
    return -value if q < 0.0 else value


@njit(cache=True)
def gamma(shape: float, slot: int, cell: int, scenario: int, purpose: int, k0: np.uint64, k1: np.uint64) -> float:
    """A gamma variate of the given shape (> 0) and scale 1.

    Source: Marsaglia and Tsang, "A simple method for generating gamma variables", ACM TOMS 26 (2000), 363-372;
    shapes below 1 by their boost Gamma(a) = Gamma(a + 1) U^(1/a).
    """
    boost = 1.0
    alpha = shape
    if shape < 1.0:
        u, _ = uniform_pair(slot, cell, scenario, purpose, MAX_ATTEMPTS - 1, k0, k1)
        boost = u ** (1.0 / shape)
        alpha = shape + 1.0
    d = alpha - 1.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)
    for attempt in range(MAX_ATTEMPTS - 1):
        u, w = uniform_pair(slot, cell, scenario, purpose, attempt, k0, k1)
        x = normal_quantile(w)
        v = 1.0 + c * x
        if v <= 0.0:
            continue
        v = v * v * v
        if u < 1.0 - 0.0331 * x * x * x * x or math.log(u) < 0.5 * x * x + d * (1.0 - v + math.log(v)):
            return d * v * boost
    return d * boost
