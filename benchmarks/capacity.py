"""How many nodes and how much PostgreSQL a pool of members wants, from what one process was seen to need."""

import math
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from threading import Barrier
from typing import TYPE_CHECKING

import psutil
import psycopg

from benchmarks.scale_pool import WORN, Pool, by_partition
from engine.streams.topics import PARTITIONS

if TYPE_CHECKING:
    from benchmarks.scale_report import Figures

_SLACK = 0.3
_CHECKED = 200_000
_SAMPLED = 20_000
_DAYS = 365
_MEET_SECONDS = 600.0
_spawn = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class Node:
    """What a node has."""

    cores: int = 8
    memory: float = 32 * 2.0**30


@dataclass(frozen=True, slots=True)
class Needed:
    """Nodes, what each of the two bounds asks for, and bytes of PostgreSQL after a year."""

    nodes: int
    by_memory: int
    by_events: int
    postgres: float


@dataclass(frozen=True, slots=True)
class Capacity:
    """What was measured: bytes of a process without members and of each member, events/s of a core, bytes of rows."""

    base: float
    member: float
    events: float
    member_row: float
    score_row: float
    reading_row: float
    snapshot: float

    def needed(self, members: int, events: float, node: Node) -> Needed:
        """For so many members and events a second, of which every one has a row, with a score a member and day.

        Raises ValueError for a node whose memory the processes of its cores fill without a member.
        """
        free = (1 - _SLACK) * node.memory - node.cores * self.base
        if free <= 0:
            raise ValueError(f"memory {node.memory:,.0f}: {node.cores} processes of {self.base:,.0f} bytes fill it")
        by_memory = math.ceil(members * self.member / free)
        by_events = math.ceil(events / ((1 - _SLACK) * node.cores * self.events))
        a_day = members * self.score_row + 86_400 * events * self.reading_row
        postgres = members * (self.member_row + 2 * self.snapshot) + _DAYS * a_day
        return Needed(max(by_memory, by_events), by_memory, by_events, postgres)

    def told(self) -> list[str]:
        """The measured figures and the assumptions as a list."""
        return [
            "- assumed: cost follows members and events linearly; a node has a process for each core, side by side;",
            f"  {_SLACK:.0%} of memory and processor stay free for moves and recoveries; PostgreSQL keeps up with the",
            f"  rows, a score a member and day and every reading, and keeps them {_DAYS} days",
            f"- a process without members {self.base / 2**20:,.0f} MiB, each member {self.member:,.0f} B resident",
            f"- {self.events:,.0f} readings/s of a core, judged, applied and scored, without their commit",
            f"- rows in PostgreSQL with their indexes: member {self.member_row:,.0f} B, score {self.score_row:,.0f} B, "
            f"reading {self.reading_row:,.0f} B; snapshot {self.snapshot:,.0f} B a member",
            f"- a node has {Node().cores} cores and {Node().memory / 2**30:.0f} GiB",
        ]


@dataclass(frozen=True, slots=True)
class Check:
    """What the model foretells of some node processes, and what they did."""

    nodes: int
    foretold_bytes: float
    measured_bytes: float
    foretold_events: float
    measured_events: float

    def row(self) -> str:
        """A row of the table."""
        return (
            f"| {self.nodes} | {self.foretold_bytes / 2**20:,.0f} MiB | {self.measured_bytes / 2**20:,.0f} MiB "
            f"| {self.foretold_events:,.0f} | {self.measured_events:,.0f} |"
        )


def measured(largest: "Figures", url: str, wearing: float) -> Capacity:
    """The model from the largest size's figures, and from a few members whose rows are all committed."""
    pool, homes = Pool(url, rows=True), by_partition(_SAMPLED)
    pool.enrol(homes)
    pool.wear(homes, wearing, 0)
    pool.night()
    pool.store.close()
    with psycopg.connect(url) as connection:

        def of(table: str) -> tuple[int, int]:
            (rows,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone() or (0,)
            sized = "SELECT coalesce(sum(pg_total_relation_size(inhrelid)), pg_total_relation_size(%(t)s::regclass)) "
            (size,) = connection.execute(
                sized + "FROM pg_inherits WHERE inhparent = %(t)s::regclass", {"t": table}
            ).fetchone() or (0,)
            return int(rows), int(size)

        member, score, reading = (size / rows for rows, size in map(of, ("members", "score_rows", "readings")))
    n = largest.members
    return Capacity(
        _empty(url), largest.resident / n, largest.readings, member, score, reading, largest.snapshot_bytes / n
    )


def _empty(url: str) -> float:
    """Resident bytes of a process that is ready and holds no member yet."""
    with ProcessPoolExecutor(1, mp_context=_spawn) as process:
        return float(process.submit(_idle, url).result())


def _idle(url: str) -> int:
    Pool(url, rows=False, name="idle").store.close()
    return psutil.Process().memory_info().rss


def check(capacity: Capacity, nodes: int, url: str, wearing: float) -> Check:
    """Shares `_CHECKED` members among so many node processes that work at once, and compares."""
    shares = [tuple(range(first, PARTITIONS, nodes)) for first in range(nodes)]
    with _spawn.Manager() as manager, ProcessPoolExecutor(nodes, mp_context=_spawn) as processes:
        gate = manager.Barrier(nodes, timeout=_MEET_SECONDS)
        running = [processes.submit(_node, url, i, share, wearing, gate) for i, share in enumerate(shares)]
        told = [node.result() for node in running]
    together = min(nodes, psutil.cpu_count() or 1)
    return Check(
        nodes,
        capacity.base + _CHECKED / nodes * capacity.member,
        sum(memory for memory, _, _ in told) / nodes,
        together * capacity.events,
        sum(applied for _, applied, _ in told) / max(spent for _, _, spent in told),
    )


def _node(url: str, index: int, partitions: Sequence[int], wearing: float, gate: Barrier) -> tuple[int, int, float]:
    """A node process: its share of the members, then readings at the same time as the others.

    Its resident bytes, the readings, and the seconds they took.
    """
    pool, homes = Pool(url, False, partitions, f"node-{index}"), by_partition(_CHECKED)
    pool.enrol(homes)
    for round_ in range(len(WORN)):
        pool.wear(homes, wearing, round_)
    gate.wait()
    applied, spent = 0, 0.0
    for round_ in range(len(WORN), 4 * len(WORN)):
        more, seconds = pool.wear(homes, wearing, round_)
        applied, spent = applied + more, spent + seconds
    pool.store.close()
    return psutil.Process().memory_info().rss, applied, spent
