"""The ensemble: what each component may move, how the interval widens, and when there is no score."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.domain.batch import TextColumn
from engine.domain.metrics import LAB_INDEX, METRIC_INDEX
from engine.errors import ModelError
from engine.learning.registry import load_models
from engine.scoring import ensemble, facts
from engine.scoring.diagnosed import renew_categories
from engine.scoring.ensemble import OVERLAP
from engine.scoring.features import BASE_FEATURES, FEATURE_INDEX
from engine.scoring.health_score import INSUFFICIENT, HealthScorer
from engine.scoring.measures import MEASURE_OF_TEST, VALID_US
from engine.scoring.member_features import base_features, known, renew_forecasts
from engine.scoring.member_state import PartitionState
from engine.scoring.physiology import MEASURES
from engine.scoring.record import HealthRecord, score_record
from engine.scoring.state_kernels import DAYS, NO_DAY
from engine.scoring.steps_forecast import SERIES, DailySeries
from engine.settings import load_rules
from engine.streams.scoring import Marked, renew_base, score_members

US_DAY = 86_400_000_000
DAY = 20_100
AS_OF = (DAY + 40) * US_DAY
COST = np.array([4000.0, 200.0, 15_000.0])
ADULT = {"age": 57.0, "male": 1.0, "cost_total": 3000.0, "cost_office": 3000.0, "n_office": 6.0}
WELL = {"hba1c": 5.2, "fasting_glucose": 88.0, "creatinine": 0.9, "albumin": 4.5, "crp": 0.1, "systolic_bp": 116.0}
UNWELL = {"hba1c": 9.5, "fasting_glucose": 240.0, "creatinine": 2.4, "albumin": 3.1, "crp": 4.0, "systolic_bp": 168.0}


@pytest.fixture(scope="module")
def scorer() -> HealthScorer:
    return HealthScorer(load_models(), load_rules())


def record(features: dict[str, float] = ADULT, **more: object) -> HealthRecord:
    return HealthRecord(AS_OF, features, {}, {}, {}, **more)


def combine(*effects: float, days: float = 365.0) -> tuple[np.ndarray, float]:
    """Cost and share of one member with these effects of clinical, physiology and wearables."""
    cost, history_sd = np.empty(3), load_models().ensemble.weights.history_sd
    share = ensemble.combine(COST, np.array(effects), days, history_sd, cost)
    again = np.empty(3)
    assert ensemble.combine.py_func(COST, np.array(effects), days, history_sd, again) == pytest.approx(share)
    np.testing.assert_allclose(again, cost, rtol=1e-14)
    return cost, float(share)


def test_a_missing_component_says_nothing_and_leaves_its_weight_to_the_others() -> None:
    nan = np.nan
    alone, whole = combine(nan, 0.2, nan)
    assert whole == 1.0 and alone[0] == pytest.approx(4000 * np.exp(0.2))
    both, part = combine(nan, 0.2, 0.2)
    assert part == pytest.approx(1 / (1 + OVERLAP))  # least squares for two predictors that correlate by OVERLAP
    assert both[0] == pytest.approx(4000 * np.exp(0.4 * part)) and alone[0] < both[0] < 4000 * np.exp(0.4)
    nobody, _ = combine(nan, nan, nan)
    assert nobody.tolist() == COST.tolist()


@given(st.lists(st.one_of(st.just(np.nan), st.floats(-0.4, 0.4)), min_size=3, max_size=3), st.floats(0, 800))
def test_the_interval_holds_the_mean_and_never_narrows(effects: list[float], days: float) -> None:
    (mean, lower, upper), _ = combine(*effects, days=days)
    assert 0 <= lower <= mean <= upper
    assert lower / mean <= 200 / 4000 * (1 + 1e-12) and upper / mean >= 15_000 / 4000 * (1 - 1e-12)


def test_disagreement_and_a_short_history_widen_the_interval() -> None:
    def width(*effects: float, days: float = 365.0) -> float:
        cost, _ = combine(*effects, days=days)
        return float(cost[2] / cost[0])

    nan = np.nan
    assert width(nan, 0.3, -0.3) > width(nan, 0.3, 0.3) > width(nan, 0.1, 0.1) > width(nan, 0.0, 0.0)
    widths = [width(nan, nan, nan, days=days) for days in (0, 60, 180, 364, 365, 900)]
    assert widths[0] > widths[1] > widths[2] > widths[3] > widths[4] == widths[5] == 15_000 / 4000


def test_laboratory_values_move_the_cost_the_way_a_clinician_expects(scorer: HealthScorer) -> None:
    plain, well, unwell = (score_record(scorer, record(labs=labs)) for labs in ({}, WELL, UNWELL))
    assert well.predicted_cost < plain.predicted_cost < unwell.predicted_cost
    assert plain.components == ["base_risk"] and unwell.components == ["base_risk", "physiology"]
    factor = next(factor for factor in unwell.risk_factors if factor.code == "physiology")
    assert factor.direction == "raises"
    assert factor.dollars == pytest.approx(unwell.predicted_cost - plain.predicted_cost, abs=0.02)
    few = score_record(scorer, record(labs={"hba1c": 9.5, "creatinine": 2.4}))
    assert few.components == ["base_risk"]  # two results are not physiology


def test_every_laboratory_test_but_ldl_is_a_measure_in_its_unit() -> None:
    assert set(LAB_INDEX) - set(MEASURE_OF_TEST) == {"ldl_cholesterol"}
    assert {m.code for m in MEASURES} - set(MEASURE_OF_TEST.values()) == {"age", "male", "health"}


def test_too_few_data_give_a_state_and_not_a_number(scorer: HealthScorer) -> None:
    new = record({"age": 40.0, "male": 0.0}, observed_days=20)
    got = score_record(scorer, new)
    assert got.category == INSUFFICIENT
    assert (got.score, got.predicted_cost, got.cost_lower_90, got.cost_upper_90) == (None,) * 4
    cared_for = dataclasses.replace(new, observed_days=90)
    told = dataclasses.replace(new, features=new.features | {"general_health": 3.0})
    sick = dataclasses.replace(new, vitals={"spo2": 85.0})
    for heard in (
        cared_for,
        told,
        sick,
        dataclasses.replace(new, labs=WELL),
        dataclasses.replace(new, diagnoses=["E119"]),
    ):
        assert score_record(scorer, heard).score is not None


def member(chance: np.random.Generator, last: int = DAY + 39) -> PartitionState:
    """One member with readings of all the series' metrics on most of 60 days up to `last`, and on that day."""
    state = PartitionState(0)
    state.enrol(TextColumn.of(["m"]))
    state["since_day"][0] = DAY - 400
    for code in SERIES:
        days = np.append(last - 1 - np.flatnonzero(chance.random(60) < 0.8), last)
        values = chance.uniform(100, 900, len(days))
        zero = np.zeros(len(days), np.int64)
        state.add_readings(zero, zero + METRIC_INDEX[code], days * US_DAY + 3_600_000_000, values)
    return state


