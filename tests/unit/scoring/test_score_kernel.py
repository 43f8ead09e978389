"""The kernels under every score, against the formulas written once more in numpy, and against themselves in Python.

Whether a state is gathered rightly, whether the components meet as documented, and whether a member's score hangs on
who is scored beside.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from engine.domain.batch import TextColumn
from engine.domain.curves import on_curve
from engine.domain.events import METALS
from engine.domain.metrics import METRIC_INDEX, METRICS
from engine.scoring import behavior, clinical, commercial, ensemble, known_kernel, score_kernel, vitals
from engine.scoring.features import FEATURE_INDEX
from engine.scoring.hcc import kernels
from engine.scoring.health_score import HealthScorer, heard, taken
from engine.scoring.member_features import base_features, known
from engine.scoring.member_state import PartitionState
from engine.scoring.score_kernel import Known

US_DAY = 86_400_000_000
DAY = 20_100
AS_OF = (DAY + 5) * US_DAY
SCRATCH = np.empty(kernels.MAX_VARIABLES, np.int64)


@given(
    st.lists(st.integers(-5, 5), min_size=2, max_size=9).map(sorted),
    st.one_of(st.just(np.nan), st.floats(-7, 7), st.integers(-6, 6).map(float)),
    st.data(),
)
def test_a_curve_is_that_of_interp(knots: list[int], x: float, data: st.DataObject) -> None:
    heights = data.draw(arrays(float, len(knots), elements=st.floats(-1e3, 1e3)))
    at, expected = np.array(knots, float), np.interp(x, np.array(knots, float), heights)
    for curve in (on_curve, on_curve.py_func):
        assert curve(x, at, heights) == pytest.approx(expected, rel=1e-12, abs=1e-12, nan_ok=True)


def members(chance: np.random.Generator, n: int = 40) -> PartitionState:
    """Members of whom some or many things are known, of some nothing but their birth date and sex."""
    state = PartitionState(0)
    slots = state.enrol(TextColumn.of([f"m{i}" for i in range(n)]))
    state["birth_day"][slots] = chance.integers(-15_000, DAY, n)
    state["male"][slots] = chance.random(n) < 0.5
    state["since_day"][slots] = DAY - chance.integers(0, 500, n)
    state["base_cost"][slots] = np.sort(chance.uniform(200, 60_000, (n, 3)))[:, [1, 0, 2]]
    state["base_as_of"][slots] = AS_OF - chance.integers(0, 400, n) * US_DAY
    for column in ("general_health", "mental_health", "conditions"):
        state[column][slots] = np.where(chance.random(n) < 0.2, chance.integers(1, 6, n), 0)
    some = np.flatnonzero(chance.random(n) < 0.8)
    for i, metric in enumerate(METRICS):
        for _ in range(int(chance.integers(0, 40))):
            own = chance.choice(some, max(len(some) // 2, 1))
            times = (DAY - chance.integers(0, 40, len(own))) * US_DAY + chance.integers(0, US_DAY, len(own))
            state.add_readings(own, np.full(len(own), i), times, chance.uniform(metric.low, metric.high, len(own)))
    for _ in range(3):
        own = np.flatnonzero(chance.random(n) < 0.2)
        m = len(own)
        cents = np.where(chance.random(m) < 0.3, 0, chance.integers(1, 10**6, m))
        state.add_costs(own, chance.integers(0, 7, m), DAY - chance.integers(0, 900, m), cents)
        ccs = np.where(chance.random((m, 2)) < 0.4, 1 << chance.integers(0, 50, (m, 2)), 0).astype(np.uint64)
        state["ccs"][own], state["cc_year"][own] = (
            ccs[:, None] * np.array([1, 2], np.uint64)[:, None],
            chance.integers(2022, 2027, m),
        )
    return state


@given(st.integers(0, 2**32))
def test_what_is_gathered_is_what_the_columns_say(scorer: HealthScorer, seed: int) -> None:
    chance = np.random.default_rng(seed)
    state = members(chance)
    slots = chance.permutation(len(state))[: len(state) // 2]
    as_of = AS_OF + chance.integers(-200, 400, len(slots)) * US_DAY
    got = known(state, slots, as_of, scorer.models.physiology)
    features = base_features(state, slots, state["base_as_of"][slots])
    np.testing.assert_array_equal(got.age, features[:, FEATURE_INDEX["age"]])
    np.testing.assert_array_equal(got.male, features[:, FEATURE_INDEX["male"]])
    np.testing.assert_array_equal(got.heard, heard(features))
    means, days = state.windows(slots, (30,))
    worn = [METRIC_INDEX[code] for code in behavior.COMPONENTS]
    np.testing.assert_array_equal(got.month, means[:, worn, 0])
    np.testing.assert_array_equal(got.days, days[:, worn])
    times, values = state.latest_readings(slots)
    vital = [METRIC_INDEX[code] for code in vitals.VITALS]
    np.testing.assert_array_equal(got.vital_time, times[:, vital])
    np.testing.assert_array_equal(got.vital_value, values[:, vital])
    np.testing.assert_array_equal(got.base_cost, state["base_cost"][slots])
    np.testing.assert_array_equal(got.observed_days, as_of // US_DAY - state["since_day"][slots])
    years = as_of.view("M8[us]").astype("M8[Y]").astype(np.int64) + 1970
    for i, (slot, year) in enumerate(zip(slots, years, strict=True)):
        recent = np.zeros(2, np.uint64)
        for back in range(2):
            if int(state["cc_year"][slot]) - back in (year, year - 1):
                recent |= state["ccs"][slot, back]
        assert got.ccs[i].tolist() == recent.tolist()
        assert got.hhs_ccs[i].tolist() == (state["hhs_ccs"][slot, 0] * 0).tolist()
    again = Known(*(np.zeros_like(column) for column in got))._replace(as_of_us=as_of, hazard=got.hazard)
    known_kernel.gather.py_func(state.live(), slots, again)
    for name, column in again._asdict().items():
        np.testing.assert_array_equal(column, getattr(got, name), name)


def made_up(chance: np.random.Generator, n: int) -> Known:
    """People of all kinds, many of whom lack much."""

    def often(values: np.ndarray, share: float = 0.5) -> np.ndarray:
        return np.where(chance.random(values.shape) < share, values, np.nan)

    low = [metric.low for metric in METRICS]
    high = [metric.high for metric in METRICS]
    at = list(vitals.VITAL_METRICS)
    spread = chance.uniform(0, 1, (n, len(at)))
    ccs = np.where(chance.random((n, 2)) < 0.2, 1 << chance.integers(0, 50, (n, 2)), 0).astype(np.uint64)
    return Known(
        base_cost=np.sort(np.exp(chance.uniform(4, 13, (n, 3))))[:, [1, 0, 2]],
        age=chance.integers(0, 110, n).astype(float),
        male=often((chance.random(n) < 0.5).astype(float), 0.9),
        heard=chance.random(n) < 0.3,
        month=often(chance.uniform([0, 40, 0], [25_000, 110, 900], (n, 3))),
        days=chance.integers(0, 31, (n, 3)),
        forecast=often(chance.uniform(0, 25_000, n)),
        vital_value=often(np.array(low)[at] + (np.array(high) - np.array(low))[at] * spread),
        vital_time=AS_OF - chance.integers(-2, 40, (n, len(at))) * US_DAY // 24,
        ccs=ccs,
        commercial=chance.random(n) < 0.4,
        metal=chance.integers(0, len(METALS), n),
        hhs_ccs=np.where(chance.random((n, 3)) < 0.2, 1 << chance.integers(0, 12, (n, 3)), 0).astype(np.uint64),
        rxcs=np.where(chance.random(n) < 0.2, 1 << chance.integers(1, 11, n), 0),
        hazard=often(chance.normal(0, 1.5, n)),
        observed_days=chance.integers(-10, 600, n),
        as_of_us=np.full(n, AS_OF),
    )


def documented(scorer: HealthScorer, people: Known, i: int) -> tuple[float, float, float, float, int]:
    """Cost (mean, lower, upper), score and NEWS2 of one person as docs/scoring.md and the modules describe them."""
    weights, rules = scorer.models.ensemble.weights, scorer.rules
    age, male, base = people.age[i], people.male[i], people.base_cost[i]
    low, high = people.ccs[i]
    disease = clinical.risk(low, high, int(age), int(male == 0), clinical.tables(), SCRATCH)[3]
    if people.commercial[i]:
        own = (people.hhs_ccs[i], int(people.rxcs[i]), int(age), int(male == 0), int(people.metal[i]))
        disease = commercial.risk(*own, commercial.tables(), commercial.room_for_one())[1]
    years = (age - 50) / 20
    context = np.array([1, years, years**2, male, years * male, np.log(max(base[0], 1) / 3000)])
    beyond = people.hazard[i] - context @ np.array(weights.expected)
    physiology = np.clip(ensemble.ELASTICITY * weights.physiology * beyond, *ensemble.BOUNDS)
    steps = people.month[i, 0] if np.isnan(people.forecast[i]) else people.forecast[i]
    worn = ensemble.ELASTICITY * np.array(
        [
            np.interp(steps, weights.steps, weights.steps_log_hazard),
            np.log(1.09) * (people.month[i, 1] - 65) / 10,
            np.interp(people.month[i, 2] / 60, [5, 7, 8, 9], np.log([1.12, 1, 1, 1.30])),
        ]
    )
    worn[people.days[i] < behavior.MINIMUM_DAYS] = np.nan
    together = np.nan if np.isnan(worn).all() else np.clip(np.nansum(worn), *np.log(behavior.BOUNDS))
    effects = np.array([disease, physiology, together])
    said = effects[~np.isnan(effects)]
    share = 1 / (1 + max(len(said) - 1, 0) * ensemble.OVERLAP)
    spread = np.append(said, 0.0).std()
    hidden = weights.history_sd * (1 - np.clip(people.observed_days[i] / 365, 0, 1))
    room = np.exp(1.6448536269514722 * np.hypot(spread, hidden))
    cost = base * np.exp(share * said.sum()) * [1, 1 / room, room]
    news2 = vitals.news2(people.vital_value[i], people.vital_time[i], AS_OF)
    score = 1 + 99 * np.interp(cost[0], *scorer.base.reference)
    score = max(score, rules.floors[2] if news2 >= rules.news2_critical else 1)
    score = max(score, rules.floors[1] if news2 >= rules.news2_high else 1)
    unknown = not (people.heard[i] or len(said) or news2 >= 0) and people.observed_days[i] < rules.minimum_days
    return (*([np.nan] * 4 if unknown else [*cost, score]), news2)


def test_the_components_meet_as_documented(scorer: HealthScorer) -> None:
    people = made_up(np.random.default_rng(1), 400)
    got = scorer.score(people)
    expected = np.array([documented(scorer, people, i) for i in range(400)])
    np.testing.assert_allclose(np.column_stack([got.cost, got.score, got.news2]), expected, rtol=1e-10)
    unknown = np.isnan(got.score)
    assert 0 < unknown.sum() < 100 and (got.category[unknown] == score_kernel.NO_SCORE).all()
    category = np.searchsorted(scorer.rules.floors, got.score[~unknown], side="right")
    np.testing.assert_array_equal(got.category[~unknown], category)
    assert set(got.category.tolist()) == {-1, 0, 1, 2, 3}
    assert got.components[:, 0].all() and all(0 < got.components[:, k].mean() < 1 for k in range(1, 5))


def test_the_effects_are_what_moves_the_cost(scorer: HealthScorer) -> None:
    people = made_up(np.random.default_rng(2), 400)
    got = scorer.score(people)
    moved = got.effects.sum(axis=1) + got.physiology + got.disease
    scored = ~np.isnan(got.score)
    np.testing.assert_allclose(got.cost[scored, 0], (people.base_cost[:, 0] * np.exp(moved))[scored], rtol=1e-10)


def test_the_kernel_is_the_same_in_python(scorer: HealthScorer) -> None:
    people = made_up(np.random.default_rng(3), 60)
    got = scorer.score(people)
    again = taken(got, slice(None))._make(np.zeros_like(column) for column in got)
    score_kernel.score.py_func(people, scorer.fitted, again)
    for name, column in again._asdict().items():
        np.testing.assert_allclose(column, getattr(got, name), rtol=1e-12, err_msg=name)


@given(st.integers(0, 2**32), st.integers(1, 30))
def test_a_score_does_not_hang_on_who_is_scored_beside(scorer: HealthScorer, seed: int, n: int) -> None:
    chance = np.random.default_rng(seed)
    people = made_up(chance, n)
    rows = chance.permutation(n)[: chance.integers(1, n + 1)]
    some, whole = scorer.score(taken(people, rows)), taken(scorer.score(people), rows)
    for name, column in some._asdict().items():
        np.testing.assert_array_equal(column, getattr(whole, name), name)
