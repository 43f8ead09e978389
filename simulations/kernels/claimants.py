"""Method B: members beyond the specific attachment drawn apart, jointly with the total of all others.

Given the shock, members of one class are independent and alike. The number beyond the attachment is binomial, each
one's annual cost comes from the conditional law (tables at the nodes of the shock, read comonotonically between two
nodes), and the cost of all others in the group is drawn from its exact first four cumulants.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from simulations.kernels.frequency import binomial
from simulations.kernels.layers import excess
from simulations.kernels.rng import CLAIMANTS, EXCESS, REST, fill_words, normal_quantile, uniform_pair
from simulations.kernels.severity import REFINE_BELOW, draw, locate, to_cents

CHUNK = 1024


@njit(cache=True)
def cornish_fisher(z: float, skewness: float, kurtosis: float) -> float:
    """The standardised quantile at normal score z of a law with the given skewness and excess kurtosis.

    Source: Cornish and Fisher, Revue de l'Institut International de Statistique 5 (1938), 307-320, to fourth order.
    """
    square = z * z
    return (
        z
        + (square - 1.0) * skewness / 6.0
        + (square * z - 3.0 * z) * kurtosis / 24.0
        - (2.0 * square * z - 5.0 * z) * skewness * skewness / 36.0
    )


@njit(cache=True)
def _claimant_costs(
    n: int,
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    weight: float,
    cell: int,
    scenario: int,
    attachment: int,
    limit: int,
    ppm: int,
    words: NDArray[np.uint32],
    rows: NDArray[np.int64],
    fractions: NDArray[np.float64],
    k0: np.uint64,
    k1: np.uint64,
) -> tuple[int, int]:
    """(gross, ceded) of n claimants; their law lies between the tables `low` and `high` with weight on `high`."""
    gross = np.int64(0)
    ceded = np.int64(0)
    part = 0
    for start in range(0, n, CHUNK):
        size = min(CHUNK, n - start)
        tag = EXCESS + 256 * part
        fill_words(words, size, cell, scenario, tag, k0, k1)
        locate(words, size, rows, fractions)
        for j in range(size):
            row = np.uint64(rows[j])
            if (words[j] & np.uint32(0x7FFFFFFF)) < REFINE_BELOW:
                first = draw(low, j, cell, scenario, tag, k0, k1)
                second = draw(high, j, cell, scenario, tag, k0, k1)
            else:
                first = low[row, 0] + low[row, 1] * fractions[j]
                second = high[row, 0] + high[row, 1] * fractions[j]
            amount = to_cents(first + weight * (second - first))
            gross += amount
            ceded += excess(amount, attachment, limit, ppm)
        part += 1  # noqa: SIM113 -- a kernel's counter
    return gross, ceded


@njit(cache=True, nogil=True)
def claimants(
    gross: NDArray[np.int64],
    ceded: NDArray[np.int64],
    counts: NDArray[np.int64],
    probability: NDArray[np.float64],
    cumulants: NDArray[np.float64],
    node: NDArray[np.int64],
    weight: NDArray[np.float64],
    tables: NDArray[np.float64],
    attachment: int,
    limit: int,
    ppm: int,
    first_scenario: int,
    first_group: int,
    k0: np.uint64,
    k1: np.uint64,
) -> None:
    """Adds the cents of group first_group + g in scenario first_scenario + s to gross[s, g] and ceded[s, g].

    counts [groups, classes]: members. probability [s, classes]: of a cost beyond the attachment, given the scenario's
    shock. cumulants [s, classes, 4]: of a member's cost (cents) given that it is not beyond. node, weight [s]: the
    scenario's place between the shock nodes. tables [nodes, classes, ROWS, 2]: cost given that it is beyond.
    """
    words = np.empty(CHUNK, np.uint32)
    rows = np.empty(CHUNK, np.int64)
    fractions = np.empty(CHUNK)
    classes = counts.shape[1]
    for s in range(gross.shape[0]):
        scenario = first_scenario + s
        low = tables[node[s]]
        high = tables[min(node[s] + 1, tables.shape[0] - 1)]
        for g in range(gross.shape[1]):
            k_1 = k_2 = k_3 = k_4 = 0.0
            for c in range(classes):
                members = counts[first_group + g, c]
                if members == 0:
                    continue
                cell = (first_group + g) * classes + c
                beyond = binomial(members, probability[s, c], 0, cell, scenario, CLAIMANTS, k0, k1)
                if beyond > 0:
                    cost, over = _claimant_costs(
                        beyond, low[c], high[c], weight[s], cell, scenario, attachment, limit, ppm,
                        words, rows, fractions, k0, k1,
                    )  # fmt: skip
                    gross[s, g] += cost
                    ceded[s, g] += over
                rest = members - beyond
                k_1 += rest * cumulants[s, c, 0]
                k_2 += rest * cumulants[s, c, 1]
                k_3 += rest * cumulants[s, c, 2]
                k_4 += rest * cumulants[s, c, 3]
            if k_2 > 0.0:
                u, _ = uniform_pair(0, first_group + g, scenario, REST, 0, k0, k1)
                z = cornish_fisher(normal_quantile(u), k_3 / k_2**1.5, k_4 / (k_2 * k_2))
                gross[s, g] += to_cents(max(k_1 + math.sqrt(k_2) * z, 0.0))
            else:
                gross[s, g] += to_cents(k_1)