def forecast(state: PartitionState, scorer: HealthScorer) -> float:
    renew_forecasts(state, np.array([0]), scorer.models.behavior)
    return float(state["forecast"][0])


def test_the_forecast_stands_on_complete_days_and_follows_late_readings(scorer: HealthScorer) -> None:
    state = member(np.random.default_rng(1))
    first = forecast(state, scorer)
    head = int(state["head_day"][0])
    zero, steps = np.zeros(1, np.int64), np.array([METRIC_INDEX["steps"]])
    state.add_readings(zero, steps, np.array([head * US_DAY + 7_200_000_000]), np.array([5000.0]))
    assert forecast(state, scorer) == first  # today is under way
    state.add_readings(zero, steps, np.array([(head - 5) * US_DAY]), np.array([9000.0]))
    assert state["forecast_day"][0] == NO_DAY
    late = forecast(state, scorer)
    assert late != first
    state.add_readings(zero, steps, np.array([(head + 1) * US_DAY]), np.array([10.0]))
    assert forecast(state, scorer) != late


def test_the_forecast_is_that_of_the_same_days_in_a_file(scorer: HealthScorer) -> None:
    state = member(np.random.default_rng(2))
    days = int(state["head_day"][0]) - np.arange(DAYS - 1, 0, -1)
    daily = [state.daily(np.array([0]), METRIC_INDEX[code]) for code in SERIES]
    sums, counts = (np.stack([each[k][0][days % DAYS] for each in daily]) for k in (0, 1))
    values = np.where(counts > 0, sums / 1000.0 / np.maximum(counts, 1), np.nan).T
    first = int(np.flatnonzero(~np.isnan(values).all(axis=1))[0])
    series = DailySeries(np.array([0, len(days) - first]), days[first:], values[first:])
    assert forecast(state, scorer) == scorer.models.behavior.forecast(series)[0][-1]


