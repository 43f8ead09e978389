"""What `Store` promises, asked of the real one and of the simulator's fake alike."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import psycopg
import pytest

from actors.ports import Store
from engine.domain.batch import PartitionCommit, Rows, TopicCount, TopicIdentity
from engine.domain.events import CLAIM, KIND_OF_TOPIC, READING
from engine.errors import LeaseLostError, StorageError
from engine.storage import shards
from engine.storage.shards import ShardStore
from tests import stored
from tests.simulator.postgres import FakePostgres, FakeStore
from tests.simulator.schedule import stored_in
from tests.simulator.world import Process, World
from tests.waiting import PATIENCE

LEASE = 1.5
IDENTITIES = {topic: TopicIdentity("cluster", topic) for topic in KIND_OF_TOPIC}


class Bench(Protocol):
    """PostgreSQL or its fake, with what a test needs besides stores."""

    def store(self, owner: str) -> Store: ...
    def wait(self, seconds: float) -> None: ...
    def beside(self, action: Callable[[], Any]) -> Callable[[], Any]: ...
    def under_way(
        self, store: Store, batches: Sequence[PartitionCommit]
    ) -> AbstractContextManager[Callable[[], Any]]: ...
    def same_session(self, store: Store) -> Store: ...
    def stored(self) -> stored.Stored: ...


class RealBench:
    """On PostgreSQL."""

    def __init__(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self._url, self._monkeypatch, self._pool = url, monkeypatch, ThreadPoolExecutor(4)
        self._opened: list[ShardStore] = []

    def store(self, owner: str) -> ShardStore:
        self._opened.append(ShardStore(self._url, owner, LEASE))
        return self._opened[-1]

    def close(self) -> None:
        for store in self._opened:
            store.close()
        self._pool.shutdown()

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def beside(self, action: Callable[[], Any]) -> Callable[[], Any]:
        return self._pool.submit(action).result

    def same_session(self, store: ShardStore) -> ShardStore:
        other = self.store(store._owner)
        other._token = store._token
        return other

    @contextmanager
    def under_way(self, store: ShardStore, batches: Sequence[PartitionCommit]) -> Iterator[Callable[[], Any]]:
        arrived, go = threading.Event(), threading.Event()

        def hold(place: str) -> None:
            if place == "before-commit":
                arrived.set()
                assert go.wait(PATIENCE)

        self._monkeypatch.setattr(shards, "failpoint", hold)
        result = self.beside(lambda: store.commit(batches, IDENTITIES))
        assert arrived.wait(PATIENCE)
        self._monkeypatch.setattr(shards, "failpoint", lambda _: None)
        yield lambda: (go.set(), result())
        go.set()

    def stored(self) -> stored.Stored:
        with psycopg.connect(self._url, autocommit=True) as connection:
            return stored.read(connection)


class FakeBench:
    """On the simulator's PostgreSQL, each test a task of its world."""

    def __init__(self) -> None:
        self.world = World(1)
        self.server = FakePostgres(self.world)

    def store(self, owner: str) -> FakeStore:
        return FakeStore(self.server, Process(owner, 0.0), owner, LEASE)

    def wait(self, seconds: float) -> None:
        self.world.sleep(seconds)

    def beside(self, action: Callable[[], Any]) -> Callable[[], Any]:
        outcome: list[Any] = []

        def run() -> None:
            try:
                outcome.append((action(), None))
            except Exception as error:  # noqa: BLE001 - `result` raises it
                outcome.append((None, error))

        def result() -> Any:
            self.world.wait(lambda: bool(outcome))
            if outcome[0][1] is not None:
                raise outcome[0][1]
            return outcome[0][0]

        self.world.spawn("beside", run)
        return result

    def same_session(self, store: FakeStore) -> FakeStore:
        other = self.store(store._owner)
        other.token = store.token
        return other

    @contextmanager
    def under_way(self, store: FakeStore, batches: Sequence[PartitionCommit]) -> Iterator[Callable[[], Any]]:
        self.server.hold_commits = True
        result = self.beside(lambda: store.commit(batches, IDENTITIES))
        self.world.wait(lambda: store.before_commit)

        def go() -> None:
            self.server.hold_commits = False
            result()

        yield go
        self.server.hold_commits = False

    def stored(self) -> stored.Stored:
        return stored_in(self.server)


