"""Facts: a count for each that is said, whatever the order, the growth and the gaps in the pool."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.scoring import facts
from engine.scoring.facts import CONDITION, DIAGNOSIS, EVER, HCPCS, NO_KEY, Facts, code_number, code_text, key

codes = st.text("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=1, max_size=7)
some_key = st.one_of(
    st.builds(key, st.just(CONDITION), st.integers(0, 13)),
    st.builds(
        key, st.just(DIAGNOSIS), st.sampled_from(["E119", "I10", "Z0000"]).map(code_number), st.integers(2022, 2025)
    ),
)
said = st.lists(st.tuples(st.integers(0, 4), some_key, st.sampled_from([1, 1, -1])), max_size=80)


def noted(said_of: list[tuple[int, int, int]], size: int = 1000, pool: int = 1024) -> Facts:
    found = Facts()
    found._pool = np.zeros(pool, np.int64)
    found.reserve(5)
    for start in range(0, len(said_of), size):
        slots, keys, signs = zip(*said_of[start : start + size], strict=True)
        found.add(np.array(slots), np.array(keys), np.array(signs, np.int8))
    return found


@given(codes, st.integers(CONDITION, HCPCS), st.integers(1971, 2225))
def test_a_key_holds_kind_code_and_year(code: str, kind: int, year: int) -> None:
    number = code_number(code)
    assert code_text(number) == code and 0 < number < 2**37
    found = Facts()
    found.reserve(1)
    found.add(np.array([0]), np.array([key(kind, number, year)]), np.ones(1, np.int8))
    rows, numbers, years = found.of_kind(kind, np.array([0]))
    assert (rows.tolist(), numbers.tolist(), years.tolist()) == ([0], [number], [year])
    assert key(kind, number, year) != key(kind, number, EVER)


@pytest.mark.parametrize("text", ["", "E11.9", "e119", "E1190000", "Ü11"])
def test_what_is_no_code_has_no_number(text: str) -> None:
    assert code_number(text) == NO_KEY


@pytest.mark.parametrize("year", [1970, 2226])
def test_a_year_beyond_is_no_fact(year: int) -> None:
    assert key(DIAGNOSIS, 1, year) == NO_KEY


@given(said, st.integers(1, 20), st.randoms(use_true_random=False))
def test_facts_are_a_counter_of_each_member(said_of: list[tuple[int, int, int]], size: int, chance) -> None:
    wanted: dict[int, Counter[int]] = {slot: Counter() for slot in range(5)}
    for slot, fact, sign in said_of:
        wanted[slot][fact] += sign
    mixed = list(said_of)
    chance.shuffle(mixed)
    found, other = noted(said_of, size, pool=32), noted(mixed)
    dumped = found.dump(5)
    for name, array in other.dump(5).items():
        np.testing.assert_array_equal(dumped[name], array)
    lengths = [sum(count != 0 for count in wanted[slot].values()) for slot in range(5)]
    assert dumped["facts_lengths"].tolist() == lengths
    for slot in range(5):
        of_year = {
            key(DIAGNOSIS, code, year)
            for _, code, year in zip(*(c.tolist() for c in found.of_kind(DIAGNOSIS, np.array([slot]))), strict=True)
        }
        bits = np.zeros(5, np.int32)
        found.conditions(np.array([slot]), bits)
        of_none = {key(CONDITION, i) for i in range(14) if bits[slot] >> i & 1}
        assert of_year | of_none == {fact for fact, count in wanted[slot].items() if count > 0}
    again = Facts()
    again.reserve(5)
    again.load(dumped["facts_lengths"], dumped["facts"])
    again.add(np.array([4]), np.array([key(CONDITION, 3)]), np.ones(1, np.int8))
    found.add(np.array([4]), np.array([key(CONDITION, 3)]), np.ones(1, np.int8))
    np.testing.assert_array_equal(again.dump(5)["facts"], found.dump(5)["facts"])


@given(said, st.integers(2021, 2026))
def test_years_before_the_first_go_and_what_is_of_no_year_stays(
    said_of: list[tuple[int, int, int]], first: int
) -> None:
    every = np.arange(5)
    kept = [(s, k, n) for s, k, n in said_of if k & 255 == EVER or (k & 255) + 1970 >= first]
    found = noted(said_of)
    found.drop_before(np.full(5, first))
    np.testing.assert_array_equal(found.dump(5)["facts"], noted(kept).dump(5)["facts"])
    assert (found.of_kind(DIAGNOSIS, every)[2] >= first).all()


def test_the_pool_closes_its_gaps_before_it_grows() -> None:
    found = Facts()
    found.reserve(300)
    for code in range(1, 200):
        for slot in range(3):
            found.add(np.array([slot]), np.array([key(DIAGNOSIS, code, 2024)]), np.ones(1, np.int8))
            found.add(np.array([slot + 5]), np.array([key(DIAGNOSIS, code, 2024)]), np.ones(1, np.int8))
            found.add(np.array([slot + 5]), np.array([key(DIAGNOSIS, code, 2024)]), np.full(1, -1, np.int8))
    assert len(found._pool) <= 4096 and found.dump(300)["facts_lengths"][:8].tolist() == [199] * 3 + [0] * 5


def test_counts_stay_at_their_ends() -> None:
    found, one = Facts(), np.array([key(CONDITION, 3)])
    found.reserve(1)
    found.add(np.zeros(40_000, np.int64), one.repeat(40_000), np.ones(40_000, np.int8))
    bits = np.zeros(1, np.int32)
    found.conditions(np.array([0]), bits)
    assert bits[0] == 8
    assert facts._count_of(int(found.dump(1)["facts"][0])) == 2**14 - 1
