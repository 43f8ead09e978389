"""The loop of a member shard: hold what is assigned, and of that read, process and commit, batch after batch.

While one batch is being committed the next is applied, and the one after it read. Knows neither Ray nor, but for its
ports, I/O.
"""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import numpy as np

from actors.durable import Durable
from actors.enrolments import Enrolments
from actors.ownership import Ownership
from actors.pace import BatchReport, Pace, Place, ShardPlan
from actors.ports import Ports
from actors.read_ahead import ReadAhead
from actors.recovery import Recovery
from actors.score_board import RowsOf, ScoreBoard
from actors.snapshots import Snapshots
from engine.domain.batch import PartitionCommit, TextColumn, TopicIdentity
from engine.domain.events import ENROLLMENT
from engine.errors import LeaseLostError, StreamError, TopicsChangedError
from engine.logs import get_logger
from engine.scoring.told import told_row
from engine.streams import topics
from engine.streams.judge import judge_all
from engine.streams.judged import Judged
from engine.streams.outputs import current_scores
from engine.streams.processor import Processor, Scorers
from engine.streams.reader import RecordReader

_IDENTITY_SECONDS = 10.0


class ShardLoop:
    """One shard at work. `run` blocks until `stop` is called or the shard cannot go on, and then raises.

    Readers of a score see the state as the last batch left it, which the commit under way may not yet have made
    durable: the score is the same after a recovery, since processing is deterministic.
    """

    def __init__(
        self,
        plan: ShardPlan,
        scorers: Scorers,
        ports: Ports,
        report: Callable[[BatchReport], None] = lambda _: None,
        board: ScoreBoard | None = None,
    ) -> None:
        self.plan = plan
        self._ports = ports
        self._report = report
        self._board = board
        self._scorers = scorers
        self._log = get_logger(shard=plan.name)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.ready = threading.Event()
        self._warm = False
        self.finished = False
        self._durable = Durable(plan, ports)
        known = self._durable.known_events
        self._processor = Processor(scorers, known, plan.pending_seconds, plan.store_readings)
        self._positions: dict[Place, int] = {}
        self._snapshots = Snapshots(plan.snapshot_every)
        made = self._processor, self._snapshots, self._positions
        recovery = Recovery(plan, ports, self._durable, *made)
        self._ownership = Ownership(plan, ports, self._durable, recovery, *made, self._show)
        self._pace = Pace(plan.poll_records, plan.batch_seconds, plan.catch_up_seconds)
        self._identities: dict[str, TopicIdentity] = {}
        self._identified = ports.clock.now()
        self._identifying: Future[dict[str, TopicIdentity]] | None = None

    def stop(self) -> None:
        """Asks `run` to finish the batch under way, take snapshots, give the leases back, and return."""
        self._stop.set()

    def run(self) -> None:
        """Enters, and works until stopped. Fenced at once when a lease is lost, or another enters under its name."""
        self._durable.retry(self._ports.store.reconnect, lambda: True)
        events = ReadAhead(self._ports.log.reader(self.plan.name), self._ports.reading)
        enrolments = self._ports.log.reader(f"{self.plan.name}-enrolments")
        try:
            self._identities = self._ports.log.identities()
            self._ownership.enter()
            while not self._stop.is_set():
                self._follow(events, enrolments)
                self._step(events, enrolments)
            self._finish()
        except LeaseLostError as error:
            self._log.error("fenced", reason=str(error))
            self._ports.fenced()
        finally:
            events.close()
            enrolments.close()
            self._ports.reading.close()
            self._ports.worker.close()
            self._ports.watcher.close()
            self._ports.store.close()

    def members(self) -> int:
        """Number of members the shard holds."""
        return self._ownership.members()

    def positions(self) -> dict[Place, int]:
        """Next offset of each topic partition after the last batch applied."""
        return dict(self._positions)

    def score(self, member_id: str) -> dict[str, object] | None:
        """The member's current score as a row of the score history; None where the shard does not hold the member."""
        partition = topics.partition_of(member_id)
        with self._lock:
            state = self._processor.states.get(partition) if partition in self._ownership.held else None
            slot = None if state is None else state.slot_of(member_id)
            if state is None or slot is None:
                return None
            rows = current_scores(self._processor.scorer(state), state, np.array([slot], np.int64))
            row = told_row(rows.columns, 0)
            if self._board is not None:
                self._board.put(member_id, row)
            return row

    def owned_until(self) -> float:
        """Until when, by the clock, nobody else can have taken the leases. They are renewed well before."""
        return self._ownership.renewed + self.plan.lease_seconds * 2 / 3

    def _show(self, held: frozenset[int]) -> None:
        if self._board is not None:
            with self._lock:
                self._board.own(held)

    def _follow(self, events: RecordReader, enrolments: RecordReader) -> None:
        """Holds what is assigned by now, and reads that from where each partition stands."""
        if self._ownership.follow(events, self._identities):
            events.assign({p: o for p, o in self._positions.items() if p[0] != ENROLLMENT.topic})
            enrolments.assign({p: o for p, o in self._positions.items() if p[0] == ENROLLMENT.topic})
        if self._ownership.complete and not self.ready.is_set():
            self.ready.set()
            self._log.info("shard ready", partitions=len(self._ownership.held), members=self.members())

    def _step(self, events: RecordReader, enrolments: RecordReader) -> None:
        if self._ownership.held:
            self._batch(events, enrolments)
        else:
            self._stand_by()
        self._keep()

    def _stand_by(self) -> None:
        """Nothing is held: is made ready to hold something, and waits."""
        if not self._warm:
            self._warm = True
            self._ports.rehearse(self._scorers)
            self._ports.warm()
        self._ports.clock.sleep(self.plan.poll_ms / 1000)

    def _batch(self, events: RecordReader, enrolments: RecordReader) -> None:
        batches = events.poll(self._pace.records, self.plan.poll_ms)
        started = self._ports.clock.now()
        judged = judge_all(batches)
        arrived = Enrolments(enrolments, self._positions, self._ports.clock)
        arrived.poll(0)
        if judged and self._processor.unknown_members([*judged, *arrived.judged()]):
            arrived.catch_up(judged, self.plan.retry_seconds)
        judged += arrived.judged()
        if not judged:
            return
        commits = self._process(judged)
        if not self._warm:
            self._warm = True
            self._ports.warm()
        lag = {**events.lag(batches), **arrived.lag()}
        applied = self._ports.clock.now()

        def committed(seconds: float) -> None:
            # the slower of the two bounds the pace: they go on beside each other
            self._pace.took(sum(map(len, batches)), max(applied - started, seconds), max(lag.values(), default=0))
            self._ownership.behind.update(lag)
            self._tell(commits, sum(part.records for part in judged), applied - started + seconds, seconds, lag)
            self._ownership.look()  # here the store is free: a loop that is never idle looks too

        self._durable.commit(commits, self._identities, committed)

    def _tell(
        self,
        commits: Sequence[PartitionCommit],
        records: int,
        seconds: float,
        commit_seconds: float,
        lag: dict[Place, int],
    ) -> None:
        counts = [count for commit in commits for count in commit.counts.values()]
        outcomes = {
            "applied": sum(count.applied for count in counts),
            "duplicate": sum(count.duplicates for count in counts),
            "dead_letter": sum(count.dead_letters for count in counts),
        }
        watermarks = {c.partition: c.watermark_us for c in commits if c.watermark_us is not None}
        pending = sum(len(state.pending) for state in list(self._processor.states.values()))
        change = sum(count.pending for count in counts)
        if change:
            self._log.info("events of members not enrolled", change=change, pending=pending)
        reasons = Counter(reason for commit in commits for reason in commit.rows["dead_letters"].columns["reason"])
        if reasons:
            self._log.warning("dead letters", **reasons)
        late = sum(commit.late for commit in commits)
        held = self.members(), self._ownership.state_bytes, pending
        self._report(BatchReport(records, seconds, commit_seconds, outcomes, late, lag, watermarks, *held))

    def _process(self, judged: Sequence[Judged]) -> list[PartitionCommit]:
        """Applies the batch, with the snapshots that are due; the positions go on with it."""
        cluster = self._identities[ENROLLMENT.topic].cluster_id
        with self._lock:
            commits = self._processor.process(judged, self._positions, cluster)
            if self._board is not None:
                self._board.batch(judged, map(self._scored, commits))
        for commit in commits:
            self._snapshots.add(commit.partition, sum(p.records for p in judged if p.partition == commit.partition))
            if self._snapshots.due(commit.partition):
                self._ownership.snapshot(commit)
            self._positions.update({(topic, commit.partition): o for topic, o in commit.offsets.items()})
        return commits

    def _scored(self, commit: PartitionCommit) -> tuple[TextColumn, RowsOf]:
        """The members whose score the batch made anew, and what makes their rows: most are not written."""
        state = self._processor.states[commit.partition]
        scorer = self._processor.scorer(state)
        return state.ids(commit.scored), lambda which: current_scores(scorer, state, commit.scored[which])

    def _keep(self) -> None:
        """What must be done in quiet times too: see that a commit succeeded and the logs are the same, and look."""
        if self._durable.settled():
            self._durable.settle()
            self._ownership.look()
        self._identify()

    def _identify(self) -> None:
        """Sees beside the loop, now and then, that the topics are those the offsets belong to."""
        now = self._ports.clock.now()
        if self._identifying is None and now - self._identified > _IDENTITY_SECONDS:
            self._identifying = self._ports.watcher.submit(self._ports.log.identities)
        if self._identifying is None or not self._identifying.done():
            return
        asked, self._identifying, self._identified = self._identifying, None, now
        try:
            current = asked.result()
        except TopicsChangedError:
            raise
        except StreamError as error:
            self._log.warning("broker away, waiting", error=str(error))
            return
        if current != self._identities:
            raise StreamError(f"{self.plan.name}: the topics were made anew under us; the shard starts again")

    def _finish(self) -> None:
        self._ownership.give_up(self._ownership.held, self._identities)
        self.finished = True
        self._log.info("shard stopped")
