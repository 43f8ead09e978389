"""`make bench-streaming`: one shard from a real Apache Kafka to committed in PostgreSQL, beside its peers, in one run.

Readings of our schema in four partitions, in topics that are filled before anybody reads. A shard's rate is taken
between its first commit and its last, so that neither start nor compilation counts; a peer's from its first event to
its last. The shard commits state, duplicate window, offsets and a score with its explanation for every member a batch
touched; the peers keep a count and a sum by member and commit nothing.
"""

import datetime as dt
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import psutil
import psycopg
import typer

from actors.pace import ShardPlan
from actors.ports import live
from actors.relay import RelayLoop
from actors.shard_loop import ShardLoop
from actors.supervisor import TURN_SECONDS, Watch
from benchmarks import machine
from benchmarks.alert_latency import ALERT_EVERY, enrolment
from benchmarks.alert_latency import measure as measure_alerts
from benchmarks.streaming_peers import PEERS
from cluster.stack import postgres
from engine.domain.events import ENROLLMENT, READING
from engine.learning.registry import Scorers
from engine.settings import load_rules
from engine.storage.migrate import migrate
from engine.storage.placement import Placement
from engine.streams.client import admin_client
from engine.streams.producer import EventProducer
from engine.streams.score_messages import unpack
from engine.streams.topics import PARTITIONS, SCORES_UPDATED, partition_of
from tests.kafka import KafkaBroker, fetch_jars, fresh_topics

_RESULTS = Path(__file__).parent / "results" / "streaming.md"
_PARTITIONS = 4
_PEER_TOPIC = "peer.readings"
_METRICS = (("steps", "count", 50.0), ("heart_rate", "bpm", 71.5), ("spo2", "%", 97.0))
_RATE, _RATE_SECONDS, _ALERTS = 10_000, 15, 100
_DAY = (  # of a member: metric, unit, how often, usual value, how far a reading strays from it
    *(("steps", "count", 3, 2500.0, 1200.0), ("heart_rate", "bpm", 3, 72.0, 9.0)),
    *(("resting_heart_rate", "bpm", 1, 62.0, 2.0), ("sleep_minutes", "min", 1, 420.0, 50.0)),
    *(("spo2", "%", 1, 97.0, 0.8), ("respiratory_rate", "breaths/min", 1, 15.0, 1.0)),
)
_DAYS = 30
_UNDER_WAY_SECONDS = 0.1
"""Within which a COMMIT that a killed shard had sent is carried out."""
Note = Callable[[str, str, str], None]
"""What was measured, its figure, and what belongs to it."""
PARTS = ("rates", "latency", "alerts", "recovery", "written")
_spawn = multiprocessing.get_context("spawn")


def members_of(count: int) -> list[str]:
    """`count` members of the first four partitions."""
    found: list[str] = []
    number = 0
    while len(found) < count:
        name = f"M{number:07d}"
        number += 1
        if partition_of(name) < _PARTITIONS:
            found.append(name)
    return found


def readings(members: list[str], start: int, count: int, now_ms: int) -> Iterator[tuple[str, bytes]]:
    """`count` readings of random members, a second of event time apart for all members together."""
    chosen = np.random.default_rng(start).integers(len(members), size=count).tolist()
    for i, who in enumerate(chosen, start):
        metric, unit, value = _METRICS[i % 3]
        yield (
            members[who],
            b'{"v":1,"event_id":"%d","source":"bench","member_id":"%s","time":%d,"metric":"%s","value":%.1f,"unit":"%s"}'
            % (i, members[who].encode(), now_ms + i % 1000, metric.encode(), value, unit.encode()),
        )


def worn(members: list[str], now_ms: int) -> Iterator[tuple[str, bytes]]:
    """Ten readings a member and day for 30 days, in order of time: each member strays around habits of their own."""
    chance = np.random.default_rng(7)
    habits = {metric: 1 + 0.15 * chance.standard_normal(len(members)) for metric, *_ in _DAY}
    signs = [sign for sign in _DAY for _ in range(sign[2])]
    number = 0
    for day in range(_DAYS, 0, -1):
        for hour, (metric, unit, _, usual, strays) in enumerate(signs):
            steady = 1.0 if metric == "spo2" else habits[metric]
            values = np.clip(usual * steady + strays * chance.standard_normal(len(members)), 0.5 * usual, None)
            time_ms = now_ms - day * 86_400_000 + hour * 3_600_000
            for member, value in zip(
                members, np.minimum(values, 99.0 if unit == "%" else np.inf).tolist(), strict=True
            ):
                number += 1
                yield (
                    member,
                    b'{"v":1,"event_id":"w%d","source":"bench","member_id":"%s","time":%d,"metric":"%s","value":%.1f,"unit":"%s"}'
                    % (number, member.encode(), time_ms, metric.encode(), value, unit.encode()),
                )


