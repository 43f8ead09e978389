"""The processor: every event counted once, the same state however the log is cut into batches, alerts once."""

import dataclasses
import datetime as dt
import itertools
import json
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.domain.batch import PartitionCommit, TopicCount
from engine.domain.events import (
    ENROLLMENT,
    KIND_OF_TOPIC,
    READING,
    SCORING_COMMAND,
    SELF_REPORT,
    EventKind,
    SourceEvent,
)
from engine.domain.population import Population
from engine.interop.synthetic import month
from engine.scoring import facts
from engine.scoring.health_score import HealthScorer
from engine.scoring.member_state import PartitionState
from engine.streams.judge import judge
from engine.streams.processor import Processor
from engine.streams.records import RecordBatch
from engine.streams.score_messages import unpack
from engine.streams.topics import CARE_ALERTS, SCORES_UPDATED, partition_of

START = dt.date(2024, 3, 1)
NOW_MS = int(dt.datetime(2024, 4, 1, tzinfo=dt.UTC).timestamp() * 1000)


class Log(dict[tuple[str, int], list[bytes]]):
    """Topic partitions with their payloads; short to print."""

    def __repr__(self) -> str:
        return f"<{len(self)} topic partitions>"


def log_of(events: Sequence[SourceEvent]) -> Log:
    """The events as the topic partitions a producer would write."""
    log = Log()
    for event in events:
        place = event.kind.topic, partition_of(event.member_id)
        log.setdefault(place, []).append(json.dumps({"v": 1, **event.fields}).encode())
    return log


def batch(topic: str, partition: int, start: int, values: Sequence[bytes]) -> RecordBatch:
    offsets = list(range(start, start + len(values)))
    return RecordBatch.of(topic, partition, offsets, [NOW_MS] * len(values), list(values), start + len(values))


class Shard:
    """A processor over a log in memory, whose stored events are known as PostgreSQL would know them."""

    def __init__(self, scorer: HealthScorer, pending_seconds: float = 0.0) -> None:
        self.stored: dict[tuple[str, str, str], tuple[int, int]] = {}
        self.positions: dict[tuple[str, int], int] = {}
        self.processor = Processor(lambda _: scorer, self._known, pending_seconds)
        self.commits: list[PartitionCommit] = []

    def _known(self, table: str, keys: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], tuple[int, int]]:
        return {key: self.stored[table, *key] for key in keys if (table, *key) in self.stored}

    def feed(self, batches: Sequence[RecordBatch], *, replaying: bool = False) -> list[PartitionCommit]:
        for part in batches:
            self.processor.states.setdefault(part.partition, PartitionState(part.partition))
            for topic in KIND_OF_TOPIC:
                self.positions.setdefault((topic, part.partition), 0)
        judged, expired_ms = [judge(b) for b in batches], NOW_MS if replaying else None
        commits = self.processor.process(judged, self.positions, "cluster", replaying=replaying, expired_ms=expired_ms)
        for commit in commits:
            self.positions.update({(topic, commit.partition): offset for topic, offset in commit.offsets.items()})
            for table, rows in commit.rows.items():
                if "kafka_offset" in rows.columns and "event_id" in rows.columns:
                    names = zip(rows.columns["source"], rows.columns["event_id"], strict=True)
                    places = zip(rows.columns["partition"], rows.columns["kafka_offset"], strict=True)
                    self.stored.update({(table, *name): place for name, place in zip(names, places, strict=True)})
        self.commits += commits
        return commits

    def total(self) -> TopicCount:
        counts = [count for commit in self.commits for count in commit.counts.values()]
        return sum(counts, TopicCount())

    def outbox(self, topic: str) -> list[dict]:
        rows = [
            payload
            for commit in self.commits
            for name, payload in zip(*(commit.rows["outbox"].columns[c] for c in ("topic", "payload")), strict=True)
            if name == topic
        ]
        if topic == SCORES_UPDATED:
            return [json.loads(message) for row in rows for _, message in unpack(row)]
        return [json.loads(row) for row in rows]


def known(state: PartitionState, slots: np.ndarray) -> dict[str, np.ndarray]:
    """What the state knows of the members, by name."""
    columns = {name: state[name][slots] for name in ("watermark", "category", "base_cost", "conditions", "ccs")}
    sums = {"windows": state.windows(slots)[0], "cents": state.monthly_costs(slots)[0]}
    times, values = state.latest_readings(slots)
    return {**columns, **sums, "times": times, "values": values}


