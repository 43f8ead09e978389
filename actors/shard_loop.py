"""The loop of a member shard: lease, recover, then read, process and commit, batch after batch. Knows no Ray."""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import psycopg

from engine.domain.batch import PartitionCommit, Recovered, TopicIdentity
from engine.domain.events import ENROLLMENT, KIND_OF_TOPIC, READING
from engine.errors import LeaseLostError, StorageError, StreamError
from engine.logs import get_logger
from engine.scoring.member_features import score_inputs
from engine.scoring.member_state import PartitionState
from engine.storage.shards import ShardStore
from engine.streams import topics
from engine.streams.judge import Judged, judge
from engine.streams.outputs import current_score
from engine.streams.processor import Processor, Scorers
from engine.streams.reader import KafkaReader, check_held
from engine.streams.records import RecordBatch

_IDENTITY_SECONDS = 10.0
_RETRY_FIRST, _RETRY_MOST = 0.1, 2.0
_FIRST_BATCH, _LEAST_BATCH = 20_000, 500
MOST_REPLAYED = 1_000_000
"""Records of a partition after which it takes a snapshot even before `snapshot_every` commits: they are what a
recovery holds in memory."""
Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """Which partitions a shard owns and how it works. Times in seconds unless named otherwise.

    A micro-batch has at most about `poll_records`, and as many as take `batch_seconds` from read to committed. Without
    `store_readings` a reading is applied and counted but has no row of its own.
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


class Pace:
    """How many records a micro-batch takes: as many as are committed within the target, never more than `most`."""

    def __init__(self, most: int, target_seconds: float) -> None:
        self._most, self._target = most, target_seconds
        self.records = min(most, _FIRST_BATCH)

    def took(self, records: int, seconds: float) -> None:
        """Learns from a batch. One that was not full says nothing of how many more would fit."""
        if 2 * records >= self.records or seconds > self._target:
            change = min(max(self._target / max(seconds, 1e-6), 0.5), 2.0)
            self.records = min(self._most, max(_LEAST_BATCH, int(self.records * change)))


class ShardLoop:
    """One shard at work. `run` blocks until `stop` is called or the shard cannot go on, and then raises.

    Readers of a score see the state as the last batch left it, which the commit under way may not yet have made
    durable: the score is the same after a recovery, since processing is deterministic.
    """

    def __init__(self, plan: ShardPlan, scorers: Scorers) -> None:
        self.plan = plan
        self._log = get_logger(shard=plan.name)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.ready = threading.Event()
        self.finished = False
        self._store = ShardStore(plan.postgres_url, plan.name, plan.lease_seconds)
        self._processor = Processor(scorers, self._known_events)
        self._positions: dict[Place, int] = {}
        self._snapshot_seq: dict[int, int] = {}
        self._unsaved: dict[int, int] = {}
        self._pace = Pace(plan.poll_records, plan.batch_seconds)
        self._identities: dict[str, TopicIdentity] = {}
        self._renewed = self._identified = time.monotonic()

    def stop(self) -> None:
        """Asks `run` to finish the batch under way, take snapshots, give the leases back, and return."""
        self._stop.set()

    def run(self) -> None:
        """Takes the leases, recovers, and works until stopped. Exits the process at once when a lease is lost."""
        self._retry(self._store.reconnect, lambda: True)
        events = KafkaReader(self.plan.bootstrap, self.plan.name)
        enrolments = KafkaReader(self.plan.bootstrap, f"{self.plan.name}-enrolments")
        try:
            self._take_leases()
            self._recover(events)
            self._assign(events, enrolments)
            self.ready.set()
            self._log.info("shard ready", partitions=len(self.plan.partitions), members=self.members())
            while not self._stop.is_set():
                self._step(events, enrolments)
            self._finish()
        except LeaseLostError as error:
            self._log.error("fenced", reason=str(error))
            os._exit(1)
        finally:
            events.close()
            enrolments.close()
            self._store.close()

    def members(self) -> int:
        """Number of members the shard holds."""
        return sum(len(state) for state in self._processor.states.values())

    def positions(self) -> dict[Place, int]:
        """Next offset of each topic partition after the last commit."""
        return dict(self._positions)

    def score(self, member_id: str) -> dict[str, object] | None:
        """The member's current score as a row of the score history; None where the member is not of this shard."""
        state = self._processor.states.get(topics.partition_of(member_id))
        with self._lock:
            slot = None if state is None else state.slot_of.get(member_id)
            if state is None or slot is None:
                return None
            slots = np.array([slot], np.int64)
            inputs = score_inputs(state, slots, np.asarray(state["scored_as_of"][slots]))
            return current_score(self._processor.scorer(state), state, slot, inputs)

    def _take_leases(self) -> None:
        deadline = time.monotonic() + self.plan.lease_seconds + self.plan.retry_seconds
        missing = set(self.plan.partitions)
        while missing:
            missing -= set(self._store.acquire(sorted(missing)))
            if missing and time.monotonic() > deadline:
                raise StorageError(f"{self.plan.name}: another owner keeps renewing partitions {sorted(missing)}")
            if missing and self._stop.wait(min(1.0, self.plan.lease_seconds / 4)):
                raise StorageError(f"{self.plan.name}: stopped while waiting for partitions {sorted(missing)}")

    def _recover(self, reader: KafkaReader) -> None:
        self._identities = topics.identities(self.plan.bootstrap)
        places = [(topic, partition) for topic in KIND_OF_TOPIC for partition in self.plan.partitions]
        starts = reader.begin_offsets(places)
        found = [self._store.recover(partition) for partition in self.plan.partitions]
        for recovered in found:
            self._adopt(recovered, starts)
        check_held(starts, self._positions)
        states = [self._processor.states[r.partition] for r in found if r.snapshot is not None]
        versions = [r.model_version for r in found if r.snapshot is not None]
        # other rules or code than the snapshot's; other models come by the log
        outdated = [s for s, v in zip(states, versions, strict=True) if v != self._processor.scorer(s).version]
        self._replay(reader, [recovered for recovered in found if recovered.commits])
        for state in outdated:
            self._processor.renew_all(state)

    def _adopt(self, recovered: Recovered, starts: Mapping[Place, int]) -> None:
        partition = recovered.partition
        anew = [t for t, known in recovered.identities.items() if known != self._identities[t]]
        if anew and recovered.commits:
            raise StreamError(
                f"partition {partition}: topic {anew[0]!r} was made anew, but {len(recovered.commits)} commits since "
                "the last snapshot must be replayed from its former log; restore that log or empty the database"
            )
        if anew:
            self._store.forget_offsets(partition)
        state = PartitionState(partition) if recovered.snapshot is None else PartitionState.load(recovered.snapshot)
        self._processor.states[partition] = state
        self._snapshot_seq[partition] = state.seq
        for topic in KIND_OF_TOPIC:
            known = None if anew else recovered.snapshot_offsets.get(topic)
            self._positions[topic, partition] = starts[topic, partition] if known is None else known

    def _replay(self, reader: KafkaReader, behind: Sequence[Recovered]) -> None:
        """Applies what was committed after the snapshots once more, in the same batches, without writing anything."""
        ends = {(t, r.partition): offset for r in behind for t, offset in r.commits[-1].items()}
        held = self._read_up_to(reader, {p: end for p, end in ends.items() if self._positions[p] < end})
        for recovered in behind:
            for boundary in recovered.commits:
                judged = []
                for topic, stop in boundary.items():
                    place = (topic, recovered.partition)
                    if stop > self._positions[place]:
                        judged.append(judge(held[place].between(self._positions[place], stop)))
                cluster = self._identities[ENROLLMENT.topic].cluster_id
                self._processor.process(judged, self._positions, cluster, replaying=True)
                self._positions.update({(topic, recovered.partition): stop for topic, stop in boundary.items()})
        if behind:
            self._log.info("replayed", partitions=len(behind), commits=sum(len(r.commits) for r in behind))

    def _read_up_to(self, reader: KafkaReader, ends: Mapping[Place, int]) -> dict[Place, RecordBatch]:
        held = {place: [RecordBatch.of(*place, [], [], [], self._positions[place])] for place in ends}
        reader.assign({place: self._positions[place] for place in ends})
        deadline = time.monotonic() + self.plan.retry_seconds
        while any(held[place][-1].next_offset < end for place, end in ends.items()):
            for batch in reader.poll(self.plan.poll_records, 500):
                place = (batch.topic, batch.partition)
                held[place].append(batch)
                deadline = time.monotonic() + self.plan.retry_seconds
            if time.monotonic() > deadline:
                late = {place: (held[place][-1].next_offset, end) for place, end in ends.items()}
                raise StreamError(f"{self.plan.name}: the broker does not deliver committed events again: {late}")
        return {place: RecordBatch.joined(batches) for place, batches in held.items()}

    def _assign(self, events: KafkaReader, enrolments: KafkaReader) -> None:
        events.assign({p: o for p, o in self._positions.items() if p[0] != ENROLLMENT.topic})
        enrolments.assign({p: o for p, o in self._positions.items() if p[0] == ENROLLMENT.topic})

    def _step(self, events: KafkaReader, enrolments: KafkaReader) -> None:
        batches = events.poll(self._pace.records, self.plan.poll_ms)
        started = time.monotonic()
        judged = [judge(batch) for batch in batches]
        arrived = _Enrolments(enrolments, self._positions)
        arrived.poll(0)
        if judged and self._processor.unknown_members([*judged, *arrived.judged()]):
            arrived.catch_up(judged, self.plan.retry_seconds)
        judged += arrived.judged()
        if judged:
            self._process(judged)
            self._pace.took(sum(map(len, batches)), time.monotonic() - started)
        self._keep()

    def _process(self, judged: Sequence[Judged]) -> None:
        cluster = self._identities[ENROLLMENT.topic].cluster_id
        with self._lock:
            commits = self._processor.process(judged, self._positions, cluster)
        for part in judged:
            self._unsaved[part.partition] = self._unsaved.get(part.partition, 0) + part.records
        for commit in commits:
            behind = commit.seq - self._snapshot_seq[commit.partition]
            if behind >= self.plan.snapshot_every or self._unsaved[commit.partition] >= MOST_REPLAYED:
                commit.snapshot = self._processor.states[commit.partition].dump()
            if not self.plan.store_readings:
                commit.rows.pop(READING.table, None)
        self._commit(commits)

    def _commit(self, commits: Sequence[PartitionCommit]) -> None:
        self._retry(lambda: self._store.commit(commits, self._identities), lambda: self._store.is_committed(commits[0]))
        self._renewed = time.monotonic()
        for commit in commits:
            if commit.snapshot is not None:
                self._snapshot_seq[commit.partition] = commit.seq
                self._unsaved[commit.partition] = 0
            self._positions.update({(topic, commit.partition): o for topic, o in commit.offsets.items()})

    def _known_events(self, table: str, keys: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], tuple[int, int]]:
        found: dict[tuple[str, str], tuple[int, int]] = {}
        self._retry(lambda: found.update(self._store.known_events(table, keys)), lambda: False)
        return found

    def _retry(self, action: Callable[[], None], done: Callable[[], bool]) -> None:
        """Runs `action` until it succeeds; after a lost connection asks `done` whether it had. Bounded."""
        deadline, pause, lost = time.monotonic() + self.plan.retry_seconds, _RETRY_FIRST, False
        while True:
            try:
                if lost:
                    self._store.reconnect()
                    if done():
                        return
                action()
                return
            except (psycopg.OperationalError, psycopg.InterfaceError, StorageError) as error:
                if isinstance(error, LeaseLostError):
                    raise
                if time.monotonic() > deadline:
                    raise StorageError(
                        f"{self.plan.name}: PostgreSQL stayed away for {self.plan.retry_seconds:g} s: {error}"
                    ) from error
                self._log.warning("postgres away, trying again", error=str(error).strip())
                lost = True
                time.sleep(pause)
                pause = min(2 * pause, _RETRY_MOST)

    def _keep(self) -> None:
        """What must be done in quiet times too: renew the leases, and see that the logs are still the same."""
        now = time.monotonic()
        if now - self._renewed > self.plan.lease_seconds / 3:
            self._retry(lambda: self._store.renew(self.plan.partitions), lambda: False)
            self._renewed = now
        if now - self._identified > _IDENTITY_SECONDS:
            self._identified = now
            try:
                current = topics.identities(self.plan.bootstrap)
            except StreamError as error:
                self._log.warning("broker away, waiting", error=str(error))
                return
            if current != self._identities:
                raise StreamError(f"{self.plan.name}: the topics were made anew under us; the shard starts again")

    def _finish(self) -> None:
        behind = [p for p in self.plan.partitions if self._processor.states[p].seq > self._snapshot_seq[p]]
        commits = []
        for partition in behind:
            state = self._processor.states[partition]
            state.seq += 1
            commits.append(
                PartitionCommit(
                    partition,
                    state.seq,
                    {topic: self._positions[topic, partition] for topic in KIND_OF_TOPIC},
                    {},
                    snapshot=state.dump(),
                    watermark_us=state.latest_event_us,
                    members=len(state),
                    model_version=self._processor.scorer(state).version,
                )
            )
        if commits:
            self._commit(commits)
        self._store.release(self.plan.partitions)
        self.finished = True
        self._log.info("shard stopped", snapshots=len(commits))


