"""Members over partitions in one process, with their store, fed by events as a shard feeds itself."""

import datetime as dt
import json
import time
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from engine.domain.batch import PartitionCommit, TopicIdentity
from engine.domain.events import ENROLLMENT, KIND_OF_TOPIC, READING, SCORING_COMMAND
from engine.learning.registry import Scorers
from engine.scoring.member_state import PartitionState
from engine.settings import load_rules
from engine.storage.shards import ShardStore
from engine.streams.judge import judge
from engine.streams.processor import Processor
from engine.streams.records import RecordBatch
from engine.streams.topics import PARTITIONS, partition_of

_NOW_MS = int(dt.datetime(2026, 1, 5, 12, tzinfo=dt.UTC).timestamp() * 1000)
_CHUNK = 50_000
WORN = (("steps", "count", 4200.0), ("resting_heart_rate", "bpm", 62.0), ("sleep_minutes", "min", 410.0))
"""Metrics of a device: a round of readings is of one of them."""
_IDENTITIES = dict.fromkeys(KIND_OF_TOPIC, TopicIdentity("bench", "bench"))


def by_partition(members: int) -> list[NDArray[np.int64]]:
    """The numbers of the members of each partition."""
    numbers = range(members)
    homes = np.fromiter((partition_of(_name(i)) for i in track(numbers, "placing members")), np.uint8, members)
    return [np.flatnonzero(homes == partition) for partition in range(PARTITIONS)]


def _name(number: int) -> str:
    return f"M{number:07d}"


def _enrolments(numbers: Sequence[int]) -> list[bytes]:
    return [
        b'{"v":1,"event_id":"e%d","source":"bench","member_id":"M%07d","time":%d,"action":"enroll","birth_date":"%d-0%d-1%d",'
        b'"sex":"%s","region":"west","line_of_business":"individual","policy_id":"p%d","cohort_id":"c%d",'
        b'"effective_date":"2025-01-01"}'
        % (
            *(i, i, _NOW_MS - 86_400_000, 1930 + i % 90, 1 + i % 9, i % 10),
            *(b"female" if i % 2 else b"male", i % 1000, i % 50),
        )
        for i in numbers
    ]


def _readings(numbers: Sequence[int], first: int) -> list[bytes]:
    return [
        b'{"v":1,"event_id":"r%d-%d","source":"bench","member_id":"M%07d","time":%d,"metric":"%s","value":%.1f,"unit":"%s"}'
        % (first, i, i, _NOW_MS - 3_600_000 + first, metric.encode(), value, unit.encode())
        for i in numbers
        for metric, unit, value in (WORN[first % 3],)
    ]


class Pool:
    """Partitions in this process, with their store; `rows` are committed where that is asked for."""

    def __init__(
        self, url: str, rows: bool, partitions: Sequence[int] = range(PARTITIONS), name: str = "bench"
    ) -> None:
        self.processor = Processor(Scorers(load_rules()), lambda _table, _keys: {}, 86_400.0)
        self.positions = {(topic, p): 0 for topic in KIND_OF_TOPIC for p in partitions}
        self._rows = rows
        self.store = ShardStore(url, name, 3600.0)
        self.store.reconnect()
        self.store.enter(partitions)
        self.store.acquire(partitions)
        for partition in partitions:
            self.processor.states[partition] = PartitionState(partition)

    def feed(self, topic: str, partition: int, values: list[bytes]) -> float:
        """One batch of one partition through judging, processing and, where rows are asked for, its commit; seconds."""
        start = self.positions[topic, partition]
        offsets, taken = range(start, start + len(values)), [_NOW_MS] * len(values)
        batch = RecordBatch.of(topic, partition, offsets, taken, values, start + len(values))
        begun = time.perf_counter()
        judged = judge(batch)
        commits = self.processor.process([judged], self.positions, "bench")
        if judged.refused:
            raise ValueError(f"{len(judged.refused)} events refused: {judged.refused[0][1]}")
        if self._rows:
            self.store.commit(commits, _IDENTITIES)
        self.positions.update({(t, partition): offset for commit in commits for t, offset in commit.offsets.items()})
        return time.perf_counter() - begun

    def enrol(self, homes: Sequence[NDArray[np.int64]]) -> float:
        """Enrols the members of each of this process's partitions; seconds."""
        return sum(
            self.feed(ENROLLMENT.topic, partition, _enrolments(part))
            for partition in track(self.processor.states, "enrolling")
            for part in chunks(homes[partition])
        )

    def wear(self, homes: Sequence[NDArray[np.int64]], wearing: float, round_: int) -> tuple[int, float]:
        """A reading of everybody who wears a device; how many, and the seconds."""
        applied, taken = 0, 0.0
        for partition in track(self.processor.states, f"readings, round {round_ + 1}"):
            for part in chunks(homes[partition][: int(len(homes[partition]) * wearing)]):
                taken += self.feed(READING.topic, partition, _readings(part, round_))
                applied += len(part)
        return applied, taken

    def night(self) -> float:
        """Scores everybody anew, as the nightly batch does; seconds."""
        command = {"v": 1, "source": "bench", "member_id": "*", "time": _NOW_MS - 60_000}
        return sum(
            self.feed(SCORING_COMMAND.topic, p, [json.dumps(command | {"event_id": f"night-{p}"}).encode()])
            for p in track(self.processor.states, "nightly batch")
        )

    def state_bytes(self) -> int:
        """Bytes of members' state without the duplicate windows, whose size does not follow the members."""
        return sum(state.nbytes() - state.window.nbytes() for state in self.processor.states.values())

    def snapshot(self) -> tuple[float, int]:
        """Every partition's state into PostgreSQL, one commit each; seconds and bytes."""
        size, begun = 0, time.perf_counter()
        for partition, state in self.processor.states.items():
            state.seq += 1
            offsets = {topic: self.positions[topic, partition] for topic in KIND_OF_TOPIC}
            payload = state.dump()
            size += len(payload)
            commit = PartitionCommit(partition, state.seq, offsets, {}, snapshot=payload, members=len(state))
            self.store.commit([commit], _IDENTITIES)
        return time.perf_counter() - begun, size

    def restore(self) -> float:
        """Every state from PostgreSQL, as a shard that starts has it; seconds."""
        members = sum(len(state) for state in self.processor.states.values())
        begun = time.perf_counter()
        for partition in list(self.processor.states):
            payload = self.store.recover(partition).snapshot
            if payload is None:
                raise ValueError(f"partition {partition} has no snapshot")
            del self.processor.states[partition]
            self.processor.states[partition] = PartitionState.load(payload)
        taken = time.perf_counter() - begun
        found = sum(len(state) for state in self.processor.states.values())
        if found != members:
            raise ValueError(f"{found} members restored, not {members}")
        return taken


def chunks(numbers: NDArray[np.int64]) -> Iterator[list[int]]:
    """The numbers in batches."""
    for start in range(0, len(numbers), _CHUNK):
        yield numbers[start : start + _CHUNK].tolist()