def enrol(log: Log, shard: Shard) -> None:
    """All enrolments first, as the shard loop reads them."""
    shard.feed([batch(t, p, 0, values) for (t, p), values in log.items() if t == ENROLLMENT.topic])


def cut(values: Sequence[bytes], seed: int) -> list[Sequence[bytes]]:
    chance = np.random.default_rng(seed)
    marks = sorted({0, len(values), *chance.integers(0, len(values) + 1, 4).tolist()})
    return [values[a:b] for a, b in itertools.pairwise(marks)]


def run(log: Log, scorer: HealthScorer, seed: int | None) -> Shard:
    """Feeds each topic partition in batches cut by `seed`, or whole for None."""
    shard = Shard(scorer)
    enrol(log, shard)
    for (topic, partition), values in sorted(log.items()):
        if topic != ENROLLMENT.topic:
            for part in [values] if seed is None else cut(values, seed + partition):
                shard.feed([batch(topic, partition, shard.positions.get((topic, partition), 0), part)])
    return shard


@pytest.fixture(scope="module")
def log() -> Log:
    population = Population.generate(3, 12, START)
    return log_of(list(month(population, START, days=2, claims=20, duplicate_rate=0.1, invalid_rate=0.1)))


@given(seed=st.integers(0, 2**20))
@settings(max_examples=10)
def test_every_offset_is_applied_a_duplicate_or_a_dead_letter(log: Log, scorer: HealthScorer, seed: int) -> None:
    shard = run(log, scorer, seed)
    total, sent = shard.total(), sum(map(len, log.values()))
    assert total.applied + total.duplicates + total.dead_letters == sent and total.gaps == 0
    assert total.duplicates > 0 and total.dead_letters > 0
    letters = sum(len(commit.rows["dead_letters"]) for commit in shard.commits)
    assert letters == total.dead_letters
    stored = sum(
        len(rows) for commit in shard.commits for table, rows in commit.rows.items() if "source" in rows.columns
    )
    assert stored == total.applied


@given(seed=st.integers(0, 2**20))
@settings(max_examples=10)
def test_the_state_does_not_depend_on_how_the_log_is_cut(log: Log, scorer: HealthScorer, seed: int) -> None:
    whole, parts = run(log, scorer, None), run(log, scorer, seed)
    assert whole.total() == parts.total()
    for partition, state in whole.processor.states.items():
        other = parts.processor.states[partition]
        slots = np.arange(len(state))
        assert state.ids(slots).tolist() == other.ids(slots).tolist()
        for name, column in known(state, slots).items():
            np.testing.assert_array_equal(column, known(other, slots)[name], err_msg=name)


def test_the_order_of_arrival_does_not_change_the_state(log: Log, scorer: HealthScorer) -> None:
    reverse = Log({p: values[::-1] if p[0] != ENROLLMENT.topic else values for p, values in log.items()})
    one, other = run(log, scorer, None), run(reverse, scorer, None)
    assert one.total().applied == other.total().applied
    for partition, state in one.processor.states.items():
        twin, slots = other.processor.states[partition], np.arange(len(state))
        for name, column in known(state, slots).items():
            np.testing.assert_array_equal(column, known(twin, twin.slots_of(state.ids(slots)))[name], err_msg=name)


def enrolment(member: str) -> SourceEvent:
    fields = {"event_id": f"enrol-{member}", "source": "test", "member_id": member, "time": NOW_MS - 9_000_000}
    person = {"birth_date": "1995-05-05", "sex": "female", "region": "west", "line_of_business": "individual"}
    policy = {"policy_id": "p", "cohort_id": "c", "effective_date": "2024-01-01"}
    return SourceEvent(ENROLLMENT, {**fields, "action": "enroll", **person, **policy})


def reading(member: str, name: str, metric: str, value: float, unit: str, **other: object) -> SourceEvent:
    fields = {"event_id": name, "source": "test", "member_id": member, "time": NOW_MS - 1000}
    return SourceEvent(READING, {**fields, "metric": metric, "value": value, "unit": unit, **other})


def feed_one(shard: Shard, *events: SourceEvent) -> PartitionCommit:
    (commit,) = shard.feed(
        [batch(t, p, shard.positions.get((t, p), 0), values) for (t, p), values in log_of(events).items()]
    )
    return commit


