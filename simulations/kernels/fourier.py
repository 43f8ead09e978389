"""Sums of waves at evenly spaced arguments: one product a term where a sine and a cosine would be taken.

No fast-math: the order of the sums is fixed, so that a machine gives the same bits every time.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

LANES = 8
"""Points or arguments taken side by side, so that a core's vector unit has something to do while a product is made."""


@njit(cache=True, inline="always")
def _added(sums: NDArray[np.float64], wave: NDArray[np.float64]) -> None:
    for lane in range(LANES):
        sums[0, lane] += wave[0, lane]
        sums[1, lane] += wave[1, lane]


@njit(cache=True, inline="always")
def _turned(wave: NDArray[np.float64], turn: NDArray[np.float64], way: float) -> None:
    """The waves, a step on (way 1) or back (-1)."""
    for lane in range(LANES):
        real, imaginary, sine = wave[0, lane], wave[1, lane], way * turn[1, lane]
        wave[0, lane] = real * turn[0, lane] - imaginary * sine
        wave[1, lane] = real * sine + imaginary * turn[0, lane]


@njit(cache=True, nogil=True)
def characteristic(
    first: float,
    step: float,
    starts: NDArray[np.int64],
    points: NDArray[np.float64],
    weights: NDArray[np.float64],
    out: NDArray[np.complex128],
) -> None:
    """out[law, j] = sum over p of weights[p] exp(i t_j points[p]), t_j = first + j step.

    The points of a law are those from starts[law] to starts[law + 1]. The product is repeated from the middle of a
    row to both ends: its error is below out.shape[1] / 2 units in the last place, so keep rows to some hundreds.
    """
    count = out.shape[1]
    middle = count // 2
    sums = np.empty((count, 2, LANES))
    anchor, turn, wave = np.zeros((2, LANES)), np.zeros((2, LANES)), np.zeros((2, LANES))
    for law in range(len(starts) - 1):
        sums[:] = 0.0
        for block in range(starts[law], starts[law + 1], LANES):
            for lane in range(LANES):
                x, weight = 0.0, 0.0
                if block + lane < starts[law + 1]:
                    x, weight = points[block + lane], weights[block + lane]
                angle = (first + middle * step) * x
                anchor[0, lane], anchor[1, lane] = weight * math.cos(angle), weight * math.sin(angle)
                turn[0, lane], turn[1, lane] = math.cos(step * x), math.sin(step * x)
            wave[:] = anchor
            for j in range(middle, count):
                _added(sums[j], wave)
                _turned(wave, turn, 1.0)
            wave[:] = anchor
            _turned(wave, turn, -1.0)
            for j in range(middle - 1, -1, -1):
                _added(sums[j], wave)
                _turned(wave, turn, -1.0)
        for j in range(count):
            real, imaginary = 0.0, 0.0
            for lane in range(LANES):
                real += sums[j, 0, lane]
                imaginary += sums[j, 1, lane]
            out[law, j] = complex(real, imaginary)


@njit(cache=True, nogil=True)
def series(angles: NDArray[np.float64], factors: NDArray[np.complex128], out: NDArray[np.float64]) -> None:
    """out[i] = real part of sum over k >= 1 of factors[k - 1] (exp(i k angles[i]) - 1), by Horner's rule."""
    constant = 0.0
    for k in range(len(factors)):
        constant += factors[k].real
    total, turn = np.empty((2, LANES)), np.empty((2, LANES))
    for block in range(0, len(angles), LANES):
        for lane in range(LANES):
            angle = angles[min(block + lane, len(angles) - 1)]
            turn[0, lane], turn[1, lane] = math.cos(angle), math.sin(angle)
        total[:] = 0.0
        for k in range(len(factors) - 1, -1, -1):
            real_factor, imaginary_factor = factors[k].real, factors[k].imag
            for lane in range(LANES):
                total[0, lane] += real_factor
                total[1, lane] += imaginary_factor
            _turned(total, turn, 1.0)
        for lane in range(min(LANES, len(angles) - block)):
            out[block + lane] = total[0, lane] - constant
