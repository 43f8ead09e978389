"""Member state: the same events give the same columns in any order and batching, and the windows are right."""

from collections import defaultdict

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.domain.metrics import METRIC_INDEX, METRICS
from engine.scoring import member_state
from engine.scoring.member_state import DAYS, PartitionState

US_DAY = 86_400_000_000
BASE_DAY = 20_000
STEPS, HEART = METRIC_INDEX["steps"], METRIC_INDEX["heart_rate"]

reading = st.tuples(
    st.integers(0, 2),
    st.sampled_from([STEPS, HEART]),
    st.integers(0, 70 * 24),
    st.integers(40, 9000).map(lambda n: n / 8),
)
COLUMNS = ("metric_sum", "metric_count", "head_day", "last_value", "last_time", "forecast_day", "watermark")


def fresh(members: int = 3) -> PartitionState:
    state = PartitionState(0)
    for i in range(members):
        state.enrol(f"m{i}")
    return state


def apply(state: PartitionState, readings: list[tuple]) -> None:
    slots, metrics, hours, values = (np.array(column) for column in zip(*readings, strict=True))
    times = BASE_DAY * US_DAY + hours.astype(np.int64) * 3_600_000_000
    state.add_readings(slots.astype(np.int64), metrics.astype(np.int64), times, values.astype(float))


@given(st.lists(reading, min_size=1, max_size=60), st.randoms(use_true_random=False), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_order_and_batching_do_not_matter(readings: list[tuple], chance, size: int) -> None:
    at_once, shuffled = fresh(), fresh()
    apply(at_once, readings)
    mixed = list(readings)
    chance.shuffle(mixed)
    for start in range(0, len(mixed), size):
        apply(shuffled, mixed[start : start + size])
    for name in COLUMNS:
        np.testing.assert_array_equal(at_once[name][:3], shuffled[name][:3], err_msg=name)


@given(st.lists(reading, min_size=1, max_size=60))
@settings(max_examples=60, deadline=None)
def test_windows_equal_a_plain_recount(readings: list[tuple]) -> None:
    state = fresh()
    apply(state, readings)
    got = state.windows(np.arange(3))
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
    before = state.windows(np.array([0])).copy()
    apply(state, [(0, STEPS, (40 - DAYS) * 24, 5000.0)])
    np.testing.assert_array_equal(before, state.windows(np.array([0])))
    apply(state, [(0, STEPS, (40 - DAYS + 1) * 24, 5000.0)])
    assert state.windows(np.array([0]))[0, STEPS, 2] == 3000.0


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
    assert (loaded.ids, loaded.slot_of, loaded.seq) == (state.ids, state.slot_of, 7)
    assert loaded.dump() == state.dump()


def test_kernels_equal_their_python() -> None:
    chance = np.random.Generator(np.random.Philox(3))
    n = 400
    columns = (
        chance.integers(0, 3, n),
        chance.integers(0, len(METRICS), n),
        BASE_DAY * US_DAY + chance.integers(0, 80 * 24, n) * 3_600_000_000,
        chance.random(n) * 100,
    )
    compiled, plain = fresh(), fresh()
    names = COLUMNS[:6]
    member_state.add_readings(*(compiled[name] for name in names), *columns)
    member_state.add_readings.py_func(*(plain[name] for name in names), *columns)
    for name in names:
        np.testing.assert_array_equal(compiled[name], plain[name], err_msg=name)
    windows = [np.empty((3, len(METRICS), 3)) for _ in range(2)]
    for kernel, out in zip((member_state.window_means, member_state.window_means.py_func), windows, strict=True):
        summed = np.array([metric.daily == "sum" for metric in METRICS])
        kernel(*(compiled[name] for name in COLUMNS[:3]), np.arange(3), summed, np.array([1, 7, 30]), out)
    np.testing.assert_array_equal(*windows)
    costs = (columns[0], chance.integers(0, 7, n), chance.integers(600, 640, n), chance.integers(0, 10**6, n))
    rings = ("cost_cents", "claim_count", "head_month")
    member_state.add_costs(*(compiled[name] for name in rings), *costs)
    member_state.add_costs.py_func(*(plain[name] for name in rings), *costs)
    for name in rings:
        np.testing.assert_array_equal(compiled[name], plain[name], err_msg=name)
