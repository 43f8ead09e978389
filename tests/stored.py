"""What the shards have stored, held against the oracle: the same for PostgreSQL and a fake of it."""

import datetime as dt
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import psycopg
from psycopg.rows import dict_row

from engine.domain.claims import SERVICE_CATEGORIES
from engine.domain.events import CONDITIONS, KIND_OF_TOPIC
from engine.domain.metrics import LAB_INDEX, METRIC_INDEX
from engine.scoring.health_score import CATEGORIES, HIGH, INSUFFICIENT, HealthScorer
from engine.scoring.member_state import PartitionState
from engine.scoring.state_kernels import DAYS, MONTHS
from engine.storage.snapshots import dumped
from engine.streams.score_messages import unpack
from engine.streams.topics import SCORES_UPDATED
from tests.oracle import EPOCH, Expected, LogRecord, Member, recompute, score

_READING = ("source", "event_id", "member_id", "metric", "value", "unit")


@dataclass
class Stored:
    """The tables: a row is a tuple or, of scores, a dictionary.

    `offsets` are topic, partition, applied, duplicates, dead letters, pending, gaps, first and next offset; `readings`
    partition, offset, time in ms and the event's own columns; `letters` topic, partition, offset and reason; `events`
    by table the partition and offset of each row; `outbox` topic, key and message in order of publication.
    """

    offsets: list[tuple[Any, ...]] = field(default_factory=list)
    readings: list[tuple[Any, ...]] = field(default_factory=list)
    letters: list[tuple[Any, ...]] = field(default_factory=list)
    events: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    states: list[PartitionState] = field(default_factory=list)
    scores: list[dict[str, Any]] = field(default_factory=list)
    outbox: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)


def read(connection: psycopg.Connection) -> Stored:
    """Everything as PostgreSQL has it."""
    rows = connection.execute
    payloads = rows("SELECT payload FROM member_state ORDER BY partition").fetchall()
    return Stored(
        rows(
            "SELECT topic, partition, applied, duplicates, dead_letters, pending, gaps, first_offset, next_offset "
            "FROM partition_offsets"
        ).fetchall(),
        rows(
            "SELECT partition, kafka_offset, (extract(epoch FROM time) * 1000)::bigint, "
            f"{', '.join(_READING)} FROM readings"
        ).fetchall(),
        rows("SELECT topic, partition, kafka_offset, reason FROM dead_letters").fetchall(),
        {
            kind.table: rows(f"SELECT partition, kafka_offset FROM {kind.table}").fetchall()
            for kind in KIND_OF_TOPIC.values()
            if kind.table
        },
        [PartitionState.load(dumped(payload)) for (payload,) in payloads],
        scores(connection),
        messages(rows("SELECT topic, message_key, payload FROM outbox ORDER BY id").fetchall()),
    )


def scores(connection: psycopg.Connection) -> list[dict[str, Any]]:
    """The score history in words, with `as_of_us` for `as_of`."""
    with connection.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute("SELECT *, (extract(epoch FROM as_of) * 1000000)::bigint AS as_of_us FROM scores")
        return found.fetchall()


def messages(rows: Iterable[tuple[str, str, bytes]]) -> list[tuple[str, str, dict[str, Any]]]:
    """What the relay would publish of the outbox's rows."""
    found = []
    for topic, key, payload in rows:
        unfolded = unpack(payload) if topic == SCORES_UPDATED else [(key, payload)]
        found += [(topic, of, json.loads(message)) for of, message in unfolded]
    return found


def check(
    stored: Stored, log: Sequence[LogRecord], scorer: HealthScorer, gaps: int = 0, pending_ms: int = 86_400_000
) -> Expected:
    """Everything stored against the oracle's replay of the log, which holds `gaps` offsets without an event.

    The shards must have stopped, each with a snapshot, and every member must have been scored by a last command.
    """
    expected = recompute(log, pending_ms)
    total = expected.total()
    assert total.applied + total.duplicates + total.dead_letters + total.pending == len(log)
    _check_counts(stored, expected, gaps)
    _check_rows(stored, expected)
    _check_states(stored, expected)
    _check_scores(stored, expected, scorer)
    _check_outbox(stored)
    return expected


def _check_counts(stored: Stored, expected: Expected, gaps: int) -> None:
    counts = {(row[0], row[1]): row[2:6] for row in stored.offsets}
    wanted = {place: (c.applied, c.duplicates, c.dead_letters, c.pending) for place, c in expected.counts.items()}
    none = (0, 0, 0, 0)
    pairs = {place: (counts.get(place, none), wanted.get(place, none)) for place in {*counts, *wanted}}
    wrong = {place: pair for place, pair in pairs.items() if pair[0] != pair[1]}
    assert not wrong, f"stored and expected (applied, duplicates, dead letters, pending): {wrong}"
    for *place, applied, duplicates, dead, pending, between, first, following in stored.offsets:
        assert following - first == applied + duplicates + dead + pending + between, place
    held = sum(len(state.pending) for state in stored.states)
    assert held == sum(row[5] for row in stored.offsets), "pending in the states and in the counts"
    assert sum(row[6] for row in stored.offsets) == gaps


def _unique(what: str, places: Iterable[Any]) -> None:
    twice = [place for place, count in Counter(places).items() if count > 1]
    assert not twice, f"stored twice: {what} {twice[:5]}"


def _same(what: str, found: dict[Any, Any], wanted: dict[Any, Any]) -> None:
    differing = [key for key in {*found, *wanted} if found.get(key) != wanted.get(key)]
    shown = [(key, found.get(key), wanted.get(key)) for key in differing[:3]]
    assert not differing, f"{len(differing)} {what} differ; (place, stored, expected): {shown}"


