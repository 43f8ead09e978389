"""Every read of a member leaves an audit event, whatever dies; with PostgreSQL away requests slow down, then fail."""

import asyncio
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from cluster.stack.postgres import EmbeddedPostgres
from cluster.stack.process import Recorded
from engine.compliance.audit import ALLOWED, AuditEvent, new_event_id
from engine.errors import AuditError, StorageError
from engine.storage.audit import PostgresAuditStore
from serve_apps.access.audit_trail import AuditTrail
from serve_apps.access.spool import Spool
from tests.service import OURS, TENANT, Issuer, Service, served
from tests.waiting import PATIENCE


def event(member: str = "m", at_us: int | None = None) -> AuditEvent:
    time_us = time.time_ns() // 1000 if at_us is None else at_us
    return AuditEvent(
        new_event_id(), time_us, "actor", "app", "default", "read", "member.score", member, "TREAT", ALLOWED, "r"
    )


def stored(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [row[0] for row in connection.execute("SELECT member_id FROM audit_events ORDER BY member_id")]


def test_a_read_says_who_when_which_member_and_why(service: Service) -> None:
    before = time.time()
    actor = uuid.uuid4().hex
    with service.client(sub=actor, client_id="ward-app", purpose="TREAT") as http:
        headers = {"X-Request-Id": "req-1", "X-Purpose-Of-Use": "HMARKT"}
        assert http.get(f"/v1/members/{OURS}/score", headers=headers).status_code == 200
        assert http.get(f"/v1/members/{OURS}/score/history").status_code == 200
        assert http.get(f"/v1/members/{OURS}/factors").status_code == 200
        assert http.post(f"/v1/members/{OURS}/what-if", json={"general_health": 2}).status_code == 200
        assert http.post("/v1/scores", json={"birth_date": "1961-05-04", "sex": "female"}).status_code == 200
        assert http.get("/v1/interventions").status_code == 200
    events = service.audited(actor=actor)
    assert [(e["resource"], e["member_id"]) for e in events] == [
        ("member.score", OURS),
        ("member.score.history", OURS),
        ("member.factors", OURS),
        ("member.what-if", OURS),
        ("record.score", None),
    ]
    first = events[0]
    assert (first["client"], first["tenant_id"], first["request_id"]) == ("ward-app", TENANT, "req-1")
    assert {e["outcome"] for e in events} == {"allowed"}
    assert first["purpose"] == "TREAT", "the request cannot say otherwise than the token"
    assert before - 1 <= first["occurred_at"].timestamp() <= time.time()


def test_the_purpose_of_a_token_without_one_comes_from_the_request(service: Service) -> None:
    actor = uuid.uuid4().hex
    with service.client(sub=actor) as http:
        path = f"/v1/members/{OURS}/score"
        assert http.get(path, headers={"X-Purpose-Of-Use": "HPAYMT"}).status_code == 200
        assert http.get(path).status_code == 200
        refused = http.get(path, headers={"X-Purpose-Of-Use": "because; DROP TABLE"})
        assert refused.status_code == 400 and "X-Purpose-Of-Use" in refused.json()["detail"]
    assert [e["purpose"] for e in service.audited(actor=actor)] == ["HPAYMT", "unstated"]


def test_writing_twice_leaves_one_row_and_months_are_made(database: str) -> None:
    store = PostgresAuditStore(database)
    events = [event("a"), event("b", at_us=1_600_000_000_000_000), event("c", at_us=0)]
    store.append(events)
    store.append([*events, event("d")])
    store.append([])
    store.close()
    assert stored(database) == ["a", "b", "c", "d"]


def test_an_event_that_cannot_be_stored_is_refused_whole(database: str) -> None:
    store = PostgresAuditStore(database)
    with pytest.raises(StorageError):
        store.append([event("good"), event("bad\x00")])
    store.close()
    assert stored(database) == []


async def _away(server: EmbeddedPostgres, url: str, processes: list[Recorded], folder: Path) -> dict[str, Any]:
    """Records while PostgreSQL is away, until the trail is full; then brings it back."""
    trail = AuditTrail(PostgresAuditStore(url), Spool(folder), most=20, wait_seconds=0.5)
    seen: dict[str, Any] = {"refused": 0, "slowed": 0.0}
    async with trail.running():
        await trail.record(event("before"))
        while trail.waiting:
            await asyncio.sleep(0.05)
        processes[-1].end(signal.SIGQUIT, 20)
        for i in range(20):
            await trail.record(event(f"during-{i:02}"))
        started = time.monotonic()
        try:
            await trail.record(event("refused"))
        except AuditError:
            seen["refused"], seen["slowed"] = 1, time.monotonic() - started
        seen["spooled"] = sum(len(p.read_bytes().splitlines()) for p in folder.glob("*.jsonl"))
        waiting = asyncio.create_task(trail.record(event("waits")))
        again = await asyncio.to_thread(server.start, urlsplit(url).port)
        processes.append(again[0])
        seen["slow"] = (await asyncio.gather(waiting, return_exceptions=True))[0]
        while trail.waiting:
            await asyncio.sleep(0.05)
    return seen


def test_while_postgresql_is_away_requests_slow_then_fail_and_nothing_is_lost(
    own_postgres: tuple[EmbeddedPostgres, str, list[Recorded]], tmp_path: Path
) -> None:
    server, url, processes = own_postgres
    seen = asyncio.run(_away(server, url, processes, tmp_path))
    assert seen["refused"] == 1 and seen["slowed"] >= 0.5
    assert seen["spooled"] == 20
    names = {"before", *(f"during-{i:02}" for i in range(20))}
    names |= set() if isinstance(seen["slow"], AuditError) else {"waits"}
    assert set(stored(url)) == names
    assert list(tmp_path.glob("*.jsonl")) == [], "the spool is empty once all is stored"


async def _ended(url: str, folder: Path) -> None:
    trail = AuditTrail(PostgresAuditStore(url), Spool(folder), most=100, wait_seconds=0.5)
    async with trail.running():
        for i in range(3):
            await trail.record(event(f"left-{i}"))


async def _adopted(url: str, folder: Path) -> None:
    trail = AuditTrail(PostgresAuditStore(url), Spool(folder), most=100, wait_seconds=0.5)
    async with trail.running():
        deadline = time.monotonic() + PATIENCE
        while await asyncio.to_thread(stored, url) != ["left-0", "left-1", "left-2"]:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)


