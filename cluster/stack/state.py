"""The state directory: what runs, where, and who supervises it."""

import fcntl
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from cluster.stack.process import Recorded
from engine.errors import StackError

_STATE = "state.json"
_LOCK = "lock"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the parts of a running stack are. An empty `http` or `ray` has not started yet; `jobs` takes Ray Jobs."""

    postgres: str
    kafka: str
    ray: str = ""
    http: str = ""
    jobs: str = ""


@dataclass(frozen=True, slots=True)
class StackState:
    """What state.json says: the supervisor, the processes it started, and the endpoints; `ready` once all answer."""

    supervisor: Recorded
    processes: tuple[Recorded, ...] = ()
    endpoints: Endpoints | None = None
    ready: bool = False
    extra: dict[str, str] = field(default_factory=dict)


class StateDir:
    """The directory of one stack. Whoever holds its lock is the supervisor; the lock ends with the process."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self._lock: IO[str] | None = None

    def prepare(self) -> None:
        """Makes the directory; secrets in it are files of mode 0600."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.path.chmod(0o711 if os.geteuid() == 0 else 0o700)

    def lock(self) -> None:
        """Becomes the supervisor. Raises StackError saying what runs already where another process is."""
        self._lock = (self.path / _LOCK).open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            self._lock = None
            raise StackError(f"a stack is running already in {self.path}:\n{describe(self.read())}") from error

    def unlock(self) -> None:
        """Ceases to be the supervisor."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def read(self) -> StackState | None:
        """What state.json says, None where there is none. Raises StackError where it cannot be read."""
        path = self.path / _STATE
        try:
            raw = json.loads(path.read_text())
            return StackState(
                Recorded(**raw["supervisor"]),
                tuple(Recorded(**process) for process in raw["processes"]),
                None if raw["endpoints"] is None else Endpoints(**raw["endpoints"]),
                raw["ready"],
                raw["extra"],
            )
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise StackError(f"{path} cannot be read ({error}); end its processes by hand and remove it") from error

    def write(self, state: StackState) -> None:
        """Replaces state.json in one step; only its owner can read it, for it holds the database's password."""
        path = self.path / _STATE
        fresh = path.with_suffix(".new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(asdict(state), file, indent=1)
        fresh.replace(path)

    def clear(self) -> None:
        """Removes state.json: nothing runs."""
        (self.path / _STATE).unlink(missing_ok=True)


def describe(state: StackState | None) -> str:
    """The state as lines for people, without the password."""
    if state is None:
        return "  (starting)"
    lines = [f"  {p.name:<12} {'running' if p.process() else 'dead':<8} pid {p.pid}" for p in processes(state)]
    if state.endpoints is not None:
        lines += [
            f"  postgres     {state.endpoints.postgres.split('@')[-1]}",
            f"  kafka        {state.endpoints.kafka}",
        ]
        named = (("http", state.endpoints.http), ("jobs", state.endpoints.jobs))
        lines += [f"  {name:<12} {url}" for name, url in named if url]
    return "\n".join(lines)


def processes(state: StackState) -> Sequence[Recorded]:
    """The supervisor and what it started."""
    return (state.supervisor, *state.processes)