def test_nothing_dated_after_the_as_of_time_changes_a_score(scorer: HealthScorer) -> None:
    """Plants a claim of next month, a diagnosis of next year, a laboratory panel and vital signs of tomorrow."""

    def scored(state: PartitionState) -> list[float]:
        slots, at = np.array([0]), np.array([AS_OF])
        prediction = scorer.base.predict(base_features(state, slots, at))
        state["base_cost"][0] = prediction.mean[0], prediction.lower_90[0], prediction.upper_90[0]
        state["base_as_of"][0] = AS_OF
        renew_forecasts(state, slots, scorer.models.behavior)
        made = scorer.score(known(state, slots, at, scorer.models.physiology))
        return [*made.score.tolist(), *made.cost[0].tolist(), *made.news2.tolist()]

    state, zero = member(np.random.default_rng(3)), np.zeros(1, np.int64)
    tests = np.array([LAB_INDEX[test] for test in WELL])
    zeros = np.zeros(len(tests), np.int64)
    unknown = PartitionState.load(state.dump())
    state.add_labs(zeros, tests, np.full(len(tests), AS_OF - US_DAY), np.array(list(WELL.values())))
    unknown.add_costs(zero, zero, np.array([DAY]), np.array([500_000]))
    state.add_costs(zero, zero, np.array([DAY]), np.array([500_000]))
    before = scored(state)
    later = PartitionState.load(state.dump())
    later.add_costs(zero, zero, np.array([DAY + 75]), np.array([9_000_000]))
    keys = [facts.key(facts.DIAGNOSIS, facts.code_number(code), 2026) for code in ("C772", "I509", "N186")]
    later.note(zero.repeat(3), np.array(keys), np.ones(3, np.int8))
    renew_categories(later, zero)
    assert later["ccs"][0, 0].any()
    for metric, value in (("spo2", 70.0), ("heart_rate", 180.0)):
        later.add_readings(zero, zero + METRIC_INDEX[metric], zero + AS_OF + US_DAY, np.array([value]))
    later["head_day"][:], later["forecast_day"][:] = state["head_day"], state["forecast_day"]
    assert scored(later) == before
    ahead = PartitionState.load(unknown.dump())
    ahead.add_labs(zeros, tests, np.full(len(tests), AS_OF + US_DAY), np.array(list(WELL.values())))
    assert scored(ahead) == scored(unknown) != before


panels = st.fixed_dictionaries(
    {test: st.tuples(st.integers(0, 3), st.sampled_from([WELL[test], UNWELL[test]])) for test in WELL}
)
"""A result of each test: so many days before AS_OF, and its value."""


