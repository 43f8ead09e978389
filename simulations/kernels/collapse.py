"""Method A: totals of a group and category without its members (Poisson superposition, gamma mixing by cell)."""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from simulations.kernels.frequency import poisson
from simulations.kernels.layers import excess
from simulations.kernels.rng import COUNT, LADDER, LARGE, LARGE_COUNT, MIXING, SEVERITY, fill_words, gamma
from simulations.kernels.severity import draw, fill_cents, to_cents

CHUNK = 1024
BASE_RATE = 64.0


@njit(cache=True)
def claims_total(
    n: int,
    table: NDArray[np.float64],
    cell: int,
    scenario: int,
    purpose: int,
    deductible: int,
    limit: int,
    words: NDArray[np.uint32],
    rows: NDArray[np.int64],
    fractions: NDArray[np.float64],
    amounts: NDArray[np.int64],
    k0: np.uint64,
    k1: np.uint64,
) -> tuple[int, int]:
    """(gross, ceded to the per-claim layer) of n claims drawn one by one; the scratch arrays hold `CHUNK` or more."""
    total = np.int64(0)
    ceded = np.int64(0)
    done = 0
    part = 0
    while done < n:
        size = min(CHUNK, n - done)
        # each chunk has its own cell in the upper bits of the purpose word, so that slots stay below CHUNK
        fill_words(words, size, cell, scenario, purpose + 256 * part, k0, k1)
        total += fill_cents(
            amounts, words, rows, fractions, size, table, 0, cell, scenario, purpose + 256 * part, k0, k1
        )
        if deductible >= 0:
            for j in range(size):
                ceded += excess(amounts[j], deductible, limit, 1_000_000)
        done += size
        part += 1
    return total, ceded


@njit(cache=True)
def ladder_total(
    steps: int, ladder: NDArray[np.float64], cell: int, scenario: int, k0: np.uint64, k1: np.uint64
) -> int:
    """A total at rate 64 x steps: one draw of table j for each binary digit j of `steps`, the top table repeated."""
    total = np.int64(0)
    top = ladder.shape[0] - 1
    level = 0
    while steps > 0:
        if level == top:
            for repeat in range(steps):
                total += to_cents(draw(ladder[level], 64 + repeat, cell, scenario, LADDER, k0, k1))
            break
        if steps & 1:
            total += to_cents(draw(ladder[level], level, cell, scenario, LADDER, k0, k1))
        steps >>= 1
        level += 1
    return total


@njit(cache=True, nogil=True)
def collapse(
    gross: NDArray[np.int64],
    ceded: NDArray[np.int64],
    rates: NDArray[np.float64],
    poisson_mean: NDArray[np.float64],
    mixed_start: NDArray[np.int64],
    mixed_shape: NDArray[np.float64],
    mixed_scale: NDArray[np.float64],
    above: NDArray[np.float64],
    small: NDArray[np.float64],
    large: NDArray[np.float64],
    ladder: NDArray[np.float64],
    ladder_start: NDArray[np.int64],
    layer: NDArray[np.int64],
    first_scenario: int,
    first_group: int,
    k0: np.uint64,
    k1: np.uint64,
) -> None:
    """Adds to gross[s, g] and ceded[s, g] the cents of group first_group + g in scenario first_scenario + s.

    rates [s, q]: shock factor of the category. poisson_mean [groups, q]: expected claims of the members with Poisson
    counts. mixed_start [groups x q + 1]: range of the group and category in mixed_shape, mixed_scale: one gamma for
    each set of members with equal negative binomial law (shape = members x dispersion, scale = mean / dispersion).
    above, small, large, ladder [levels of all categories], ladder_start [q + 1]: see `simulations.ladder`.
    layer [q, 2]: per-claim deductible (-1 for none) and limit, cents.
    """
    words = np.empty(CHUNK, np.uint32)
    rows = np.empty(CHUNK, np.int64)
    fractions = np.empty(CHUNK)
    amounts = np.empty(CHUNK, np.int64)
    categories = rates.shape[1]
    for s in range(gross.shape[0]):
        scenario = first_scenario + s
        for g in range(gross.shape[1]):
            for q in range(categories):
                cell = (first_group + g) * categories + q
                mean = poisson_mean[first_group + g, q]
                for i in range(mixed_start[cell], mixed_start[cell + 1]):
                    mean += mixed_scale[i] * gamma(mixed_shape[i], i, q, scenario, MIXING, k0, k1)
                mean *= rates[s, q]
                if mean <= 0.0:
                    continue
                n = poisson(mean * above[q], 0, cell, scenario, LARGE_COUNT, k0, k1)
                total, over = claims_total(
                    n,
                    large[q],
                    cell,
                    scenario,
                    LARGE,
                    layer[q, 0],
                    layer[q, 1],
                    words,
                    rows,
                    fractions,
                    amounts,
                    k0,
                    k1,
                )
                left = mean * (1.0 - above[q])
                if ladder_start[q + 1] > ladder_start[q]:
                    steps = math.floor(left / BASE_RATE)
                    total += ladder_total(steps, ladder[ladder_start[q] : ladder_start[q + 1]], cell, scenario, k0, k1)
                    left -= BASE_RATE * steps
                n = poisson(left, 0, cell, scenario, COUNT, k0, k1)
                rest, _ = claims_total(
                    n,
                    small[q],
                    cell,
                    scenario,
                    SEVERITY,
                    np.int64(-1),
                    layer[q, 1],
                    words,
                    rows,
                    fractions,
                    amounts,
                    k0,
                    k1,
                )
                gross[s, g] += total + rest
                ceded[s, g] += over
