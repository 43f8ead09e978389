"""Shards under every fault we can make on one machine: whatever happens, the totals are the oracle's."""

import datetime as dt
import json
import random
import re
import signal
import time
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psycopg
import pytest

from actors.pace import ShardPlan
from actors.ports import live
from actors.shard_loop import ShardLoop
from cluster.stack import postgres
from cluster.stack.postgres import EmbeddedPostgres
from cluster.stack.process import Recorded, free_port
from engine.domain.events import CLAIM, ENROLLMENT, READING, SourceEvent
from engine.domain.population import Population
from engine.errors import LeaseLostError, StorageError
from engine.interop.synthetic import month
from engine.scoring.health_score import HealthScorer
from engine.scoring.member_state import PartitionState
from engine.storage.shards import ShardStore
from engine.storage.snapshots import dumped
from engine.streams.producer import EventProducer
from engine.streams.topics import partition_of
from tests.fleet import Load
from tests.oracle import Expected
from tests.shard_process import ShardProcess, check_all, committed, log_ends, plan, settle, wait_committed, wait_total
from tests.waiting import PATIENCE

START = dt.date(2024, 3, 1)
AS_OF_MS = int(dt.datetime(2024, 4, 1, tzinfo=dt.UTC).timestamp() * 1000)
FAILPOINTS = ("before-copy", "before-commit", "after-commit")


def events(members: int = 40, days: int = 4, seed: int = 1) -> list[SourceEvent]:
    """A few days of a population, with faulty readings and repeated events among them."""
    population = Population.generate(seed, members, START)
    return list(month(population, START, days=days, claims=100, duplicate_rate=0.05, invalid_rate=0.03))


def produce(bootstrap: str, batch: list[SourceEvent]) -> None:
    with EventProducer(bootstrap) as producer:
        producer.send_all(batch)


def reading(member: str, event_id: str, time_ms: int, **other: object) -> SourceEvent:
    fields = {"event_id": event_id, "source": "test", "member_id": member, "time": time_ms}
    return SourceEvent(READING, fields | {"metric": "steps", "value": 100.0, "unit": "count"} | other)


def finish_and_check(shard: ShardProcess, url: str, bootstrap: str, scorer: HealthScorer) -> Expected:
    """Lets the shard catch up, scores everybody, stops it, and holds everything against the oracle."""
    settle(url, bootstrap, AS_OF_MS)
    assert shard.finish() == 0, shard.log.read_text()[-2000:]
    return check_all(url, bootstrap, scorer)


