"""Turns record batches into state changes, scores and the rows to commit. Deterministic and free of I/O.

A batch goes through five steps: decode; refuse what is misplaced or of an unknown member; drop duplicates; apply, kind
by kind, who the member is before what happened to them; score the members touched, all of a partition together.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from engine.domain.batch import PartitionCommit, Rows, TopicCount
from engine.domain.duplicates import digest
from engine.domain.events import ENROLLMENT, KIND_OF_TOPIC
from engine.scoring.health_score import HealthScorer
from engine.scoring.member_features import renew_forecasts
from engine.scoring.member_state import NO_DAY, PartitionState
from engine.streams.apply import Touched, apply_events, apply_readings, stored_rows
from engine.streams.judge import DEAD_LETTER_COLUMNS, Judged, dead_letter_rows, members_wanted, refuse_misplaced
from engine.streams.outputs import dead_letter_messages
from engine.streams.scoring import renew_base, score_members

Scorers = Callable[[str], HealthScorer]
"""The scorer of the models that a state names."""
KnownEvents = Callable[[str, Sequence[tuple[str, str]]], Mapping[tuple[str, str], tuple[int, int]]]
"""Of (table, keys): the keys already stored there, with the partition and Kafka offset each came from."""


class Processor:
    """The states of a shard's partitions and what a batch does to them.

    `known_events` is the durable guard behind the duplicate window for everything but readings.
    """

    def __init__(self, scorers: Scorers, known_events: KnownEvents) -> None:
        self._scorers = scorers
        self.states: dict[int, PartitionState] = {}
        self._known_events = known_events
        self._claimed: set[tuple[str, str, str]] = set()

    def scorer(self, state: PartitionState) -> HealthScorer:
        """The scorer of the state's models."""
        return self._scorers(state.models)

    def unknown_members(self, judged: Sequence[Judged]) -> set[str]:
        """Members of the batch who are neither enrolled nor enrolled by it: their enrolment may be on its way."""
        wanted: set[str] = set()
        for part in judged:
            wanted |= members_wanted(part, self.states[part.partition])
        for part in judged:
            if part.kind is ENROLLMENT:
                wanted -= {event.member_id for event in part.events}
        return wanted

    def process(
        self,
        judged: Sequence[Judged],
        positions: Mapping[tuple[str, int], int],
        cluster_id: str,
        *,
        replaying: bool = False,
    ) -> list[PartitionCommit]:
        """Applies the batch and returns the commit of each partition it touches, in order of partition.

        `positions` is where each topic partition stood before the batch. While `replaying`, an event that is stored
        under its own offset is itself and not a duplicate; the caller then throws the commits away.
        """
        by_partition: dict[int, dict[str, Judged]] = {}
        self._claimed.clear()
        for part in judged:
            by_partition.setdefault(part.partition, {})[part.kind.topic] = part
        commits: list[PartitionCommit] = []
        touched: dict[int, Touched] = {}
        for partition in sorted(by_partition):
            state = self.states[partition]
            touched[partition] = Touched()
            state.seq += 1
            commit = PartitionCommit(partition, state.seq, {t: positions[t, partition] for t in KIND_OF_TOPIC}, {})
            letters = Rows.of(DEAD_LETTER_COLUMNS)
            for topic in KIND_OF_TOPIC:
                if topic in by_partition[partition]:
                    part = by_partition[partition][topic]
                    self._take(state, part, commit, touched[partition], positions[topic, partition], replaying)
                    dead_letter_rows(part, letters, cluster_id)
            commit.rows["dead_letters"] = letters
            commit.rows["outbox"] = dead_letter_messages(letters)
            commit.watermark_us, commit.members = state.latest_event_us, len(state)
            commit.model_version = self.scorer(state).version
            commits.append(commit)
        self._score(commits, touched)
        return commits

    def renew_all(self, state: PartitionState) -> None:
        """Base predictions of all members anew, as of the time of their last: for a state of another model version."""
        slots = np.arange(len(state))
        state["forecast_day"][slots] = NO_DAY
        renew_forecasts(state, slots, self.scorer(state).models.behavior)
        renew_base(self.scorer(state), state, slots, state["base_as_of"][slots])

    def _take(
        self,
        state: PartitionState,
        part: Judged,
        commit: PartitionCommit,
        touched: Touched,
        start: int,
        replaying: bool,
    ) -> None:
        refuse_misplaced(part, state)
        accepted = len(part)
        self._drop_duplicates(state, part, replaying)
        if part.readings is None:
            apply_events(state, part.kind, part.events, commit.rows, touched)
        else:
            apply_readings(state, part.readings, part.slots, touched)
        if part.kind.table:
            commit.rows[part.kind.table] = stored_rows(part)
        commit.offsets[part.kind.topic] = part.next_offset
        gaps = part.next_offset - start - part.records
        commit.counts[part.kind.topic] = TopicCount(len(part), accepted - len(part), len(part.refused), gaps)

    def _drop_duplicates(self, state: PartitionState, part: Judged, replaying: bool) -> None:
        if part.readings is not None:
            part.filter(~state.window.claim(part.readings.digests))
            return
        names = [(event.source, event.event_id) for event in part.events]
        digests = np.fromiter((digest(*name) for name in names), np.uint64, len(names))
        duplicate = state.window.claim(digests)
        if part.kind.table:
            table = part.kind.table
            stored = self._known_events(table, names)
            for i, name in enumerate(names):
                itself = replaying and stored.get(name) == (part.partition, part.offsets[i])
                # one event under two members lies in two partitions, and so perhaps twice in this very batch
                if (name in stored and not itself) or (table, *name) in self._claimed:
                    duplicate[i] = True
            self._claimed.update((table, *name) for name in names)
        if duplicate.any():
            part.filter((~duplicate).tolist())

    def _score(self, commits: Sequence[PartitionCommit], touched: Mapping[int, Touched]) -> None:
        for commit in commits:
            state, marks = self.states[commit.partition], touched[commit.partition]
            slots = np.array(sorted(marks.scored | marks.based), np.int64)
            as_of = state["watermark"][slots]
            if marks.batch_as_of_us is not None:
                as_of = np.maximum(as_of, marks.batch_as_of_us)
            based = np.array(sorted(marks.based), np.int64)
            scores, outbox = score_members(self.scorer(state), state, slots, based, as_of)
            commit.rows["scores"] = scores
            commit.rows["outbox"].extend(outbox)
