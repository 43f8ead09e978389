"""Turns record batches into state changes, scores and the rows to commit. Deterministic and free of I/O.

A batch goes through five steps: decode; refuse what is misplaced and hold what is of a member not enrolled yet; drop
duplicates; apply, kind by kind, who the member is before what happened to them, what was held for them included; score
the members touched, all together.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from engine.domain.batch import PartitionCommit, Rows, TopicCount
from engine.domain.events import KIND_OF_TOPIC, READING
from engine.domain.pending import Held
from engine.scoring.diagnosed import renew_categories
from engine.scoring.health_score import HealthScorer
from engine.scoring.member_features import renew_forecasts
from engine.scoring.member_state import PartitionState
from engine.scoring.state_kernels import NO_DAY
from engine.streams.apply import Touched
from engine.streams.beside import beside
from engine.streams.judge import DEAD_LETTER_COLUMNS, dead_letter_rows, expired_rows, hold_strangers, judge_held
from engine.streams.judged import Judged
from engine.streams.outputs import dead_letter_messages
from engine.streams.scoring import Marked, renew_base, score_members

Scorers = Callable[[str], HealthScorer]
"""The scorer of the models that a state names."""
KnownEvents = Callable[[str, Sequence[tuple[str, str]]], Mapping[tuple[str, str], tuple[int, int]]]
"""Of (table, keys): the keys already stored there, with the partition and Kafka offset each came from."""


class Processor:
    """The states of a shard's partitions and what a batch does to them.

    `known_events` is the durable guard behind the duplicate window for everything but readings. An event of a member
    who is not enrolled is held until the log of its partition has records `pending_seconds` later than its own. Without
    `store_readings` a commit has no rows of readings.
    """

    def __init__(
        self, scorers: Scorers, known_events: KnownEvents, pending_seconds: float, store_readings: bool = True
    ) -> None:
        self._scorers = scorers
        self._pending_ms = round(pending_seconds * 1000)
        self.states: dict[int, PartitionState] = {}
        self._known_events = known_events
        self._store_readings = store_readings
        self._claimed: set[tuple[str, str, str]] = set()

    def scorer(self, state: PartitionState) -> HealthScorer:
        """The scorer of the state's models."""
        return self._scorers(state.models)

    def unknown_members(self, judged: Sequence[Judged]) -> set[str]:
        """Members of the batch who are neither enrolled nor enrolled by it, nor waited for already."""

        def strangers(part: Judged) -> set[str]:
            state = self.states[part.partition]
            return {member for member in part.members_wanted(state) if member not in state.pending}

        wanted = set[str]().union(*beside(strangers, judged, sum(map(len, judged))))
        for part in judged:
            wanted.difference_update(part.enrols())
        return wanted

    def process(
        self,
        judged: Sequence[Judged],
        positions: Mapping[tuple[str, int], int],
        cluster_id: str,
        *,
        replaying: bool = False,
        expired_ms: int | None = None,
    ) -> list[PartitionCommit]:
        """Applies the batch and returns the commit of each partition it touches, in order of partition.

        `positions` is where each topic partition stood before the batch. While `replaying`, an event that is stored
        under its own offset is itself and not a duplicate, and pending events expire up to `expired_ms`, as they did in
        the commit; the caller then throws the commits away.
        """
        by_partition: dict[int, dict[str, Judged]] = {}
        self._claimed.clear()
        for each in judged:
            by_partition.setdefault(each.partition, {})[each.kind.topic] = each
        commits: list[PartitionCommit] = []
        touched: dict[int, Touched] = {}
        for partition in sorted(by_partition):
            state = self.states[partition]
            touched[partition] = Touched()
            state.seq += 1
            commit = PartitionCommit(partition, state.seq, {t: positions[t, partition] for t in KIND_OF_TOPIC}, {})
            letters = Rows.of(DEAD_LETTER_COLUMNS)
            why = "and its log was made anew"
            expired_rows(state.pending.of_other_logs(cluster_id), partition, letters, why)
            due: dict[str, list[Held]] = {}
            for topic, kind in KIND_OF_TOPIC.items():
                part = by_partition[partition].get(topic)
                if part is None:
                    if topic not in due:
                        continue
                    part = judge_held(kind, partition, positions[topic, partition], ())
                self._take(state, part, due.get(topic, ()), commit, touched[partition], cluster_id, replaying)
                dead_letter_rows(part, letters, cluster_id)
                for event in state.pending.release(part.enrols()):
                    due.setdefault(event.topic, []).append(event)
            if not replaying:
                expired_ms = self._latest_ms(by_partition[partition].values()) - self._pending_ms
            self._expire(state, commit, letters, expired_ms)
            commit.rows["dead_letters"] = letters
            commit.rows["outbox"] = dead_letter_messages(letters)
            commit.watermark_us, commit.members = state.latest_event_us, len(state)
            commit.model_version = self.scorer(state).version
            commit.late = touched[partition].late
            commits.append(commit)
        self._score(commits, touched)
        return commits

    def renew_all(self, state: PartitionState) -> None:
        """Categories and base predictions of all members anew, these as of the time of their last: for a state of
        another model version."""
        slots = np.arange(len(state))
        renew_categories(state, slots)
        state["forecast_day"][slots] = NO_DAY
        renew_forecasts(state, slots, self.scorer(state).models.behavior)
        renew_base(self.scorer(state), state, slots, state["base_as_of"][slots])

    def _take(
        self,
        state: PartitionState,
        part: Judged,
        due: Sequence[Held],
        commit: PartitionCommit,
        touched: Touched,
        cluster_id: str,
        replaying: bool,
    ) -> None:
        if due:
            part.put_before(judge_held(part.kind, part.partition, part.next_offset, due))
        part.refuse_misplaced(state)
        pending = hold_strangers(part, state, cluster_id) - len(due)
        accepted = len(part)
        self._drop_duplicates(state, part, replaying)
        part.apply(state, commit.rows, touched)
        if part.kind.table and not replaying and (self._store_readings or part.kind is not READING):
            commit.rows[part.kind.table] = part.stored()
        gaps = part.next_offset - commit.offsets[part.kind.topic] - part.records
        commit.offsets[part.kind.topic] = part.next_offset
        refused = len(part.refused)
        commit.counts[part.kind.topic] = TopicCount(len(part), accepted - len(part), refused, gaps, pending)

    @staticmethod
    def _latest_ms(parts: Iterable[Judged]) -> int:
        """The time of the partition's log: the latest timestamp of the batch's records."""
        times = [part.batch.timestamps_ms for part in parts if part.records]
        return max((int(column.max()) for column in times), default=0)

    @staticmethod
    def _expire(state: PartitionState, commit: PartitionCommit, letters: Rows, until_ms: int | None) -> None:
        if until_ms is None or not len(state.pending):
            return
        commit.expired_ms = until_ms
        expired = state.pending.expire(until_ms)
        expired_rows(expired, state.partition, letters, "nor was until its time was up")
        for event in expired:
            count = commit.counts.get(event.topic, TopicCount())
            commit.counts[event.topic] = count + TopicCount(dead_letters=1, pending=-1)

    def _drop_duplicates(self, state: PartitionState, part: Judged, replaying: bool) -> None:
        duplicate = state.window.claim(part.digests())
        guarded, table = part.guarded(), part.kind.table
        if guarded:
            stored = self._known_events(table, [(source, event_id) for source, event_id, _ in guarded])
            for i, (*name, offset) in enumerate(guarded):
                before = stored.get((name[0], name[1]))
                itself = replaying and before == (part.partition, offset)
                # one event under two members lies in two partitions, and so perhaps twice in this very batch
                if (before is not None and not itself) or (table, *name) in self._claimed:
                    duplicate[i] = True
            self._claimed.update((table, source, event_id) for source, event_id, _ in guarded)
        if duplicate.any():
            part.filter(~duplicate)

    def _score(self, commits: Sequence[PartitionCommit], touched: Mapping[int, Touched]) -> None:
        by_models: dict[str, list[tuple[PartitionCommit, Marked]]] = {}
        for commit in commits:
            state, marks = self.states[commit.partition], touched[commit.partition]
            slots, based = marks.slots(len(state))
            as_of, asked = state["watermark"][slots], marks.batch_as_of_us
            if asked is not None:
                as_of = np.maximum(as_of, asked)
            commit.scored = slots
            marked = Marked(state, slots, based, as_of, asked is not None)
            by_models.setdefault(state.models, []).append((commit, marked))
        for models, parts in by_models.items():
            found = score_members(self._scorers(models), [marked for _, marked in parts])
            for (commit, _), (scores, outbox) in zip(parts, found, strict=True):
                commit.rows["scores"] = scores
                commit.rows["outbox"].extend(outbox)