def kill_repeatedly(times: int, url: str, bootstrap: str, folder: Path, scorer: HealthScorer) -> None:
    chance = random.Random(20240301)
    batch = events(60, 2 + 2 * times)
    work = plan("shard-0", url, bootstrap, poll_records=50)
    load = Load(url, bootstrap, batch, pause=0.05)
    for _ in range(times):
        shard = ShardProcess(work, folder)
        before = sum(committed(url).values())
        wait_total(url, before + 1 + chance.randrange(len(batch) // (2 * times)))
        shard.kill()
        assert load.producing, "the shard was done before it was killed"
    load.finish()
    expected = finish_and_check(ShardProcess(work, folder), url, bootstrap, scorer)
    assert expected.total().duplicates > 0
    assert expected.total().dead_letters > 0


def test_kill_9_in_the_middle_of_a_replay(
    embedded_bootstrap: str, database: str, tmp_path: Path, scorer: HealthScorer
) -> None:
    kill_repeatedly(2, database, embedded_bootstrap, tmp_path, scorer)


@pytest.mark.slow
def test_kill_9_ten_times(embedded_bootstrap: str, database: str, tmp_path: Path, scorer: HealthScorer) -> None:
    kill_repeatedly(10, database, embedded_bootstrap, tmp_path, scorer)


@pytest.mark.parametrize("place", FAILPOINTS)
def test_a_crash_at_any_point_of_the_commit(
    place: str, embedded_bootstrap: str, database: str, tmp_path: Path, scorer: HealthScorer
) -> None:
    work = plan("shard-0", database, embedded_bootstrap, poll_records=100)
    produce(embedded_bootstrap, events())
    assert ShardProcess(work, tmp_path, f"{place}:SIGKILL:3").wait() == -signal.SIGKILL
    finish_and_check(ShardProcess(work, tmp_path), database, embedded_bootstrap, scorer)


def test_a_frozen_shard_is_fenced_by_its_successor(
    embedded_bootstrap: str, database: str, tmp_path: Path, scorer: HealthScorer
) -> None:
    work = plan("shard-0", database, embedded_bootstrap, poll_records=100)
    batch = events()
    produce(embedded_bootstrap, batch)
    zombie = ShardProcess(work, tmp_path)
    wait_total(database, 300)
    zombie.send(signal.SIGSTOP)
    successor = ShardProcess(work, tmp_path)
    wait_total(database, len(batch) // 2)
    zombie.send(signal.SIGCONT)
    assert zombie.wait() == 1
    assert "fenced" in successor.log.read_text()
    finish_and_check(successor, database, embedded_bootstrap, scorer)


def test_a_shard_frozen_inside_its_transaction_does_not_hold_its_successor_up(
    embedded_bootstrap: str, database: str, tmp_path: Path, scorer: HealthScorer
) -> None:
    work = plan("shard-0", database, embedded_bootstrap, lease_seconds=3.0, poll_records=100)
    batch = events()
    produce(embedded_bootstrap, batch)
    zombie = ShardProcess(work, tmp_path, "before-commit:SIGSTOP:3")
    zombie.wait_frozen()
    successor = ShardProcess(work, tmp_path)
    wait_total(database, len(batch))
    zombie.send(signal.SIGCONT)
    assert zombie.wait() != 0
    finish_and_check(successor, database, embedded_bootstrap, scorer)


@pytest.mark.parametrize("owner", ["shard-0", "shard-1"])
def test_a_session_that_fell_silent_inside_a_copy_is_ended_by_the_next_owner(owner: str, database: str) -> None:
    bounded = f"{database}?options=-c%20statement_timeout%3D10000"
    former, successor = ShardStore(bounded, "shard-0", 1.5), ShardStore(bounded, owner, 1.5)
    former.reconnect()
    former.enter([0])
    assert former.acquire([0]) == [0]
    successor.reconnect()
    with psycopg.connect(database, application_name="shard-0") as frozen, frozen.cursor() as cursor:
        cursor.execute("SELECT * FROM partition_leases FOR UPDATE")
        copying = cursor.copy("COPY readings FROM STDIN")
        copying.__enter__()
        time.sleep(1.6)
        successor.enter([0])
        assert successor.acquire([0]) == [0]
        with pytest.raises(psycopg.OperationalError):
            copying.__exit__(None, None, None)
    former.reconnect()
    with pytest.raises(LeaseLostError, match=r"shard-0 no longer holds the lease of partitions \[0\]"):
        former.renew([0])
    former.close()
    successor.close()


def test_postgres_dies_at_once_and_comes_back(
    embedded_bootstrap: str,
    own_postgres: tuple[EmbeddedPostgres, str, list[Recorded]],
    tmp_path: Path,
    scorer: HealthScorer,
) -> None:
    server, url, processes = own_postgres
    batch = events(60, 4)
    produce(embedded_bootstrap, batch)
    shard = ShardProcess(plan("shard-0", url, embedded_bootstrap, poll_records=100), tmp_path)
    for total in (len(batch) // 4, len(batch) // 2):
        wait_total(url, total)
        processes[-1].end(signal.SIGQUIT, 20)
        time.sleep(1)
        assert shard.running
        processes.append(server.start(urlsplit(url).port)[0])
    finish_and_check(shard, url, embedded_bootstrap, scorer)
    assert "postgres away" in shard.log.read_text()


def test_a_shard_waits_for_postgres_at_its_start_and_says_when_it_gives_up(
    embedded_bootstrap: str, scorer: HealthScorer
) -> None:
    url = f"postgresql://postgres:none@127.0.0.1:{free_port()}/{postgres.DATABASE}"
    work = plan("shard-0", url, embedded_bootstrap, retry_seconds=1.5)
    loop = ShardLoop(work, lambda _: scorer, live(work))
    with pytest.raises(StorageError, match=r"shard-0: PostgreSQL stayed away for 1\.5 s"):
        loop.run()


def test_broken_events_of_every_kind_fell_nobody(
    embedded_bootstrap: str, database: str, tmp_path: Path, scorer: HealthScorer
) -> None:
    batch = events()
    enrolments = [e for e in batch if e.kind is ENROLLMENT]
    others = [e for e in batch if e.kind is not ENROLLMENT]
    random.Random(7).shuffle(others)
    member = enrolments[0].member_id
    home, away = partition_of(member), (partition_of(member) + 1) % 64
    sound = {"v": 1, **reading(member, "r1", AS_OF_MS - 1).fields}
    huge = json.dumps(sound | {"event_id": "x" * (2 << 20)}).encode()
    broken: list[tuple[str, bytes, int]] = [
        (READING.topic, b"", home),
        (READING.topic, b"{", home),
        (READING.topic, b"[1, 2]", home),
        (READING.topic, b"\xff\xfe\x00", home),
        (READING.topic, huge, home),
        (READING.topic, huge, away),
        (CLAIM.topic, huge, home),
        (READING.topic, json.dumps(sound | {"v": 2}).encode(), home),
        (READING.topic, json.dumps(sound | {"event_id": ""}).encode(), home),
        (READING.topic, json.dumps(sound | {"time": "yesterday"}).encode(), home),
        (READING.topic, json.dumps(sound | {"time": 4_102_444_800_000}).encode(), home),
        (READING.topic, json.dumps(sound | {"colour": "red"}).encode(), home),
        (READING.topic, json.dumps(sound).encode(), away),
        (READING.topic, json.dumps(sound).encode(), home),
        (READING.topic, json.dumps(sound).encode(), home),
        (CLAIM.topic, json.dumps(sound).encode(), home),
        (ENROLLMENT.topic, json.dumps({**enrolments[0].fields, "birth_date": "2190-01-01"}).encode(), home),
    ]
    with EventProducer(embedded_bootstrap) as producer:
        producer.send_all(enrolments)
        for i, event in enumerate(others):
            producer.send(event)
            if i % 50 == 0 and i // 50 < len(broken):
                topic, payload, partition = broken[i // 50]
                producer.send_bytes(topic, member, payload, partition)
    shard = ShardProcess(plan("shard-0", database, embedded_bootstrap), tmp_path)
    expected = finish_and_check(shard, database, embedded_bootstrap, scorer)
    assert len(set(expected.dead.values())) >= 9
    with psycopg.connect(database) as connection:
        kept = connection.execute(
            "SELECT length(payload), payload_bytes FROM dead_letters WHERE reason = 'too_large'"
        ).fetchall()
    assert kept == [(4096, len(huge))] * 3


def test_one_event_under_two_members_is_applied_once(
    embedded_bootstrap: str, database: str, tmp_path: Path, scorer: HealthScorer
) -> None:
    batch = events()
    claims = [e for e in batch if e.kind is CLAIM]
    members = sorted({e.member_id for e in batch if e.kind is ENROLLMENT}, key=partition_of)
    stolen = [
        SourceEvent(CLAIM, claim.fields | {"member_id": member})
        for claim in claims[:20]
        for member in (members[0], members[-1])
        if member != claim.member_id
    ]
    produce(embedded_bootstrap, [*(e for e in batch if e.kind is not CLAIM), *stolen])
    work = plan("shard-0", database, embedded_bootstrap, snapshot_every=1000)
    shard = ShardProcess(work, tmp_path)
    wait_committed(database, log_ends(embedded_bootstrap))
    counts = "SELECT sum(applied), sum(duplicates) FROM partition_offsets WHERE topic = 'claims.submitted'"
    costs = _costs_after_restart(shard, work, database, tmp_path)
    with psycopg.connect(database) as connection:
        applied, duplicates = connection.execute(counts).fetchone()
        paid = connection.execute(
            "SELECT sum(cents) FROM (SELECT coalesce(allowed_cents, paid_cents) AS cents FROM claims "
            "UNION ALL SELECT coalesce(allowed_cents, paid_cents) FROM pharmacy_fills) AS both_kinds"
        ).fetchone()
    names = {(e.fields["source"], e.fields["event_id"]) for e in stolen}
    assert (applied, duplicates) == (len(names), len(stolen) - len(names))
    assert costs == paid[0]


def _costs_after_restart(shard: ShardProcess, work: ShardPlan, url: str, folder: Path) -> int:
    """Cents in the states of a shard that was killed before any snapshot and so had to replay everything."""
    shard.kill()
    again = ShardProcess(work, folder)
    deadline = time.monotonic() + PATIENCE
    while not re.search("event='replayed'.*event='shard ready'", again.log.read_text(), re.DOTALL):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert again.finish() == 0
    with psycopg.connect(url) as connection:
        payloads = connection.execute("SELECT payload FROM member_state").fetchall()
    return sum(_cents(PartitionState.load(dumped(payload))) for (payload,) in payloads)


def _cents(state: PartitionState) -> int:
    return int(state.monthly_costs(np.arange(len(state)))[0].sum())


def test_events_before_their_members_enrolment_are_held_through_kills_and_applied_once(
    embedded_bootstrap: str, database: str, tmp_path: Path, scorer: HealthScorer
) -> None:
    batch = events(20, 3)
    work = plan("shard-0", database, embedded_bootstrap, poll_records=100)
    others = [event for event in batch if event.kind is not ENROLLMENT]
    produce(embedded_bootstrap, others)
    shard = ShardProcess(work, tmp_path)
    wait_total(database, len(others) // 2)
    shard.kill()
    shard = ShardProcess(work, tmp_path)
    wait_committed(database, log_ends(embedded_bootstrap))
    with psycopg.connect(database) as connection:
        applied, pending = connection.execute("SELECT sum(applied), sum(pending) FROM partition_offsets").fetchone()
    assert applied == 0 and pending > len(others) // 2
    shard.kill()
    shard = ShardProcess(work, tmp_path)
    produce(embedded_bootstrap, [event for event in batch if event.kind is ENROLLMENT])
    expected = finish_and_check(shard, database, embedded_bootstrap, scorer)
    enrolled = {event.member_id for event in batch if event.kind is ENROLLMENT}
    assert expected.total().pending == sum(event.member_id not in enrolled for event in batch)
    assert expected.total().duplicates > 0
    assert "events of members not enrolled" in shard.log.read_text()
