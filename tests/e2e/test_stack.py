"""The local stack: a second start, pids that are another's, its state, and its data of before."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import psycopg
import pytest

from cluster.stack import postgres
from cluster.stack.orphans import end_orphans
from cluster.stack.process import Recorded
from cluster.stack.state import Endpoints, StackState, StateDir, processes
from engine.errors import StackError
from tests.e2e.conftest import RunningStack


def test_a_second_up_says_what_is_running(stack: RunningStack) -> None:
    second = stack.command("up", "--detach")
    assert second.returncode == 1
    told = second.stderr.replace("\n", " ")
    assert "is running already" in told and stack.endpoints.http in told and f"pid {stack.supervisor.pid}" in told
    shown = stack.command("status")
    assert shown.returncode == 0 and "postgres" in shown.stdout
    secret = stack.endpoints.postgres.split(":")[2].split("@")[0]
    assert secret not in told + shown.stdout


def test_the_agent_that_takes_jobs_has_no_port_that_a_second_stack_would_want(stack: RunningStack) -> None:
    raylet = next(child for child in stack.supervisor.children(recursive=True) if child.name() == "raylet")
    agent = next(word for word in raylet.cmdline() if word.startswith("--dashboard_agent_command="))
    assert "--listen-port=0 " in f"{agent} " and "52365" not in agent


def test_a_recycled_pid_is_left_alone(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        stale = Recorded("gcs_server", child.pid, psutil.Process(child.pid).create_time() - 3600, "")
        end_orphans(StackState(stale, (stale,)))
        time.sleep(0.2)
        assert child.poll() is None
    finally:
        child.kill()
        child.wait()


def test_an_unreadable_state_says_which_file(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"supervisor": 1}')
    with pytest.raises(StackError, match=r"state\.json cannot be read"):
        StateDir(tmp_path).read()


def test_the_state_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    directory = StateDir(tmp_path / "own")
    directory.prepare()
    state = StackState(Recorded.of("supervisor", os.getpid(), tmp_path), (), Endpoints("postgresql://x", "b"))
    directory.write(state)
    assert (tmp_path / "own" / "state.json").stat().st_mode & 0o777 == 0o600
    assert directory.read() == state and list(processes(state)) == [state.supervisor]
    json.loads((tmp_path / "own" / "state.json").read_text())


def test_only_one_supervisor_holds_the_directory(tmp_path: Path) -> None:
    first, second = StateDir(tmp_path), StateDir(tmp_path)
    first.lock()
    with pytest.raises(StackError, match="is running already"):
        second.lock()
    first.unlock()
    second.lock()
    second.unlock()


def test_a_database_starts_warm_with_the_data_of_before(server_folder: Path) -> None:
    folder = server_folder / "warm"
    server = postgres.EmbeddedPostgres(folder)
    running, url = server.start()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    postgres.stop(running)
    running, url = postgres.EmbeddedPostgres(folder).start()
    try:
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
    finally:
        postgres.stop(running)
