"""Autoscaling against load curves: bounded, quick enough up, slow down, never to and fro."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.domain.scaling import Scaled, Scaling, decide, wanted_units
from engine.settings import load_shard_scaling, load_simulation_scaling

SHARDS, SHARD = load_shard_scaling()
WORKERS, WORKER = load_simulation_scaling()
STEP = 10.0
LIMITS = st.builds(
    Scaling,
    fewest=st.integers(0, 3),
    most=st.integers(3, 64),
    slack=st.floats(0.05, 0.6),
    up_after=st.floats(0, 120),
    down_after=st.floats(0, 900),
    cool_down=st.floats(0, 900),
    most_up=st.floats(1.1, 4),
)


def run(scaling: Scaling, loads: Sequence[float], first: int = 1) -> list[Scaled]:
    states, state = [], Scaled(first)
    for tick, load in enumerate(loads):
        state = decide(scaling, state, load, tick * STEP)
        states.append(state)
    return states


def turns(units: Sequence[int]) -> int:
    """How often a growing number turns into a shrinking one, or the other way."""
    signs = [math.copysign(1, b - a) for a, b in pairwise(units) if a != b]
    return sum(x != y for x, y in pairwise(signs))


class Shards:
    """A log with a rate of arrival, drained by as many shards as the policy says; a new shard works after `slow` s."""

    def __init__(self, slow: float = 60.0, state_bytes: float = 1e9) -> None:
        self.lag, self.state, self.now, self.slow, self.bytes = 0.0, Scaled(SHARDS.fewest), 0.0, slow, state_bytes
        self.working: list[tuple[float, int]] = [(0.0, SHARDS.fewest)]
        self.units: list[int] = []
        self.lags: list[float] = []

    def run(self, rate: Callable[[float], float], seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            arriving = rate(self.now)
            working = next(n for since, n in reversed(self.working) if since <= self.now)
            self.lag = max(0.0, self.lag + (arriving - working * SHARD.records_per_second) * STEP)
            before = self.state.units
            self.state = decide(SHARDS, self.state, SHARD.load(arriving, self.lag, self.bytes), self.now)
            if self.state.units != before:
                self.working.append((self.now + self.slow, self.state.units))
            self.units.append(self.state.units)
            self.lags.append(self.lag)
            self.now += STEP


def day(seconds: float) -> float:
    """Records a second over a day: a quiet night, a steep morning, an evening peak, with noise."""
    hour = seconds / 3600 % 24
    base = 8_000 + 30_000 * math.exp(-(((hour - 8) / 1.5) ** 2)) + 45_000 * math.exp(-(((hour - 19) / 2.5) ** 2))
    noise = np.random.default_rng(int(seconds)).normal(1, 0.08)
    return max(base * float(noise), 0.0)


def test_a_day_is_followed_without_going_to_and_fro_and_without_falling_behind() -> None:
    shards = Shards()
    shards.run(day, 2 * 86_400)
    peak, night = max(shards.units), min(shards.units[3600 // 10 * 26 : 3600 // 10 * 29])
    assert 5 <= peak <= 12 and night == SHARDS.fewest
    # two peaks a day: up and down twice, two days
    assert turns(shards.units) <= 8
    # never more behind than it works off in the time it is given
    assert max(shards.lags) < SHARD.drain_seconds * SHARD.records_per_second * 2


def test_a_backlog_is_worked_off_within_its_bound_and_the_shards_go_again() -> None:
    shards = Shards()
    shards.lag = 30_000_000
    shards.run(lambda _: 5_000.0, 6 * 3600)
    done = next(tick for tick, lag in enumerate(shards.lags) if lag == 0) * STEP
    # 30 million at 64 x 10,000 a second take 47 s at most shards; growing takes up_after and a doubling at a time
    assert done < 2 * SHARD.drain_seconds
    assert shards.units[-1] == SHARDS.fewest and turns(shards.units) == 1


def test_state_that_fills_memory_asks_for_shards_without_any_lag() -> None:
    shards = Shards(state_bytes=SHARD.state_bytes * 10)
    shards.run(lambda _: 100.0, 3600)
    assert shards.units[-1] == math.ceil(10 / (1 - SHARDS.slack)) and turns(shards.units) == 0


def test_noise_within_the_slack_moves_nothing() -> None:
    rng = np.random.default_rng(3)
    loads = 4.0 * (1 + rng.uniform(-0.12, 0.12, 5_000))
    units = [state.units for state in run(SHARDS, loads, first=wanted_units(SHARDS, 4.0))]
    assert len(set(units)) == 1


def test_a_spike_shorter_than_the_patience_moves_nothing() -> None:
    loads = [1.0] * 50 + [20.0] * int(SHARDS.up_after / STEP) + [1.0] * 50
    assert {state.units for state in run(SHARDS, loads, first=2)} == {2}


def test_simulation_workers_follow_the_batches_and_leave_after_them() -> None:
    left, state, units = 2_000.0, Scaled(WORKERS.fewest), []
    batch = 12.0
    for tick in range(600):
        load = WORKER.load(math.ceil(left), batch)
        state = decide(WORKERS, state, load, tick * STEP)
        units.append(state.units)
        left = max(0.0, left - state.units * STEP / batch)
    enough = math.ceil(2_000 * batch / WORKER.finish_seconds / (1 - WORKERS.slack))
    assert max(units) <= enough
    assert next(t for t, n in enumerate(units) if n >= enough / 2) * STEP <= 60
    assert left == 0 and units[-1] == WORKERS.fewest and turns(units) == 1
    assert WORKER.load(3, 10_000.0) == 3.0


@given(LIMITS, st.lists(st.floats(0, 200), min_size=1, max_size=200), st.integers(0, 80))
def test_the_number_stays_within_bounds_steps_and_patience(scaling: Scaling, loads: list[float], first: int) -> None:
    states = [Scaled(first), *run(scaling, loads, first)]
    for before, after in pairwise(states[1:]):
        assert scaling.fewest <= after.units <= scaling.most
        assert after.units <= max(math.floor(max(before.units, 1) * scaling.most_up), before.units + 1)
        if after.units < before.units and before.changed_at > -math.inf:
            assert after.changed_at - before.changed_at >= scaling.cool_down


@settings(max_examples=40)
@given(LIMITS, st.floats(0, 100), st.integers(0, 64))
def test_a_load_that_stays_leads_to_a_number_that_carries_it_and_stays(
    scaling: Scaling, load: float, first: int
) -> None:
    units = [state.units for state in run(scaling, [load] * 1_500, first)]
    assert len(set(units[-200:])) == 1
    assert units[-1] >= min(load, scaling.most) - 1e-9
    assert units[-1] <= max(wanted_units(scaling, load), scaling.fewest) or units[-1] == wanted_units(scaling, load)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"fewest": 9, "most": 3}, "fewest 9 and most 3"),
        ({"slack": 1.0}, "slack 1.0"),
        ({"most_up": 1.0}, "most_up 1.0"),
        ({"cool_down": -1.0}, "cool_down must not be negative"),
    ],
)
def test_limits_that_cannot_be_are_named(change: dict[str, float], told: str) -> None:
    given_limits = {"fewest": 1, "most": 9, "slack": 0.2, "up_after": 1, "down_after": 1, "cool_down": 1, "most_up": 2}
    with pytest.raises(ValueError, match=told):
        Scaling(**{**given_limits, **change})  # type: ignore[arg-type]


def test_a_load_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="load nan"):
        decide(SHARDS, Scaled(2), math.nan, 0.0)