@pytest.fixture(params=["postgres", "fake"])
def on_bench(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Runs a test's body on the bench."""
    if request.param == "fake":
        bench = FakeBench()
        yield lambda body: bench.world.run("test", lambda: body(bench))
        return
    real = RealBench(request.getfixturevalue("database"), monkeypatch)
    yield lambda body: body(real)
    real.close()


def reading(offset: int, event_id: str = "") -> dict[str, Any]:
    return {
        **dict.fromkeys(column.name for column in READING.added),
        "event_id": event_id or f"r{offset}",
        "source": "test",
        "member_id": "m1",
        "time": 1_709_300_000_000_000 + offset * 1000,
        "metric": "steps",
        "value": 100.5 + offset,
        "unit": "count",
        "partition": 3,
        "kafka_offset": offset,
    }


def claim(offset: int, partition: int = 3, event_id: str = "") -> dict[str, Any]:
    nothing = ("procedure", "place_of_service", "bill_type", "revenue_center", "provider_id", "charge_cents")
    return {
        **dict.fromkeys(column.name for column in CLAIM.added),
        "event_id": event_id or f"c{partition}-{offset}",
        "source": "test",
        "member_id": "m1",
        "time": 1_709_300_000_000_000,
        "claim_id": "c",
        "line": 1,
        "claim_type": "dental",
        "service_date": 19_800,
        "diagnoses": ["I10", "E119"],
        **dict.fromkeys(nothing),
        "allowed_cents": None,
        "paid_cents": 100,
        "partition": partition,
        "kafka_offset": offset,
    }


def letter(offset: int, cluster: str = "cluster") -> dict[str, Any]:
    told = {"reason": "empty", "field": "", "message": "no value", "payload": b"\x00\xff", "payload_bytes": 2}
    return {"topic": READING.topic, "partition": 3, "kafka_offset": offset, "cluster_id": cluster, **told}


def rows(*found: dict[str, Any]) -> Rows:
    return Rows({name: [row[name] for row in found] for name in found[0]})


def batch(
    seq: int,
    offset: int = 0,
    *,
    partition: int = 3,
    snapshot: bytes | None = None,
    counts: dict[str, TopicCount] | None = None,
    **tables: Rows,
) -> PartitionCommit:
    """The commit `seq` of a partition, whose readings then stand at `offset`."""
    offsets = dict.fromkeys(KIND_OF_TOPIC, 0) | {READING.topic: offset}
    counts = counts or {READING.topic: TopicCount(applied=1)}
    return PartitionCommit(partition, seq, offsets, counts, tables, snapshot, None, 1, "models")


def connected(bench: Bench, owner: str, *partitions: int) -> Store:
    store = bench.store(owner)
    store.reconnect()
    store.enter(partitions)
    if partitions:
        assert store.acquire(partitions) == sorted(partitions)
    return store


Run = Callable[[Callable[[Bench], None]], None]


def test_a_lease_is_had_by_one_owner_until_it_expires(on_bench: Run) -> None:
    def body(bench: Bench) -> None:
        first, second = connected(bench, "shard-0", 3, 4), connected(bench, "shard-1")
        assert second.acquire([3, 4, 5]) == [5]
        bench.wait(1.0)
        first.renew([3, 4])
        bench.wait(1.0)
        assert second.acquire([3]) == []
        first.commit([batch(1, 1)], IDENTITIES)
        bench.wait(1.0)
        assert second.acquire([3, 4]) == [4], "a commit extends the leases of its partitions"
        bench.wait(1.0)
        assert second.acquire([3]) == [3]

    on_bench(body)


def test_who_has_lost_a_lease_writes_nothing(on_bench: Run) -> None:
    def body(bench: Bench) -> None:
        former = connected(bench, "shard-0", 3, 4)
        same = batch(1, 1, readings=rows(reading(0)))
        bench.wait(1.7)
        successor = connected(bench, "shard-1", 3)
        former.reconnect()
        for refused in (
            lambda: former.commit([same], IDENTITIES),
            lambda: former.commit([batch(1, 1, partition=4), same], IDENTITIES),
            lambda: former.renew([3]),
            lambda: former.is_committed(same),
            lambda: former.forget_offsets(3),
        ):
            with pytest.raises(LeaseLostError, match=r"shard-0 no longer holds the lease of partitions \[3\]"):
                refused()
        former.renew([4])
        former.release([3, 4])
        assert bench.stored().readings == []
        assert bench.stored().offsets == []
        successor.renew([3])
        successor.commit([same], IDENTITIES)
        assert [row[:2] for row in bench.stored().readings] == [(3, 0)]

    on_bench(body)


def test_the_next_process_of_an_owner_has_its_leases_at_once(on_bench: Run) -> None:
    def body(bench: Bench) -> None:
        former, successor = connected(bench, "shard-0", 3), connected(bench, "shard-0", 3)
        with pytest.raises(psycopg.OperationalError):
            former.renew([3])
        former.reconnect()
        with pytest.raises(LeaseLostError):
            former.renew([3])
        successor.renew([3])

    on_bench(body)


def test_the_leases_of_an_owner_whose_session_has_ended_are_to_be_had(on_bench: Run) -> None:
    """A session ends with its process. Who has only lost it, and is back, is told that another has its leases."""

    def body(bench: Bench) -> None:
        first, second = connected(bench, "shard-0", 3, 4), connected(bench, "shard-1")
        assert second.acquire([3]) == []
        first.close()
        assert second.acquire([3]) == [3]
        first.reconnect()
        with pytest.raises(LeaseLostError):
            first.commit([batch(1)], IDENTITIES)
        first.renew([4])
        assert second.acquire([4]) == []

    on_bench(body)


def test_who_enters_has_what_is_assigned_and_its_former_process_is_told(on_bench: Run) -> None:
    def body(bench: Bench) -> None:
        first = connected(bench, "shard-0", 3, 4)
        assert first.assigned(0, 0, 0) == [3, 4]
        other = connected(bench, "shard-1", 5)
        other.enter([4, 6])
        assert other.assigned(2, 10, 3) == [5, 6], "4 is assigned to shard-0"
        again = bench.store("shard-0")
        again.reconnect()
        again.enter([])
        assert again.assigned(0, 0, 0) == [3, 4]
        first.reconnect()
        for refused in (lambda: first.assigned(0, 0, 0), lambda: first.acquire([3])):
            with pytest.raises(LeaseLostError, match="another process has entered as shard-0"):
                refused()
        assert again.acquire([3, 4]) == [3, 4]

    on_bench(body)


def test_a_released_lease_is_free(on_bench: Run) -> None:
    def body(bench: Bench) -> None:
        first, second = connected(bench, "shard-0", 3), connected(bench, "shard-1")
        first.release([3])
        assert second.acquire([3]) == [3]
        with pytest.raises(LeaseLostError):
            first.commit([batch(1)], IDENTITIES)

    on_bench(body)


def test_a_commit_is_whole_or_nothing(on_bench: Run) -> None:
    def body(bench: Bench) -> None:
        store = connected(bench, "shard-0", 3, 4)
        store.commit([batch(1, 1, claims=rows(claim(0)), dead_letters=rows(letter(0)))], IDENTITIES)
        for broken in (
            batch(2, 2, readings=rows(reading(1)), claims=rows(claim(1, event_id="c3-0"))),
            batch(1, 2, readings=rows(reading(1))),
            batch(2, 2, readings=rows(reading(1)), dead_letters=rows(letter(0))),
        ):
            with pytest.raises(psycopg.errors.UniqueViolation):
                store.commit([batch(1, 1, partition=4, claims=rows(claim(0, 4))), broken], IDENTITIES)
        found = bench.stored()
        assert (found.readings, found.events["claims"]) == ([], [(3, 0)])
        assert [row[1] for row in found.offsets] == [3]
        again = batch(2, 2, dead_letters=rows(letter(0, "another cluster")))
        store.commit([batch(1, 1, partition=4, claims=rows(claim(0, 4))), again], IDENTITIES)
        assert bench.stored().events["claims"] == [(3, 0), (4, 0)]

    on_bench(body)


def test_recovery_finds_the_snapshot_and_the_commits_after_it(on_bench: Run) -> None:
    def body(bench: Bench) -> None:
        store = connected(bench, "shard-0", 3, 4)
        nothing = store.recover(3)
        assert (nothing.seq, nothing.snapshot, nothing.snapshot_offsets, nothing.commits) == (0, None, {}, ())
        store.commit([batch(1, 5), batch(1, 50, partition=4)], IDENTITIES)
        store.commit([batch(2, 6)], IDENTITIES)
        found = store.recover(3)
        assert (found.seq, found.snapshot, found.identities) == (2, None, {READING.topic: IDENTITIES[READING.topic]})
        assert [commit[READING.topic] for commit in found.commits] == [5, 6]
        store.commit([batch(3, 9, snapshot=b"state")], IDENTITIES)
        later = batch(4, 13)
        later.expired_ms = 1_709_300_000_000
        store.commit([later], IDENTITIES)
        found = store.recover(3)
        assert (found.seq, found.snapshot, found.model_version) == (4, b"state", "models")
        assert found.snapshot_offsets == dict.fromkeys(KIND_OF_TOPIC, 0) | {READING.topic: 9}
        assert [commit[READING.topic] for commit in found.commits] == [13]
        assert found.expired_ms == (1_709_300_000_000,)
        assert len(store.recover(4).commits) == 1
        store.forget_offsets(3)
        assert store.recover(3).identities == {}
        assert store.recover(4).identities != {}

    on_bench(body)


def test_the_store_tells_whether_a_commit_took_place(on_bench: Run) -> None:
    def body(bench: Bench) -> None:
        store = connected(bench, "shard-0", 3)
        assert not store.is_committed(batch(1))
        store.commit([batch(1)], IDENTITIES)
        assert store.is_committed(batch(1))
        assert not store.is_committed(batch(2))
        store.commit([batch(2, snapshot=b"state")], IDENTITIES)
        assert store.is_committed(batch(2))
        assert store.is_committed(batch(1))

    on_bench(body)


def test_the_answer_waits_for_a_commit_that_is_still_under_way(on_bench: Run) -> None:
    """As after a connection lost during COMMIT, which the server has not finished yet."""

    def body(bench: Bench) -> None:
        lost = connected(bench, "shard-0", 3)
        store = bench.same_session(lost)
        store.reconnect()
        with bench.under_way(lost, [batch(1)]) as finish:
            answer = bench.beside(lambda: store.is_committed(batch(1)))
            bench.wait(0.5)
            finish()
            assert answer()

    on_bench(body)


def test_a_transaction_of_an_owner_who_lost_the_lease_is_ended(on_bench: Run) -> None:
    def body(bench: Bench) -> None:
        former = connected(bench, "shard-0", 3)
        with bench.under_way(former, [batch(1, 1, readings=rows(reading(0)))]) as finish:
            bench.wait(1.7)
            successor = connected(bench, "shard-1", 3)
            with pytest.raises(psycopg.OperationalError):
                finish()
        assert bench.stored().readings == []
        successor.commit([batch(1, 1)], IDENTITIES)

    on_bench(body)


def test_stored_events_are_found_by_name(on_bench: Run) -> None:
    def body(bench: Bench) -> None:
        store = connected(bench, "shard-0", 3, 4)
        assert store.known_events("claims", []) == {}
        store.commit([batch(1, claims=rows(claim(7))), batch(1, partition=4, claims=rows(claim(8, 4)))], IDENTITIES)
        names = [("test", "c3-7"), ("test", "c4-8"), ("other", "c3-7"), ("test", "c3-8")]
        assert store.known_events("claims", names) == {("test", "c3-7"): (3, 7), ("test", "c4-8"): (4, 8)}
        assert store.known_events("lab_results", names) == {}

    on_bench(body)


def test_counts_add_up_from_the_first_offset(on_bench: Run) -> None:
    def body(bench: Bench) -> None:
        store = connected(bench, "shard-0", 3)
        store.commit([batch(1, 17, counts={READING.topic: TopicCount(3, 2, 1, 1, 5)})], IDENTITIES)
        several = {READING.topic: TopicCount(1, 0, 1, 0, -1), CLAIM.topic: TopicCount(0, 0, 0, 0)}
        store.commit([batch(2, 19, counts=several)], IDENTITIES)
        assert sorted(bench.stored().offsets) == [
            (CLAIM.topic, 3, 0, 0, 0, 0, 0, 0, 0),
            (READING.topic, 3, 4, 2, 2, 4, 1, 5, 19),
        ]

    on_bench(body)


def test_what_was_written_is_what_is_read(on_bench: Run) -> None:
    def body(bench: Bench) -> None:
        store = connected(bench, "shard-0", 3)
        message = {"topic": "care.alerts", "message_key": "m1", "payload": b'{"seq": 1, "score": 2.5}'}
        tables = {"readings": rows(reading(0), reading(1)), "claims": rows(claim(2)), "dead_letters": rows(letter(5))}
        store.commit([batch(1, 6, outbox=rows(message, message), **tables)], IDENTITIES)
        found = bench.stored()
        assert [row[:6] for row in found.readings] == [
            (3, 0, 1_709_300_000_000, "test", "r0", "m1"),
            (3, 1, 1_709_300_000_001, "test", "r1", "m1"),
        ]
        assert [row[6:] for row in found.readings] == [("steps", 100.5, "count"), ("steps", 101.5, "count")]
        assert found.letters == [(READING.topic, 3, 5, "empty")]
        assert found.outbox == [("care.alerts", "m1", {"seq": 1, "score": 2.5})] * 2

    on_bench(body)


def test_a_store_that_is_not_connected_says_so(on_bench: Run) -> None:
    def body(bench: Bench) -> None:
        with pytest.raises(StorageError, match="shard-0 is not connected"):
            bench.store("shard-0").renew([3])
        store = connected(bench, "shard-0", 3)
        store.reconnect()
        store.renew([3])

    on_bench(body)
