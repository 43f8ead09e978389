"""Bounded waiting: for a condition, never for a time; long enough that a busy machine fails nothing."""

import os
import time
from collections.abc import Callable

SCALE = float(os.environ.get("VITANEXUS_TEST_PATIENCE", "1"))
"""The one setting that lengthens every wait, for a machine much slower than most."""
PATIENCE = 120 * SCALE
"""Seconds that a wait of a test lasts at most, where it does not say that it needs longer."""


def wait_for(
    done: Callable[[], object], what: str, seconds: float = 120, seen: Callable[[], object] | None = None
) -> None:
    """Waits until `done()` holds, for `seconds` times SCALE at most.

    When the time is up, fails naming `what`, and what `seen()`, or else `done()`, told last.
    """
    deadline = time.monotonic() + seconds * SCALE
    while not (last := done()):
        if time.monotonic() > deadline:
            told = last if seen is None else seen()
            raise AssertionError(f"waited {seconds * SCALE:g} s for {what}; last seen: {told!r}")
        time.sleep(0.05)