def fill(bootstrap: str, topic: str, events: Iterator[tuple[str, bytes]]) -> None:
    """Writes the readings to the partition of their member with librdkafka, which is fast."""
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 50, "batch.size": 1 << 20, "acks": "all"})
    place: dict[str, int] = {}
    for member, value in events:
        partition = place.get(member)
        if partition is None:
            partition = place[member] = partition_of(member)
        while True:
            with suppress(BufferError):
                producer.produce(topic, value, member.encode(), partition)
                break
            producer.poll(0.1)
    producer.flush()


def _work(plan: ShardPlan) -> None:
    os.environ["NUMBA_NUM_THREADS"] = "1"
    ShardLoop(plan, Scorers(load_rules()), live(plan)).run()


@contextmanager
def shards(
    url: str, bootstrap: str, count: int = 1, partitions: int = _PARTITIONS, **other: object
) -> Iterator[list[multiprocessing.Process]]:
    """`count` shards over the first partitions, each in a process of its own, ended by SIGKILL."""
    usual = {
        "lease_seconds": 15.0,
        "snapshot_every": 50,
        "poll_records": 1_000_000,
        "poll_ms": 50,
        "retry_seconds": 60.0,
    }
    plans = [
        ShardPlan(f"bench-{i}", tuple(range(i, partitions, count)), url, bootstrap, **(usual | other))  # type: ignore[arg-type]
        for i in range(count)
    ]
    running = [_spawn.Process(target=_work, args=(plan,), daemon=True) for plan in plans]
    for process in running:
        process.start()
    try:
        yield running  # type: ignore[misc]
    finally:
        for process in running:
            process.kill()
            process.join()


def _publish(url: str, bootstrap: str) -> None:
    RelayLoop(url, bootstrap).run()


@contextmanager
def shard_and_relay(url: str, bootstrap: str) -> Iterator[None]:
    """A shard that holds all partitions, and a relay, each in a process of its own, ended by SIGKILL."""
    relay = _spawn.Process(target=_publish, args=(url, bootstrap), daemon=True)
    relay.start()
    try:
        with shards(url, bootstrap, partitions=PARTITIONS), psycopg.connect(url, autocommit=True) as connection:
            while connection.execute("SELECT sum(held) FROM shards").fetchone() != (PARTITIONS,):
                time.sleep(0.1)
            yield
    finally:
        relay.kill()
        relay.join()


