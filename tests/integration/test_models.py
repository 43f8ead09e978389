"""A change of champion: a record in every partition's log, the same after a crash, and back to the same scores."""

import datetime as dt
import json
import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from cluster.scoring_commands import change_champions
from engine.domain.model_set import ModelSet
from engine.errors import ModelError
from engine.learning import registry
from engine.scoring.features import BASE_FEATURES
from engine.settings import load_rules
from engine.storage.models import ModelStore
from engine.storage.queries import Queries
from tests.integration.test_shard_faults import AS_OF_MS, events, produce
from tests.refitted import refitted
from tests.shard_process import ShardProcess, check_all, plan, settle

WHO = "A. Actuary"


def registered(url: str, root: Path) -> ModelStore:
    store = ModelStore(url, pool_size=1)
    for card in registry.cards(root):
        store.register(card.name, card.version, card.digest, registry.told(card))
    return store


def newest_scores(url: str) -> dict[str, tuple[str, float | None]]:
    with psycopg.connect(url, autocommit=True) as connection:
        rows = connection.execute(
            "SELECT DISTINCT ON (member_id) member_id, model_version, predicted_cost FROM scores "
            "ORDER BY member_id, seq DESC"
        ).fetchall()
    return {member: (version, cost) for member, version, cost in rows}


def test_a_change_of_champion_survives_kills_and_a_rollback_brings_the_same_scores(
    embedded_bootstrap: str, database: str, tmp_path: Path
) -> None:
    first, second = refitted(tmp_path / "models")
    scorers = registry.Scorers(load_rules(), first, tmp_path / "models")
    store, queries = registered(database, tmp_path / "models"), Queries(database, pool_size=1)
    store.applied(store.decide(first, "installation", "first"))
    work = plan("shard-0", database, embedded_bootstrap, snapshot_every=1000)

    def start(failpoint: str = "") -> ShardProcess:
        return ShardProcess(work, tmp_path, failpoint, tmp_path / "models", first)

    produce(embedded_bootstrap, events())
    shard = start()
    settle(database, embedded_bootstrap, AS_OF_MS)
    promoted = store.decide(second, WHO, "test")
    change_champions(embedded_bootstrap, queries, store, promoted)
    dear = newest_scores(database)
    assert {version.split("+")[0] for version, _ in dear.values()} == {"base_risk-1000"}
    shard.kill()  # no snapshot since the change: the log must bring the models back

    shard = start()
    settle(database, embedded_bootstrap, int(promoted.decided_at.timestamp() * 1000) + 1)
    assert newest_scores(database) == dear
    shard.kill()
    # the command may be sent again after a break: the same change, at most scored once more
    shard = start()
    change_champions(embedded_bootstrap, queries, store, promoted)
    assert shard.finish() == 0, shard.log.read_text()[-2000:]
    check_all(database, embedded_bootstrap, scorers(str(second)))

    shard = start()  # from a snapshot that names the second models
    settle(database, embedded_bootstrap, int(promoted.decided_at.timestamp() * 1000) + 2)
    assert newest_scores(database) == dear
    back = store.decide(first, WHO, "test")
    change_champions(embedded_bootstrap, queries, store, back)
    assert shard.finish() == 0, shard.log.read_text()[-2000:]
    check_all(database, embedded_bootstrap, scorers(str(first)))
    known = {member: cost for member, (_, cost) in newest_scores(database).items() if cost is not None}
    assert len(known) > 20 and all(dear[member][1] > cost for member, cost in known.items())
    assert {p.models for p in store.promotions()} == {first, second}
    _drift_is_measured(database, tmp_path)


def _drift_is_measured(url: str, folder: Path) -> None:
    """On the snapshots that the shard took when it stopped: a population made after MEPS' figures, of two months."""
    done = subprocess.run(
        [sys.executable, "-m", "cluster.cli", "monitor", "drift", "--out", str(folder / "drift.json"), "--fail"],
        env=os.environ | {"VITANEXUS_POSTGRES_URL": url, "VITANEXUS_MODELS_FOLDER": str(folder / "models")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 3, done.stderr
    found = json.loads((folder / "drift.json").read_text())
    shifts = {row["name"]: row for row in found["shifts"]}
    assert len(shifts) == len(BASE_FEATURES) + 1 and found["persons"] > 20 and found["calibration"] is None
    assert shifts["general_health"]["verdict"] == "shifted", "nobody has been asked"
    assert shifts["male"]["verdict"] == "stable"


def test_stages_follow_the_decisions(database: str, tmp_path: Path) -> None:
    first, second = refitted(tmp_path / "models")
    store = registered(database, tmp_path / "models")
    with pytest.raises(ModelError, match="no champions yet"):
        store.champions()
    store.decide(first, "installation", "first")
    store.decide(second, WHO, "better")
    stages = {(row["name"], row["version"]): (row["stage"], row["approver"]) for row in store.models()}
    assert stages["base_risk", "1000"] == ("champion", WHO)
    assert stages["base_risk", first.base_risk] == ("retired", WHO)
    assert stages["physiology", first.physiology] == ("champion", "installation")
    assert store.champions() == second and all(change.pending for change in store.promotions())
    with pytest.raises(ModelError, match="base_risk 77"):
        store.decide(first.changed("base_risk", "77"), WHO, "not there")
    assert len(store.promotions()) == 2
    assert store.promotions()[-1].decided_at - dt.datetime.now(dt.UTC) < dt.timedelta(minutes=1)


def test_what_made_scores_is_never_replaced(database: str, tmp_path: Path) -> None:
    refitted(tmp_path / "models")
    store = registered(database, tmp_path / "models")
    with pytest.raises(ModelError, match="base_risk 1000 is registered with digest"):
        store.register("base_risk", "1000", "0" * 64, {})


def test_models_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    first, _ = refitted(tmp_path / "models")
    with pytest.raises(ModelError, match="fitted beside base risk"):
        registry.load_models(first.changed("base_risk", "1000"), tmp_path / "models")
    with pytest.raises(ModelError, match="'gpt'"):
        first.changed("gpt", "5")
    for text in ("", "base_risk-3", f"{first}+base_risk-4", f"{first}+other-1", str(first).replace("-", "=")):
        with pytest.raises(ModelError, match="is expected"):
            ModelSet.parse(text)
    assert ModelSet.parse(str(first)) == first
