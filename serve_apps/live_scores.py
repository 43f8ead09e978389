"""A member's score as the owning shard has it: from the board it shows on this machine, else by asking it."""

import asyncio
import time
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError

from actors.names import NAMESPACE
from actors.score_board import BoardReader
from engine import tracing
from engine.storage.queries import Queries
from engine.streams.topics import partition_of
from serve_apps.access_log import telemetry
from serve_apps.threads import in_thread

_SHARD_SECONDS = 1.0
_OWNER_SECONDS = 5.0


class LiveScores:
    """Reads the board; asks the shard that has the lease for what is not on it. An owner is remembered for seconds."""

    def __init__(self, queries: Queries, boards: BoardReader) -> None:
        self._queries, self._boards = queries, boards
        self._owners: dict[int, tuple[float, ActorHandle]] = {}

    async def score(self, member_id: str) -> dict[str, Any] | None:
        """The live score as a row of the score history, with `age_seconds`: how long ago the shard said so.

        None where the shard is away, does not answer in time, or does not know the member.
        """
        shown = self.shown(member_id)
        if shown is not None:
            return shown
        asked = await self._asked(member_id)
        telemetry().served("away" if asked is None else "shard", 0.0)
        return None if asked is None else {**asked, "age_seconds": 0.0}

    def shown(self, member_id: str) -> dict[str, Any] | None:
        """The score as the board shows it; None where it is not on one that holds."""
        shown = self._boards.read(member_id)
        if shown is None:
            return None
        row, age = shown
        telemetry().served("board", age)
        return {**row, "age_seconds": age}

    async def _asked(self, member_id: str) -> dict[str, Any] | None:
        partition = partition_of(member_id)
        try:
            handle = await self._owner(partition)
            if handle is None:
                return None
            with tracing.span("MemberShard.score", "client") as trace:
                asked = handle.score.remote(member_id, trace)
                row: dict[str, Any] | None = await asyncio.wait_for(asked, _SHARD_SECONDS)
        except (RayError, ValueError, TimeoutError):
            self._owners.pop(partition, None)
            return None
        return row

    async def _owner(self, partition: int) -> ActorHandle | None:
        known = self._owners.get(partition)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        name = await in_thread(self._queries.owner, partition)
        if name is None:
            return None
        handle = ray.get_actor(name, namespace=NAMESPACE)
        self._owners[partition] = (time.monotonic() + _OWNER_SECONDS, handle)
        return handle
