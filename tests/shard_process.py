"""A shard loop in a process of its own, to be killed, frozen and started again; and everything checked."""

import datetime as dt
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psycopg
from kafka import KafkaConsumer, TopicPartition

from actors.shard_loop import ShardLoop, ShardPlan
from engine import logs
from engine.domain.claims import SERVICE_CATEGORIES
from engine.domain.events import CONDITIONS, KIND_OF_TOPIC, SCORING_COMMAND
from engine.domain.metrics import LAB_INDEX, METRIC_INDEX
from engine.domain.model_set import ModelSet
from engine.learning.registry import MODELS, Scorers
from engine.scoring.health_score import INSUFFICIENT, HealthScorer
from engine.scoring.member_state import DAYS, MONTHS, PartitionState
from engine.settings import load_rules
from engine.streams.producer import EventProducer
from engine.streams.topics import PARTITIONS
from tests.oracle import EPOCH, Expected, Member, read_log, recompute, score

ALL = tuple(range(PARTITIONS))


def plan(name: str, postgres_url: str, bootstrap: str, partitions: Sequence[int] = ALL, **other: float) -> ShardPlan:
    """A plan with the short times of a test."""
    usual = {"lease_seconds": 6.0, "snapshot_every": 4, "poll_records": 500, "poll_ms": 50, "retry_seconds": 60.0}
    return ShardPlan(name, tuple(partitions), postgres_url, bootstrap, **(usual | other))


_processes = multiprocessing.get_context("forkserver")  # imports once: each start takes 0.1 s instead of seconds
_processes.set_forkserver_preload([__name__])


def _run(work: ShardPlan, log: Path, failpoint: str, models: Path, initial: ModelSet | None) -> None:
    with log.open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    os.environ["VITANEXUS_FAILPOINT"] = failpoint
    logs.configure("INFO")
    loop = ShardLoop(work, Scorers(load_rules(), initial, models))
    signal.signal(signal.SIGTERM, lambda *_: loop.stop())
    loop.run()


class ShardProcess:
    """A shard loop in a process of its own. `failpoint` is the value of VITANEXUS_FAILPOINT it runs with."""

    def __init__(
        self,
        work: ShardPlan,
        folder: Path,
        failpoint: str = "",
        models: Path = MODELS,
        initial: ModelSet | None = None,
    ) -> None:
        self.log = folder / f"{work.name}.log"
        self._child = _processes.Process(target=_run, args=(work, self.log, failpoint, models, initial), daemon=True)
        self._child.start()

    def kill(self) -> None:
        """kill -9."""
        self._child.kill()
        self._child.join()

    def send(self, sign: signal.Signals) -> None:
        """Any other signal."""
        assert self._child.pid is not None
        os.kill(self._child.pid, sign)

    def finish(self, seconds: float = 30) -> int:
        """Asks it to stop, and returns its exit code."""
        self._child.terminate()
        return self.wait(seconds)

    def wait(self, seconds: float = 30) -> int:
        """Its exit code, once it has ended by itself."""
        self._child.join(seconds)
        assert self._child.exitcode is not None, f"still runs after {seconds} s: {self.log.read_text()[-2000:]}"
        return self._child.exitcode

    @property
    def running(self) -> bool:
        """False once it has ended."""
        return self._child.is_alive()


