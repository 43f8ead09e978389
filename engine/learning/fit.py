"""Fits and evaluates the base-risk model. Arrays in, model and figures out; same input, same bytes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray

from engine.learning.meps import MepsYear, link
from engine.scoring.base_risk import BaseRiskModel, Calibration, conformal_offset
from engine.scoring.features import FEATURE_INDEX

COST_CAP = 100_000.0
"""Winsorisation of the training cost in dollars: 0.3 % of persons lie above and would own the squared error."""
FLOOR = 50.0
BANDS = 5
KNOTS = 401
ROUNDS = 200
MEAN_PARAMS: Mapping[str, Any] = {
    "objective": "reg:squarederror",
    "max_depth": 3,
    "eta": 0.03,
    "min_child_weight": 20,
    "subsample": 0.5,
    "colsample_bytree": 0.5,
    "reg_lambda": 20,
    "seed": 20_120_101,
    "nthread": 1,
}
QUANTILE_PARAMS: Mapping[str, Any] = {
    "objective": "reg:quantileerror",
    "quantile_alpha": [0.05, 0.95],
    "max_depth": 3,
    "eta": 0.1,
    "min_child_weight": 20,
    "subsample": 0.7,
    "seed": 20_120_102,
    "nthread": 1,
}
TARGET_COVERAGE = 0.90


@dataclass(frozen=True, slots=True)
class Sample:
    """Persons with this year's features and next year's cost in dollars. `keys` name the persons, for the split."""

    features: NDArray[np.float32]
    cost: NDArray[np.float64]
    keys: Sequence[tuple[str, int]]

    def __getitem__(self, rows: NDArray[np.bool_]) -> "Sample":
        return Sample(
            self.features[rows], self.cost[rows], [k for k, kept in zip(self.keys, rows, strict=True) if kept]
        )


@dataclass(frozen=True, slots=True)
class Boosters:
    """The trees alone, before calibration: mean of the capped cost, and its 5 % and 95 % quantiles."""

    mean: xgboost.Booster
    quantiles: xgboost.Booster
    scale: float


def linked_sample(first: MepsYear, second: MepsYear) -> Sample:
    """Persons of both years: features of the first, cost of the second. No column of the second is a feature."""
    rows_first, rows_second = link(first, second)
    keys = first.keys
    known = ~np.isnan(second.cost[rows_second])
    rows_first, rows_second = rows_first[known], rows_second[known]
    return Sample(first.features[rows_first], second.cost[rows_second], [keys[row] for row in rows_first.tolist()])


def split(sample: Sample) -> tuple[Sample, Sample, Sample]:
    """70 % to fit, 15 % to calibrate, 15 % to test, by a digest of (dupersid, panel): a person's part never changes."""
    part = np.array([blake2b(f"{i}/{p}".encode(), digest_size=4).digest()[0] for i, p in sample.keys]) / 256.0
    return sample[part < 0.70], sample[(part >= 0.70) & (part < 0.85)], sample[part >= 0.85]