def test_an_alert_goes_out_once_when_a_member_becomes_critical(scorer: HealthScorer) -> None:
    shard = Shard(scorer)
    feed_one(shard, enrolment("m"))
    feed_one(shard, reading("m", "1", "spo2", 97.0, "%", time=NOW_MS - 2000))
    assert not shard.outbox(CARE_ALERTS)
    signs = [("spo2", 85.0, "%"), ("respiratory_rate", 28.0, "breaths/min"), ("resting_heart_rate", 135.0, "bpm")]
    feed_one(shard, *(reading("m", f"bad-{metric}", metric, value, unit) for metric, value, unit in signs))
    feed_one(shard, reading("m", "again", "spo2", 84.0, "%", time=NOW_MS - 500))
    (alert,) = shard.outbox(CARE_ALERTS)
    assert (alert["member_id"], alert["category"]) == ("m", "Critical")
    updates = [update for update in shard.outbox(SCORES_UPDATED) if update["member_id"] == "m"]
    assert len(updates) >= 2


GHOST = partition_of("ghost")


def haunted(scorer: HealthScorer, pending_seconds: float = 60.0) -> Shard:
    """A shard with three readings and a self report of a member who is not enrolled."""
    shard = Shard(scorer, pending_seconds)
    feed_one(shard, reading("ghost", "1", "spo2", 97.0, "%"), reading("ghost", "2", "spo2", 96.0, "%"))
    feed_one(shard, reading("ghost", "1", "spo2", 97.0, "%"), SourceEvent(SELF_REPORT, REPORT))
    return shard


REPORT = {
    "event_id": "s",
    "source": "test",
    "member_id": "ghost",
    "time": NOW_MS - 900,
    "general_health": 2,
    "conditions": ["diabetes"],
}


def later(shard: Shard, seconds: float) -> PartitionCommit:
    """A command in the ghost's partition, taken so much later than the events."""
    command = {"v": 1, "event_id": f"tick-{seconds}", "source": "test", "member_id": "*", "time": NOW_MS}
    start = shard.positions[SCORING_COMMAND.topic, GHOST]
    taken = [NOW_MS + round(1000 * seconds)]
    values = [json.dumps(command).encode()]
    place = (SCORING_COMMAND.topic, GHOST)
    (commit,) = shard.feed([RecordBatch.of(*place, [start], taken, values, start + 1)])
    return commit


def test_an_event_of_nobody_is_held_and_its_member_is_asked_for_once(scorer: HealthScorer) -> None:
    shard = Shard(scorer, 60.0)
    shard.processor.states[GHOST] = PartitionState(GHOST)
    event = log_of([reading("ghost", "1", "spo2", 97.0, "%")])[READING.topic, GHOST]
    assert shard.processor.unknown_members([judge(batch(READING.topic, GHOST, 0, event))]) == {"ghost"}
    (commit,) = shard.feed([batch(READING.topic, GHOST, 0, event)])
    assert commit.counts[READING.topic] == TopicCount(pending=1)
    assert not len(commit.rows["dead_letters"]) and not len(commit.rows["readings"])
    assert shard.processor.unknown_members([judge(batch(READING.topic, GHOST, 1, event))]) == set()


