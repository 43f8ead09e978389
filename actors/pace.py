"""How much a shard takes at once, and what it says of each batch it has committed."""

from collections.abc import Mapping
from dataclasses import dataclass

Place = tuple[str, int]
"""A topic partition: topic and partition."""

_FIRST_BATCH, _LEAST_BATCH = 20_000, 500


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """Which partitions a shard begins with and how it works. Times in seconds unless named otherwise.

    `partitions` are taken where nobody is assigned them yet; from then on the shard follows their assignment, at which
    it looks every `look_seconds`. A partition has a snapshot after `snapshot_every` commits at the latest.

    A micro-batch has at most about `poll_records`, and as many as take `batch_seconds` from read to committed; a shard
    that is behind may take `catch_up_seconds`. An event of a member who is not enrolled is held for `pending_seconds`,
    by the time of its partition's log. Without `store_readings` a reading is applied and counted but has no row of its
    own. Its board of current scores has `board_mb` of shared memory in `board_folder`; "" is none.
    """

    name: str
    partitions: tuple[int, ...]
    postgres_url: str
    bootstrap: str
    lease_seconds: float
    snapshot_every: int
    poll_records: int
    poll_ms: int
    retry_seconds: float
    batch_seconds: float = 0.5
    store_readings: bool = True
    catch_up_seconds: float = 4.0
    pending_seconds: float = 86_400.0
    look_seconds: float = 1.0
    board_folder: str = ""
    board_mb: int = 0


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What a committed micro-batch was: for metrics.

    `outcomes` counts events as applied, duplicate or dead_letter, `late` the readings older than the latest of their
    member and metric; `members` and the events `pending` are what the shard now holds, `state_bytes` the size of its
    state when it last looked at its assignment; `lag` is by topic partition of the batch the records that the log held
    behind it when it was read; `watermarks_us` by partition the latest event time applied.
    """

    records: int
    seconds: float
    commit_seconds: float
    outcomes: Mapping[str, int]
    late: int
    lag: Mapping[Place, int]
    watermarks_us: Mapping[int, int]
    members: int
    state_bytes: int
    pending: int


class Pace:
    """How many records a micro-batch takes: as many as are committed within the target, never more than `most`.

    Events that already wait longer than the target gain nothing from a small batch, and a member touched many times in
    a large one is scored once: a shard with more behind it than one batch works to `catch_up_seconds`.
    """

    def __init__(self, most: int, target_seconds: float, catch_up_seconds: float) -> None:
        self._most, self._target, self._catch_up = most, target_seconds, catch_up_seconds
        self.records = min(most, _FIRST_BATCH)

    def took(self, records: int, seconds: float, behind: int) -> None:
        """Learns from a batch, `behind` which the log held so many records more.

        One that was not full says nothing of how many more would fit.
        """
        target = self._catch_up if behind >= self.records else self._target
        if 2 * records >= self.records or seconds > target:
            change = min(max(target / max(seconds, 1e-6), 0.5), 4.0)
            self.records = min(self._most, max(_LEAST_BATCH, int(self.records * change)))
