"""The restore drill: a backup made at work, restored into a fresh server, works on to the same scores."""

import shutil
import uuid
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cluster import backup
from cluster.stack import postgres
from engine.errors import StorageError
from engine.learning.registry import MODELS
from engine.scoring.health_score import HealthScorer
from engine.storage.migrate import migrate
from tests.integration.test_shard_faults import events, finish_and_check, produce
from tests.shard_process import ShardProcess, committed, plan, wait_total

_COLUMNS = "member_id, as_of, score, category, predicted_cost, news2, risk_factors::text, model_version, seq"


def scores(url: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(f"SELECT {_COLUMNS} FROM scores ORDER BY member_id, seq").fetchall()


def newest(url: str) -> dict[str, tuple[Any, ...]]:
    """The newest score of each member, without the number of the commit, which depends on how events were batched."""
    return {row[0]: row[1:-1] for row in scores(url)}


@pytest.fixture
def fresh(server_folder: Path) -> Any:
    """A server that has never run before, with an empty database."""
    running, url = postgres.EmbeddedPostgres(server_folder / uuid.uuid4().hex).start()
    yield url
    postgres.stop(running)


def test_a_backup_made_at_work_restored_elsewhere_comes_to_the_same_scores(
    embedded_bootstrap: str, database: str, fresh: str, tmp_path: Path, scorer: HealthScorer
) -> None:
    batch = events(40, 6)
    work = plan("shard-0", database, embedded_bootstrap, poll_records=100)
    produce(embedded_bootstrap, batch)
    shard = ShardProcess(work, tmp_path)
    wait_total(database, len(batch) // 3)
    manifest = backup.make(database, MODELS, tmp_path / "backup")
    assert manifest["revision"] and "database.dump" in manifest["files"]
    finish_and_check(shard, database, embedded_bootstrap, scorer)

    backup.restore(tmp_path / "backup", fresh, tmp_path / "models")
    then = committed(fresh)
    assert 0 < sum(then.values()) < sum(committed(database).values()), "the backup was not made at work"
    assert set(scores(fresh)) <= set(scores(database)), (
        "what was committed by the backup is what the database has still"
    )
    with psycopg.connect(fresh) as connection:
        leases = connection.execute("SELECT count(*) FROM partition_leases").fetchone()
    assert leases == (0,)
    # the restored models, not the package's
    again = ShardProcess(
        plan("shard-0", fresh, embedded_bootstrap, poll_records=100), tmp_path, models=tmp_path / "models"
    )
    finish_and_check(again, fresh, embedded_bootstrap, scorer)
    assert newest(fresh) == newest(database) and newest(fresh)


def test_a_backup_is_refused_where_it_is_damaged_or_the_place_is_taken(
    database: str, fresh: str, tmp_path: Path
) -> None:
    out = tmp_path / "backup"
    backup.make(database, MODELS, out)
    with pytest.raises(StorageError, match="is there already"):
        backup.make(database, MODELS, out)
    with pytest.raises(StorageError, match="holds tables"):
        backup.restore(out, database, tmp_path / "models")
    card = next((out / "models").rglob("card.json"))
    card.write_text(card.read_text() + " ")
    with pytest.raises(StorageError, match=r"card\.json is not what was written"):
        backup.restore(out, fresh, tmp_path / "models")
    card.unlink()
    with pytest.raises(StorageError, match=r"card\.json is missing"):
        backup.verify(out)
    with pytest.raises(StorageError, match="is no backup"):
        backup.verify(tmp_path)


def test_a_restore_that_breaks_off_leaves_nothing(database: str, fresh: str, tmp_path: Path) -> None:
    out = tmp_path / "backup"
    manifest = backup.make(database, MODELS, out)
    dump = out / "database.dump"
    dump.write_bytes(dump.read_bytes()[: dump.stat().st_size * 3 // 4])
    text = (out / "manifest.json").read_text()
    (out / "manifest.json").write_text(text.replace(manifest["files"]["database.dump"], backup._digest(dump)))
    with pytest.raises(StorageError, match="pg_restore ended with code"):
        backup.restore(out, fresh, tmp_path / "models")
    shutil.rmtree(out)
    with psycopg.connect(fresh) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)
    migrate(fresh)
