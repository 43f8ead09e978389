"""From a reading to the care alert it raises: shard and relay in threads.

Readings arrive at a steady rate; every `ALERT_EVERY`-th makes a member Critical for the first time (vital signs of
NEWS2 >= 7). Latency is taken from the moment the reading is handed to the producer to the moment a consumer of
`care.alerts` has the alert.
"""

import argparse
import gc
import itertools
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import psycopg
from kafka import KafkaConsumer, TopicPartition

from actors.pace import ShardPlan
from actors.ports import live
from actors.relay import RelayLoop
from actors.shard_loop import ShardLoop
from engine.domain.events import ENROLLMENT, READING, SourceEvent
from engine.learning.registry import Scorers
from engine.settings import load_rules
from engine.streams.producer import EventProducer
from engine.streams.topics import CARE_ALERTS, PARTITIONS

ALERT_EVERY = 10
CRITICAL_SIGNS = (("spo2", 85.0, "%"), ("respiratory_rate", 28.0, "breaths/min"), ("resting_heart_rate", 135.0, "bpm"))
SOURCE = "benchmark"


def enrolment(member: str, time_ms: int) -> SourceEvent:
    """A healthy young member joins."""
    fields = {"event_id": f"enrol-{member}", "source": SOURCE, "member_id": member, "time": time_ms, "action": "enroll"}
    person = {"birth_date": "1995-05-05", "sex": "female", "region": "west", "line_of_business": "individual"}
    policy = {"policy_id": "p", "cohort_id": "c", "effective_date": "2024-01-01"}
    return SourceEvent(ENROLLMENT, fields | person | policy)


def reading(member: str, event_id: str, time_ms: int, sign: tuple[str, float, str]) -> SourceEvent:
    """One reading of the member."""
    metric, value, unit = sign
    fields = {"event_id": event_id, "source": SOURCE, "member_id": member, "time": time_ms}
    return SourceEvent(READING, fields | {"metric": metric, "value": value, "unit": unit})


@contextmanager
def running(postgres_url: str, bootstrap: str) -> Iterator[ShardLoop]:
    """A shard that owns all partitions and a relay, in threads of this process."""
    plan = ShardPlan("bench", tuple(range(PARTITIONS)), postgres_url, bootstrap, 15.0, 50, 20_000, 50, 30.0)
    shard = ShardLoop(plan, Scorers(load_rules()), live(plan))
    relay = RelayLoop(postgres_url, bootstrap)
    threads = [threading.Thread(target=shard.run), threading.Thread(target=relay.run)]
    for thread in threads:
        thread.start()
    try:
        if not shard.ready.wait(60):
            raise TimeoutError("the shard did not get ready within 60 s")
        yield shard
    finally:
        shard.stop()
        relay.stop()
        for thread in threads:
            thread.join(30)


class _Alerts:
    """Notes when the Critical alert of each member arrives."""

    def __init__(self, bootstrap: str) -> None:
        self.seen: dict[str, float] = {}
        self._stop = threading.Event()
        self._consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, fetch_max_wait_ms=50)
        self._consumer.assign([TopicPartition(CARE_ALERTS, p) for p in range(PARTITIONS)])
        self._consumer.seek_to_beginning()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            for records in self._consumer.poll(timeout_ms=20).values():
                now = time.perf_counter()
                for record in records:
                    alert = json.loads(record.value)
                    if alert["category"] == "Critical":
                        self.seen.setdefault(alert["member_id"], now)

    def close(self) -> None:
        self._stop.set()
        self._thread.join(10)
        self._consumer.close()


def measure(
    rate: float,
    seconds: float,
    postgres_url: str,
    bootstrap: str,
    parts: Callable[[str, str], AbstractContextManager[object]] = running,
) -> dict[str, float]:
    """Latency in seconds of the alerts at `rate` events/s: keys alerts, p50, p99, max, rate (reached).

    `parts` runs shard and relay, in threads of this process where nothing else is given. The database is migrated and
    the topics exist. Raises TimeoutError where an alert is missing after 30 s.
    """
    total = int(rate * seconds)
    members = [f"bench-{i:05d}" for i in range(max(100, total // ALERT_EVERY + 1))]
    now_ms = time.time_ns() // 1_000_000
    sent: dict[str, float] = {}
    with parts(postgres_url, bootstrap), EventProducer(bootstrap, linger_ms=0) as producer:
        producer.send_all(enrolment(member, now_ms - 60_000) for member in members)
        alerts = _Alerts(bootstrap)
        try:
            for event in _warm_up(members, now_ms):
                producer.send(event)
            producer.flush()
            _settle(postgres_url, (1 + len(CRITICAL_SIGNS[:2])) * len(members))
            gc.collect()
            gc.freeze()  # a pause of this process is no latency of the parts
            begun = time.perf_counter()
            for i, (member, event) in enumerate(_readings(members, total)):
                time.sleep(max(0.0, begun + i / rate - time.perf_counter()))
                if member:
                    sent[member] = time.perf_counter()
                producer.send(event)
            reached = total / (time.perf_counter() - begun)
            producer.flush()
            _wait(alerts, sent)
        finally:
            alerts.close()
    latency = np.array([alerts.seen[member] - at for member, at in sent.items()])
    p50, p99 = np.percentile(latency[len(latency) // 5 :], [50, 99]).tolist()  # the first fifth warms up
    return {"alerts": len(latency), "p50": p50, "p99": p99, "max": float(latency.max()), "rate": reached}


def _settle(postgres_url: str, events: int) -> None:
    """Waits until so many events are committed and all they led to is published, so that every part is at work."""
    deadline = time.monotonic() + 120
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        query = "SELECT (SELECT sum(applied) FROM partition_offsets), (SELECT count(*) FROM outbox)"
        while (seen := connection.execute(query).fetchone()) != (events, 0):
            if time.monotonic() > deadline:
                raise TimeoutError(f"applied events and rows in the outbox are {seen}, not {events} and 0, after 120 s")
            time.sleep(0.1)


def _warm_up(members: list[str], now_ms: int) -> Iterator[SourceEvent]:
    """All but the last of the critical signs, none of which calls for Critical alone: kernels and caches are warm."""
    for member in members:
        for metric, value, unit in CRITICAL_SIGNS[:2]:
            yield reading(member, f"warm-{member}-{metric}", now_ms - 30_000, (metric, value, unit))


def _readings(members: list[str], total: int) -> Iterator[tuple[str, SourceEvent]]:
    """Ordinary readings, and every ALERT_EVERY-th the one that makes the next member Critical."""
    fresh = iter(members)
    for i, member in zip(range(total), itertools.cycle(members), strict=False):
        now_ms = time.time_ns() // 1_000_000
        if i % ALERT_EVERY == 0:
            patient = next(fresh)
            yield patient, reading(patient, f"critical-{i}", now_ms, CRITICAL_SIGNS[2])
        else:
            yield "", reading(member, f"steps-{i}", now_ms, ("steps", 10.0, "count"))


def _wait(alerts: _Alerts, sent: dict[str, float]) -> None:
    deadline = time.monotonic() + 30
    while not sent.keys() <= alerts.seen.keys():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(sent.keys() - alerts.seen.keys())} of {len(sent)} alerts are missing after 30 s")
        time.sleep(0.05)


def main() -> None:
    """Measures against the PostgreSQL and the broker given, which must be migrated and have the topics."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=100.0, help="events/s")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("postgres")
    parser.add_argument("bootstrap")
    given = parser.parse_args()
    sys.stdout.write(json.dumps(measure(given.rate, given.seconds, given.postgres, given.bootstrap)) + "\n")


if __name__ == "__main__":
    main()
