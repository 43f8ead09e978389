"""A shard loop in a process of its own, to be killed, frozen and started again; and everything checked."""

import faulthandler
import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.synchronize import Event
from pathlib import Path

import psutil
import psycopg
from kafka import KafkaConsumer, TopicPartition

from actors.pace import ShardPlan
from actors.ports import live
from actors.shard_loop import ShardLoop
from engine import logs
from engine.domain.events import KIND_OF_TOPIC, SCORING_COMMAND
from engine.domain.model_set import ModelSet
from engine.learning.registry import MODELS, Scorers
from engine.scoring.health_score import HealthScorer
from engine.settings import load_rules
from engine.streams.producer import EventProducer
from engine.streams.topics import PARTITIONS
from tests import stored
from tests.oracle import Expected, read_log
from tests.waiting import PATIENCE, wait_for

ALL = tuple(range(PARTITIONS))
Mutant = Callable[[ShardPlan], None] | None
"""Breaks the process it is called in, before its shard begins: the checks must notice."""


def plan(name: str, postgres_url: str, bootstrap: str, partitions: Sequence[int] = ALL, **other: float) -> ShardPlan:
    """A plan with the short times of a test."""
    usual = {"lease_seconds": 6.0, "snapshot_every": 4, "poll_records": 500, "poll_ms": 50, "retry_seconds": 60.0}
    return ShardPlan(name, tuple(partitions), postgres_url, bootstrap, **(usual | other))


_processes = multiprocessing.get_context("forkserver")  # imports once: each start takes 0.1 s instead of seconds
_processes.set_forkserver_preload([__name__, "tests.warm"])


def _run(
    work: ShardPlan,
    listens: Event,
    log: Path,
    failpoint: str,
    models: Path,
    initial: ModelSet | None,
    mutant: Mutant = None,
) -> None:
    with log.open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    os.environ["VITANEXUS_FAILPOINT"] = failpoint
    logs.configure("INFO")
    faulthandler.register(signal.SIGUSR1)
    if mutant is not None:
        mutant(work)
    loop = ShardLoop(work, Scorers(load_rules(), initial, models), live(work))
    signal.signal(signal.SIGTERM, lambda *_: loop.stop())
    listens.set()
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
        mutant: Mutant = None,
    ) -> None:
        self.log = folder / f"{work.name}.log"
        self._listens = _processes.Event()
        self._child = _processes.Process(
            target=_run, args=(work, self._listens, self.log, failpoint, models, initial, mutant), daemon=True
        )
        self._child.start()

    def kill(self) -> None:
        """kill -9."""
        self._child.kill()
        self._child.join()

    def send(self, sign: signal.Signals) -> None:
        """Any other signal."""
        assert self._child.pid is not None
        os.kill(self._child.pid, sign)

    def wait_frozen(self) -> None:
        """Waits until it has stopped itself by SIGSTOP at its failpoint."""
        child = psutil.Process(self._child.pid)
        wait_for(lambda: child.status() == psutil.STATUS_STOPPED, "the shard to freeze")

    def ask_to_stop(self) -> None:
        """Has it finish what it does and end. Waits until it can be asked: a younger process would only die of it."""
        wait_for(lambda: self._listens.is_set() or not self.running, "the shard's process to start its loop")
        self._child.terminate()

    def finish(self) -> int:
        """Asks it to stop, and returns its exit code."""
        self.ask_to_stop()
        return self.wait()

    def wait(self) -> int:
        """Its exit code, once it has ended by itself."""
        self._child.join(PATIENCE)
        assert self._child.exitcode is not None, f"still runs after {PATIENCE} s: {self.log.read_text()[-2000:]}"
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


def wait_committed(url: str, ends: Mapping[tuple[str, int], int]) -> None:
    """Waits until everything up to `ends` is committed."""

    def missing() -> dict[tuple[str, int], tuple[int, int]]:
        now = committed(url)
        return {place: (now.get(place, 0), end) for place, end in ends.items() if now.get(place, 0) < end}

    wait_for(lambda: not missing(), "the shards to commit all of the log", seen=lambda: dict([*missing().items()][:5]))


def wait_total(url: str, total: int) -> None:
    """Waits until at least `total` records are committed."""
    wait_for(
        lambda: sum(committed(url).values()) >= total, f"{total} records", seen=lambda: sum(committed(url).values())
    )


def send_commands(bootstrap: str, time_ms: int) -> None:
    """A scoring command to every partition."""
    with EventProducer(bootstrap) as producer:
        for partition in ALL:
            fields = {"v": 1, "event_id": f"score-{time_ms}-{partition}", "source": "test", "member_id": "*"}
            payload = json.dumps({**fields, "time": time_ms}).encode()
            producer.send_bytes(SCORING_COMMAND.topic, "*", payload, partition)
        producer.flush()


def settle(url: str, bootstrap: str, time_ms: int) -> None:
    """Waits for catch-up, has every member scored as of `time_ms`, and waits again."""
    wait_committed(url, log_ends(bootstrap))
    send_commands(bootstrap, time_ms)
    wait_committed(url, log_ends(bootstrap))


def check_all(url: str, bootstrap: str, scorer: HealthScorer) -> Expected:
    """Everything in PostgreSQL against the oracle's replay of the broker's log. The shards must have stopped."""
    with psycopg.connect(url, autocommit=True) as connection:
        return stored.check(stored.read(connection), read_log(bootstrap), scorer)
