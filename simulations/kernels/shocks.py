"""Common factors: one draw a scenario and shock, mean 1."""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from simulations.kernels.rng import SHOCK, gamma, normal_quantile, uniform_pair

GAMMA = 0
LOGNORMAL = 1


@njit(cache=True, nogil=True)
def fill_shocks(
    out: NDArray[np.float64],
    kinds: NDArray[np.int64],
    cvs: NDArray[np.float64],
    first_scenario: int,
    k0: np.uint64,
    k1: np.uint64,
) -> None:
    """out[s, j]: factor of shock j in scenario first_scenario + s; gamma or lognormal with mean 1 and the given cv."""
    for s in range(out.shape[0]):
        for j in range(out.shape[1]):
            scenario = first_scenario + s
            if kinds[j] == GAMMA:
                shape = 1.0 / (cvs[j] * cvs[j])
                out[s, j] = gamma(shape, 0, j, scenario, SHOCK, k0, k1) / shape
            else:
                sigma = math.sqrt(math.log1p(cvs[j] * cvs[j]))
                u, _ = uniform_pair(0, j, scenario, SHOCK, 0, k0, k1)
                out[s, j] = math.exp(sigma * normal_quantile(u) - 0.5 * sigma * sigma)


@njit(cache=True, nogil=True)
def fill_rates(out: NDArray[np.float64], shocks: NDArray[np.float64], touches: NDArray[np.bool_]) -> None:
    """out[s, q]: product of the shocks that touch category q; touches [shocks, categories]."""
    for s in range(out.shape[0]):
        for q in range(out.shape[1]):
            factor = 1.0
            for j in range(shocks.shape[1]):
                if touches[j, q]:
                    factor *= shocks[s, j]
            out[s, q] = factor
