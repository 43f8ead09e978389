"""Fixtures of the parts beside: PostgreSQL with an empty database, one to be crashed, Redis, the scorer."""

import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from cluster.stack import postgres
from cluster.stack.process import accepts, free_port
from engine.learning.registry import load_models
from engine.scoring.health_score import HealthScorer
from engine.settings import load_rules
from engine.storage.migrate import migrate
from tests.waiting import PATIENCE, wait_for


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """A folder for servers. Not below pytest's own: each pytest shuts that to the ordinary user PostgreSQL runs as."""
    with tempfile.TemporaryDirectory(prefix="vitanexus-test-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def postgres_server(server_folder: Path) -> Iterator[str]:
    server, url = postgres.EmbeddedPostgres(server_folder / "shared").start()
    try:
        yield url
    finally:
        postgres.stop(server)


@pytest.fixture
def database(postgres_server: str) -> Iterator[str]:
    """URL of a database of the test's own, migrated and empty."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    url = postgres_server.removesuffix(postgres.DATABASE) + name
    migrate(url)
    yield url
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def own_postgres(server_folder: Path) -> Iterator[tuple[postgres.EmbeddedPostgres, str, list[postgres.Recorded]]]:
    """A server of the test's own, its URL with a migrated database, and the processes the test has to end."""
    server = postgres.EmbeddedPostgres(server_folder / uuid.uuid4().hex)
    running, url = server.start()
    processes = [running]
    try:
        migrate(url)
        yield server, url, processes
    finally:
        for process in processes:
            postgres.stop(process)


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis of the module's own, which keeps nothing on disk."""
    server = shutil.which("redis-server")
    if server is None:
        pytest.skip("redis-server is not installed (apt-get install redis-server)")
    port, folder = free_port(), tmp_path_factory.mktemp("redis")
    command = [server, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: accepts(port), "redis-server to start")
        yield f"redis://127.0.0.1:{port}"
    finally:
        child.terminate()
        child.wait(PATIENCE)


@pytest.fixture(scope="session")
def scorer() -> HealthScorer:
    return HealthScorer(load_models(), load_rules())