def test_what_could_not_be_flushed_is_written_by_the_next_process(database: str, tmp_path: Path) -> None:
    asyncio.run(_ended("postgresql://nobody@127.0.0.1:1/none", tmp_path))
    left = list(tmp_path.glob("*.jsonl"))
    assert len(left) == 1 and left[0].stat().st_mode & 0o777 == 0o600
    asyncio.run(_adopted(database, tmp_path))
    assert list(tmp_path.glob("*.jsonl")) == []


_KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from engine.storage.audit import PostgresAuditStore
from serve_apps.access.audit_trail import AuditTrail
from serve_apps.access.spool import Spool
from tests.integration.test_audit import event

async def main():
    trail = AuditTrail(PostgresAuditStore("postgresql://nobody@127.0.0.1:1/none"), Spool(Path(sys.argv[1])), 100, 1.0)
    async with trail.running():
        for i in range(3):
            await trail.record(event(f"left-{i}"))
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def test_a_killed_process_takes_no_event_with_it(database: str, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    (left,) = tmp_path.glob("*.jsonl")
    with left.open("ab") as file:
        file.write(b'{"event_id":"cut')  # what a death in mid-write leaves
    asyncio.run(_adopted(database, tmp_path))


def test_a_living_process_keeps_its_spool(tmp_path: Path) -> None:
    first, second = Spool(tmp_path), Spool(tmp_path)
    number = first.write(event())
    assert list(second.orphans()) == []
    first.stored([number])
    first.close()
    second.close()
    assert list(tmp_path.iterdir()) == []


def test_a_long_spool_is_cut_into_segments_that_go_one_by_one(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    sized = event("x" * 4000)
    numbers = [spool.write(sized) for _ in range(2100)]
    assert numbers[0] < numbers[-1]
    assert len(list(tmp_path.glob("*.jsonl"))) == numbers[-1]
    spool.stored(numbers[:-1])
    assert len(list(tmp_path.glob("*.jsonl"))) == 1
    spool.stored(numbers[-1:])
    assert sum(p.stat().st_size for p in tmp_path.glob("*.jsonl")) == 0
    spool.close()


def test_the_application_refuses_reads_it_cannot_record(
    make_args: Callable[..., Any], issuer: Issuer, tmp_path: Path
) -> None:
    """PostgreSQL takes no audit events (its table is locked), and so the third read waits and is refused with 503."""
    args = make_args(audit_queue=2, audit_wait_seconds=0.7, audit_folder=str(tmp_path))
    actor = uuid.uuid4().hex
    with served(args) as url, psycopg.connect(args.postgres_url) as blocker:
        service = Service(url, issuer, args.postgres_url, args)
        with service.client(sub=actor) as http:
            assert http.get(f"/v1/members/{OURS}/score").status_code == 200
            while any(tmp_path.glob("*.jsonl")) and sum(p.stat().st_size for p in tmp_path.glob("*.jsonl")):
                time.sleep(0.05)
            blocker.execute("LOCK TABLE audit_events IN ACCESS EXCLUSIVE MODE")
            codes, slowest = [], 0.0
            for _ in range(4):
                started = time.monotonic()
                codes.append(http.get(f"/v1/members/{OURS}/score").status_code)
                slowest = max(slowest, time.monotonic() - started)
            assert codes == [200, 200, 503, 503] and slowest >= 0.7
            refused = http.get(f"/v1/members/{OURS}/score")
            assert refused.headers["retry-after"] == "1"
            assert refused.headers["content-type"] == "application/problem+json"
            assert http.get("/v1/interventions").status_code == 200, "what needs no record goes on"
            blocker.rollback()
            deadline = time.monotonic() + PATIENCE
            while http.get(f"/v1/members/{OURS}/score").status_code != 200:
                assert time.monotonic() < deadline
        allowed = [e for e in service.audited(actor=actor) if e["outcome"] == "allowed"]
        assert len(allowed) == 4, "three before, one after: as many as were answered"
    assert list(tmp_path.iterdir()) == []
