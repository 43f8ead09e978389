"""Counts: Poisson, binomial and logarithmic variates, each from blocks of its own."""

import math

import numpy as np
from numba import njit

from simulations.kernels.rng import MAX_ATTEMPTS, uniform_pair

_INVERSION_BELOW = 12.0


@njit(cache=True)
def _stirling(k: float) -> float:
    """log(k!) - (k + 1/2) log(k + 1) + (k + 1) - log(2 pi) / 2, absolute error below 1e-10."""
    if k <= 9.0:
        return math.lgamma(k + 1.0) - (k + 0.5) * math.log(k + 1.0) + (k + 1.0) - 0.9189385332046727
    x = k + 1.0
    square = x * x
    return (1.0 / 12.0 - (1.0 / 360.0 - (1.0 / 1260.0 - 1.0 / 1680.0 / square) / square) / square) / x


@njit(cache=True)
def poisson_log_mass(k: float, mean: float) -> float:
    """log P(N = k) for a Poisson count, written so that nothing of the size of k log k cancels."""
    if k < 10.0:
        return k * math.log(mean) - mean - math.lgamma(k + 1.0)
    square = k * k
    tail = (1.0 / 12.0 - (1.0 / 360.0 - (1.0 / 1260.0 - 1.0 / 1680.0 / square) / square) / square) / k
    return k * math.log1p((mean - k) / k) + (k - mean) - 0.5 * math.log(6.283185307179586 * k) - tail


@njit(cache=True)
def poisson(mean: float, slot: int, cell: int, scenario: int, purpose: int, k0: np.uint64, k1: np.uint64) -> int:
    """A Poisson variate of the given mean (0 <= mean < 1e15); 0 where the mean is 0.

    Sequential inversion below 12, above it the transformed rejection PTRS.
    Source: Hormann, "The transformed rejection method for generating Poisson random variables", Insurance:
    Mathematics and Economics 12 (1993), 39-45.
    """
    if mean <= 0.0:
        return 0
    if mean < _INVERSION_BELOW:
        u, _ = uniform_pair(slot, cell, scenario, purpose, 0, k0, k1)
        p = math.exp(-mean)
        k = 0
        while u > p and k < 1000:
            u -= p
            k += 1
            p *= mean / k
        return k
    b = 0.931 + 2.53 * math.sqrt(mean)
    a = -0.059 + 0.02483 * b
    inverse = 1.1239 + 1.1328 / (b - 3.4)
    limit = 0.9277 - 3.6224 / (b - 2.0)
    for attempt in range(MAX_ATTEMPTS):
        u, v = uniform_pair(slot, cell, scenario, purpose, attempt, k0, k1)
        u -= 0.5
        us = 0.5 - abs(u)
        k = math.floor((2.0 * a / us + b) * u + mean + 0.43)
        if us >= 0.07 and v <= limit:
            return int(k)
        if k < 0.0 or (us < 0.013 and v > us):
            continue
        if math.log(v * inverse / (a / (us * us) + b)) <= poisson_log_mass(k, mean):
            return int(k)
    return int(mean)


@njit(cache=True)
def binomial(n: int, p: float, slot: int, cell: int, scenario: int, purpose: int, k0: np.uint64, k1: np.uint64) -> int:
    """A binomial variate: successes in n trials of probability p.

    Sequential inversion where n min(p, 1 - p) is below 12, above it the transformed rejection BTRS.
    Source: Hormann, "The generation of binomial random variates", J. Stat. Comput. Simul. 46 (1993), 101-110.
    """
    if n <= 0 or p <= 0.0:
        return 0
    if p >= 1.0:
        return n
    if p > 0.5:
        return n - binomial_lower(n, 1.0 - p, slot, cell, scenario, purpose, k0, k1)
    return binomial_lower(n, p, slot, cell, scenario, purpose, k0, k1)


@njit(cache=True)
def binomial_lower(
    n: int, p: float, slot: int, cell: int, scenario: int, purpose: int, k0: np.uint64, k1: np.uint64
) -> int:
    """`binomial` for 0 < p <= 1/2."""
    q = 1.0 - p
    odds = p / q
    if n * p < _INVERSION_BELOW:
        u, _ = uniform_pair(slot, cell, scenario, purpose, 0, k0, k1)
        mass = math.exp(n * math.log1p(-p))
        k = 0
        while u > mass and k < n:
            u -= mass
            k += 1
            mass *= odds * (n - k + 1) / k
        return k
    spread = math.sqrt(n * p * q)
    b = 1.15 + 2.53 * spread
    a = -0.0873 + 0.0248 * b + 0.01 * p
    centre = n * p + 0.5
    limit = 0.92 - 4.2 / b
    alpha = (2.83 + 5.1 / b) * spread
    mode = math.floor((n + 1) * p)
    for attempt in range(MAX_ATTEMPTS):
        u, v = uniform_pair(slot, cell, scenario, purpose, attempt, k0, k1)
        u -= 0.5
        us = 0.5 - abs(u)
        k = math.floor((2.0 * a / us + b) * u + centre)
        if k < 0.0 or k > n:
            continue
        if us >= 0.07 and v <= limit:
            return int(k)
        v = math.log(v * alpha / (a / (us * us) + b))
        bound = (
            (mode + 0.5) * math.log((mode + 1.0) / (odds * (n - mode + 1.0)))
            + (n + 1.0) * math.log((n - mode + 1.0) / (n - k + 1.0))
            + (k + 0.5) * math.log(odds * (n - k + 1.0) / (k + 1.0))
            + _stirling(mode)
            + _stirling(n - mode)
            - _stirling(k)
            - _stirling(n - k)
        )
        if v <= bound:
            return int(k)
    return int(mode)


@njit(cache=True)
def logarithmic(p: float, u: float) -> int:
    """The logarithmic (log-series) quantile of u: P(K = k) = -p^k / (k log(1 - p)), k >= 1, 0 < p < 1.

    A negative binomial count is a Poisson number of clusters with logarithmic sizes (Quenouille, Biometrics 5, 1949).
    """
    mass = -p / math.log1p(-p)
    k = 1
    while u > mass and k < 100_000:
        u -= mass
        mass *= p * k / (k + 1.0)
        k += 1
    return k