def log_ends(bootstrap: str) -> dict[tuple[str, int], int]:
    """The end of every input topic partition that is not empty."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    try:
        ends = consumer.end_offsets([TopicPartition(topic, p) for topic in KIND_OF_TOPIC for p in ALL])
        return {(place.topic, place.partition): end for place, end in ends.items() if end}
    finally:
        consumer.close()


def committed(url: str) -> dict[tuple[str, int], int]:
    """The next offset of each topic partition as PostgreSQL has it."""
    with psycopg.connect(url, autocommit=True) as connection:
        rows = connection.execute("SELECT topic, partition, next_offset FROM partition_offsets").fetchall()
    return {(topic, partition): offset for topic, partition, offset in rows}


def wait_committed(url: str, ends: dict[tuple[str, int], int], seconds: float = 90) -> None:
    """Waits until everything up to `ends` is committed."""
    deadline = time.monotonic() + seconds
    while any(committed(url).get(place, 0) < end for place, end in ends.items()):
        assert time.monotonic() < deadline, f"not caught up after {seconds} s"
        time.sleep(0.1)


def wait_total(url: str, total: int, seconds: float = 90) -> None:
    """Waits until at least `total` records are committed."""
    deadline = time.monotonic() + seconds
    while sum(committed(url).values()) < total:
        assert time.monotonic() < deadline, f"{sum(committed(url).values())} of {total} records after {seconds} s"
        time.sleep(0.02)


def send_commands(bootstrap: str, time_ms: int) -> None:
    """A scoring command to every partition."""
    with EventProducer(bootstrap) as producer:
        for partition in ALL:
            fields = {"v": 1, "event_id": f"score-{time_ms}-{partition}", "source": "test", "member_id": "*"}
            payload = json.dumps({**fields, "time": time_ms}).encode()
            producer.send_bytes(SCORING_COMMAND.topic, "*", payload, partition)
        producer.flush()


def settle(url: str, bootstrap: str, time_ms: int, seconds: float = 90) -> None:
    """Waits for catch-up, has every member scored as of `time_ms`, and waits again."""
    wait_committed(url, log_ends(bootstrap), seconds)
    send_commands(bootstrap, time_ms)
    wait_committed(url, log_ends(bootstrap), seconds)


def check_all(url: str, bootstrap: str, scorer: HealthScorer) -> Expected:
    """Everything in PostgreSQL against the oracle's replay of the broker's log. The shards must have stopped."""
    log = read_log(bootstrap)
    expected = recompute(log)
    total = expected.total()
    assert total.applied + total.duplicates + total.dead_letters == len(log)
    with psycopg.connect(url, autocommit=True) as connection:
        _check_counts(connection, expected)
        _check_rows(connection, expected)
        _check_states(connection, expected)
        _check_scores(connection, expected, scorer)
    return expected


def _check_counts(connection: psycopg.Connection, expected: Expected) -> None:
    found = connection.execute(
        "SELECT topic, partition, applied, duplicates, dead_letters, gaps, first_offset, next_offset "
        "FROM partition_offsets"
    ).fetchall()
    counts = {(row[0], row[1]): row[2:5] for row in found}
    wanted = {place: (c.applied, c.duplicates, c.dead_letters) for place, c in expected.counts.items()}
    wrong = {p: (counts.get(p), wanted.get(p)) for p in {*counts, *wanted} if counts.get(p) != wanted.get(p)}
    assert not wrong, f"stored and expected (applied, duplicates, dead letters): {wrong}"
    for *place, applied, duplicates, dead, gaps, first, following in found:
        assert following - first == applied + duplicates + dead + gaps, place
        assert gaps == 0, place


def _check_rows(connection: psycopg.Connection, expected: Expected) -> None:
    columns = ("source", "event_id", "member_id", "metric", "value", "unit")
    stored = connection.execute(
        f"SELECT partition, kafka_offset, (extract(epoch FROM time) * 1000)::bigint, {', '.join(columns)} FROM readings"
    ).fetchall()
    assert len({row[:2] for row in stored}) == len(stored), "a reading is stored twice"
    assert {row[:2]: row[2:] for row in stored} == {
        place: (event["time"], *(event[name] for name in columns)) for place, event in expected.readings.items()
    }
    letters = connection.execute("SELECT topic, partition, kafka_offset, reason FROM dead_letters").fetchall()
    assert {row[:3]: row[3] for row in letters} == expected.dead
    for kind in KIND_OF_TOPIC.values():
        if kind.table:
            applied = sum(c.applied for (topic, _), c in expected.counts.items() if topic == kind.topic)
            rows = connection.execute(f"SELECT count(*), count(DISTINCT (partition, kafka_offset)) FROM {kind.table}")
            assert rows.fetchone() == (applied, applied), kind.table


def _check_states(connection: psycopg.Connection, expected: Expected) -> None:
    states = [PartitionState.load(row[0]) for row in connection.execute("SELECT payload FROM member_state").fetchall()]
    found = {member: (state, slot) for state in states for member, slot in state.slot_of.items()}
    assert set(found) == set(expected.members)
    assert sum(len(state) for state in states) == len(found), "a member is in two partitions"
    for name, member in expected.members.items():
        _check_member(*found[name], member)


def _check_member(state: PartitionState, slot: int, member: Member) -> None:
    at = {name: state[name][slot] for name in ("male", "active", "conditions", "general_health", "mental_health")}
    assert at["male"] == (member.sex == "male")
    assert at["active"] == (member.action != "terminate")
    assert {CONDITIONS[i] for i in range(len(CONDITIONS)) if at["conditions"] >> i & 1} == member.conditions
    assert (at["general_health"], at["mental_health"]) == (member.general_health or 0, member.mental_health or 0)
    assert state["watermark"][slot] == member.latest_ms * 1000
    sums, counts = np.zeros((len(METRIC_INDEX), DAYS), int), np.zeros((len(METRIC_INDEX), DAYS), int)
    for metric, days in member.daily().items():
        for day, (total, count) in days.items():
            sums[METRIC_INDEX[metric], day % DAYS], counts[METRIC_INDEX[metric], day % DAYS] = total, count
    np.testing.assert_array_equal(state["metric_sum"][slot], sums)
    np.testing.assert_array_equal(state["metric_count"][slot], counts)
    latest = {m: (int(state["last_time"][slot, i]), state["last_value"][slot, i]) for m, i in METRIC_INDEX.items()}
    assert {m: pair for m, pair in latest.items() if pair[0] > 0} == {
        m: (time * 1000, value) for m, (time, value) in member.latest().items()
    }
    results = {test: (int(state["lab_time"][slot, i]), state["lab_value"][slot, i]) for test, i in LAB_INDEX.items()}
    assert {test: pair for test, pair in results.items() if pair[0] > 0} == {
        test: (time * 1000, value) for test, (time, value) in member.labs.items()
    }
    assert EPOCH + dt.timedelta(days=int(state["since_day"][slot])) == member.since
    cents, claims = np.zeros((len(SERVICE_CATEGORIES), MONTHS), int), np.zeros((len(SERVICE_CATEGORIES), MONTHS), int)
    for (category, month), (amount, count) in member.monthly().items():
        row = SERVICE_CATEGORIES.index(category)
        cents[row, month % MONTHS], claims[row, month % MONTHS] = amount, count
    np.testing.assert_array_equal(state["cost_cents"][slot], cents)
    np.testing.assert_array_equal(state["claim_count"][slot], claims)


def _check_scores(connection: psycopg.Connection, expected: Expected, scorer: HealthScorer) -> None:
    rows = connection.execute(
        "SELECT DISTINCT ON (member_id) member_id, (extract(epoch FROM as_of) * 1000000)::bigint, score, category, "
        "predicted_cost, cost_lower_90, cost_upper_90, news2, components, risk_factors, interventions, partition "
        "FROM scores ORDER BY member_id, seq DESC"
    ).fetchall()
    repeated = connection.execute("SELECT count(*) - count(DISTINCT (member_id, partition, seq)) FROM scores")
    assert repeated.fetchone() == (0,), "a score is stored twice"
    assert {row[0] for row in rows} == set(expected.members)
    for name, as_of, value, category, mean, lower, upper, news2, components, factors, interventions, partition in rows:
        wanted = score(expected.members[name], expected.command_ms[partition], scorer)
        assert (as_of, category, news2, components) == (
            wanted.as_of_us,
            wanted.category,
            wanted.news2,
            wanted.components,
        ), name
        assert (value is None) == (category == INSUFFICIENT)
        found, whole = (
            np.array(numbers, float) for numbers in ([value, mean, lower, upper], [wanted.score, *wanted.cost])
        )
        np.testing.assert_allclose(found, whole, rtol=1e-12)
        assert ([factor["code"] for factor in factors], interventions) == (wanted.factors, wanted.interventions), name