def test_held_events_are_applied_in_order_and_once_when_the_member_enrols(scorer: HealthScorer) -> None:
    shard = haunted(scorer)
    assert shard.total() == TopicCount(pending=4)
    commit = feed_one(shard, enrolment("ghost"), reading("ghost", "3", "spo2", 95.0, "%"))
    assert commit.counts[READING.topic] == TopicCount(applied=3, duplicates=1, pending=-3)
    assert commit.counts[SELF_REPORT.topic] == TopicCount(applied=1, pending=-1)
    assert list(commit.rows["readings"].columns["kafka_offset"]) == [0, 1, 3]
    assert commit.rows["readings"].columns["event_id"].tolist() == ["1", "2", "3"]
    assert commit.rows["self_reports"].columns["kafka_offset"] == [0]
    assert len(shard.processor.states[GHOST].pending) == 0
    assert commit.offsets[SELF_REPORT.topic] == 1, "the offset stays where it was"
    direct = Shard(scorer)
    feed_one(direct, enrolment("ghost"))
    feed_one(direct, *(reading("ghost", str(n), "spo2", 98.0 - n, "%") for n in (1, 2, 3)))
    feed_one(direct, SourceEvent(SELF_REPORT, REPORT))
    ours, theirs = (known(s.processor.states[GHOST], np.array([0])) for s in (shard, direct))
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def test_held_events_become_dead_letters_when_their_time_is_up_by_the_log(scorer: HealthScorer) -> None:
    shard = haunted(scorer)
    assert not len(later(shard, 59.9).rows["dead_letters"])
    commit = later(shard, 60.0)
    letters = commit.rows["dead_letters"].columns
    assert letters["reason"] == ["unknown_member"] * 4
    assert sorted(zip(letters["topic"], letters["kafka_offset"], strict=True)) == [
        (SELF_REPORT.topic, 0),
        *((READING.topic, n) for n in range(3)),
    ]
    assert commit.counts[READING.topic] == TopicCount(dead_letters=3, pending=-3)
    assert commit.expired_ms == NOW_MS
    assert shard.total() == TopicCount(applied=2, dead_letters=4)
    feed_one(shard, enrolment("ghost"))
    commit = feed_one(shard, reading("ghost", "1", "spo2", 97.0, "%"))
    assert commit.counts[READING.topic].applied == 1, "sent again, it is no duplicate"


def test_a_replay_lets_expire_what_its_commit_did_whatever_is_set_now(scorer: HealthScorer) -> None:
    for expired_ms, left in ((NOW_MS - 1, 4), (NOW_MS, 0)):
        shard = haunted(scorer, pending_seconds=0.001)
        assert shard.total().dead_letters == 0
        part = batch(SCORING_COMMAND.topic, GHOST, 0, [b"{"])
        shard.processor.process([judge(part)], shard.positions, "cluster", replaying=True, expired_ms=expired_ms)
        assert len(shard.processor.states[GHOST].pending) == left


def test_without_time_to_wait_an_event_of_nobody_is_a_dead_letter_at_once(scorer: HealthScorer) -> None:
    shard = Shard(scorer, 0.0)
    commit = feed_one(shard, reading("ghost", "1", "spo2", 97.0, "%"))
    assert commit.counts[READING.topic] == TopicCount(dead_letters=1)
    assert commit.rows["dead_letters"].columns["reason"] == ["unknown_member"]


def test_what_there_is_no_room_to_hold_is_a_dead_letter(scorer: HealthScorer) -> None:
    shard = haunted(scorer)
    shard.processor.states[GHOST].pending._most_events = 5
    commit = feed_one(shard, *(reading("ghost", str(n), "spo2", 90.0, "%") for n in range(5, 8)))
    assert commit.counts[READING.topic] == TopicCount(pending=1, dead_letters=2)
    assert commit.rows["dead_letters"].columns["reason"] == ["pending_full"] * 2
    assert commit.rows["dead_letters"].columns["kafka_offset"] == [4, 5]


def test_held_events_of_a_log_made_anew_are_dead_letters_of_the_old_one(scorer: HealthScorer) -> None:
    shard = haunted(scorer)
    shard.positions.update(dict.fromkeys(shard.positions, 0))
    part = batch(READING.topic, GHOST, 0, log_of([reading("ghost", "9", "spo2", 97.0, "%")])[READING.topic, GHOST])
    (commit,) = shard.processor.process([judge(part)], shard.positions, "another cluster")
    letters = commit.rows["dead_letters"].columns
    assert (letters["cluster_id"], letters["reason"]) == (["cluster"] * 4, ["unknown_member"] * 4)
    assert commit.counts == {READING.topic: TopicCount(pending=1)}, "counts are those of the present log"


def test_pending_events_outlive_a_snapshot(scorer: HealthScorer) -> None:
    shard = haunted(scorer)
    shard.processor.states[GHOST] = PartitionState.load(shard.processor.states[GHOST].dump())
    commit = feed_one(shard, enrolment("ghost"))
    assert commit.counts[READING.topic] == TopicCount(applied=2, duplicates=1, pending=-3)


def test_who_the_member_is_comes_before_what_happened(scorer: HealthScorer) -> None:
    shard = Shard(scorer)
    commit = feed_one(shard, reading("m", "1", "spo2", 97.0, "%"), enrolment("m"))
    assert commit.counts[READING.topic].applied == 1
    assert commit.rows["scores"].columns["member_id"].tolist() == ["m"]


