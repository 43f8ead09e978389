"""The local stack's life, each in a stack of its own: a part that dies, a supervisor that dies.

By its name this file runs before the others, whose stack would share the machine with these, and make each start
several times slower.
"""

import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cluster.stack.state import StackState, StateDir
from tests.e2e.conftest import vitanexus
from tests.waiting import PATIENCE


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


def family_of(state: StackState) -> list[psutil.Process]:
    supervisor = psutil.Process(state.supervisor.pid)
    return [supervisor, *supervisor.children(recursive=True)]


def test_a_part_that_dies_takes_the_stack_down_and_is_named(directory: Path) -> None:
    state = up(directory)
    family = family_of(state)
    broker = next(part for part in state.processes if part.name == "broker")
    psutil.Process(broker.pid).kill()
    assert not gone(family)
    log = (directory / "supervisor.log").read_text()
    assert f"broker (pid {broker.pid}) has died" in log.replace("\n", " ")
    assert StateDir(directory).read() is None
    status = vitanexus("status", "--dir", str(directory))
    assert status.returncode == 3 and "nothing runs" in status.stdout


def test_down_clears_up_after_a_killed_supervisor_and_the_data_stays(directory: Path) -> None:
    state = up(directory)
    family = family_of(state)
    psutil.Process(state.supervisor.pid).kill()
    status = vitanexus("status", "--dir", str(directory))
    assert status.returncode == 3 and "vitanexus down" in status.stdout
    assert vitanexus("down", "--dir", str(directory)).returncode == 0
    assert not gone(family), "left running"
    assert (directory / "postgres" / "data" / "PG_VERSION").is_file()
    again = up(directory)
    assert again.supervisor.pid != state.supervisor.pid
    interrupted = family_of(again)
    psutil.Process(again.supervisor.pid).send_signal(signal.SIGINT)
    assert not gone(interrupted), "left running after Ctrl-C"
    assert "stopped" in (directory / "supervisor.log").read_text()
