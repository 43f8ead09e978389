"""The member shard as a Ray actor: a shard loop in a thread, and questions answered from its state."""

import os
import threading
from pathlib import Path

import ray

from actors.shard_loop import ShardLoop, ShardPlan
from engine import logs
from engine.domain.model_set import ModelSet
from engine.learning.registry import Scorers
from engine.scoring.health_score import ScoringRules


def partitions_of(index: int, shards: int, partitions: int) -> tuple[int, ...]:
    """The partitions of a shard: every `shards`-th, from `index`."""
    return tuple(range(index, partitions, shards))


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=0, max_concurrency=8)
class MemberShard:
    """Owns partitions and the state of their members. Restarted by Ray whatever kills it; recovers from PostgreSQL.

    When its loop cannot go on, the process exits, so that Ray starts it again and recovery decides what was done.
    """

    def __init__(self, plan: ShardPlan, rules: ScoringRules, initial: ModelSet, models: Path, log_level: str) -> None:
        logs.configure(log_level)
        self._log = logs.get_logger(shard=plan.name)
        self._loop = ShardLoop(plan, Scorers(rules, initial, models))
        self._thread = threading.Thread(target=self._run, name=plan.name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._loop.run()
        finally:
            if not self._loop.finished:
                self._log.error("shard loop failed, the process exits and recovers", exc_info=True)
                os._exit(1)

    def ready(self, timeout: float) -> bool:
        """True once the shard has recovered and reads; waits at most `timeout` seconds."""
        return self._loop.ready.wait(timeout)

    def pid(self) -> int:
        """The process id, for fault tests."""
        return os.getpid()

    def members(self) -> int:
        """Number of members it holds."""
        return self._loop.members()

    def score(self, member_id: str) -> dict[str, object] | None:
        """The member's current score (see ShardLoop.score); None before recovery or for a member it does not hold."""
        return self._loop.score(member_id) if self._loop.ready.is_set() else None

    def stop(self) -> None:
        """Takes snapshots, gives the leases back and leaves the loop."""
        self._loop.stop()
        self._thread.join(timeout=30)
