"""Placement: everything placed, shares one apart, and no more moves than must be."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.domain.placement import balance, decide, in_order, spread
from engine.domain.tables import SHARD_STATES
from engine.errors import PlacementError

NAMES = [f"shard-{i}" for i in range(12)]
shards = st.lists(st.sampled_from(NAMES), min_size=1, unique=True)
current = st.dictionaries(st.integers(0, 63), st.sampled_from(NAMES))


def moved(before: dict[int, str], after: dict[int, str]) -> int:
    return sum(after[p] != name for p, name in before.items())


def fewest_moves(before: dict[int, str], names: list[str], partitions: int) -> int:
    """By another road: whoever has the most keeps the larger shares."""
    counts = sorted((Counter(before.values())[name] for name in names), reverse=True)
    least, larger = divmod(partitions, len(names))
    kept = sum(min(count, least + (i < larger)) for i, count in enumerate(counts))
    return len(before) - kept


def test_four_to_eight_to_four() -> None:
    four = balance({}, NAMES[:4], 64)
    assert Counter(four.values()) == dict.fromkeys(NAMES[:4], 16)
    eight = balance(four, NAMES[:8], 64)
    assert Counter(eight.values()) == dict.fromkeys(NAMES[:8], 8)
    assert moved(four, eight) == 32
    back = balance(eight, NAMES[:4], 64)
    assert Counter(back.values()) == dict.fromkeys(NAMES[:4], 16)
    assert moved(eight, back) == 32


def test_names_are_ordered_by_their_numbers() -> None:
    assert in_order(["shard-10", "shard-2", "a", "shard-2"]) == ["a", "shard-2", "shard-10"]


@given(current, shards)
def test_balanced_with_the_fewest_moves(before: dict[int, str], names: list[str]) -> None:
    after = balance(before, names, 64)
    shares = Counter(after.values())
    assert set(after) == set(range(64)) and set(shares) <= set(names)
    assert max(shares[name] for name in names) - min(shares[name] for name in names) <= 1
    assert moved(before, after) == fewest_moves(before, names, 64)
    assert balance(before, names[::-1], 64) == after
    assert balance(after, names, 64) == after


@given(current, shards)
def test_spread_moves_only_what_has_lost_its_shard(before: dict[int, str], names: list[str]) -> None:
    after = spread(before, names, 64)
    assert set(after) == set(range(64)) and set(after.values()) <= set(names)
    assert all(after[p] == name for p, name in before.items() if name in names)
    assert spread(after, names, 64) == after


def test_without_a_shard_there_is_no_placement() -> None:
    for place in (balance, spread):
        with pytest.raises(PlacementError, match="no shard is left"):
            place({}, [], 64)


def test_the_first_placement_waits_for_nobody() -> None:
    changed, placed = decide(dict.fromkeys(NAMES[:2], "joining"), {}, [], [], 64)
    assert changed == dict.fromkeys(NAMES[:2], "active") and placed == balance({}, NAMES[:2], 64)


def test_a_shard_gets_its_share_once_it_is_alive() -> None:
    two = balance({}, NAMES[:2], 64)
    states = {**dict.fromkeys(NAMES[:2], "active"), NAMES[2]: "joining"}
    assert decide(states, two, NAMES[:2], [], 64) == ({}, two)
    assert decide(states, two, NAMES[:3], [], 64) == ({NAMES[2]: "active"}, balance(two, NAMES[:3], 64))


@pytest.mark.parametrize("state", ["drained", "leaving"])
def test_what_lies_on_a_shard_that_goes_is_spread_and_nothing_else_moves(state: str) -> None:
    three = balance({}, NAMES[:3], 64)
    states = {**dict.fromkeys(NAMES[:2], "active"), NAMES[2]: state}
    changed, placed = decide(states, three, NAMES[:3], [], 64)
    assert changed == {} and placed == spread(three, NAMES[:2], 64)


def test_a_dead_shard_loses_everything_and_joins_again_once_it_is_alive() -> None:
    two = balance({}, NAMES[:2], 64)
    states = dict.fromkeys(NAMES[:2], "active")
    changed, placed = decide(states, two, NAMES[:1], NAMES[1:2], 64)
    assert changed == {NAMES[1]: "joining"} and set(placed.values()) == {NAMES[0]}
    again = decide(states | changed, placed, NAMES[:2], [], 64)
    assert again == ({NAMES[1]: "active"}, balance(placed, NAMES[:2], 64))


def test_nothing_moves_while_nobody_can_take_it() -> None:
    two = balance({}, NAMES[:2], 64)
    assert decide(dict.fromkeys(NAMES[:2], "active"), two, [], NAMES[:2], 64) == ({}, two)


def test_one_that_stands_by_takes_all_of_one_that_is_gone_and_they_change_places() -> None:
    two = balance({}, NAMES[:2], 64)
    states = {NAMES[0]: "active", NAMES[1]: "active", NAMES[2]: "standby"}
    changed, placed = decide(states, two, NAMES[:3], [], 64, [NAMES[1]])
    assert changed == {NAMES[1]: "standby", NAMES[2]: "active"}
    assert placed == {p: NAMES[2] if name == NAMES[1] else name for p, name in two.items()}
    assert decide(states | changed, placed, NAMES[:3], [], 64) == ({}, placed), "it stays so once the other is back"
    assert decide(states, two, NAMES[:3], [NAMES[1]], 64) == (changed, placed), "who is silent is replaced as well"


def test_who_is_gone_is_waited_for_where_nobody_can_step_in() -> None:
    two = balance({}, NAMES[:2], 64)
    states = {NAMES[0]: "active", NAMES[1]: "active", NAMES[2]: "standby"}
    for alive, gone in ((NAMES[:2], NAMES[1:2]), (NAMES[:3], NAMES[1:3])):
        assert decide(states, two, alive, [], 64, gone) == ({}, two)
    assert decide(dict.fromkeys(NAMES[:2], "active"), two, NAMES[:2], [], 64, NAMES[:1]) == ({}, two)


def test_of_two_that_are_gone_one_is_replaced_by_the_only_one_that_stands_by() -> None:
    two = balance({}, NAMES[:2], 64)
    states = {NAMES[0]: "active", NAMES[1]: "active", NAMES[2]: "standby"}
    changed, placed = decide(states, two, NAMES[2:3], [], 64, NAMES[:2])
    assert changed == {NAMES[0]: "standby", NAMES[2]: "active"}
    assert Counter(placed.values()) == {NAMES[1]: 32, NAMES[2]: 32}


def test_what_lies_on_one_that_is_to_stand_by_goes_to_those_that_work() -> None:
    three = balance({}, NAMES[:3], 64)
    states = {NAMES[0]: "active", NAMES[1]: "active", NAMES[2]: "standby"}
    assert decide(states, three, NAMES[:3], [], 64) == ({}, spread(three, NAMES[:2], 64))


@given(st.dictionaries(st.sampled_from(NAMES), st.sampled_from(SHARD_STATES)), current, shards, shards, shards)
def test_whatever_the_supervisor_sees_it_comes_to_rest(
    states: dict[str, str], before: dict[int, str], alive: list[str], dead: list[str], gone: list[str]
) -> None:
    changed, placed = decide(states, before, alive, dead, 64, gone)
    if changed or placed != before:
        takers = {name for name, state in (states | changed).items() if state == "active"}
        assert set(placed) == set(range(64)) and set(placed.values()) <= takers
    assert decide(states | changed, placed, alive, dead, 64, gone) == ({}, placed)
