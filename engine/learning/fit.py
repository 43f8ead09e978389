"""Fits and evaluates the base-risk model. Arrays in, model and figures out; same input, same bytes."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray

from engine.learning.meps import MepsYear, link
from engine.scoring.base_risk import (
    AGE_EDGES,
    GROUPS,
    BaseRiskModel,
    Calibration,
    CostPrediction,
    age_sex_group,
    bands_of,
    conformal_offset,
    recalibrated,
)
from engine.scoring.features import BASE_FEATURES
from engine.scoring.trees import trees_of

COST_CAP = 100_000.0
"""Winsorisation of the training cost in dollars: 0.3 % of persons lie above and would own the squared error."""
FLOOR = 50.0
HIDDEN_WEIGHT = 0.3
"""Weight of a second copy of each person whose year of care is not known: so new members are predicted by what is
known of them. Without it the trees, never having met a gap, would send it any way."""
COSTS = tuple(i for i, feature in enumerate(BASE_FEATURES) if feature.group == "cost")
CARE = tuple(i for i, feature in enumerate(BASE_FEATURES) if feature.group in ("cost", "utilisation"))
BANDS = 3
CURVE = 12
FOLDS = 5
KNOTS = 401
QUANTILE_ROUNDS = 100
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
TREND = 0.035
"""Yearly growth of spending per person in the United States, 2012-2019 (CMS, National Health Expenditure Accounts,
confirm)."""
FEWEST_FOR_TREND = 5000
"""Fewer persons do not show a level: its standard error would be beyond four per cent."""
_AGES = [f"{low}-{high - 1}" for low, high in zip((0, *AGE_EDGES), (*AGE_EDGES, 121), strict=True)]
GROUP_NAMES = tuple(f"{sex} {ages}" for sex in ("female", "male") for ages in _AGES)


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
class TreeSettings:
    """What a search may choose of the mean trees; the defaults are what cross-validation chose on MEPS 2012-13."""

    rounds: int = 500
    max_depth: int = 2
    eta: float = 0.03
    min_child_weight: float = 20.0
    subsample: float = 0.5
    colsample_bytree: float = 0.5
    reg_lambda: float = 5.0

    @property
    def params(self) -> dict[str, Any]:
        """The settings as xgboost takes them, without the rounds."""
        chosen = {name: value for name, value in asdict(self).items() if name != "rounds"}
        return {"objective": "reg:squarederror", "seed": 20_120_101, "nthread": 1, **chosen}


CHOSEN = TreeSettings()


@dataclass(frozen=True, slots=True)
class Boosters:
    """The trees alone, before calibration: mean of the capped cost, and its 5 % and 95 % quantiles."""

    mean: xgboost.Booster
    quantiles: xgboost.Booster
    scale: float


def linked_rows(first: MepsYear, second: MepsYear) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the persons of both years whose cost of the second is known."""
    rows, others = link(first, second)
    known = ~np.isnan(second.cost[others])
    return rows[known], others[known]


def linked_sample(first: MepsYear, second: MepsYear) -> Sample:
    """Persons of both years: features of the first, cost of the second. No column of the second is a feature."""
    rows_first, rows_second = linked_rows(first, second)
    keys = first.keys
    return Sample(first.features[rows_first], second.cost[rows_second], [keys[row] for row in rows_first.tolist()])


def folds(sample: Sample) -> NDArray[np.int64]:
    """Fold [n] of each person by a digest of (dupersid, panel): a person's fold never changes."""
    digests = [blake2b(f"{i}/{p}".encode(), digest_size=4).digest() for i, p in sample.keys]
    return np.array([int.from_bytes(digest, "big") % FOLDS for digest in digests])