class Progress:
    """What is committed of the readings of each partition, sampled every few milliseconds."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)

    def by_partition(self) -> tuple[int, ...]:
        """Readings committed so far in each of the four partitions."""
        rows = self._connection.execute(
            "SELECT partition, next_offset FROM partition_offsets WHERE topic = %s", (READING.topic,)
        ).fetchall()
        found = dict(rows)
        return tuple(found.get(partition, 0) for partition in range(_PARTITIONS))

    def committed(self) -> int:
        """Readings committed so far."""
        return sum(self.by_partition())

    def until(self, total: int, seconds: float = 600) -> list[tuple[float, tuple[int, ...]]]:
        """Waits for `total`; returns every change seen on the way with its time."""
        deadline = time.monotonic() + seconds
        seen = [(time.perf_counter(), self.by_partition())]
        while sum(seen[-1][1]) < total:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{sum(seen[-1][1])} of {total} readings committed after {seconds} s")
            time.sleep(0.01)
            now = time.perf_counter(), self.by_partition()
            if now[1] != seen[-1][1]:
                seen.append(now)
        return seen


def rate_of(seen: list[tuple[float, tuple[int, ...]]], shards: int) -> float:
    """Events/s while all the shards worked: from the last one's first commit to the first one's last."""
    times = np.array([at for at, _ in seen])
    counts = np.array([place for _, place in seen])
    by_shard = np.stack([counts[:, index::shards].sum(axis=1) for index in range(shards)], axis=1)
    first = max(int(np.argmax(column > column[0])) for column in by_shard.T)
    last = min(int(np.argmax(column == column[-1])) for column in by_shard.T)
    if last <= first:
        raise ValueError("too few commits to time: give more --events")
    return float((counts[last].sum() - counts[first].sum()) / (times[last] - times[first]))


class Bench:
    """One broker and one PostgreSQL; a database and empty topics for each measurement."""

    def __init__(self, broker: KafkaBroker, server: str) -> None:
        self.bootstrap = broker.bootstrap
        self._server = server
        self._number = 0
        self._filled: tuple[int, int] | None = None
        self._template = ""

    def fresh(self, members: list[str], events: int, *, again: bool = True) -> tuple[str, Progress]:
        """A database whose shard knows the members, and a log with the readings behind it.

        The log is that of the measurement before where it had as many of both, unless `again` is False.
        """
        if self._filled != (len(members), events) or not again:
            self._template = self._fill(members, events)
            self._filled = len(members), events
        url = self._database(f" TEMPLATE {self._template}")
        return url, Progress(url)

    def _database(self, like: str = "") -> str:
        """A new database. What the measurements before have written is on the disk before the next begins."""
        self._number += 1
        name = f"bench_{self._number}"
        with psycopg.connect(self._server, autocommit=True) as connection:
            connection.execute("CHECKPOINT")
            connection.execute(f"CREATE DATABASE {name}{like}")
        return self._server.removesuffix(postgres.DATABASE) + name

    def _fill(self, members: list[str], events: int) -> str:
        """Enrols the members in a new database and new topics, writes the readings; returns the database's name."""
        url = self._database()
        migrate(url)
        fresh_topics(self.bootstrap)
        joined = int(dt.datetime(2025, 1, 1, tzinfo=dt.UTC).timestamp() * 1000)
        with EventProducer(self.bootstrap) as producer:
            for member in members:
                producer.send(enrolment(member, joined))
            producer.flush()
        with shards(url, self.bootstrap), psycopg.connect(url, autocommit=True) as connection:
            query = "SELECT coalesce(sum(next_offset), 0) FROM partition_offsets WHERE topic = %s"
            while (connection.execute(query, (ENROLLMENT.topic,)).fetchone() or (0,))[0] < len(members):
                time.sleep(0.2)
        with psycopg.connect(url, autocommit=True) as connection:  # the shards that are measured begin their own tenure
            connection.execute("TRUNCATE partition_assignments, partition_leases, shards")
        fill(self.bootstrap, READING.topic, readings(members, 0, events, int(time.time() * 1000)))
        return url.rpartition("/")[2]

    def rate(self, members: list[str], events: int, runs: int, count: int = 1, **other: object) -> tuple[float, float]:
        """Median events/s of `count` shards, and the largest resident memory of one in GB."""
        rates, peak = [], 0.0
        for _ in range(runs):
            url, progress = self.fresh(members, events)
            with shards(url, self.bootstrap, count, **other) as running:
                rates.append(rate_of(progress.until(events), count))
                for process in running:
                    peak = max(peak, psutil.Process(process.pid).memory_info().rss / 1e9)
        return median(rates), peak

    def peer(self, name: str, members: list[str], events: int, runs: int) -> float:
        """Median events/s of a peer over the same kind of readings in a topic of four partitions."""
        from kafka.admin import NewTopic

        with admin_client(self.bootstrap) as admin:
            topic = f"{_PEER_TOPIC}.{name}.{len(members)}"
            admin.create_topics([NewTopic(topic, _PARTITIONS, 1)])
        fill(self.bootstrap, topic, readings(members, 0, events, int(time.time() * 1000)))
        command = [sys.executable, "-m", "benchmarks.streaming_peers", name, self.bootstrap, topic, str(events)]
        rates = []
        for _ in range(runs):
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            told = json.loads(done.stdout.strip().splitlines()[-1])
            if told["events"] < events:
                raise ValueError(f"{name} took {told['events']} of {events} events")
            rates.append(told["events"] / told["seconds"])
        return median(rates)

    def latency(self, members: list[str]) -> tuple[float, float]:
        """p50 and p99 in ms from producing a reading to its commit, at 10,000 readings a second."""
        url, progress = self.fresh(members, 20_000, again=False)
        with shards(url, self.bootstrap):
            progress.until(20_000)
            time.sleep(2)
            sent: list[tuple[float, int]] = []
            producer = threading.Thread(target=_pace, args=(self.bootstrap, members, sent))
            producer.start()
            seen = [(time.perf_counter(), 20_000)]
            while producer.is_alive() or seen[-1][1] < 20_000 + _RATE * _RATE_SECONDS:
                time.sleep(0.01)  # each look takes time from those who are looked at
                seen.append((time.perf_counter(), progress.committed()))
            producer.join()
        # in order of partition each event's own commit is not told apart: a batch of 10 ms counts as committed with
        # the last of everything produced up to it, which is never earlier than its own
        numbers = np.array([total for _, total in seen])
        waits = [seen[int(np.searchsorted(numbers, 20_000 + total))][0] - at for at, total in sent]
        late = np.array(waits[len(waits) // 5 :]) * 1000
        return float(np.percentile(late, 50)), float(np.percentile(late, 99))

    def alerts(self) -> tuple[float, float]:
        """p50 and p99 in ms from a reading handed to the producer to its alert at a consumer, at 100 alerts a second.

        A shard of all 64 partitions and the relay have processes of their own; producer and consumer share this one.
        """
        url = self._database()
        migrate(url)
        fresh_topics(self.bootstrap)
        self._filled = None
        found = measure_alerts(_ALERTS * ALERT_EVERY, _RATE_SECONDS, url, self.bootstrap, shard_and_relay)
        return 1000 * found["p50"], 1000 * found["p99"]

    def written(self, members: list[str]) -> tuple[float, float, float, float]:
        """A member-day's rows of history, bytes in them and their indexes, messages, and bytes of these in the outbox.

        Two readings of each member are committed before the next two come, as it would be live.
        """
        now_ms = int(time.time() * 1000) // 86_400_000 * 86_400_000
        url, progress = self.fresh(members, 1, again=False)
        before, log, sent = _sizes(url), worn(members, now_ms), 1
        with shards(url, self.bootstrap, store_readings=False):
            while two := list(islice(log, 2 * len(members))):
                fill(self.bootstrap, READING.topic, iter(two))
                sent += len(two)
                progress.until(sent)
        return tuple((b - a) / len(members) / _DAYS for a, b in zip(before, _sizes(url), strict=True))  # type: ignore[return-value]

    def recovery(self, members: list[str], events: int) -> tuple[float, float]:
        """Seconds from kill -9 of a shard under load to the first commit of the one that stood by, and to its having
        committed all the readings that waited. A supervisor's turns are made here.
        """
        url, progress = self.fresh(members, events)
        with (
            _supervised(url, ["bench-0", "bench-1"], standby=1) as placement,
            shards(url, self.bootstrap, 2, partitions=0) as running,
        ):
            while any(status.silent_seconds is None for status in placement.shards()):
                time.sleep(0.05)
            while progress.committed() < events // 2:
                time.sleep(0.005)
            running[0].kill()
            killed = time.perf_counter()
            seen = progress.until(events)
        first = next(at for at, _ in seen if at - killed > _UNDER_WAY_SECONDS)
        return first - killed, seen[-1][0] - killed


@contextmanager
def _supervised(url: str, names: list[str], standby: int) -> Iterator[Placement]:
    """Places the first partitions on the shards, and makes a supervisor's turns until the context ends."""
    placement, turns, over = Placement(url, _PARTITIONS), Placement(url, _PARTITIONS), threading.Event()
    placement.restart(names, standby)

    def supervise() -> None:
        watch = Watch(1.0, 600.0)
        while not over.wait(TURN_SECONDS):
            alive, dead, gone = watch.turn(turns.shards(), time.monotonic())
            turns.settle(alive, dead, gone)

    thread = threading.Thread(target=supervise)
    thread.start()
    try:
        yield placement
    finally:
        over.set()
        thread.join()
        placement.close()
        turns.close()


def _sizes(url: str) -> tuple[float, float, float, float]:
    """Rows of history, bytes in them and their indexes, messages of `scores.updated`, their bytes in the outbox."""
    with psycopg.connect(url, autocommit=True) as connection:
        history = (
            "SELECT count(*), (SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('score_rows')) "
            "FROM score_rows"
        )
        rows, size = connection.execute(history).fetchone() or (0, 0)
        payloads = connection.execute("SELECT payload FROM outbox WHERE topic = %s", (SCORES_UPDATED,)).fetchall()
    messages = sum(sum(1 for _ in unpack(payload)) for (payload,) in payloads)
    return float(rows), float(size), float(messages), float(sum(len(payload) for (payload,) in payloads))


def _pace(bootstrap: str, members: list[str], sent: list[tuple[float, int]]) -> None:
    """Produces 10,000 readings a second in ticks of 10 ms; `sent` gets (time, how many up to it) before each tick."""
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 1, "acks": "all"})
    tick = _RATE // 100
    events = readings(members, 10_000_000, _RATE * _RATE_SECONDS, int(time.time() * 1000))
    place = {member: partition_of(member) for member in members}
    begun = time.perf_counter()
    for number in range(100 * _RATE_SECONDS):
        time.sleep(max(0.0, begun + number / 100 - time.perf_counter()))
        sent.append((time.perf_counter(), tick * (number + 1)))
        for _ in range(tick):
            member, value = next(events)
            producer.produce(READING.topic, value, member.encode(), place[member])
        producer.poll(0)
    producer.flush()


