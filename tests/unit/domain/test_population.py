from dataclasses import fields
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.domain.events import CONDITIONS, LINES_OF_BUSINESS, REGIONS
from engine.domain.metrics import METRICS
from engine.domain.population import Population, normals, uniforms
from engine.errors import InvalidRecordError

COLUMNS = [f.name for f in fields(Population) if f.name not in ("seed", "as_of")]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**64 - 1), n=st.integers(0, 40))
def test_a_small_population_is_the_beginning_of_a_large_one(seed: int, n: int) -> None:
    small, large = Population.generate(seed, n), Population.generate(seed, 120)
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(small, name), getattr(large, name)[:n], err_msg=name)


def test_seeds_and_purposes_are_independent() -> None:
    draws = [normals(1, "a", 50_000), normals(1, "b", 50_000), normals(2, "a", 50_000)]
    correlation = np.corrcoef(np.hstack(draws).T)
    assert np.abs(correlation - np.eye(3)).max() < 0.02
    assert (Population.generate(1, 500).birth_date != Population.generate(2, 500).birth_date).mean() > 0.95


def test_uniforms_stay_inside_and_wide_rows_keep_their_place() -> None:
    u = uniforms(0, "x", 1000, 3)
    assert u.shape == (1000, 3)
    assert 0 < u.min() < u.max() < 1
    np.testing.assert_array_equal(uniforms(0, "x", 10, 3), u[:10])
    assert np.isfinite(normals(0, "x", 100_000)).all()


def test_columns_have_the_shapes_and_ranges_they_promise() -> None:
    people = Population.generate(3, 2_000)
    assert len(people) == 2_000
    assert people.member_id[0] == "M0000001"
    assert len(set(people.member_id.tolist())) == 2_000
    assert people.birth_date.max() <= np.datetime64(people.as_of)
    assert people.conditions.shape == (2_000, len(CONDITIONS))
    assert people.baseline.shape == (2_000, len(METRICS))
    for i, metric in enumerate(METRICS):
        assert people.baseline[:, i].min() >= metric.low
        assert people.baseline[:, i].max() <= metric.high
    assert people.annual_cost_cents.dtype == np.int64
    assert people.annual_cost_cents.min() >= 0
    assert people.smoker_free[people.age(people.as_of) < 18].all()


def test_age_counts_completed_years() -> None:
    people = Population.generate(4, 400)
    for on in (date(2025, 1, 1), date(2026, 2, 28), date(2028, 2, 29), date(2030, 12, 31)):
        for born, age in zip(people.birth_date.tolist(), people.age(on).tolist(), strict=True):
            assert age == on.year - born.year - ((on.month, on.day) < (born.month, born.day))


def test_a_contract_is_of_market_and_region_and_tells_nothing_of_health() -> None:
    people = Population.generate(5, 60_000)
    for i in range(50):
        market, region = LINES_OF_BUSINESS[people.line_of_business[i]], REGIONS[people.region[i]]
        assert people.cohort_id[i] == f"{market}-{region}"
        assert people.policy_id[i].rsplit("-", 1)[0] == people.cohort_id[i]
    number = np.array([int(policy[-1]) for policy in people.policy_id])
    assert abs(np.corrcoef(number, people.health)[0, 1]) < 0.02
    of_region = [people.health[people.region == r].mean() for r in range(len(REGIONS))]
    assert np.ptp(of_region) < 0.06


def test_the_latent_health_moves_everything_the_way_it_should() -> None:
    people = Population.generate(6, 40_000)
    adult = people.age(people.as_of) >= 18
    sick = people.health[adult]

    def with_health(column: np.ndarray) -> float:
        return float(np.corrcoef(column[adult], sick)[0, 1])

    of = {metric.code: people.baseline[:, i] for i, metric in enumerate(METRICS)}
    assert with_health(people.conditions.sum(axis=1)) > 0.25
    assert with_health(np.log1p(people.annual_cost_cents)) > 0.2
    assert with_health(of["resting_heart_rate"]) > 0.2
    assert with_health(of["steps"]) < -0.2
    assert with_health(of["hrv_rmssd"]) < -0.2


@pytest.mark.parametrize(("seed", "n", "field"), [(-1, 1, "seed"), (2**64, 1, "seed"), (0, -1, "n")])
def test_out_of_range_is_refused_by_name(seed: int, n: int, field: str) -> None:
    with pytest.raises(InvalidRecordError, match=field) as error:
        Population.generate(seed, n)
    assert error.value.field == field
