"""Fixtures every test may use."""

import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

pytest_plugins = ("tests.kafka", "tests.stack")

ROOT = Path(__file__).resolve().parents[1]


def shared_data(name: str) -> Path:
    """The folder `name` of the shared data beside the project (or under VITANEXUS_DATA); skips where it is absent."""
    base = Path(os.environ.get("VITANEXUS_DATA", ROOT.parent / "shared" / "data"))
    path = base / name
    if not path.is_dir():
        pytest.skip(f"the data set {name} is not beside the project (set VITANEXUS_DATA)")
    return path


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """A folder for servers. Not below pytest's own: each pytest shuts that to the ordinary user PostgreSQL runs as."""
    with tempfile.TemporaryDirectory(prefix="vitanexus-test-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def postgres_server(server_folder: Path) -> Iterator[str]:
    """URL of a real PostgreSQL for the whole session."""
    from cluster.stack import postgres

    recorded, url = postgres.EmbeddedPostgres(server_folder / "postgres").start()
    yield url
    postgres.stop(recorded)


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """URL of a fresh database at the newest revision, dropped afterwards."""
    from engine.storage.migrate import migrate

    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    url = f"{postgres_server.rpartition('/')[0]}/{name}"
    migrate(url)
    yield url
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def broker_bootstrap(tmp_path: Path) -> Iterator[str]:
    """Address of a fresh embedded broker with our topics."""
    from cluster.stack import broker
    from engine.streams.topics import ensure_topics

    recorded, bootstrap = broker.start(tmp_path / "broker")
    ensure_topics(bootstrap)
    yield bootstrap
    broker.stop(recorded)
