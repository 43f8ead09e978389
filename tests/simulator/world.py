"""Virtual time, and tasks of which one runs at a time: at each call of a port the seed decides who goes on."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import greenlet
import structlog

_STEP_SECONDS = 0.004
MOST_STEPS = 100_000


class DeadError(BaseException):
    """Ends a task of a process that is no more, past every handler of the code under test."""


class StuckError(Exception):
    """The schedule does not come to rest."""


@dataclass(eq=False)
class Process:
    """A process of the machine: its tasks share its death and its freezes."""

    name: str
    born: float
    alive: bool = True
    frozen_until: float = 0.0
    finished: bool = False
    sessions: list[Any] = field(default_factory=list)


@dataclass(eq=False)
class _Task:
    name: str
    process: Process | None
    thread: greenlet.greenlet | None = None
    wake: float = 0.0
    condition: Callable[[], bool] | None = None

    def can_run(self, now: float) -> bool:
        if self.wake > now or (self.process is not None and self.process.frozen_until > now):
            return False
        return self.condition is None or self.condition()

    def next_time(self, now: float) -> float | None:
        """When it can run, as far as time decides that."""
        frozen = 0.0 if self.process is None else self.process.frozen_until
        time = max(self.wake, frozen)
        return time if time > now else None


@dataclass
class Faults:
    """How likely each fault is at one call of a port; all 0 once the schedule is to come to rest."""

    crash: float = 0.0
    freeze: float = 0.0
    lost: float = 0.0
    refused: float = 0.0
    delay: float = 0.0
    slow: float = 0.0


class World:
    """The scheduler. Everything random comes from `random`, so a seed gives the same schedule on every machine."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.faults = Faults()
        self.trace: list[str] = []
        self.defects: list[str] = []
        self.counts: dict[str, int] = {}
        self._tasks: list[_Task] = []
        self._hub = greenlet.getcurrent()
        self._current: _Task | None = None

    # what tasks call

    def tell(self, who: str, what: str) -> None:
        """A line of the trace."""
        self.trace.append(f"{self.now:9.3f} {who:10} {what}")

    def count(self, fault: str) -> None:
        """Counts a fault that has been made."""
        self.counts[fault] = self.counts.get(fault, 0) + 1

    def chance(self, probability: float) -> bool:
        """True with the probability; draws nothing where it is 0."""
        return probability > 0 and self.random.random() < probability

    def pause(self) -> None:
        """Lets the others run."""
        current = self._current
        assert current is not None
        self._hub.switch()
        if current.process is not None and not current.process.alive:
            raise DeadError

    def sleep(self, seconds: float) -> None:
        """Goes on after so much virtual time."""
        assert self._current is not None
        self._current.wake = self.now + seconds
        self.pause()

    def wait(self, condition: Callable[[], bool]) -> None:
        """Goes on once the condition holds."""
        assert self._current is not None
        self._current.condition = condition
        self.pause()
        self._current.condition = None

    def port(self, process: Process, call: str) -> None:
        """A call of a port by `process`: others may run first, and it may die or freeze here."""
        self.alive(process)
        self.pause()
        if self.chance(self.faults.crash):
            self.count("crash")
            self.tell(process.name, f"dies at {call}")
            self.end(process)
            raise DeadError
        if self.chance(self.faults.freeze):
            seconds = self.random.uniform(0.2, 12.0)
            self.count("freeze")
            self.tell(process.name, f"freezes at {call} for {seconds:.1f} s")
            process.frozen_until = self.now + seconds
            self.pause()

    def alive(self, process: Process) -> None:
        """Ends the task where its process is no more."""
        if not process.alive:
            raise DeadError

    # what the schedule calls

    def spawn(self, name: str, action: Callable[[], None], process: Process | None = None) -> None:
        """A new task."""
        task = _Task(name, process)

        def run() -> None:
            with suppress(DeadError):
                action()

        task.thread = greenlet.greenlet(run, parent=self._hub)
        self._tasks.append(task)

    def end(self, process: Process) -> None:
        """The process is no more: its tasks run no further, and the server notices that its connections are closed."""
        process.alive = False
        process.frozen_until = 0.0
        for session in process.sessions:
            session.client_died()

    def run(self, name: str, action: Callable[[], None]) -> None:
        """Runs `action` as a task, and all others, until it ends. Raises StuckError or what the action raised."""
        self.spawn(name, action)
        directing = self._tasks[-1]
        steps = 0
        try:
            while directing in self._tasks:
                steps += 1
                if steps > MOST_STEPS:
                    raise StuckError(f"still not at rest after {MOST_STEPS} steps, {self.now:.0f} s")
                self._step()
        finally:
            self._end_all()

    def _step(self) -> None:
        ready = [task for task in self._tasks if task.can_run(self.now)]
        if not ready:
            times = [time for task in self._tasks if (time := task.next_time(self.now)) is not None]
            if not times:
                raise StuckError("nobody can go on: " + ", ".join(task.name for task in self._tasks))
            self.now = min(times)
            return
        task = ready[int(self.random.random() * len(ready))]
        self.now += self.random.random() * _STEP_SECONDS
        self._switch(task)
        gone = [t for t in self._tasks if t.process is not None and not t.process.alive and t is not task]
        for other in gone:
            self._throw(other)
        self._tasks = [t for t in self._tasks if t.thread is not None and not t.thread.dead]

    def _switch(self, task: _Task) -> None:
        assert task.thread is not None
        self._current = task
        task.thread.switch()

    def _throw(self, task: _Task) -> None:
        assert task.thread is not None
        self._current = task
        if task.thread:  # has begun and not ended
            task.thread.throw(DeadError)
        task.thread = None

    def _end_all(self) -> None:
        for task in self._tasks:
            if task.process is not None:
                task.process.alive = False
        for task in self._tasks:
            if task.thread is not None:
                self._throw(task)


@contextmanager
def logged_to(world: World) -> Iterator[None]:
    """The log events of the code under test become lines of the trace."""
    before = structlog.get_config()

    def tell(_: object, level: str, event: dict[str, Any]) -> dict[str, Any]:
        who = str(event.pop("shard", ""))
        world.tell(who, f"[{level}] {event.pop('event')} " + " ".join(f"{k}={v}" for k, v in event.items()))
        raise structlog.DropEvent

    structlog.configure(processors=[tell], cache_logger_on_first_use=False)
    try:
        yield
    finally:
        structlog.configure(**before)
