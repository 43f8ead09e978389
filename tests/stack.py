"""Fixtures of the parts a shard needs beside those of conftest.py: a PostgreSQL to be crashed, and the scorer."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.stack import postgres
from engine.learning.registry import load_base_risk
from engine.scoring.health_score import HealthScorer
from engine.settings import load_rules
from engine.storage.migrate import migrate


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
    return HealthScorer(load_base_risk(), load_rules())
