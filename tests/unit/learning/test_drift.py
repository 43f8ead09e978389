"""Drift: the index on shares worked out by hand, chance where nothing changed, and predictions that came true."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from engine.learning import drift
from engine.scoring.base_risk import CostPrediction


def test_the_index_of_shares_worked_out_by_hand() -> None:
    then = drift.Reference((0.0, 1.0), (0.0, 0.5, 0.5, 0.0), 1000)
    found = drift.shift("flag", then, np.repeat([0.0, 1.0], [800, 200]))
    by_hand = (0.8 - 0.5) * math.log(0.8 / 0.5) + (0.2 - 0.5) * math.log(0.2 / 0.5)
    assert found.psi == pytest.approx(by_hand, rel=1e-12)
    assert found.verdict == "shifted" and by_hand > drift.SHIFTED


def test_not_known_is_a_bin_of_its_own() -> None:
    then = drift.reference(np.array([1.0, 2.0, 3.0, 4.0] * 100))
    now = np.where(np.arange(400) % 2 == 0, np.nan, 2.0)
    assert drift.shift("x", then, now).psi > drift.SHIFTED


def test_weights_stand_for_persons() -> None:
    values, weights = np.array([0.0, 1.0, 5.0, 9.0]), np.array([3.0, 1.0, 2.0, 2.0])
    weighted, repeated = drift.reference(values, weights), drift.reference(np.repeat(values, [3, 1, 2, 2]))
    assert (weighted.edges, weighted.shares) == (repeated.edges, repeated.shares)


@given(arrays(np.float64, st.integers(1, 60), elements=st.one_of(st.just(np.nan), st.floats(-1e6, 1e6))))
def test_the_same_population_has_not_drifted(values: np.ndarray) -> None:
    found = drift.shift("x", drift.reference(values), values)
    assert found.psi == pytest.approx(0.0, abs=1e-12) and found.verdict == "stable"


def test_chance_is_exceeded_once_in_twenty() -> None:
    rng = np.random.default_rng(5)
    found = []
    for _ in range(400):
        then = drift.reference(rng.exponential(size=3000))
        found.append(drift.shift("x", then, rng.exponential(size=1000)))
    share = np.mean([each.psi > each.chance for each in found])
    assert 0.02 < share < 0.09
    assert all(each.verdict == "stable" for each in found)


def test_the_ratios_error_is_that_of_resamples() -> None:
    rng = np.random.default_rng(6)
    mean = rng.gamma(1.0, 3000.0, 800)
    cost = mean * rng.lognormal(-0.5, 1.0, 800)
    told = drift.calibration(cost, CostPrediction(mean, mean * 0.1, mean * 4))
    draws = rng.integers(0, 800, (2000, 800))
    ratios = mean[draws].sum(axis=1) / cost[draws].sum(axis=1)
    assert told.standard_error == pytest.approx(ratios.std(), rel=0.1)
    assert told.ratio == mean.sum() / cost.sum() and told.persons == 800
    assert told.coverage_90 == np.mean((cost >= mean * 0.1) & (cost <= mean * 4))
