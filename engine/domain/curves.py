"""Curves of straight lines between knots, for kernels."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Reals = NDArray[np.float64]


@njit(cache=True, nogil=True, inline="always")
def on_curve(x: float, knots: Reals, heights: Reals) -> float:
    """Height of the curve at `x`: what `np.interp` gives. Flat beyond the ends; of equal knots the last counts.

    `knots` do not fall. NaN where `x` is.
    """
    last = len(knots) - 1
    if x != x:
        return np.nan
    if x >= knots[last]:
        return float(heights[last])
    if x < knots[0]:
        return float(heights[0])
    low, high = 0, last  # knots[low] <= x < knots[high]
    while high - low > 1:
        middle = (low + high) // 2
        if knots[middle] <= x:
            low = middle
        else:
            high = middle
    slope = (heights[low + 1] - heights[low]) / (knots[low + 1] - knots[low])
    return float(heights[low] + slope * (x - knots[low]))