@given(first=panels, more=panels, data=st.data())
def test_a_hazard_that_was_kept_is_the_one_made_anew(
    scorer: HealthScorer, first: dict, more: dict, data: st.DataObject
) -> None:
    """Whatever results came before and after a score, and whichever are not there yet or have grown too old."""

    def add(state: PartitionState, panel: dict) -> None:
        tests = np.array([LAB_INDEX[test] for test in panel])
        days, values = zip(*panel.values(), strict=True)
        state.add_labs(np.zeros(len(tests), np.int64), tests, AS_OF - np.array(days) * US_DAY, np.array(values))

    def hazard(state: PartitionState, as_of_us: int) -> float:
        found = known(state, np.array([0]), np.array([as_of_us]), scorer.models.physiology)
        return float(found.hazard[0])

    kept = PartitionState(0)
    kept.enrol(TextColumn.of(["m"]))
    kept["birth_day"][0], kept["base_as_of"][0] = DAY - 20_000, AS_OF
    times = [AS_OF - day * US_DAY for day in range(4)]
    turns = [turn + k for time in times for turn in (time, time + VALID_US) for k in (-1, 0)]
    for panel in (first, more):
        add(kept, panel)
        assert np.isfinite(hazard(kept, AS_OF))
        for as_of_us in [*data.draw(st.lists(st.sampled_from(turns), max_size=8)), AS_OF]:
            anew = PartitionState.load(kept.dump())
            np.testing.assert_array_equal(hazard(kept, as_of_us), hazard(anew, as_of_us))


def test_a_reading_makes_no_hazard_anew_and_a_report_does(scorer: HealthScorer) -> None:
    state, slots, asked = member(np.random.default_rng(5)), np.array([0]), []
    tests = np.array([LAB_INDEX[test] for test in WELL])
    values = np.array(list(WELL.values()))
    state.add_labs(np.zeros(len(tests), np.int64), tests, np.full(len(tests), AS_OF - US_DAY), values)

    class Counted:
        def log_hazard(self, measured: np.ndarray) -> np.ndarray:
            asked.append(len(measured))
            return scorer.models.physiology.log_hazard(measured)

    renew_base(scorer, state, slots, np.array([AS_OF]))
    found = [known(state, slots, np.array([AS_OF + k]), Counted()).hazard[0] for k in range(3)]
    assert asked == [1] and found[0] == found[1] == found[2]
    state["general_health"][0] = 5
    renew_base(scorer, state, slots, np.array([AS_OF]))
    assert known(state, slots, np.array([AS_OF]), Counted()).hazard[0] > found[0]
    assert asked == [1, 1]


def test_partitions_scored_together_are_as_each_alone(scorer: HealthScorer) -> None:
    def parts() -> list[Marked]:
        made = []
        for partition in range(3):
            state, slots = member(np.random.default_rng(partition)), np.arange(1 if partition != 1 else 0)
            state.partition = partition
            made.append(Marked(state, slots, slots, np.full(len(slots), AS_OF)))
        return made

    def told(found: list) -> list:
        return [
            [{n: c.tolist() if hasattr(c, "tolist") else c for n, c in r.columns.items()} for r in p] for p in found
        ]

    together = score_members(scorer, parts())
    alone = [score_members(scorer, [part])[0] for part in parts()]
    assert told(together) == told(alone)
    assert [len(rows) for rows, _ in together] == [1, 0, 1]
    assert [rows.columns["partition"].tolist() for rows, _ in together] == [[0], [], [2]]


def test_weights_that_do_not_fit_are_refused() -> None:
    weights = load_models().ensemble.weights
    with pytest.raises(ModelError, match="must rise"):
        dataclasses.replace(weights, steps=weights.steps[::-1])
    with pytest.raises(ModelError, match="6 expectations"):
        dataclasses.replace(weights, expected=(1.0,))


def test_unknown_care_is_predicted_by_what_is_known(scorer: HealthScorer) -> None:
    """Trees that have never met a gap send it any way: to $83,000 for people of whom nothing is known."""
    rows = np.full((60, len(BASE_FEATURES)), np.nan, np.float32)
    rows[:, FEATURE_INDEX["age"]], rows[:, FEATURE_INDEX["male"]] = np.arange(20, 80), 0
    cost = scorer.base.predict(rows).mean
    assert 500 < cost[:10].mean() < cost[-10:].mean() < 12_000
