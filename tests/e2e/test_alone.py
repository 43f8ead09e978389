"""The local stack's life, each in a stack of its own: a supervisor that dies, a part that dies, Ctrl-C.

By its name this file runs before the others, whose stack would share the machine with these, and make each start
several times slower.
"""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cluster.stack.state import StackState, StateDir
from tests.command import vitanexus
from tests.waiting import PATIENCE, wait_for


@pytest.fixture
def directory(server_folder: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A state directory of the test's own, with whatever runs in it ended afterwards."""
    path = server_folder / request.node.name
    yield path
    vitanexus("down", "--dir", str(path))


def up(directory: Path) -> StackState:
    started = vitanexus("up", "--detach", "--dir", str(directory))
    assert started.returncode == 0, started.stderr
    state = StateDir(directory).read()
    assert state is not None and state.ready
    return state


def gone(family: list[psutil.Process]) -> list[psutil.Process]:
    return psutil.wait_procs(family, timeout=PATIENCE)[1]


def family_of(pid: int) -> list[psutil.Process]:
    supervisor = psutil.Process(pid)
    return [supervisor, *supervisor.children(recursive=True)]


def test_a_killed_supervisor_is_cleared_up_and_a_part_that_dies_takes_all_down(directory: Path) -> None:
    """Two whole starts of one stack, the second on the data of the first: most of a minute."""
    state = up(directory)
    family = family_of(state.supervisor.pid)
    psutil.Process(state.supervisor.pid).kill()
    status = vitanexus("status", "--dir", str(directory))
    assert status.returncode == 3 and "vitanexus down" in status.stdout
    assert vitanexus("down", "--dir", str(directory)).returncode == 0
    assert not gone(family), "left running"
    assert (directory / "postgres" / "data" / "PG_VERSION").is_file()

    again = up(directory)
    assert again.supervisor.pid != state.supervisor.pid
    family = family_of(again.supervisor.pid)
    broker = next(part for part in again.processes if part.name == "broker")
    psutil.Process(broker.pid).kill()
    assert not gone(family), "left running after a part has died"
    log = (directory / "supervisor.log").read_text()
    assert f"broker (pid {broker.pid}) has died" in log.replace("\n", " ")
    assert StateDir(directory).read() is None
    status = vitanexus("status", "--dir", str(directory))
    assert status.returncode == 3 and "nothing runs" in status.stdout


def test_ctrl_c_stops_a_stack_that_is_still_starting(directory: Path) -> None:
    directory.mkdir()
    log = directory / "terminal"
    with log.open("wb") as terminal:
        command = [sys.executable, "-m", "cluster.cli", "up", "--dir", str(directory)]
        child = subprocess.Popen(command, stdout=terminal, stderr=terminal, start_new_session=True)
    wait_for(lambda: "starting shards and Serve" in log.read_text(), "Ray to run", seen=log.read_text)
    family = family_of(child.pid)
    child.send_signal(signal.SIGINT)
    assert child.wait(PATIENCE) == 0
    assert not gone(family), "left running after Ctrl-C"
    told = log.read_text()
    assert told.rstrip().endswith("stopped") and "Traceback" not in told
    assert StateDir(directory).read() is None