def _check_rows(stored: Stored, expected: Expected) -> None:
    _unique("readings", (row[:2] for row in stored.readings))
    wanted = {p: (e["time"], *(e[name] for name in _READING)) for p, e in expected.readings.items()}
    _same("readings", {tuple(row[:2]): tuple(row[2:]) for row in stored.readings}, wanted)
    _unique("dead letters", (row[:3] for row in stored.letters))
    _same("dead letters", {tuple(row[:3]): row[3] for row in stored.letters}, expected.dead)
    for kind in KIND_OF_TOPIC.values():
        if kind.table:
            applied = sum(c.applied for (topic, _), c in expected.counts.items() if topic == kind.topic)
            _unique(kind.table, stored.events[kind.table])
            assert len(stored.events[kind.table]) == applied, kind.table


def _check_states(stored: Stored, expected: Expected) -> None:
    found = {m: (state, slot) for state in stored.states for slot, m in enumerate(state.ids(np.arange(len(state))))}
    assert set(found) == set(expected.members)
    assert sum(len(state) for state in stored.states) == len(found), "a member is in two partitions"
    for name, member in expected.members.items():
        _check_member(*found[name], member)


def _check_member(state: PartitionState, slot: int, member: Member) -> None:
    at = {name: state[name][slot] for name in ("male", "active", "conditions", "general_health", "mental_health")}
    assert at["male"] == (member.sex == "male")
    assert at["active"] == (member.action != "terminate")
    assert {CONDITIONS[i] for i in range(len(CONDITIONS)) if at["conditions"] >> i & 1} == member.conditions
    assert (at["general_health"], at["mental_health"]) == (member.general_health or 0, member.mental_health or 0)
    assert state["watermark"][slot] == member.latest_ms * 1000
    sums, counts = np.zeros((len(METRIC_INDEX), DAYS), int), np.zeros((len(METRIC_INDEX), DAYS), int)
    for metric, days in member.daily().items():
        for day, (total, count) in days.items():
            sums[METRIC_INDEX[metric], day % DAYS], counts[METRIC_INDEX[metric], day % DAYS] = total, count
    slots = np.array([slot])
    for i in METRIC_INDEX.values():
        np.testing.assert_array_equal([column[0] for column in state.daily(slots, i)], [sums[i], counts[i]])
    (times, values), (lab_times, lab_values) = state.latest_readings(slots), state.latest_results(slots)
    latest = {m: (int(times[0, i]), values[0, i]) for m, i in METRIC_INDEX.items()}
    assert {m: pair for m, pair in latest.items() if pair[0] > 0} == {
        m: (time * 1000, value) for m, (time, value) in member.latest.items()
    }
    results = {test: (int(lab_times[0, i]), lab_values[0, i]) for test, i in LAB_INDEX.items()}
    assert {test: pair for test, pair in results.items() if pair[0] > 0} == {
        test: (time * 1000, value) for test, (time, value) in member.results().items()
    }
    assert EPOCH + dt.timedelta(days=int(state["since_day"][slot])) == member.since
    cents, claims = np.zeros((len(SERVICE_CATEGORIES), MONTHS), int), np.zeros((len(SERVICE_CATEGORIES), MONTHS), int)
    for (category, month), (amount, count) in member.monthly().items():
        row = SERVICE_CATEGORIES.index(category)
        cents[row, month % MONTHS], claims[row, month % MONTHS] = amount, count
    np.testing.assert_array_equal([column[0] for column in state.monthly_costs(slots)], [cents, claims])


def _history(stored: Stored) -> dict[str, list[dict[str, Any]]]:
    """Each member's scores, oldest first."""
    history: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(stored.scores, key=lambda row: row["seq"]):
        history.setdefault(row["member_id"], []).append(row)
    return history


def _check_scores(stored: Stored, expected: Expected, scorer: HealthScorer) -> None:
    _unique("scores", ((row["member_id"], row["partition"], row["seq"]) for row in stored.scores))
    history = _history(stored)
    assert set(history) == set(expected.members)
    for name, rows in history.items():
        row = rows[-1]
        wanted = score(expected.members[name], expected.command_ms[row["partition"]], scorer)
        assert (row["as_of_us"], row["category"], row["news2"], row["components"]) == (
            wanted.as_of_us,
            wanted.category,
            wanted.news2,
            wanted.components,
        ), name
        assert (row["score"] is None) == (row["category"] == INSUFFICIENT)
        found = [row[column] for column in ("score", "predicted_cost", "cost_lower_90", "cost_upper_90")]
        np.testing.assert_allclose(np.array(found, float), np.array([wanted.score, *wanted.cost], float), rtol=1e-12)
        assert (row["risk_factors"], row["interventions"]) == (wanted.factors, wanted.interventions), name


def _check_outbox(stored: Stored) -> None:
    """Every score and dead letter is told once, and every rise to High or Critical is an alert."""
    told: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for topic, key, message in stored.outbox:
        told.setdefault(topic, []).append((key, message))
    scores = Counter((key, message["seq"]) for key, message in told.get("scores.updated", []))
    assert scores == Counter((row["member_id"], row["seq"]) for row in stored.scores)
    letters = Counter((m["topic"], m["partition"], m["kafka_offset"]) for _, m in told.get("dead.letters", []))
    assert letters == Counter(tuple(row[:3]) for row in stored.letters)
    rank = {category: i for i, category in enumerate(CATEGORIES)}
    wanted: Counter[tuple[str, int]] = Counter()
    for name, rows in _history(stored).items():
        before = -1
        for row in rows:
            now = rank.get(row["category"], -1)
            if now >= HIGH and now > before:
                wanted[name, row["seq"]] += 1
            before = now
    assert Counter((key, message["seq"]) for key, message in told.get("care.alerts", [])) == wanted
