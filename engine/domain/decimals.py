"""Decimal numbers that went through a float32, as they were written."""

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def shortest_of(value: np.float32, digits: int) -> float:
    """`shortest` of one number."""
    exact, scale = np.float64(value), 1.0
    found = exact
    for _ in range(digits + 1):
        found = np.rint(exact * scale) / scale
        if np.float32(found) == value:
            break
        scale *= 10.0
    return found


@njit(cache=True, nogil=True)
def _shortest(values: NDArray[np.float32], digits: int, out: NDArray[np.float64]) -> None:
    for i in range(len(values)):
        out[i] = shortest_of(values[i], digits)


def shortest(values: NDArray[np.float32], digits: int) -> NDArray[np.float64]:
    """The number of the fewest decimals, `digits` at most, that is the same float32; NaN stays.

    So 23,099.7 that was kept as 23,099.69921875 is 23,099.7 again.
    """
    flat = np.ascontiguousarray(values).reshape(-1)
    out = np.empty(len(flat))
    _shortest(flat, digits, out)
    return out.reshape(values.shape)
