"""Where what blocks runs: threads of our own, which stay."""

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
_MOST = 32
_threads = ThreadPoolExecutor(_MOST, "blocking")
"""Starlette's pool keeps its threads with the event loop's first task; under Ray Serve there is none such, and it
would start a thread a call. asyncio's own pool writes the audit of reads, which must not wait behind requests."""


async def in_thread(call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """The call's result, or what it raises, from a thread that sees the caller's context."""
    context = contextvars.copy_context()
    work = partial(context.run, call, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_threads, work)
