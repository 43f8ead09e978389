"""Method C: every member in every scenario, in blocks of members whose accumulators stay in the first-level cache.

By superposition the claims of a block and category are a Poisson number, each falling on a member with probability
proportional to the member's rate (alias table): the joint law over members is the same as drawing each member's count,
and the work grows with claims, not with members. A negative binomial count is a Poisson number of clusters of
logarithmic size; clusters are proposed at the Poisson rate and accepted with probability log(1 + x) / x, x = rate /
dispersion, which makes the cluster rate of each member exact under any shock.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from simulations.kernels.frequency import logarithmic, poisson
from simulations.kernels.layers import excess
from simulations.kernels.rng import CLUSTER, COUNT, MEMBER, SEVERITY, fill_words, uniform_pair
from simulations.kernels.severity import fill_cents

BLOCK_BITS = 12
BLOCK = 1 << BLOCK_BITS
CHUNK = 1024
_SLOT_SHIFT = np.uint32(32 - BLOCK_BITS)
_COIN = np.uint32((1 << (32 - BLOCK_BITS)) - 1)


@njit(cache=True, nogil=True)
def build_alias(
    weights: NDArray[np.float64], threshold: NDArray[np.uint32], alias: NDArray[np.uint16], total: float
) -> None:
    """Vose's alias table over `BLOCK` slots for weights [n <= BLOCK] of sum `total`; slots beyond n have weight 0.

    A word's top 12 bits choose the slot, its other 20 are the coin: a member's share is kept within 2^-20 / 4096.
    Source: Vose, "A linear algorithm for generating random numbers with a given distribution", IEEE Trans. Software
    Engineering 17 (1991), 972-975.
    """
    n = len(weights)
    scaled = np.zeros(BLOCK)
    for i in range(n):
        scaled[i] = weights[i] * BLOCK / total
    small = np.empty(BLOCK, np.int64)
    large = np.empty(BLOCK, np.int64)
    smalls = 0
    larges = 0
    for i in range(BLOCK):
        if scaled[i] < 1.0:
            small[smalls] = i
            smalls += 1
        else:
            large[larges] = i
            larges += 1
    one = float(1 << (32 - BLOCK_BITS))
    while smalls > 0 and larges > 0:
        smalls -= 1
        low = small[smalls]
        high = large[larges - 1]
        threshold[low] = np.uint32(scaled[low] * one + 0.5)
        alias[low] = high
        scaled[high] -= 1.0 - scaled[low]
        if scaled[high] < 1.0:
            larges -= 1
            small[smalls] = high
            smalls += 1
    for i in range(larges):
        threshold[large[i]] = np.uint32(one)
        alias[large[i]] = large[i]
    for i in range(smalls):
        # left over by rounding only, but a slot without weight must never be chosen
        threshold[small[i]] = np.uint32(one) if small[i] < n and weights[small[i]] > 0 else np.uint32(0)
        alias[small[i]] = small[i] if small[i] < n and weights[small[i]] > 0 else large[0]


@njit(cache=True, inline="always")
def choose(w: np.uint32, threshold: NDArray[np.uint32], alias: NDArray[np.uint16]) -> int:
    """The member slot of a word."""
    slot = np.int64(w >> _SLOT_SHIFT)
    return slot if (w & _COIN) < threshold[slot] else np.int64(alias[slot])


@njit(cache=True)
def book(
    slots: NDArray[np.int64],
    n: int,
    table: NDArray[np.float64],
    cell: int,
    scenario: int,
    part: int,
    deductible: int,
    limit: int,
    cost: NDArray[np.int64],
    touched: NDArray[np.int64],
    count: int,
    words: NDArray[np.uint32],
    rows: NDArray[np.int64],
    fractions: NDArray[np.float64],
    amounts: NDArray[np.int64],
    k0: np.uint64,
    k1: np.uint64,
) -> tuple[int, int, int]:
    """Draws n <= CHUNK claims and books them to slots[:n]; returns (claims booked so far, gross, per-claim ceded)."""
    tag = SEVERITY + 256 * part
    fill_words(words, n, cell, scenario, tag, k0, k1)
    gross = fill_cents(amounts, words, rows, fractions, n, table, 0, cell, scenario, tag, k0, k1)
    ceded = np.int64(0)
    for j in range(n):
        amount = amounts[j]
        if deductible >= 0:
            over = excess(amount, deductible, limit, 1_000_000)
            ceded += over
            amount -= over
        cost[slots[j]] += amount
        if count < BLOCK:
            touched[count] = slots[j]
        count += 1
    return count, gross, ceded


@njit(cache=True)
def settle(
    cost: NDArray[np.int64], touched: NDArray[np.int64], count: int, attachment: int, limit: int, ppm: int
) -> int:
    """Ceded to the specific layer by the members with claims; their accumulators go back to zero.

    `touched` holds the member of each of `count` claims; past BLOCK claims the whole block is swept instead.
    """
    ceded = np.int64(0)
    swept = count > BLOCK
    for j in range(BLOCK if swept else count):
        slot = j if swept else touched[j]
        amount = cost[slot]
        if amount > attachment:
            ceded += excess(amount, attachment, limit, ppm)
        cost[slot] = 0
    return ceded


@njit(cache=True, nogil=True)
def members(
    gross: NDArray[np.int64],
    ceded: NDArray[np.int64],
    rates: NDArray[np.float64],
    means: NDArray[np.float64],
    totals: NDArray[np.float64],
    thresholds: NDArray[np.uint32],
    aliases: NDArray[np.uint16],
    dispersion: NDArray[np.float64],
    tables: NDArray[np.float64],
    layer: NDArray[np.int64],
    attachment: int,
    limit: int,
    ppm: int,
    first_scenario: int,
    block: int,
    k0: np.uint64,
    k1: np.uint64,
) -> None:
    """Adds the cents of one block of members in scenarios first_scenario + s to gross[s] and ceded[s].

    rates [s, q]: shock factor of the category. means [q, n]: expected claims of the block's members; totals [q] their
    sums; thresholds, aliases [q, BLOCK]: `build_alias`. dispersion [q]: 0 for Poisson. tables [q, ROWS, 2]: severity.
    layer [q, 2]: per-claim deductible (-1 for none) and limit. attachment (-1 for none), limit, ppm: specific cover of
    a member's annual cost after the per-claim layer.
    """
    words = np.empty(CHUNK, np.uint32)
    picks = np.empty(CHUNK, np.uint32)
    rows = np.empty(CHUNK, np.int64)
    fractions = np.empty(CHUNK)
    amounts = np.empty(CHUNK, np.int64)
    slots = np.empty(CHUNK, np.int64)
    touched = np.empty(BLOCK, np.int64)
    cost = np.zeros(BLOCK, np.int64)
    categories = rates.shape[1]
    for s in range(gross.shape[0]):
        scenario = first_scenario + s
        count = 0
        for q in range(categories):
            cell = block * categories + q
            n = poisson(totals[q] * rates[s, q], 0, cell, scenario, COUNT, k0, k1)
            part = 0
            filled = 0
            for start in range(0, n, CHUNK):
                size = min(CHUNK, n - start)
                fill_words(picks, size, cell, scenario, MEMBER + 256 * (start // CHUNK), k0, k1)
                if dispersion[q] == 0.0:
                    for j in range(size):
                        slots[j] = choose(picks[j], thresholds[q], aliases[q])
                    count, amount, over = book(
                        slots, size, tables[q], cell, scenario, part, layer[q, 0], layer[q, 1],
                        cost, touched, count, words, rows, fractions, amounts, k0, k1,
                    )  # fmt: skip
                    gross[s] += amount
                    ceded[s] += over
                    part += 1
                    continue
                for j in range(size):
                    slot = choose(picks[j], thresholds[q], aliases[q])
                    x = means[q, slot] * rates[s, q] / dispersion[q]
                    accept, u = uniform_pair(start + j, cell, scenario, CLUSTER, 0, k0, k1)
                    if accept * x >= math.log1p(x):
                        continue
                    for _ in range(logarithmic(x / (1.0 + x), u)):
                        slots[filled] = slot
                        filled += 1
                        if filled == CHUNK:
                            count, amount, over = book(
                                slots, filled, tables[q], cell, scenario, part, layer[q, 0], layer[q, 1],
                                cost, touched, count, words, rows, fractions, amounts, k0, k1,
                            )  # fmt: skip
                            gross[s] += amount
                            ceded[s] += over
                            part += 1
                            filled = 0
            if filled > 0:
                count, amount, over = book(
                    slots, filled, tables[q], cell, scenario, part, layer[q, 0], layer[q, 1],
                    cost, touched, count, words, rows, fractions, amounts, k0, k1,
                )  # fmt: skip
                gross[s] += amount
                ceded[s] += over
        if attachment >= 0:
            ceded[s] += settle(cost, touched, count, attachment, limit, ppm)
        else:
            settle(cost, touched, count, np.int64(1) << 62, limit, ppm)
