"""Cover, in whole cents: what a layer cedes of a cost. Shares are parts per million, so that sums stay exact."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

MILLION = 1_000_000
UNLIMITED = 1 << 62


@njit(cache=True, inline="always")
def share(amount: int, ppm: int) -> int:
    """amount x ppm / 10^6, rounded half up, without overflow for amounts up to 9e15 cents."""
    whole = amount // MILLION
    return whole * ppm + ((amount - whole * MILLION) * ppm + MILLION // 2) // MILLION


@njit(cache=True, inline="always")
def excess(amount: int, attachment: int, limit: int, ppm: int) -> int:
    """Ceded to an excess layer: share of min(max(amount - attachment, 0), limit)."""
    over = amount - attachment
    if over <= 0:
        return 0
    return share(min(over, limit), ppm)


@njit(cache=True)
def corridor(amount: int, expected: int, width_ppm: int, ppm: int) -> int:
    """Ceded to a symmetric risk corridor around `expected`: share of what lies beyond +- width x expected.

    Positive where cost is above the corridor (the pool receives), negative where it is below (the pool pays).
    """
    width = share(expected, width_ppm)
    if amount > expected + width:
        return share(amount - expected - width, ppm)
    if amount < expected - width:
        return -share(expected - width - amount, ppm)
    return 0


@njit(cache=True)
def apply_pool(
    net: NDArray[np.int64],
    out: NDArray[np.int64],
    quota_ppm: int,
    attachment: int,
    limit: int,
    ppm: int,
    expected: int,
    corridor_width_ppm: int,
    corridor_ppm: int,
) -> None:
    """Pool covers in their order: quota share, then aggregate stop loss, then corridor; out[i] is what they cede.

    net -- [paths] the pool's cost after specific cover, cents. Each cover sees what the one before it has left.
    `expected` is the expectation of the cost the corridor sees.
    """
    for i in range(len(net)):
        left = net[i]
        ceded = share(left, quota_ppm)
        left -= ceded
        part = excess(left, attachment, limit, ppm)
        ceded += part
        left -= part
        ceded += corridor(left, expected, corridor_width_ppm, corridor_ppm)
        out[i] = ceded
