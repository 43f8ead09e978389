"""Work in slices over threads, where kernels and numpy leave Python's lock. The slices never change a result."""

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def in_slices(count: int, threads: int, work: Callable[[int, int], None]) -> None:
    """Calls work(first, size) on slices of 0 .. count, four a thread: at once for one thread or few items."""
    if threads <= 1 or count < 2 * threads:
        work(0, count)
        return
    edges = np.linspace(0, count, 4 * threads + 1).astype(int)
    with ThreadPoolExecutor(threads) as pool:
        futures = [pool.submit(work, int(a), int(b - a)) for a, b in itertools.pairwise(edges) if b > a]
        for future in futures:
            future.result()
