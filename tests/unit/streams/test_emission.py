"""The rule of emission: rows say what is new, the state and what is asked for follow every reading."""

import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.domain.events import ENROLLMENT, SCORING_COMMAND, SourceEvent
from engine.domain.packed_arrays import pack, unpack
from engine.scoring import emission
from engine.scoring.health_score import CATEGORIES, HealthScorer
from engine.scoring.member_state import PartitionState
from engine.scoring.told import told_rows
from engine.settings import load_rules
from engine.streams.outputs import current_scores
from engine.streams.topics import CARE_ALERTS, SCORES_UPDATED, partition_of
from tests.unit.streams.test_processor import (
    NOW_MS,
    Log,
    Shard,
    batch,
    cut,
    enrol,
    enrolment,
    feed_one,
    log,
    reading,
)

__all__ = ["log"]
RULES = load_rules()
DAY_MS = 86_400_000
MIDNIGHT = (NOW_MS // DAY_MS - 1) * DAY_MS
NAN = float("nan")


def says_new(now: tuple[float, float, int, int, int], told: tuple[float, float, int, int, int]) -> bool:
    """The rule for one member: score, cost, category, class of NEWS2, day."""
    return bool(_both(now, told)[0])


def _both(now: tuple, told: tuple) -> np.ndarray:
    one = [np.array([value], np.float64 if i < 2 else np.int64) for i, value in enumerate(now)]
    kinds = (np.float64, np.float64, np.int8, np.int8, np.int32)
    last = [np.array([value], kind) for value, kind in zip(told, kinds, strict=True)]
    given = (np.array([0]), *one, *last, RULES.emit_score, RULES.emit_cost)
    compiled = emission._new(*given)
    np.testing.assert_array_equal(compiled, emission._new.py_func(*given))
    return np.asarray(compiled)


LAST = (40.0, 5000.0, 1, 0, 100)


@pytest.mark.parametrize(
    ("now", "new"),
    [
        (LAST, False),
        ((40.49, 5099.0, 1, 0, 100), False),
        ((40.5, 5000.0, 1, 0, 100), True),
        ((39.5, 5000.0, 1, 0, 100), True),
        ((40.0, 5100.0, 1, 0, 100), True),
        ((40.0, 4900.0, 1, 0, 100), True),
        ((40.0, 4901.0, 1, 0, 100), False),
        ((40.0, 5000.0, 2, 0, 100), True),
        ((40.0, 5000.0, 1, 1, 100), True),
        ((40.0, 5000.0, 1, 0, 101), True),
        ((40.0, 5000.0, 1, 0, 99), False),  # a day that is over says nothing new by itself
        ((NAN, NAN, -1, 0, 100), True),
    ],
)
def test_what_is_new(now: tuple, new: bool) -> None:
    assert says_new(now, LAST) is new


def test_of_a_member_without_a_score_only_another_day_or_class_is_new() -> None:
    none = (NAN, NAN, -1, 0, 100)
    assert not says_new(none, none)
    assert says_new((NAN, NAN, -1, 0, 101), none) and says_new((40.0, 5000.0, 1, 0, 100), none)


numbers = st.one_of(st.floats(1, 100), st.just(NAN))
score = st.tuples(numbers, numbers, st.integers(-1, 3), st.integers(0, 2), st.integers(0, 3))


@given(now=score, told=score)
def test_the_kernel_is_its_python(now: tuple, told: tuple) -> None:
    _both(now, told)


def test_rules_that_cannot_be_are_refused() -> None:
    for name, value in (("emit_score", 0.0), ("emit_score", 99.0), ("emit_cost", 0.0), ("emit_cost", NAN)):
        with pytest.raises(ValueError, match="emission"):
            replace(RULES, **{name: value})


def joined(member: str) -> SourceEvent:
    """An enrolment before the day."""
    return SourceEvent(ENROLLMENT, {**enrolment(member).fields, "time": MIDNIGHT - 1000})


def quiet(n: int, first: int = 0) -> list:
    """Readings of one day that change next to nothing."""
    return [reading("m", f"q{i}", "resting_heart_rate", 62.0, "bpm", time=MIDNIGHT + 1000 * i) for i in range(first, n)]


def rows_of(commit: object) -> list[dict]:
    return told_rows(commit.rows["scores"].columns)  # type: ignore[attr-defined]


def test_readings_that_say_nothing_new_write_nothing_and_the_state_follows(scorer: HealthScorer) -> None:
    shard = Shard(scorer)
    feed_one(shard, joined("m"))
    first = feed_one(shard, *quiet(1))
    assert len(rows_of(first)) == 1
    state = shard.processor.states[partition_of("m")]
    told = state["told_score"][0]
    for i in range(1, 6):
        commit = feed_one(shard, *quiet(i + 1, i))
        assert not rows_of(commit) and SCORES_UPDATED not in commit.rows["outbox"].columns["topic"]
        assert commit.scored.tolist() == [0]
        (row,) = told_rows(current_scores(scorer, state, np.array([0])).columns)
        assert row["as_of"] == (MIDNIGHT + 1000 * i) * 1000 and abs(row["score"] - told) < RULES.emit_score
    later = feed_one(shard, reading("m", "next day", "resting_heart_rate", 62.0, "bpm", time=MIDNIGHT + DAY_MS))
    assert len(rows_of(later)) == 1


def test_an_alert_is_not_later_for_the_rule(scorer: HealthScorer) -> None:
    shard = Shard(scorer)
    feed_one(shard, joined("m"))
    feed_one(shard, *quiet(3))
    signs = [("spo2", 85.0, "%"), ("respiratory_rate", 28.0, "breaths/min"), ("resting_heart_rate", 135.0, "bpm")]
    at = MIDNIGHT + 60_000
    commit = feed_one(shard, *(reading("m", m, m, value, unit, time=at) for m, value, unit in signs))
    assert CARE_ALERTS in commit.rows["outbox"].columns["topic"]
    assert [row["category"] for row in rows_of(commit)] == ["Critical"]


def command(shard: Shard, partition: int, name: str = "night") -> object:
    start = shard.positions.get((SCORING_COMMAND.topic, partition), 0)
    value = {"v": 1, "event_id": name, "source": "test", "member_id": "*", "time": NOW_MS - 500}
    (commit,) = shard.feed([batch(SCORING_COMMAND.topic, partition, start, [json.dumps(value).encode()])])
    return commit


def test_a_command_is_always_answered(scorer: HealthScorer) -> None:
    shard = Shard(scorer)
    feed_one(shard, joined("m"))
    assert all(len(rows_of(command(shard, partition_of("m"), f"night {i}"))) == 1 for i in range(3))


def batches(log: Log, seed: int | None) -> Iterator[tuple[tuple[str, int], list]]:
    for place, values in sorted(log.items()):
        if place[0] != ENROLLMENT.topic:
            for part in [values] if seed is None else cut(values, seed + place[1]):
                yield place, list(part)


def last_rows(log: Log, scorer: HealthScorer, seed: int | None) -> dict[str, dict]:
    """Feeds the log in batches cut by `seed`; after each the last rows must be as the rule promises, against the state.

    Returns each member's row after a last command.
    """
    shard, last = Shard(scorer), dict[str, dict]()
    enrol(log, shard)
    for commit in shard.commits:
        last |= {row["member_id"]: row for row in rows_of(commit)}
    for place, part in batches(log, seed):
        (commit,) = shard.feed([batch(*place, shard.positions.get(place, 0), part)])
        last |= {row["member_id"]: row for row in rows_of(commit)}
        state = shard.processor.states[place[1]]
        slots = np.arange(len(state))
        for slot, now in enumerate(told_rows(current_scores(scorer, state, slots).columns)):
            row = last[now["member_id"]]
            told = (state[name][slot].item() for name in ("told_score", "told_cost"))
            assert [row["score"], row["predicted_cost"]] == [None if x != x else x for x in told], "told, and as told"
            assert row["category"] == now["category"], "a change of category without its row"
            assert now["category"] == (CATEGORIES[c] if (c := state["category"][slot]) >= 0 else "Insufficient data")
            assert row["as_of"] // (DAY_MS * 1000) == now["as_of"] // (DAY_MS * 1000)
            if row["score"] is not None:
                assert abs(row["score"] - now["score"]) < RULES.emit_score
                assert abs(row["predicted_cost"] - now["predicted_cost"]) < RULES.emit_cost * row["predicted_cost"]
    for partition in sorted(shard.processor.states):
        commit = command(shard, partition)
        last |= {row["member_id"]: {**row, "seq": 0} for row in rows_of(commit)}
    return last


@given(seed=st.integers(0, 2**20))
@settings(max_examples=5)
def test_rows_keep_up_with_the_state_however_the_log_is_cut(log: Log, scorer: HealthScorer, seed: int) -> None:
    whole, parts = last_rows(log, scorer, None), last_rows(log, scorer, seed)
    assert whole == parts and len(whole) == 12


def test_a_snapshot_of_before_the_rule_is_read(scorer: HealthScorer) -> None:
    shard = Shard(scorer)
    feed_one(shard, joined("m"))
    feed_one(shard, *quiet(1))
    partition = partition_of("m")
    arrays = unpack(shard.processor.states[partition].dump())
    former = {name: array for name, array in arrays.items() if not name.startswith("told_")}
    shard.processor.states[partition] = PartitionState.load(pack(former))
    assert len(rows_of(feed_one(shard, *quiet(2, 1)))) == 1, "nothing is known to be told: it is told"
    assert not rows_of(feed_one(shard, *quiet(3, 2)))
