"""Child processes: started with a log file, found again by pid and creation time, ended with a bound."""

import contextlib
import os
import pwd
import random
import signal
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from engine.errors import StackError

_TAIL_LINES = 15
_POLL_SECONDS = 0.05
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_PORTS = range(20_000, 30_000)
"""Above those of Ray's workers, below those of Serve's replicas, which begin at 30,000."""
_given: set[int] = set()


@dataclass(frozen=True, slots=True)
class Recorded:
    """A process as state.json keeps it. The creation time tells it from a later one with the same pid."""

    name: str
    pid: int
    created: float
    log: str

    @classmethod
    def of(cls, name: str, pid: int, log: Path) -> "Recorded":
        """The running process `pid`."""
        return cls(name, pid, psutil.Process(pid).create_time(), str(log))

    def process(self) -> psutil.Process | None:
        """The process where it still runs; None where it is gone or the pid is another's."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.created) < 1.0
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None

    def end(self, first: signal.Signals, seconds: float) -> None:
        """Sends `first`, waits at most `seconds`, then kills. No effect on a process that is gone or another's."""
        process = self.process()
        if process is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(first)
            try:
                process.wait(seconds)
            except psutil.TimeoutExpired:
                process.kill()
                process.wait(5)


def free_port() -> int:
    """A loopback TCP port that is free now.

    Below those that a system gives to outgoing connections: between now and its use, one of these may take any other.
    Never one that this process was given before: that one may be waiting for its use. Raises StackError where a hundred
    tries find none.
    """
    for port in random.sample([port for port in _PORTS if port not in _given], 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            _given.add(port)
            return port
    raise StackError(f"no free loopback port among a hundred of {_PORTS.start} to {_PORTS.stop - 1}")


def unproxied_loopback() -> None:
    """Keeps calls to this machine from going through a proxy of the environment, here and in every child.

    Company networks set `http_proxy`; Ray, Serve, jobs and our own calls reach each other on loopback, where no proxy
    is. What `no_proxy` names already stays.
    """
    for name in ("no_proxy", "NO_PROXY"):
        known = [part.strip() for part in os.environ.get(name, "").split(",") if part.strip()]
        if known != ["*"]:
            os.environ[name] = ",".join([*known, *(host for host in _LOOPBACK if host not in known)])


def ask_directly(url: str, seconds: float, trusted: ssl.SSLContext | None = None) -> bytes:
    """What one of our own parts answers, whatever proxy the environment names: none serves a node's own address.

    Raises OSError, of which URLError and TimeoutError are.
    """
    secure = urllib.request.HTTPSHandler(context=trusted)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), secure)
    with opener.open(url, timeout=seconds) as answer:
        return bytes(answer.read())


def spawn(command: Sequence[str], log: Path, user: str | None = None) -> subprocess.Popen[bytes]:
    """Starts a child in a session of its own (a terminal's Ctrl-C reaches us alone), with its output in `log`."""
    with log.open("ab") as output:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **as_user(user),
            cwd="/",
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )


def as_user(name: str | None) -> dict[str, Any]:
    """Arguments of subprocess for running as another user, with that user's group and no other."""
    return {} if name is None else {"user": name, "group": pwd.getpwnam(name).pw_gid, "extra_groups": []}


def wait_ready(part: str, child: subprocess.Popen[bytes], log: Path, ready: Callable[[], bool], seconds: float) -> None:
    """Waits until `ready()`. Raises StackError with the end of the log when the child dies or the time is up."""
    deadline = time.monotonic() + seconds
    while not ready():
        if child.poll() is not None:
            raise StackError(f"{part} ended with code {child.returncode} while starting; {log}:\n{tail(log)}")
        if time.monotonic() > deadline:
            raise StackError(f"{part} is not ready after {seconds:g} s; {log}:\n{tail(log)}")
        time.sleep(_POLL_SECONDS)


def tail(log: Path) -> str:
    """The last lines of a log file."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]) if log.is_file() else ""


def accepts(port: int) -> bool:
    """True where something listens on the loopback port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.5):
        return True
    return False
