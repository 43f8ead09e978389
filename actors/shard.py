"""The member shard as a Ray actor: a shard loop in a thread, and questions answered from its state."""

import os
import threading
import time
from pathlib import Path

import ray

from actors.pace import ShardPlan
from actors.ports import live
from actors.score_board import BEAT_SECONDS, ScoreBoard, open_board
from actors.shard_loop import ShardLoop
from actors.shard_metrics import ShardMetrics
from engine import logs, tracing
from engine.domain.model_set import ModelSet
from engine.learning.registry import Scorers
from engine.scoring.health_score import ScoringRules


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=0, max_concurrency=8)
class MemberShard:
    """Owns partitions and the state of their members. Restarted by Ray whatever kills it; recovers from PostgreSQL.

    When its loop cannot go on, the process exits, so that Ray starts it again and recovery decides what was done.
    """

    def __init__(self, plan: ShardPlan, rules: ScoringRules, initial: ModelSet, models: Path, log_level: str) -> None:
        logs.configure(log_level)
        self._log = logs.get_logger(shard=plan.name)
        self._board = open_board(plan.board_folder, plan.name, plan.partitions, plan.board_mb)
        self._loop = ShardLoop(plan, Scorers(rules, initial, models), live(plan), ShardMetrics(plan.name), self._board)
        self._thread = threading.Thread(target=self._run, name=plan.name, daemon=True)
        self._thread.start()
        if self._board is not None:
            threading.Thread(target=self._beat, args=(self._board,), name="board", daemon=True).start()

    def _beat(self, board: ScoreBoard) -> None:
        """Keeps the board believed, for as long as the loop runs and its leases are certain."""
        self._loop.ready.wait()
        while not self._loop.finished:
            board.beat(self._loop.owned_until())
            time.sleep(BEAT_SECONDS)

    def _run(self) -> None:
        try:
            self._loop.run()
        finally:
            if not self._loop.finished:
                self._log.error("shard loop failed, the process exits and recovers", exc_info=True)
                os._exit(1)

    def ready(self, timeout: float) -> bool:
        """True once the shard has recovered what was assigned to it, and reads; waits at most `timeout` seconds."""
        return self._loop.ready.wait(timeout)

    def pid(self) -> int:
        """The process id, for fault tests."""
        return os.getpid()

    def members(self) -> int:
        """Number of members it holds."""
        return self._loop.members()

    def score(self, member_id: str, trace: str = "") -> dict[str, object] | None:
        """The member's current score (see ShardLoop.score); None before recovery or for a member it does not hold.

        `trace` is the caller's traceparent.
        """
        with tracing.span("MemberShard.score", "server", trace, {"vitanexus.shard": self._loop.plan.name}):
            return self._loop.score(member_id) if self._loop.ready.is_set() else None

    def stop(self) -> None:
        """Takes snapshots, gives the leases back and leaves the loop."""
        self._loop.stop()
        self._thread.join(timeout=30)
        if self._board is not None:
            self._board.close()