def without_care(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """The features with the year's costs and counts not known."""
    hidden = features.copy()
    hidden[:, CARE] = np.nan
    return hidden


def fit_trees(sample: Sample, chosen: TreeSettings = CHOSEN) -> Boosters:
    """The mean and quantile trees on the persons to fit."""
    features = np.vstack([sample.features, without_care(sample.features)])
    cost = np.tile(sample.cost, 2)
    weight = np.repeat([1.0, HIDDEN_WEIGHT], len(sample.cost))
    matrix = xgboost.QuantileDMatrix(features, cost, weight=weight, nthread=1)
    quantiles = xgboost.train(dict(QUANTILE_PARAMS), matrix, QUANTILE_ROUNDS)
    capped = np.minimum(sample.cost, COST_CAP)
    return Boosters(_mean_trees(sample, chosen), quantiles, float(sample.cost.mean() / capped.mean()))


def _mean_trees(sample: Sample, chosen: TreeSettings) -> xgboost.Booster:
    features = np.vstack([sample.features, without_care(sample.features)])
    capped = np.tile(np.minimum(sample.cost, COST_CAP), 2)
    weight = np.repeat([1.0, HIDDEN_WEIGHT], len(sample.cost))
    return xgboost.train(chosen.params, xgboost.DMatrix(features, capped, weight=weight, nthread=1), chosen.rounds)


def cross_validated_r2(sample: Sample, chosen: TreeSettings) -> float:
    """R2 of the mean trees on persons outside each fold, before recalibration: what a search maximises."""
    fold, raw = folds(sample), np.empty(len(sample.cost))
    for k in range(FOLDS):
        inside = fold == k
        trees = _mean_trees(sample[~inside], chosen)
        scale = sample.cost[~inside].mean() / np.minimum(sample.cost[~inside], COST_CAP).mean()
        raw[inside] = trees.predict(xgboost.DMatrix(sample.features[inside], nthread=1)) * scale
    return r2(sample.cost, np.maximum(raw, FLOOR))


@dataclass(frozen=True, slots=True)
class Unseen:
    """What trees that have not seen a person say of them, dollars: mean [n] and quantiles [n, 2].

    `raw` is the mean before, `mean` after recalibration by a curve of the other folds; quantiles are the trees' own.
    """

    raw: NDArray[np.float64]
    mean: NDArray[np.float64]
    quantiles: NDArray[np.float64]


def cross_fitted(sample: Sample, chosen: TreeSettings = CHOSEN) -> Unseen:
    """Predictions for every person from trees fitted on the other folds."""
    fold, raw, quantiles = folds(sample), np.empty(len(sample.cost)), np.empty((len(sample.cost), 2))
    for k in range(FOLDS):
        inside = fold == k
        trees = fit_trees(sample[~inside], chosen)
        matrix = xgboost.DMatrix(sample.features[inside], nthread=1)
        raw[inside] = np.maximum(trees.mean.predict(matrix).astype(np.float64) * trees.scale, FLOOR)
        quantiles[inside] = trees.quantiles.predict(matrix)
    mean = np.empty(len(raw))
    for k in range(FOLDS):
        inside = fold == k
        mean[inside] = recalibrated(raw[inside], FLOOR, *curve(raw[~inside], sample.cost[~inside]))
    return Unseen(raw, mean, quantiles)


def curve(raw: NDArray[np.float64], cost: NDArray[np.float64]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The recalibration: mean predicted cost of CURVE groups of as many persons, rising, and actual over predicted.

    Actual costs are capped as in training and never fall from one group to the next: a few costly persons would bend
    the curve. Trees fitted to squared error are drawn to the mean: without it the lowest tenth was a third too high.
    """
    capped = np.minimum(cost, COST_CAP) * (cost.mean() / np.minimum(cost, COST_CAP).mean())
    groups = np.array_split(np.argsort(raw, kind="stable"), CURVE)
    predicted = np.array([raw[rows].mean() for rows in groups])
    actual = np.maximum.accumulate([capped[rows].mean() for rows in groups])
    return tuple(predicted.tolist()), tuple((actual / predicted).tolist())


@dataclass(frozen=True, slots=True)
class Offsets:
    """What the ends of the interval lack, or have too much: lower and upper [GROUPS, BANDS], dollars."""

    lower: NDArray[np.float64]
    upper: NDArray[np.float64]


def conformal_offsets(sample: Sample, unseen: Unseen, edges: NDArray[np.float64]) -> Offsets:
    """Offsets with which the interval holds 90 % of a group's persons in a band, at most 5 % of them below it.

    The lower end comes first. Where nobody can be below it, as among people of whom many cost nothing, the upper end
    gets the whole 10 %: both ends at 95 % would hold far more than 90 %.
    """
    group = age_sex_group(sample.features)
    band = bands_of(unseen.mean, group, edges)
    found = Offsets(np.empty((GROUPS, BANDS)), np.empty((GROUPS, BANDS)))
    for g in range(GROUPS):
        for b in range(BANDS):
            rows = (group == g) & (band == b)
            cost, (low, high) = sample.cost[rows], unseen.quantiles[rows].T
            found.lower[g, b] = conformal_offset((low - cost).tolist(), (1 + TARGET_COVERAGE) / 2)
            below = cost < np.maximum(low - found.lower[g, b], 0.0)
            found.upper[g, b] = conformal_offset(np.where(below, np.inf, cost - high).tolist(), TARGET_COVERAGE)
    return found


def band_edges(sample: Sample, unseen: Unseen) -> NDArray[np.float64]:
    """Edges [GROUPS, BANDS - 1] of bands of predicted cost with as many persons of the group each."""
    group, cuts = age_sex_group(sample.features), np.linspace(0, 1, BANDS + 1)[1:-1]
    return np.array([np.quantile(unseen.mean[group == g], cuts) for g in range(GROUPS)])


def calibrate(version: str, boosters: Boosters, sample: Sample, unseen: Unseen, reference: MepsYear) -> BaseRiskModel:
    """The model: conformal offsets from out-of-fold predictions, percentiles from the weighted population."""
    edges = band_edges(sample, unseen)
    offsets = conformal_offsets(sample, unseen, edges)
    mean, quantiles = (trees_of(booster.save_raw("json")) for booster in (boosters.mean, boosters.quantiles))

    found = curve(unseen.raw, sample.cost)

    def made(costs: tuple[float, ...], level: float) -> BaseRiskModel:
        tables = (_rows(edges), _rows(offsets.lower), _rows(offsets.upper))
        calibration = Calibration(boosters.scale, FLOOR, *found, *tables, costs, reference.year, level)
        return BaseRiskModel(version, mean, quantiles, calibration)

    started = made((0.0, 1.0), 1.0)
    costs = started.predict(reference.features).mean
    return made(tuple(_weighted_quantiles(costs, reference.weight, KNOTS).tolist()), price_level(started, reference))


def price_level(model: BaseRiskModel, year: MepsYear) -> float:
    """The year's mean cost, capped, over the mean that the model predicts of the same persons without their care.

    Demographics, conditions and self-rated health stand still where prices rise: the ratio of two years' levels is
    their trend, standardised for who is in the files.
    """
    known = ~np.isnan(year.cost)
    expected = model.predict(without_care(year.features[known])).mean
    return float(np.minimum(year.cost[known], COST_CAP).mean() / expected.mean())


def trend(model: BaseRiskModel, year: MepsYear) -> float:
    """Prices of the year over those of the year the model was fitted on: 1.0 for that year itself.

    The geometric mean of what the file shows and of TREND a year: either alone can be five per cent off.
    """
    calibration = model.calibration
    expected = (1.0 + TREND) ** (year.year - calibration.price_year)
    if len(year.cost) < FEWEST_FOR_TREND:
        return float(expected)
    return float(np.sqrt(expected * price_level(model, year) / calibration.price_level))


def predict_year(model: BaseRiskModel, year: MepsYear) -> CostPrediction:
    """Next year's cost of a year's persons, in that year's dollars.

    The year's costs are taken to the prices the model was fitted on, and its predictions back, by the `trend`.
    """
    factor = trend(model, year)
    features = year.features.copy()
    features[:, COSTS] /= np.float32(factor)
    found = model.predict(features)
    return CostPrediction(found.mean * factor, found.lower_90 * factor, found.upper_90 * factor)


def _rows(table: NDArray[np.float64]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in table.tolist())


def _weighted_quantiles(values: NDArray[np.float64], weights: NDArray[np.float64], knots: int) -> NDArray[np.float64]:
    weights = np.nan_to_num(weights)
    order = np.argsort(values, kind="stable")
    cumulated = np.cumsum(weights[order])
    middle = (cumulated - weights[order] / 2) / cumulated[-1]
    return np.interp(np.linspace(0, 1, knots), middle, values[order])


def r2(cost: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
    """Share of the variance of cost, in dollars, that the prediction explains."""
    return float(1 - ((cost - predicted) ** 2).sum() / ((cost - cost.mean()) ** 2).sum())


def evaluate(sample: Sample, unseen: Unseen) -> dict[str, Any]:
    """Figures on out-of-fold predictions: R2, MAE, coverage overall and by group, predictive ratios.

    Intervals are widened by what the other half of the persons asks for. A predictive ratio is predicted over actual
    cost of a group: 1 means the group is neither under- nor overpredicted.
    """
    lower, upper = intervals(sample, unseen)
    inside = (sample.cost >= lower) & (sample.cost <= upper)
    group = age_sex_group(sample.features)
    tenths = np.array_split(np.argsort(unseen.mean, kind="stable"), 10)
    return {
        "persons": len(sample.cost),
        "r2": round(r2(sample.cost, unseen.mean), 4),
        "mae": round(float(np.abs(sample.cost - unseen.mean).mean()), 2),
        "coverage_90": round(float(inside.mean()), 4),
        "coverage_90_by_group": {GROUP_NAMES[g]: round(float(inside[group == g].mean()), 4) for g in range(GROUPS)},
        "median_width": round(float(np.median(upper - lower)), 2),
        "predictive_ratio": _ratio(sample, unseen, slice(None)),
        "predictive_ratio_by_group": {GROUP_NAMES[g]: _ratio(sample, unseen, group == g) for g in range(GROUPS)},
        "predictive_ratio_by_tenth": [_ratio(sample, unseen, rows) for rows in tenths],
    }


def _ratio(sample: Sample, unseen: Unseen, rows: Any) -> float:
    return round(float(unseen.mean[rows].sum() / sample.cost[rows].sum()), 3)


def intervals(sample: Sample, unseen: Unseen) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper end of each person's 90 % interval, with offsets from the other half of the persons."""
    lower, upper = np.empty(len(sample.cost)), np.empty(len(sample.cost))
    edges, half = band_edges(sample, unseen), np.arange(len(sample.cost)) % 2 == 0
    for rows in (half, ~half):
        offsets = conformal_offsets(
            sample[~rows], Unseen(unseen.raw[~rows], unseen.mean[~rows], unseen.quantiles[~rows]), edges
        )
        mean, group = unseen.mean[rows], age_sex_group(sample.features[rows])
        band = bands_of(mean, group, edges)
        lower[rows] = np.clip(unseen.quantiles[rows, 0] - offsets.lower[group, band], 0.0, mean)
        upper[rows] = np.maximum(unseen.quantiles[rows, 1] + offsets.upper[group, band], mean)
    return lower, upper


def repeated_r2(sample: Sample, splits: int, chosen: TreeSettings = CHOSEN) -> list[float]:
    """R2 of the mean trees on `splits` random 80/20 splits: what one split owes to luck."""
    figures = []
    for seed in range(splits):
        held = np.random.Generator(np.random.Philox(seed)).random(len(sample.cost)) < 0.2
        train, test = sample[~held], sample[held]
        trees = _mean_trees(train, chosen)
        scale = train.cost.mean() / np.minimum(train.cost, COST_CAP).mean()
        figures.append(r2(test.cost, trees.predict(xgboost.DMatrix(test.features, nthread=1)) * scale))
    return figures
