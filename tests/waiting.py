"""Bounded waiting."""

import time
from collections.abc import Callable


def wait_for(done: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Waits until `done()`; fails naming `what` when the time is up."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(0.05)
