"""The fault tests notice: the same scenarios pass with a sound shard and fail with one safeguard taken out."""

import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from engine.domain.events import ENROLLMENT, READING, EventKind, SourceEvent
from engine.domain.population import Population
from engine.interop.synthetic import month
from engine.scoring.health_score import HealthScorer
from tests import mutants
from tests.fleet import Fleet
from tests.integration.test_shard_faults import AS_OF_MS, START, events, produce
from tests.shard_process import ALL, Mutant, check_all, log_ends, settle, wait_committed, wait_total
from tests.waiting import wait_for


@pytest.fixture
def fleet(embedded_bootstrap: str, database: str, tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(database, embedded_bootstrap, tmp_path, snapshot_every=1, lease_seconds=3.0, look_seconds=1000.0)
    yield made
    made.end()


def repeated(url: str) -> bool:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT count(*) > count(DISTINCT (partition, kafka_offset)) FROM readings")
        return bool(rows.fetchone()[0])


def judge(fleet: Fleet, scorer: HealthScorer, sound: bool) -> None:
    if sound:
        check_all(fleet.url, fleet.bootstrap, scorer)
        return
    with pytest.raises(AssertionError):
        check_all(fleet.url, fleet.bootstrap, scorer)


def of_kind(kind: EventKind) -> list[SourceEvent]:
    sound = month(Population.generate(1, 40, START), START, days=4, invalid_rate=0.0)
    return [event for event in sound if event.kind is kind]


@pytest.mark.parametrize("mutant", [None, mutants.without_fence])
def test_a_zombie_with_a_batch_in_its_hands(fleet: Fleet, scorer: HealthScorer, mutant: Mutant) -> None:
    produce(fleet.bootstrap, of_kind(ENROLLMENT))
    fleet.start("shard-0", ALL)
    wait_committed(fleet.url, log_ends(fleet.bootstrap))
    fleet.running["shard-0"].finish()
    readings = of_kind(READING)  # their rows have no unique key, which would stop a zombie too
    produce(fleet.bootstrap, readings[: len(readings) // 2])
    fleet.start("shard-0", ALL, "before-transaction:SIGSTOP:1", mutant)
    zombie = fleet.running["shard-0"]
    zombie.wait_frozen()
    produce(fleet.bootstrap, readings[len(readings) // 2 :])  # what it will find when it wakes, applied by then
    fleet.start("shard-0")
    settle(fleet.url, fleet.bootstrap, AS_OF_MS)
    zombie.send(signal.SIGCONT)
    if mutant is None:
        assert zombie.wait() == 1
    else:  # it writes on
        wait_for(lambda: not zombie.running or repeated(fleet.url), "the zombie to write")
        zombie.kill()
    fleet.running["shard-0"].finish()
    judge(fleet, scorer, mutant is None)


@pytest.mark.parametrize("mutant", [None, mutants.without_suppression])
def test_a_replay_after_a_kill(
    embedded_bootstrap: str, database: str, tmp_path: Path, scorer: HealthScorer, mutant: Mutant
) -> None:
    fleet = Fleet(database, embedded_bootstrap, tmp_path, snapshot_every=50)
    try:
        produce(embedded_bootstrap, events())
        fleet.start("shard-0", ALL)
        wait_total(database, 500)
        fleet.kill("shard-0")
        fleet.start("shard-0", mutant=mutant)
        settle(database, embedded_bootstrap, AS_OF_MS)
        fleet.finish()
        judge(fleet, scorer, mutant is None)
    finally:
        fleet.end()


def test_events_that_were_sent_twice(fleet: Fleet, scorer: HealthScorer) -> None:
    produce(fleet.bootstrap, events())
    fleet.start("shard-0", ALL, mutant=mutants.without_duplicates)
    settle(fleet.url, fleet.bootstrap, AS_OF_MS)
    fleet.finish()
    judge(fleet, scorer, sound=False)
