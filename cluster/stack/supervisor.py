"""Starts the parts of the local stack, watches over them, and takes them down in reverse order."""

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import FrameType, TracebackType

from cluster.stack import broker, local_ray, postgres, serving_environment
from cluster.stack.orphans import EMBEDDED, end_orphans, end_part
from cluster.stack.process import Recorded, tail
from cluster.stack.state import Endpoints, StackState, StateDir
from engine.errors import StackError
from engine.settings import Settings

_WATCH_SECONDS = 0.5
Deploy = Callable[[Endpoints], str]
"""Starts shards and Serve on the endpoints; returns the HTTP address."""


class Stack:
    """The local stack as a context: entered, all parts answer; left, all are gone. One a state directory.

    A part whose URL the settings name is used where it is and neither started nor stopped. `deploy` starts what runs on
    Ray, `undeploy` takes it down. `modules` are imported while Ray starts, which mostly waits for its own processes.
    Without `jobs` a local Ray has no dashboard, which takes Ray Jobs, 0.2 GB and 3 seconds to start.
    SIGTERM and SIGINT become KeyboardInterrupt, so that both ways out are one.
    """

    def __init__(
        self,
        directory: Path,
        settings: Settings,
        deploy: Deploy,
        undeploy: Callable[[], None],
        say: Callable[[str], None],
        modules: Sequence[str] = (),
        jobs: bool = True,
    ) -> None:
        self._directory = StateDir(directory)
        self._settings = settings
        self._deploy = deploy
        self._undeploy = undeploy
        self._say = say
        self._modules = modules
        self._jobs = jobs
        self._started: list[Recorded] = []
        self._deployed = False

    def __enter__(self) -> Endpoints:
        self._directory.prepare()
        self._directory.lock()
        try:
            end_orphans(self._directory.read())
            _take_signals()
            return self._start()
        except BaseException:
            self._stop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def watch(self, until: threading.Event | None = None) -> None:
        """Returns when `until` is set. Raises StackError when a part dies, naming it and the end of its log."""
        done = until or threading.Event()
        while not done.wait(_WATCH_SECONDS):
            for part in self._started:
                if part.process() is None:
                    raise StackError(f"{part.name} (pid {part.pid}) has died; {part.log}:\n{tail(Path(part.log))}")

    def _start(self) -> Endpoints:
        supervisor = Recorded.of("supervisor", os.getpid(), self._directory.path / "supervisor.log")
        state = StackState(supervisor)
        self._directory.write(state)
        settings = self._settings
        self._say("starting PostgreSQL, broker and Ray")
        with ThreadPoolExecutor(2) as pool:
            database = pool.submit(self._start_postgres, settings.postgres.url.get_secret_value())
            log = pool.submit(self._start_broker, settings.kafka.bootstrap)
            endpoints = Endpoints(database.result(), log.result())
            imported = pool.submit(lambda: [import_module(name) for name in self._modules])
            others = [part.pid for part in self._started]
            running = local_ray.start(settings.ray, self._jobs, others)
            _take_signals()  # Ray has put a handler before ours that ends the process 3 s later, stopped or not
            self._started += running.processes
            imported.result()
        endpoints = replace(endpoints, ray=running.address, jobs=running.jobs)
        state = replace(state, processes=tuple(self._started), endpoints=endpoints)
        self._directory.write(state)
        self._say("starting shards and Serve")
        self._deployed = True
        endpoints = replace(endpoints, http=self._deploy(endpoints))
        self._directory.write(replace(state, endpoints=endpoints, ready=True))
        return endpoints

    def _start_postgres(self, url: str) -> str:
        if url:
            return url
        recorded, url = postgres.EmbeddedPostgres(self._directory.path / "postgres").start()
        self._started.append(recorded)
        return url

    def _start_broker(self, bootstrap: str) -> str:
        if bootstrap:
            return bootstrap
        recorded, bootstrap = broker.start(self._directory.path / "broker")
        self._started.append(recorded)
        return bootstrap

    def _stop(self) -> None:
        signal.alarm(0)  # Ray's, where the signal came while it started
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._say("stopping")
        try:
            if self._deployed:
                self._undeploy()
        finally:
            local_ray.stop([part.pid for part in self._started if part.name in EMBEDDED])
            for part in self._started:
                end_part(part)
            serving_environment.clear(self._directory.path)
            self._directory.clear()
            self._directory.unlock()


def _take_signals() -> None:
    for sign in (signal.SIGTERM, signal.SIGINT):  # a shell's background job inherits SIGINT ignored
        signal.signal(sign, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def wait_until_ready(directory: Path, supervisor_pid: int, seconds: float) -> StackState:
    """Waits until the stack of `directory` is ready. Raises StackError when its supervisor ends or the time is up."""
    state_dir, deadline = StateDir(directory), time.monotonic() + seconds
    log = directory / "supervisor.log"
    while True:
        state = state_dir.read()
        if state is not None and state.ready and state.supervisor.pid == supervisor_pid:
            return state
        finished, _ = os.waitpid(supervisor_pid, os.WNOHANG)
        if finished:
            raise StackError(f"the stack did not start; {log}:\n{tail(log)}")
        if time.monotonic() > deadline:
            raise StackError(f"the stack is not ready after {seconds:g} s; {log}:\n{tail(log)}")
        time.sleep(_WATCH_SECONDS / 2)
