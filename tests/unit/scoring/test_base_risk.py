"""The base-risk model's kernels beside the same formulas in numpy."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.learning import registry
from engine.scoring.base_risk import AGE_EDGES, GROUPS, age_sex_group, bands_of, recalibrated
from engine.scoring.features import BASE_FEATURES, FEATURE_INDEX

AGE, MALE = FEATURE_INDEX["age"], FEATURE_INDEX["male"]


def people(n: int) -> np.ndarray:
    chance = np.random.default_rng(5)
    features = chance.gamma(0.05, 2000.0, (n, len(BASE_FEATURES))).astype(np.float32)
    features[:, AGE], features[:, MALE] = chance.integers(0, 100, n), chance.integers(0, 2, n)
    features[chance.random(features.shape) < 0.1] = np.nan
    return features


def test_age_sex_groups_and_unknown_age_with_the_oldest() -> None:
    features = people(2000)
    group = age_sex_group(features)
    bands = np.searchsorted(AGE_EDGES, features[:, AGE], side="right")
    assert np.array_equal(group, bands + (features[:, MALE] == 1) * (GROUPS // 2))
    unknown = np.isnan(features[:, AGE])
    assert unknown.any() and (group[unknown] % (GROUPS // 2) == len(AGE_EDGES)).all()


@given(
    st.lists(st.floats(1.0, 1e6), min_size=1, max_size=40),
    st.lists(st.tuples(st.floats(1.0, 1e6), st.floats(0.2, 3.0)), min_size=1, max_size=6),
)
def test_recalibration_is_a_curve_over_the_logarithm(mean: list[float], knots: list[tuple[float, float]]) -> None:
    costs, factors = zip(*sorted(knots, key=lambda knot: knot[0]), strict=True)
    got = recalibrated(np.array(mean), 50.0, costs, factors)
    logs = [math.log(cost) for cost in costs]
    for found, cost in zip(got.tolist(), mean, strict=True):
        raised = max(cost, 50.0)
        if math.log(raised) not in logs:  # on two knots at once numpy takes either factor
            wanted = max(raised * np.interp(math.log(raised), logs, factors), 50.0)
            assert math.isclose(found, wanted, rel_tol=1e-9)


def test_a_prediction_is_its_margins_recalibrated_and_widened_by_its_group_and_band() -> None:
    model, features = registry.load_base_risk(), people(500)
    calibration, found = model.calibration, model.predict(features)
    raw = model._mean.margins(features)[:, 0].astype(float) * calibration.scale
    mean = recalibrated(raw, calibration.floor, calibration.curve_costs, calibration.curve_factors)
    group = age_sex_group(features)
    band = bands_of(mean, group, np.array(calibration.band_edges))
    low, high = model._quantiles.margins(features).astype(float).T
    lower = np.maximum(low - np.array(calibration.lower_offsets)[group, band], 0.0)
    upper = high + np.array(calibration.upper_offsets)[group, band]
    assert np.array_equal(found.mean, mean)
    assert np.array_equal(found.lower_90, np.minimum(lower, mean))
    assert np.array_equal(found.upper_90, np.maximum(upper, mean))
    edges = np.array(calibration.band_edges)[group]
    assert np.array_equal(band, (mean[:, None] >= edges).sum(axis=1)) and len(set(band.tolist())) > 1


def test_contributions_add_up_to_the_prediction_and_recalibration_is_shared_by_size() -> None:
    model, features = registry.load_base_risk(), people(200)
    given_ = model.contributions(features).astype(float)
    mean = model.predict(features).mean
    assert np.allclose(given_.sum(axis=1) + model.bias(), mean, rtol=1e-3, atol=0.5)
    exact = model._explained.of(features) * model.calibration.scale
    for i in range(len(features)):
        ratio = (given_[i] - exact[i])[np.abs(exact[i]) > 1.0] / np.abs(exact[i])[np.abs(exact[i]) > 1.0]
        assert np.ptp(ratio) < 1e-3
    assert np.array_equal(model.contributions(features[:1]), model.contributions(features)[:1])
