"""Ends the parts of a stack by what is recorded of them, whoever started them. Knows no Ray."""

import signal
from collections.abc import Callable, Collection
from pathlib import Path

from cluster.stack import broker, postgres
from cluster.stack.process import Recorded
from cluster.stack.state import StackState, StateDir, processes

_DOWN_SECONDS = 90.0
_TERM_SECONDS = 5.0
_STOPPERS: dict[str, Callable[[Recorded], None]] = {"postgres": postgres.stop, "broker": broker.stop}

EMBEDDED: Collection[str] = _STOPPERS.keys()
"""Names of the parts that are not of Ray."""


def end_part(part: Recorded) -> None:
    """Ends one part in the way that suits it."""
    stop = _STOPPERS.get(part.name)
    if stop is None:
        part.end(signal.SIGTERM, _TERM_SECONDS)
    else:
        stop(part)


def end_orphans(state: StackState | None) -> None:
    """Ends what a supervisor left behind that was killed itself."""
    for part in () if state is None else state.processes:
        end_part(part)


def down(directory: Path) -> bool:
    """Ends the stack of `directory`, and whatever a killed supervisor left; False where nothing ran."""
    state_dir = StateDir(directory)
    state = state_dir.read()
    if state is None:
        return False
    running = any(part.process() for part in processes(state))
    state.supervisor.end(signal.SIGTERM, _DOWN_SECONDS)
    end_orphans(state)
    state_dir.clear()
    return running
