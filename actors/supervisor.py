"""The supervisor: keeps the wanted shards running, places the partitions on them, and ends the shards that leave.

It decides nothing that is not in PostgreSQL, so it may die at any time: the next process reads on.
"""

import contextlib
import os
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import ray

from actors.names import NAMESPACE, SUPERVISOR, is_shard_of
from actors.pace import ShardPlan
from actors.shard import MemberShard
from engine import logs
from engine.domain.model_set import ModelSet
from engine.errors import StorageError
from engine.scoring.health_score import ScoringRules
from engine.storage.placement import Placement, ShardStatus
from engine.streams.topics import PARTITIONS

TURN_SECONDS = 0.5
_GONE_SECONDS = 0.4
_ALIVE_LOOKS = 5
_STOP_SECONDS = 30.0
_POLL_SECONDS = 0.1


class Watch:
    """Tells which shards live, by what they say in PostgreSQL and by our own clock.

    A shard is dead that was not heard of for `dead_seconds` while PostgreSQL answered: an outage of it, or of the
    supervisor, kills nobody. One is gone whose session has ended, as it does with its process, and that has no new one
    at the next turn.
    """

    def __init__(self, look_seconds: float, dead_seconds: float) -> None:
        self._alive_seconds = _ALIVE_LOOKS * look_seconds
        self._dead_seconds = dead_seconds
        self._heard: dict[str, float] = {}
        self._left: dict[str, float] = {}

    def blind(self) -> None:
        """PostgreSQL did not answer: whoever was silent may have spoken."""
        self._heard.clear()
        self._left.clear()

    def turn(self, shards: list[ShardStatus], now: float) -> tuple[set[str], set[str], set[str]]:
        """The shards that are alive, those that are dead, and those that are gone; `now` is a clock that only grows."""
        alive, dead = set(), set()
        without = [s.shard for s in shards if not s.connected and s.silent_seconds is not None]
        self._left = {name: self._left.get(name, now) for name in without}
        gone = {name for name, since in self._left.items() if now - since >= _GONE_SECONDS}
        for status in shards:
            spoke = status.silent_seconds is not None and status.silent_seconds <= self._alive_seconds
            if spoke or status.shard not in self._heard:
                self._heard[status.shard] = now
            if spoke:
                alive.add(status.shard)
            elif now - self._heard[status.shard] > self._dead_seconds:
                dead.add(status.shard)
        return alive, dead, gone


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=0, max_concurrency=4)
class ShardSupervisor:
    """Two turns a second: creates the actors that are missing, places partitions, ends shards that leave.

    `plan` is every shard's but for its name; its partitions are none, since they are placed in PostgreSQL. A process
    that dies is restarted by Ray, to stand by where another has stepped into its place; a shard that stays silent for
    `dead_seconds` loses its partitions to the others.
    `resources` are what a node must offer a shard. Of clusters beside each other, on one database, each creates the
    shards whose names end in its own name, `cluster`.
    """

    def __init__(
        self,
        plan: ShardPlan,
        rules: ScoringRules,
        initial: ModelSet,
        models: Path,
        log_level: str,
        dead_seconds: float,
        resources: dict[str, float] | None = None,
        cluster: str = "",
    ) -> None:
        logs.configure(log_level)
        self._log = logs.get_logger(part=SUPERVISOR)
        self._plan = replace(plan, partitions=())
        self._given = (rules, initial, models, log_level)
        self._resources, self._cluster = resources or {}, cluster
        self._placement = Placement(plan.postgres_url, PARTITIONS)
        self._watch = Watch(plan.look_seconds, dead_seconds)
        self._silent: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=SUPERVISOR, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                try:
                    self._turn()
                except StorageError as error:
                    self._log.warning("supervisor waits", error=str(error))
                    self._watch.blind()
                except ray.exceptions.RayError as error:
                    self._log.warning("Ray refused", error=str(error))
                self._stop.wait(TURN_SECONDS)
        finally:
            if not self._stop.is_set():
                self._log.error("supervisor failed, the process exits and starts again", exc_info=True)
                os._exit(1)

    def _turn(self) -> None:
        shards = self._placement.shards()
        for status in shards:
            if status.state != "leaving" and is_shard_of(status.shard, self._cluster):
                self._create(status.shard)
        alive, dead, gone = self._watch.turn(shards, time.monotonic())
        self._restart_silent(dead)
        self._placement.settle(alive, dead, gone)
        for status in shards:
            if status.state == "leaving" and not status.assigned and not status.leased:
                end_actors([status.shard], _STOP_SECONDS)
                if self._placement.forget(status.shard):
                    self._log.info("shard left", shard=status.shard)

    def _create(self, name: str) -> None:
        """Makes the actor where there is none; one that Ray is about to restart is there."""
        try:
            ray.get_actor(name, namespace=NAMESPACE)
        except ValueError:
            self._log.info("creates a shard", shard=name)
            MemberShard.options(
                name=name, namespace=NAMESPACE, lifetime="detached", get_if_exists=True, resources=self._resources
            ).remote(replace(self._plan, name=name), *self._given)

    def _restart_silent(self, dead: set[str]) -> None:
        """Has Ray start the process of a shard again that lives but says nothing, once a silence."""
        for name in dead - self._silent:
            self._log.error("shard is silent, its partitions go to others", shard=name)
            with contextlib.suppress(ValueError, ray.exceptions.RayError):
                ray.kill(ray.get_actor(name, namespace=NAMESPACE), no_restart=False)
        self._silent = dead

    def ready(self, timeout: float) -> list[str]:
        """Waits until every shard has recovered what is assigned to it; returns those that have not in time."""
        deadline = time.monotonic() + timeout
        while True:
            shards = [status for status in self._placement.shards() if status.state != "leaving"]
            misplaced = {shard for shard, _ in self._placement.misplaced().values()}
            late = [
                s.shard for s in shards if s.held != len(s.assigned) or s.shard in misplaced or s.silent_seconds is None
            ]
            if not late or time.monotonic() > deadline:
                return late
            time.sleep(_POLL_SECONDS)

    def pid(self) -> int:
        """The process id, for fault tests."""
        return os.getpid()

    def stop(self) -> None:
        """Leaves its loop; the shards run on."""
        self._stop.set()
        self._thread.join(timeout=_STOP_SECONDS)


def end_actors(names: Iterable[str], seconds: float) -> None:
    """Asks the actors to stop, waits `seconds` at most for all of them, and ends them for good. One may be gone."""
    actors = []
    for name in names:
        with contextlib.suppress(ValueError):
            actors.append(ray.get_actor(name, namespace=NAMESPACE))
    stopped = [actor.stop.remote() for actor in actors]
    if stopped:
        ray.wait(stopped, num_returns=len(stopped), timeout=seconds)
    for actor in actors:
        ray.kill(actor)
