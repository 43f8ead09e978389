"""Member state: the same events give the same columns in any order and batching, and the windows are right."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.domain.batch import TextColumn
from engine.domain.metrics import METRIC_INDEX, METRICS
from engine.domain.packed_arrays import pack, unpack
from engine.scoring import facts, sparse, state_kernels
from engine.scoring.diagnosed import renew_categories
from engine.scoring.member_state import PartitionState
from engine.scoring.sparse import Sparse
from engine.scoring.state_kernels import COUNT_BITS, DAYS, METRIC_WIDTH, MOST_COUNT, MOST_SUM, count_of, sum_of

US_DAY = 86_400_000_000
BASE_DAY = 20_000
STEPS, HEART = METRIC_INDEX["steps"], METRIC_INDEX["heart_rate"]

reading = st.tuples(
    st.integers(0, 2),
    st.sampled_from([STEPS, HEART]),
    st.integers(0, 70 * 24),
    st.integers(40, 9000).map(lambda n: n / 8),
)
COLUMNS = ("head_day", "forecast_day", "watermark")


def fresh(members: int = 3) -> PartitionState:
    state = PartitionState(0)
    state.enrol(TextColumn.of([f"m{i}" for i in range(members)]))
    return state


def apply(state: PartitionState, readings: list[tuple]) -> None:
    slots, metrics, hours, values = (np.array(column) for column in zip(*readings, strict=True))
    times = BASE_DAY * US_DAY + hours.astype(np.int64) * 3_600_000_000
    state.add_readings(slots.astype(np.int64), metrics.astype(np.int64), times, values.astype(float))


def same(one: PartitionState, other: PartitionState) -> None:
    """The same readings in both."""
    slots = np.arange(len(one))
    for name in COLUMNS:
        np.testing.assert_array_equal(one[name][slots], other[name][slots], err_msg=name)
    for metric in range(len(METRICS)):
        np.testing.assert_array_equal(one.daily(slots, metric), other.daily(slots, metric))
    for got, wanted in zip(one.latest_readings(slots), other.latest_readings(slots), strict=True):
        np.testing.assert_array_equal(got, wanted)


@given(st.lists(reading, min_size=1, max_size=60), st.randoms(use_true_random=False), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_order_and_batching_do_not_matter(readings: list[tuple], chance, size: int) -> None:
    at_once, shuffled = fresh(), fresh()
    apply(at_once, readings)
    mixed = list(readings)
    chance.shuffle(mixed)
    for start in range(0, len(mixed), size):
        apply(shuffled, mixed[start : start + size])
    same(at_once, shuffled)


@given(st.lists(reading, min_size=1, max_size=60))
@settings(max_examples=60, deadline=None)
def test_windows_equal_a_plain_recount(readings: list[tuple]) -> None:
    state = fresh()
    apply(state, readings)
    got, _ = state.windows(np.arange(3))
    for member in range(3):
        mine = [(metric, BASE_DAY + hour // 24, value) for m, metric, hour, value in readings if m == member]
        if not mine:
            assert np.isnan(got[member]).all()
            continue
        head = max(day for _, day, _ in mine)
        for i, window in enumerate((1, 7, 30)):
            for metric in (STEPS, HEART):
                days: dict[int, list[float]] = defaultdict(list)
                for m, day, value in mine:
                    if m == metric and day > head - window:
                        days[day].append(value)
                if not days:
                    assert np.isnan(got[member, metric, i])
                elif METRICS[metric].daily == "sum":
                    np.testing.assert_allclose(got[member, metric, i], sum(map(sum, days.values())) / len(days))
                else:
                    values = [value for each in days.values() for value in each]
                    np.testing.assert_allclose(got[member, metric, i], sum(values) / len(values))


def test_a_reading_older_than_the_ring_moves_no_window() -> None:
    state = fresh(1)
    apply(state, [(0, STEPS, 40 * 24, 1000.0)])
    before = state.windows(np.array([0]))
    apply(state, [(0, STEPS, (40 - DAYS) * 24, 5000.0)])
    np.testing.assert_array_equal(before[0], state.windows(np.array([0]))[0])
    np.testing.assert_array_equal(before[1], state.windows(np.array([0]))[1])
    apply(state, [(0, STEPS, (40 - DAYS + 1) * 24, 5000.0)])
    assert state.windows(np.array([0]))[0][0, STEPS, 2] == 3000.0


def test_a_year_of_costs_ends_with_the_month_asked_for() -> None:
    state = fresh(1)
    days = np.array(["2024-01-31", "2024-02-01", "2025-01-15"], "M8[D]").astype(np.int64)
    state.add_costs(np.zeros(3, np.int64), np.array([0, 0, 3]), days, np.array([10_000, 20_050, 40_000]))
    as_of = np.array(["2025-01-20"], "M8[us]").astype(np.int64)
    dollars, counts = state.yearly_costs(np.array([0]), as_of)
    assert dollars[0].tolist() == [200.5, 0, 0, 400.0, 0, 0, 0]
    assert counts[0].tolist() == [1, 0, 0, 1, 0, 0, 0]
    earlier, _ = state.yearly_costs(np.array([0]), np.array(["2024-12-31"], "M8[us]").astype(np.int64))
    assert earlier[0, 0] == 300.5


@given(st.lists(reading, max_size=30), st.integers(0, 40))
@settings(max_examples=25, deadline=None)
def test_a_dump_loads_as_it_was(readings: list[tuple], members: int) -> None:
    state = fresh(max(members, 3))
    if readings:
        apply(state, readings)
    state.seq = 7
    loaded = PartitionState.load(state.dump())
    every = np.arange(len(state))
    assert loaded.ids(every).tolist() == state.ids(every).tolist() and loaded.seq == 7
    same(state, loaded)
    assert loaded.dump() == state.dump()


def kernels() -> list[tuple[object, str]]:
    return [
        (module, name)
        for module in (sparse, state_kernels, facts)
        for name, f in vars(module).items()
        if hasattr(f, "py_func")
    ]


def test_kernels_equal_their_python(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.Generator(np.random.Philox(3))
    n, slots = 400, np.arange(3)
    columns = (
        chance.integers(0, 3, n),
        chance.integers(0, len(METRICS), n),
        BASE_DAY * US_DAY + chance.integers(0, 80 * 24, n) * 3_600_000_000,
        chance.random(n) * 100,
    )
    costs = (columns[0], chance.integers(0, 7, n), chance.integers(19_000, 20_000, n), chance.integers(0, 10**6, n))
    tests = (columns[0], chance.integers(0, 25, n), columns[2], columns[3])
    keys = [facts.key(int(kind), int(code), 2020) for kind, code in chance.integers(0, (3, 14), (n, 2))]
    notes = (columns[0], np.array(keys), chance.choice(np.array([-1, 1], np.int8), n))
    as_of = np.full(3, 20_000 * US_DAY)

    def everything() -> list[np.ndarray]:
        state = fresh()
        state.add_readings(*columns)
        state.add_costs(*costs)
        state.add_labs(*tests)
        state.note(*notes)
        views = (state.windows(slots), state.latest_readings(slots), state.latest_results(slots))
        more = (
            state.yearly_costs(slots, as_of),
            state.monthly_costs(slots),
            state.facts.of_kind(1, slots),
            [state["conditions"][slots]],
        )
        loaded = PartitionState.load(state.dump())
        views += (*more, loaded.windows(slots), [state["conditions"][slots]])
        return [each for view in views for each in view]

    compiled = everything()
    swapped = kernels()
    assert len(swapped) >= 9
    for module, name in swapped:
        monkeypatch.setattr(module, name, getattr(module, name).py_func)
    for fast, plain in zip(compiled, everything(), strict=True):
        np.testing.assert_array_equal(fast, plain)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(1, 9)), max_size=60), st.integers(1, 7))
@settings(max_examples=40, deadline=None)
def test_sparse_values_are_a_dictionary(added: list[tuple[int, int, int]], size: int) -> None:
    values, wanted = Sparse(4, 2), np.zeros((6, 4, 2), np.int64)
    values.reserve(6)
    for start in range(0, len(added), size):
        part = added[start : start + size]
        where = values.own(np.array([m for m, _, _ in part]), np.array([k for _, k, _ in part]))
        for block, (member, kind, amount) in zip(where, part, strict=True):
            values.blocks[block, 1] += amount
            wanted[member, kind, 1] += amount
    loaded = Sparse(4, 2)
    loaded.reserve(6)
    loaded.load("x", values.dump("x", 6))
    for each in (values, loaded):
        np.testing.assert_array_equal(each.of(np.arange(6)), wanted)
        np.testing.assert_array_equal(each.of(np.arange(6), 2), wanted[:, 2])
        assert not each.blocks[0].any()


def test_a_day_of_readings_stops_at_what_a_word_holds_in_any_order() -> None:
    full = np.array([0, (MOST_SUM - 5_000) << COUNT_BITS | (MOST_COUNT - 1)])
    for amounts in ([4_000, 3_000, 2_000], [2_000, 3_000, 4_000]):
        packed = int(full[1])
        for amount in amounts:
            packed = state_kernels._added(packed, amount, 1)
        assert (sum_of(packed), count_of(packed)) == (MOST_SUM, MOST_COUNT)
    assert 86_400 * max(metric.high for metric in METRICS) * 1000 <= MOST_SUM, "a reading a second of the largest value"


def test_memory_of_a_member_is_what_the_docstring_says() -> None:
    n = 4096
    state = fresh(n)
    slots, zeros = np.arange(n), np.zeros(n, np.int64)
    window, bare = state.window.nbytes(), state.nbytes()
    for metric in range(5):
        state.add_readings(slots, zeros + metric, zeros + BASE_DAY * US_DAY, zeros + 50.0)
    worn = state.nbytes()
    state.add_costs(slots, zeros, zeros + BASE_DAY, zeros + 100)
    claimed = state.nbytes()
    assert METRIC_WIDTH * 8 == 256
    assert 395 < (bare - window) / n < 445
    assert (worn - bare) / n == pytest.approx(60 + 5 * 256, rel=0.01)
    assert (claimed - worn) / n == pytest.approx(28 + 104, rel=0.01)


@given(st.lists(st.tuples(st.integers(-9_999, 9_999), st.sampled_from([-1, 0, 1])), max_size=30))
def test_a_packed_sum_and_count_are_signed(added: list[tuple[int, int]]) -> None:
    packed = 0
    for amount, count in added:
        packed = state_kernels._added(packed, amount, count)
    assert (sum_of(packed), count_of(packed)) == (sum(a for a, _ in added), sum(c for _, c in added))
    both = np.array([packed, 0])
    assert (sum_of(both)[0], count_of(both)[0]) == (sum_of(packed), count_of(packed))


@given(st.lists(reading, min_size=1, max_size=30), st.lists(reading, min_size=1, max_size=8), st.data())
@settings(max_examples=60, deadline=None)
def test_readings_taken_back_leave_the_sums_of_the_others(kept: list[tuple], gone: list[tuple], data) -> None:
    """The days stay those up to the latest reading, be it taken back; and where that was the latest, none is known."""
    plain, state = fresh(), fresh()
    end = 71 * 24  # later than any of the others
    last = [(member, metric, end, 1.0) for member in range(3) for metric in (STEPS, HEART)]
    apply(plain, kept + last)
    steps = data.draw(st.permutations([*((r, 1) for r in kept), *((r, 1) for r in gone)]))
    backs = [(r, -1) for r in gone]
    for each, sign in [*steps, *((r, 1) for r in last), *backs]:
        member, metric, hour, value = each
        time = np.array([BASE_DAY * US_DAY + hour * 3_600_000_000])
        columns = (np.array([member]), np.array([metric]), time, np.array([value]))
        state.add_readings(*columns, signs=np.array([sign], np.int8))
    slots = np.arange(3)
    for metric in range(len(METRICS)):
        np.testing.assert_array_equal(plain.daily(slots, metric), state.daily(slots, metric))
    assert (state.latest_readings(slots)[0][:, [STEPS, HEART]] > 0).all()
    time = np.array([BASE_DAY * US_DAY + end * 3_600_000_000])
    state.add_readings(np.array([0]), np.array([STEPS]), time, np.array([1.0]), signs=np.array([-1], np.int8))
    assert state.latest_readings(slots)[0][0, STEPS] == 0 and np.isnan(state.latest_readings(slots)[1][0, STEPS])


def test_a_day_is_the_members_own() -> None:
    """At eleven in the evening of New York it is tomorrow in Greenwich."""
    state = fresh(1)
    evening = np.array([BASE_DAY * US_DAY + 27 * 3_600_000_000])  # 03:00 UTC of the next day
    columns = (np.array([0]), np.array([STEPS]), evening, np.array([100.0]))
    state.add_readings(*columns, evening - 4 * 3_600_000_000)
    assert state["head_day"][0] == BASE_DAY and state["watermark"][0] == evening[0]
    assert state.daily(np.array([0]), STEPS)[1][0, BASE_DAY % DAYS] == 1
    assert state.latest_readings(np.array([0]))[0][0, STEPS] == evening[0]


result = st.tuples(st.integers(1, 6), st.sampled_from([5.0, 6.5, 8.0]))


@given(st.lists(result, max_size=6), result, st.randoms(use_true_random=False))
def test_a_result_taken_back_gives_way_to_the_one_before_it(kept: list[tuple], gone: tuple, chance) -> None:
    mixed = [*kept, gone]
    chance.shuffle(mixed)
    state, plain = fresh(1), fresh(1)

    def add(to: PartitionState, each: tuple[int, float], sign: int) -> None:
        columns = (np.array([0]), np.array([3]), np.array([each[0] * US_DAY]), np.array([each[1]]))
        to.add_labs(*columns, np.array([sign], np.int8))

    for each in mixed:
        add(state, each, 1)
    for each in kept:
        add(plain, each, 1)
    add(state, gone, -1)
    for got, wanted in zip(state.latest_results(np.array([0])), plain.latest_results(np.array([0])), strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_costs_of_a_month_go_back_to_nothing_in_either_order() -> None:
    for signs in ([1, -1], [-1, 1]):
        state, zero = fresh(1), np.zeros(2, np.int64)
        cents = np.array([sign * 5_000 for sign in signs])
        state.add_costs(zero, zero + 2, zero + BASE_DAY, cents, np.array(signs, np.int8))
        assert [int(abs(column).sum()) for column in state.monthly_costs(np.array([0]))] == [0, 0]
        assert "costs_owners" in unpack(state.dump()) and not len(unpack(state.dump())["costs_owners"])


def test_a_snapshot_of_before_facts_is_read_as_what_it_says() -> None:
    state, slot = fresh(2), np.array([1])
    state.note(slot, np.array([facts.key(facts.CONDITION, 10)]), np.ones(1, np.int8))
    state["ccs"][1, 0, 1], state["ccs"][1, 1, 0], state["cc_year"][1] = 1 << 9, 1 << 5, 2024
    state["watermark"][:2] = np.datetime64("2024-06-01", "us").astype(np.int64)
    state.add_labs(slot, np.array([3]), state["watermark"][slot], np.array([6.5]))
    arrays = unpack(state.dump())
    old = {name: array for name, array in arrays.items() if not name.startswith("facts")}
    old["results_blocks"] = np.ascontiguousarray(arrays["results_blocks"][:, :2])
    loaded = PartitionState.load(pack(old))
    before = loaded["ccs"][slot].copy()
    renew_categories(loaded, np.arange(2))
    np.testing.assert_array_equal(loaded["ccs"][slot], before)
    assert loaded["cc_year"][:2].tolist() == [2024, 2024] and loaded["conditions"][:2].tolist() == [0, 1 << 10]
    np.testing.assert_array_equal(loaded.latest_results(slot), state.latest_results(slot))
    loaded.note(slot, np.array([facts.key(facts.CONDITION, 2)]), np.ones(1, np.int8))
    assert loaded["conditions"][1] == (1 << 10) + (1 << 2)


@given(st.lists(st.integers(0, 9), max_size=40))
def test_by_slot_is_a_stable_sort(slots: list[int]) -> None:
    column = np.array(slots, np.int64)
    for order in (state_kernels.by_slot(column), state_kernels.by_slot.py_func(column)):
        np.testing.assert_array_equal(order, np.argsort(column, kind="stable"))
