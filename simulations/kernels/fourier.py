"""Sums of waves at evenly spaced arguments: one product a term where a sine and a cosine would be taken.

No fast-math: the order of the sums is fixed, so that a machine gives the same bits every time.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def characteristic(
    first: float, step: float, points: NDArray[np.float64], weights: NDArray[np.float64], out: NDArray[np.complex128]
) -> None:
    """out[j] = sum over p of weights[p] exp(i t_j points[p]), t_j = first + j step.

    The error of the repeated product is below len(out) units in the last place: keep it to some hundreds.
    """
    count = len(out)
    for j in range(count):
        out[j] = 0.0
    for p in range(len(points)):
        x, weight = points[p], weights[p]
        wave = complex(weight * math.cos(first * x), weight * math.sin(first * x))
        turn = complex(math.cos(step * x), math.sin(step * x))
        for j in range(count):
            out[j] += wave
            wave *= turn


@njit(cache=True, nogil=True)
def series(angles: NDArray[np.float64], factors: NDArray[np.complex128], out: NDArray[np.float64]) -> None:
    """out[i] = real part of sum over k >= 1 of factors[k - 1] (exp(i k angles[i]) - 1), by Horner's rule."""
    constant = 0.0
    for k in range(len(factors)):
        constant += factors[k].real
    for i in range(len(angles)):
        turn = complex(math.cos(angles[i]), math.sin(angles[i]))
        total = complex(0.0, 0.0)
        for k in range(len(factors) - 1, -1, -1):
            total = (total + factors[k]) * turn
        out[i] = total.real - constant