def test_a_scoring_command_scores_everybody_as_of_its_time(scorer: HealthScorer) -> None:
    shard = Shard(scorer)
    feed_one(shard, enrolment("m"))
    place = partition_of("m")
    command = {"v": 1, "event_id": "night", "source": "test", "member_id": "*", "time": NOW_MS - 500}
    (commit,) = shard.feed([batch(SCORING_COMMAND.topic, place, 0, [json.dumps(command).encode()])])
    scores = commit.rows["scores"].columns
    assert (scores["member_id"].tolist(), scores["as_of"].tolist()) == (["m"], [(NOW_MS - 500) * 1000])


def test_a_state_of_other_tables_reads_its_categories_anew(scorer: HealthScorer) -> None:
    shard = Shard(scorer)
    feed_one(shard, enrolment("m"))
    state, slot = shard.processor.states[partition_of("m")], np.zeros(1, np.int64)
    year = int(state["watermark"][0].view("M8[us]").astype("M8[Y]").astype(int)) + 1970
    key = facts.key(facts.DIAGNOSIS, facts.code_number("I509"), year)
    state.note(slot, np.array([key]), np.ones(1, np.int8))
    shard.processor.renew_all(state)
    assert state["ccs"][0].any()


@pytest.mark.parametrize("kind", [READING, ENROLLMENT], ids=lambda kind: kind.topic)
def test_replaying_a_committed_batch_reaches_the_same_state(kind: EventKind, log: Log, scorer: HealthScorer) -> None:
    first = run(log, scorer, None)
    again = Shard(scorer)
    again.stored = dict(first.stored)
    enrolments = [batch(t, p, 0, values) for (t, p), values in log.items() if t == ENROLLMENT.topic]
    again.feed(enrolments, replaying=True)
    for (topic, partition), values in sorted(log.items()):
        if topic != ENROLLMENT.topic:
            again.feed([batch(topic, partition, 0, values)], replaying=True)
    assert [dataclasses.asdict(c)["counts"] for c in again.commits if kind.topic in c.counts] == [
        dataclasses.asdict(c)["counts"] for c in first.commits if kind.topic in c.counts
    ]


def test_control_records_are_gaps(scorer: HealthScorer) -> None:
    shard = Shard(scorer)
    feed_one(shard, enrolment("m"))
    (payload,) = log_of([reading("m", "1", "spo2", 97.0, "%")])[READING.topic, partition_of("m")]
    part = RecordBatch.of(READING.topic, partition_of("m"), [2], [NOW_MS], [payload], 5)
    (commit,) = shard.feed([part])
    assert commit.counts[READING.topic] == TopicCount(1, 0, 0, 4)


def test_readings_are_stored_member_by_member_in_the_order_of_their_log(scorer: HealthScorer) -> None:
    """Members in the order in which they were enrolled: an index by member is written in few places then."""
    name = {partition_of(f"n{i}"): f"n{i}" for i in range(2000)}  # the last of each partition
    home = partition_of("n0")
    one, two = name[home], "n0"
    shard = Shard(scorer)
    (commit,) = shard.feed(
        [
            batch(topic, home, 0, values)
            for (topic, _), values in log_of(
                [enrolment(one), enrolment(two)]
                + [reading(who, str(i), "spo2", 97.0, "%") for i, who in enumerate([two, one, two, one, one])]
            ).items()
        ]
    )
    rows = commit.rows["readings"].columns
    assert rows["member_id"].tolist() == [one] * 3 + [two] * 2
    assert list(rows["kafka_offset"]) == [1, 3, 4, 0, 2]
    assert rows["event_id"].tolist() == ["1", "3", "4", "0", "2"]


def test_a_shard_that_stores_no_readings_makes_no_rows_of_them(scorer: HealthScorer) -> None:
    shard = Shard(scorer)
    shard.processor = Processor(lambda _: scorer, lambda table, keys: {}, 0.0, store_readings=False)
    log = log_of([enrolment("n0"), reading("n0", "1", "spo2", 97.0, "%")])
    (commit,) = shard.feed([batch(*place, 0, values) for place, values in log.items()])
    assert "readings" not in commit.rows and commit.counts[READING.topic].applied == 1