class _Enrolments:
    """Enrolments that have arrived in this step, joined by partition."""

    def __init__(self, reader: KafkaReader, positions: Mapping[Place, int]) -> None:
        self._reader = reader
        self._positions = positions
        self._held: dict[Place, RecordBatch] = {}

    def poll(self, timeout_ms: int) -> None:
        """Takes what is there."""
        for batch in self._reader.poll(100_000, timeout_ms):
            place = (batch.topic, batch.partition)
            held = self._held.get(place)
            self._held[place] = batch if held is None else RecordBatch.joined([held, batch])

    def catch_up(self, judged: Sequence[Judged], retry_seconds: float) -> None:
        """Reads the enrolment log to its end: an event acknowledged after its member's enrolment finds the member."""
        partitions = {part.partition for part in judged}
        deadline = time.monotonic() + retry_seconds
        ends = self._ends([(ENROLLMENT.topic, partition) for partition in sorted(partitions)], deadline)
        while any(self._next(place) < end for place, end in ends.items()):
            if time.monotonic() > deadline:
                late = {place: (self._next(place), end) for place, end in ends.items() if self._next(place) < end}
                raise StreamError(f"the broker does not deliver enrolments it holds within {retry_seconds:g} s: {late}")
            self.poll(100)

    def _ends(self, places: Sequence[Place], deadline: float) -> dict[Place, int]:
        """Log ends, asked for until the broker answers: it may be away for as long as PostgreSQL may."""
        while True:
            try:
                return self._reader.end_offsets(places)
            except StreamError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_RETRY_FIRST)

    def _next(self, place: Place) -> int:
        return self._held[place].next_offset if place in self._held else self._positions[place]

    def judged(self) -> list[Judged]:
        """The enrolments, decoded."""
        return [judge(batch) for batch in self._held.values()]