def fit_trees(sample: Sample) -> Boosters:
    """The mean and quantile trees on the persons to fit."""
    capped = np.minimum(sample.cost, COST_CAP)
    mean = xgboost.train(dict(MEAN_PARAMS), xgboost.DMatrix(sample.features, capped, nthread=1), ROUNDS)
    matrix = xgboost.QuantileDMatrix(sample.features, sample.cost, nthread=1)
    quantiles = xgboost.train(dict(QUANTILE_PARAMS), matrix, ROUNDS // 2)
    return Boosters(mean, quantiles, float(sample.cost.mean() / capped.mean()))


def calibrate(version: str, boosters: Boosters, sample: Sample, reference: MepsYear) -> BaseRiskModel:
    """The model: conformal offsets from persons the trees have not seen, percentiles from the weighted population.

    Each end is calibrated to 95 %, so that the interval covers 90 % within each band of predicted cost.
    """
    uncalibrated = Calibration(boosters.scale, FLOOR, (), (0.0,), (0.0,), (0.0, 1.0))
    raw = BaseRiskModel(version, boosters.mean, boosters.quantiles, uncalibrated)
    prediction = raw.predict(sample.features)
    quantiles = boosters.quantiles.predict(xgboost.DMatrix(sample.features, nthread=1)).astype(np.float64)
    edges = np.quantile(prediction.mean, np.linspace(0, 1, BANDS + 1)[1:-1])
    band = np.searchsorted(edges, prediction.mean, side="right")
    level = (1 + TARGET_COVERAGE) / 2
    lower = [conformal_offset((quantiles[:, 0] - sample.cost)[band == b].tolist(), level) for b in range(BANDS)]
    upper = [conformal_offset((sample.cost - quantiles[:, 1])[band == b].tolist(), level) for b in range(BANDS)]
    costs = raw.predict(reference.features).mean
    calibration = Calibration(
        boosters.scale,
        FLOOR,
        tuple(edges.tolist()),
        tuple(lower),
        tuple(upper),
        tuple(_weighted_quantiles(costs, reference.weight, KNOTS).tolist()),
    )
    return BaseRiskModel(version, boosters.mean, boosters.quantiles, calibration)


def _weighted_quantiles(values: NDArray[np.float64], weights: NDArray[np.float64], knots: int) -> NDArray[np.float64]:
    weights = np.nan_to_num(weights)
    order = np.argsort(values, kind="stable")
    cumulated = np.cumsum(weights[order])
    middle = (cumulated - weights[order] / 2) / cumulated[-1]
    return np.interp(np.linspace(0, 1, knots), middle, values[order])


def r2(cost: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
    """Share of the variance of cost, in dollars, that the prediction explains."""
    return float(1 - ((cost - predicted) ** 2).sum() / ((cost - cost.mean()) ** 2).sum())


def evaluate(model: BaseRiskModel, sample: Sample) -> dict[str, Any]:
    """Figures on persons the model has not seen: R2, MAE, coverage overall and by band, predictive ratios by group.

    A predictive ratio is predicted over actual cost of a group: 1 means the group is neither under- nor overpredicted.
    """
    prediction = model.predict(sample.features)
    inside = (sample.cost >= prediction.lower_90) & (sample.cost <= prediction.upper_90)
    band = np.searchsorted(np.array(model.calibration.band_edges), prediction.mean, side="right")
    age = sample.features[:, FEATURE_INDEX["age"]]
    male = sample.features[:, FEATURE_INDEX["male"]] == 1
    groups = {"female": ~male, "male": male}
    for low, high in ((0, 17), (18, 34), (35, 49), (50, 64), (65, 120)):
        groups[f"age {low}-{high}"] = (age >= low) & (age <= high)
    return {
        "persons": len(sample.cost),
        "r2": round(r2(sample.cost, prediction.mean), 4),
        "mae": round(float(np.abs(sample.cost - prediction.mean).mean()), 2),
        "coverage_90": round(float(inside.mean()), 4),
        "coverage_90_by_band": [round(float(inside[band == b].mean()), 4) for b in range(BANDS)],
        "predictive_ratio": {
            name: round(float(prediction.mean[rows].sum() / sample.cost[rows].sum()), 3)
            for name, rows in groups.items()
        },
    }


def repeated_r2(sample: Sample, splits: int) -> list[float]:
    """R2 of the mean trees on `splits` random 80/20 splits: what one split owes to luck."""
    figures = []
    for seed in range(splits):
        held = np.random.Generator(np.random.Philox(seed)).random(len(sample.cost)) < 0.2
        train, test = sample[~held], sample[held]
        capped = np.minimum(train.cost, COST_CAP)
        trees = xgboost.train(dict(MEAN_PARAMS), xgboost.DMatrix(train.features, capped, nthread=1), ROUNDS)
        scale = train.cost.mean() / capped.mean()
        figures.append(r2(test.cost, trees.predict(xgboost.DMatrix(test.features, nthread=1)) * scale))
    return figures