def measure(bench: Bench, parts: list[str], events: int, runs: int, note: Note) -> None:
    """Measures the parts; `note` is told of each figure."""
    members = members_of(1000)
    if "rates" in parts:
        for size in (1000, 100_000):
            _rates(bench, size, events, runs, note)
    if "latency" in parts:
        found = np.median([bench.latency(members) for _ in range(runs)], axis=0)
        what = "produce to committed, 10,000 readings/s"
        note(what, f"p50 {found[0]:.0f} ms, p99 {found[1]:.0f} ms", "1,000 members, one shard")
    if "alerts" in parts:
        found = np.median([bench.alerts() for _ in range(runs)], axis=0)
        what = f"reading to care alert at its consumer, {_ALERTS} alerts/s"
        note(what, f"p50 {found[0]:.0f} ms, p99 {found[1]:.0f} ms", f"among {_ALERTS * ALERT_EVERY:,} readings/s")
    if "recovery" in parts:
        for size in (1000, 100_000):
            found = np.median([bench.recovery(members_of(size), events) for _ in range(runs)], axis=0)
            what = f"kill -9 to the first commit of who stood by, and to caught up, {size:,} members"
            waiting = f"{events // 2:,} of {events:,} readings, each a row, were left"
            note(what, f"{found[0]:.1f} s, {found[1]:.1f} s", waiting)
    if "written" in parts:
        rows, size, messages, packed = bench.written(members_of(2000))
        note("history written a member-day", f"{rows:.2f} rows, {size:.0f} bytes", "10 readings a day, 30 days")
        note("`scores.updated` a member-day", f"{messages:.2f} messages, {packed:.0f} bytes", "packed in the outbox")


