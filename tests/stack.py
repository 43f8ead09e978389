"""Fixtures of the parts a shard needs: PostgreSQL with an empty database, a PostgreSQL to be crashed, the scorer."""

import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from cluster.stack import postgres
from engine.learning.registry import load_models
from engine.scoring.health_score import HealthScorer
from engine.settings import load_rules
from engine.storage.migrate import migrate


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


@pytest.fixture(scope="session")
def scorer() -> HealthScorer:
    return HealthScorer(load_models(), load_rules())
