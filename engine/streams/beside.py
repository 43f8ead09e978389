"""Work on the batches of several topic partitions at once, where kernels that leave Python's lock do most of it."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
_WORTH = 20_000
"""Records from which threads are worth their hand-over."""


def beside(work: Callable[[T], R], items: Sequence[T], records: int) -> list[R]:
    """`work` of each item, in order: at once in threads where the items hold many `records`, else one by one."""
    if len(items) < 2 or records < _WORTH:
        return [work(item) for item in items]
    return list(_threads().map(work, items))


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="beside")
