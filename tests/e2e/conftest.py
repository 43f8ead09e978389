"""The whole stack, started as a user starts it, once a session."""

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psutil
import pytest

from cluster.stack.state import Endpoints, StateDir
from engine import tracing
from engine.storage.queries import Queries
from tests.collector import Collector
from tests.command import vitanexus
from tests.waiting import PATIENCE


@dataclass(frozen=True)
class RunningStack:
    """A stack that runs: its directory, endpoints, and clients for HTTP and the database."""

    directory: Path
    endpoints: Endpoints
    http: httpx2.Client
    queries: Queries
    supervisor: psutil.Process
    collector: Collector

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs `vitanexus ... --dir` of this stack."""
        return vitanexus(*words, "--dir", str(self.directory))

    def shards(self) -> list[psutil.Process]:
        """The processes of the member shards."""
        return self.actors("MemberShard")

    def actors(self, kind: str) -> list[psutil.Process]:
        """The processes of the actors of this class; Linux keeps 15 letters of a process's name."""
        found = []
        for child in self.supervisor.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # others come and go while we look
                if f"ray::{kind}"[:15] in child.name() or kind in " ".join(child.cmdline()):
                    found.append(child)
        return found


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """`vitanexus up --detach`, and `down` at the end, after which nothing of it is left."""
    directory = tmp_path_factory.mktemp("stack")
    collector = Collector()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(tracing.ENDPOINT, collector.endpoint)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "500")
        started = vitanexus("up", "--detach", "--dir", str(directory))
    log = directory / "supervisor.log"
    assert started.returncode == 0, started.stderr + (log.read_text() if log.is_file() else "")
    state = StateDir(directory).read()
    assert state is not None and state.endpoints is not None
    supervisor = psutil.Process(state.supervisor.pid)
    family = [supervisor, *supervisor.children(recursive=True)]
    queries = Queries(state.endpoints.postgres)
    with httpx2.Client(base_url=state.endpoints.http, timeout=30) as http:
        yield RunningStack(directory, state.endpoints, http, queries, supervisor, collector)
    queries.close()
    stopped = vitanexus("down", "--dir", str(directory))
    assert stopped.returncode == 0, stopped.stderr
    _, alive = psutil.wait_procs(family, timeout=PATIENCE)
    collector.close()
    assert not alive, f"left running: {alive}"
