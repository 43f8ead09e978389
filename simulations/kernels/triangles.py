"""Bootstrap of the over-dispersed Poisson chain ladder: parameter and process error in one pass a resample."""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from simulations.kernels.frequency import poisson
from simulations.kernels.rng import PROCESS, RESIDUAL, fill_words, gamma

NO_PROCESS = 0
GAMMA_PROCESS = 1
POISSON_PROCESS = 2


@njit(cache=True, nogil=True)
def bootstrap(
    out: NDArray[np.float64],
    fitted: NDArray[np.float64],
    residuals: NDArray[np.float64],
    phi: float,
    process: int,
    first_scenario: int,
    k0: np.uint64,
    k1: np.uint64,
) -> None:
    """out[s, i]: reserve of origin i in resample first_scenario + s.

    fitted [n, n]: fitted increments. residuals [m]: the scaled residuals to draw from, with replacement. The resampled
    triangle is refitted by chain ladder; its future increments are the means of the process draws: gamma with variance
    phi x mean, phi x Poisson, or none (0), which leaves the parameter error alone. A negative mean is drawn by its size
    and keeps its sign, as in England and Verrall, British Actuarial Journal 8 (2002), 443-518, section 7.6.
    """
    n = fitted.shape[0]
    cells = n * (n + 1) // 2
    count = np.uint64(len(residuals))
    words = np.empty(cells + 4, np.uint32)
    roots = np.sqrt(fitted)
    cumulative = np.empty((n, n))
    for s in range(out.shape[0]):
        scenario = first_scenario + s
        fill_words(words, cells, 0, scenario, RESIDUAL, k0, k1)
        slot = 0
        for i in range(n):
            running = 0.0
            for j in range(n - i):
                pick = (np.uint64(words[slot]) * count) >> np.uint64(32)
                running += fitted[i, j] + residuals[pick] * roots[i, j]
                cumulative[i, j] = running
                slot += 1
        for i in range(n):
            out[s, i] = 0.0
        for j in range(n - 1):
            base = 0.0
            top = 0.0
            for i in range(n - 1 - j):
                base += cumulative[i, j]
                top += cumulative[i, j + 1]
            factor = top / base
            for i in range(n - 1 - j, n):
                mean = cumulative[i, j] * (factor - 1.0)
                cumulative[i, j + 1] = cumulative[i, j] * factor
                size = abs(mean)
                if process == NO_PROCESS or size == 0.0:
                    out[s, i] += mean
                elif process == GAMMA_PROCESS:
                    draw = phi * gamma(size / phi, i * n + j + 1, 0, scenario, PROCESS, k0, k1)
                    out[s, i] += math.copysign(draw, mean)
                else:
                    draw = phi * poisson(size / phi, i * n + j + 1, 0, scenario, PROCESS, k0, k1)
                    out[s, i] += math.copysign(draw, mean)
