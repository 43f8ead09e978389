"""Figures of predicted costs by hand, and the ends of the interval where many people cost nothing."""

import numpy as np
import pytest

from engine.learning import fit
from engine.learning.evaluation import FEWEST, Judged, figures
from engine.scoring.base_risk import CostPrediction
from engine.scoring.features import BASE_FEATURES, FEATURE_INDEX

N = 2 * FEWEST


def judged(mean: np.ndarray, cost: np.ndarray) -> Judged:
    half = np.arange(N) < FEWEST
    few = np.arange(N) < FEWEST - 1
    prediction = CostPrediction(mean, mean - 10, mean + 10)
    return Judged(cost, prediction, {"half": {"first": half, "second": ~half, "few": few}}, "test")


def test_figures_of_groups_by_hand() -> None:
    cost = np.repeat([100.0, 300.0], FEWEST)
    mean = np.repeat([105.0, 240.0], FEWEST)
    found = figures(judged(mean, cost))
    assert found["all"]["r2"] == pytest.approx(1 - (25 + 3600) / 2 / 100**2, abs=1e-4)
    assert found["all"]["mae"] == 32.5 and found["all"]["coverage_90"] == 0.5
    assert found["half"]["first"]["predictive_ratio"] == 1.05 and found["half"]["first"]["coverage_90"] == 1.0
    assert found["half"]["second"]["predictive_ratio"] == 0.8 and found["half"]["second"]["coverage_90"] == 0.0
    assert found["half"]["few"] == {"persons": FEWEST - 1}


def test_a_group_without_cost_has_no_ratio() -> None:
    found = figures(judged(np.full(N, 50.0), np.repeat([0.0, 90.0], FEWEST)))
    assert found["half"]["first"]["predictive_ratio"] is None and found["half"]["first"]["actual"] == 0.0


def test_the_interval_holds_ninety_percent_where_most_cost_nothing() -> None:
    rng = np.random.default_rng(8)
    features = np.full((24_000, len(BASE_FEATURES)), np.nan, np.float32)
    features[:, FEATURE_INDEX["age"]] = rng.integers(0, 90, len(features))
    features[:, FEATURE_INDEX["male"]] = rng.random(len(features)) < 0.5
    cost = np.where(rng.random(len(features)) < 0.7, 0.0, rng.exponential(1000, len(features)))
    sample = fit.Sample(features, cost, [(str(i), 1) for i in range(len(features))])
    # quantiles that are far too wide, and a mean below the upper end
    mean = rng.uniform(100, 300, len(features))
    unseen = fit.Unseen(mean, mean, np.tile([0.0, 9000.0], (len(features), 1)))
    lower, upper = fit.intervals(sample, unseen)
    inside = (cost >= lower) & (cost <= upper)
    assert 0.89 < inside.mean() < 0.92
    assert np.median(upper) < 2500, "the upper end gets the whole ten percent"