def _rates(bench: Bench, size: int, events: int, runs: int, note: Note) -> None:
    members = members_of(size)
    peers = {name: bench.peer(name, members, min(events, 300_000), runs) for name in PEERS}
    for name, rate in peers.items():
        note(f"{name}, {size:,} members", f"{rate:,.0f} events/s", "count and sum by member, nothing committed")
    best = max(peers.values())
    for what, count, stored in (
        ("one shard", 1, False),
        ("two shards", 2, False),
        ("one shard, every reading a row", 1, True),
    ):
        rate, memory = bench.rate(members, events, runs, count, store_readings=stored)
        figure = f"{rate / best:.1f} of the best peer; {memory:.2f} GB"
        note(f"{what}, {size:,} members", f"{rate:,.0f} events/s", figure)


def run(
    events: Annotated[int, typer.Option(help="readings a run of the shard; a peer takes 300,000 at most")] = 4_000_000,
    runs: Annotated[int, typer.Option(help="runs, of which the median counts")] = 3,
    part: Annotated[
        list[str] | None, typer.Option(help=f"only this part, of {', '.join(PARTS)}; may be given again")
    ] = None,
    out: Annotated[Path, typer.Option(help="file to write")] = _RESULTS,
) -> None:
    """Measure a shard on a real broker beside confluent-kafka, Quix Streams and Bytewax, and write the table."""
    if unknown := sorted({*(part or PARTS)} - {*PARTS}):
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(PARTS)}", param_hint="--part")
    rows: list[tuple[str, str, str]] = []

    def note(what: str, figure: str, more: str) -> None:
        rows.append((what, figure, more))
        typer.echo(f"{what}: {figure}; {more}")

    described = machine.describe()
    with tempfile.TemporaryDirectory(prefix="vitanexus-bench-") as folder:
        broker = KafkaBroker(Path(folder) / "kafka", fetch_jars())
        broker.start()
        server, url = postgres.EmbeddedPostgres(Path(folder) / "postgres").start()
        try:
            measure(Bench(broker, url), part or [*PARTS], events, runs, note)
        finally:
            postgres.stop(server)
            broker.stop()
    lines = ["# Streaming", "", "| what | figure | note |", "|---|---|---|"]
    lines += [f"| {what} | {figure} | {note} |" for what, figure, note in rows]
    lines += ["", "| machine | |", "|---|---|", *(f"| {name} | {value} |" for name, value in described.items())]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join(lines) + "\n")
    typer.echo(f"written to {out}")


if __name__ == "__main__":
    typer.run(run)
