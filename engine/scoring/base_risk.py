"""The base-risk model: next year's cost of care from this year's claims, demographics and self-rated health.

Mean cost: gradient-boosted trees with squared error on cost winsorised at a cap, rescaled to the uncapped mean, so that
TreeSHAP contributions are dollars that add up to the prediction. Interval: 5 % and 95 % quantile trees, made honest by
conformal offsets by age-sex group and band of predicted cost, from persons outside each fold (Romano, Patterson and
Candes, NeurIPS 2019, conformalized quantile regression; Mondrian by group: Vovk, Gammerman and Shafer 2005).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from engine.domain.curves import on_curve
from engine.errors import ModelError
from engine.scoring.features import BASE_FEATURES, FEATURE_INDEX
from engine.scoring.trees import Trees

AGE_EDGES = (18, 35, 50, 65)
GROUPS = 2 * (len(AGE_EDGES) + 1)
_AGE, _MALE = FEATURE_INDEX["age"], FEATURE_INDEX["male"]
Reals = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CostPrediction:
    """Predicted annual cost in dollars by member, with the ends of the 90 % interval; 0 <= lower <= mean <= upper."""

    mean: NDArray[np.float64]
    lower_90: NDArray[np.float64]
    upper_90: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was measured after the trees were fitted.

    `scale` takes the capped mean to the uncapped one; `floor` is the least cost predicted. `curve_costs` (rising) and
    `curve_factors` recalibrate the mean: the factor lies on straight lines over the logarithm of the cost.
    `band_edges` [groups][bands - 1] cut the predicted mean cost of an age-sex group into bands; `lower_offsets` and
    `upper_offsets` [groups][bands] (dollars) widen its quantiles, or narrow them where negative.
    `price_year` is the year of the features fitted on, `price_level` that year's mean cost, capped, over the mean the
    model predicts of the same persons when their care is not known: what a year's prices are compared by.
    `reference_costs` are the predicted costs at equally spaced percentiles 0..100 of the reference population.
    """

    scale: float
    floor: float
    curve_costs: tuple[float, ...]
    curve_factors: tuple[float, ...]
    band_edges: tuple[tuple[float, ...], ...]
    lower_offsets: tuple[tuple[float, ...], ...]
    upper_offsets: tuple[tuple[float, ...], ...]
    reference_costs: tuple[float, ...]
    price_year: int
    price_level: float

    def __post_init__(self) -> None:
        shape = [len(row) + 1 for row in self.band_edges]
        if len(shape) != GROUPS or any(
            [len(row) for row in offsets] != shape for offsets in (self.lower_offsets, self.upper_offsets)
        ):
            raise ModelError(f"calibration: edges and offsets of {GROUPS} groups are needed")
        if any(b < a for a, b in zip(self.reference_costs, self.reference_costs[1:], strict=False)):
            raise ModelError("calibration: reference_costs must not fall")


class _Fitted(NamedTuple):
    """A calibration for the kernels; `log_costs` and `factors` are its curve, `edges`, `lower` and `upper` by group."""

    scale: float
    floor: float
    log_costs: Reals
    factors: Reals
    edges: Reals
    lower: Reals
    upper: Reals


@njit(cache=True, nogil=True, inline="always")
def _group(age: float, male: float) -> int:
    group = (len(AGE_EDGES) + 1) * (male == 1)
    for edge in AGE_EDGES:
        group += not age < edge  # who is of unknown age counts with the oldest
    return int(group)


@njit(cache=True, nogil=True)
def _groups(features: NDArray[np.float32], out: NDArray[np.int64]) -> None:
    for i in range(len(out)):
        out[i] = _group(features[i, _AGE], features[i, _MALE])


def age_sex_group(features: NDArray[np.float32]) -> NDArray[np.int64]:
    """Age-sex group [n] of a feature matrix, 0 .. GROUPS - 1: age bands of women, then of men."""
    out = np.empty(len(features), np.int64)
    _groups(features, out)
    return out


@njit(cache=True, nogil=True)
def _recalibrated(mean: float, floor: float, log_costs: Reals, factors: Reals) -> float:
    mean = max(mean, floor)
    return float(max(mean * on_curve(np.log(mean), log_costs, factors), floor))


@njit(cache=True, nogil=True)
def _recalibrate(mean: Reals, floor: float, log_costs: Reals, factors: Reals, out: Reals) -> None:
    for i in range(len(mean)):
        out[i] = _recalibrated(mean[i], floor, log_costs, factors)


def _logarithms(costs: Sequence[float]) -> Reals:
    """As the kernels take them: numpy's may differ in the last bit, and many a cost lies on the first knots exactly."""
    return np.array([math.log(cost) for cost in costs])


def recalibrated(mean: Reals, floor: float, costs: Sequence[float], factors: Sequence[float]) -> Reals:
    """Mean costs [n] times the factors of the curve there, no less than `floor`; beyond its ends the end's factor."""
    out = np.empty(len(mean))
    _recalibrate(mean, floor, _logarithms(costs), np.asarray(factors, np.float64), out)
    return out


@njit(cache=True, nogil=True, inline="always")
def _band(mean: float, edges: Reals) -> int:
    band = 0
    for edge in edges:
        band += mean >= edge
    return band


@njit(cache=True, nogil=True)
def _bands(mean: Reals, group: NDArray[np.int64], edges: Reals, out: NDArray[np.int64]) -> None:
    for i in range(len(mean)):
        out[i] = _band(mean[i], edges[group[i]])


def bands_of(mean: Reals, group: NDArray[np.int64], edges: Reals) -> NDArray[np.int64]:
    """Band [n] of a predicted cost within its group; edges [groups, bands - 1]."""
    out = np.empty(len(mean), np.int64)
    _bands(mean, group, edges, out)
    return out


@njit(cache=True, nogil=True)
def _predict(
    features: NDArray[np.float32],
    means: NDArray[np.float32],
    quantiles: NDArray[np.float32],
    fitted: _Fitted,
    out: Reals,
) -> None:
    """Mean, lower and upper end into out [n, 3], from the margins of the trees [n, 1] and [n, 2]."""
    for i in range(len(features)):
        mean = _recalibrated(np.float64(means[i, 0]) * fitted.scale, fitted.floor, fitted.log_costs, fitted.factors)
        group = _group(features[i, _AGE], features[i, _MALE])
        band = _band(mean, fitted.edges[group])
        lower = np.float64(quantiles[i, 0]) - fitted.lower[group, band]
        upper = np.float64(quantiles[i, 1]) + fitted.upper[group, band]
        out[i, 0], out[i, 1], out[i, 2] = mean, min(max(lower, 0.0), mean), max(upper, mean)


@njit(cache=True, nogil=True)
def _share(exact: Reals, bias: float, fitted: _Fitted, out: NDArray[np.float32]) -> None:
    """Contributions of the trees in dollars [n, features] with what recalibration adds, shared by size."""
    for i in range(len(exact)):
        trees, size = bias, 0.0
        for k in range(exact.shape[1]):
            trees += exact[i, k] * fitted.scale
            size += abs(exact[i, k] * fitted.scale)
        mean = _recalibrated(trees, fitted.floor, fitted.log_costs, fitted.factors)
        added = (mean - trees) / max(size, 1e-9)
        for k in range(exact.shape[1]):
            dollars = exact[i, k] * fitted.scale
            out[i, k] = dollars + abs(dollars) * added


class BaseRiskModel:
    """A fitted model. Pure: the same row gives the same bits in any batch.

    `reference` are the predicted costs of the reference population, rising, and their percentiles from 0 to 1.
    """

    def __init__(self, version: str, mean: Trees, quantiles: Trees, calibration: Calibration) -> None:
        self.version, self.calibration, self._mean, self._quantiles = version, calibration, mean, quantiles
        for trees, outputs in ((mean, 1), (quantiles, 2)):
            if (trees.features, len(trees.intercept)) != (len(BASE_FEATURES), outputs):
                raise ModelError(
                    f"base-risk model {version}: {outputs} outputs of {len(BASE_FEATURES)} features are needed, its "
                    f"trees give {len(trees.intercept)} of {trees.features}"
                )
        self._explained = mean.explained()
        costs = np.array(calibration.reference_costs)
        self.reference = costs, np.linspace(0.0, 1.0, len(costs))
        self._fitted = _Fitted(
            float(calibration.scale),
            float(calibration.floor),
            _logarithms(calibration.curve_costs),
            np.array(calibration.curve_factors, np.float64),
            np.array(calibration.band_edges, np.float64),
            np.array(calibration.lower_offsets, np.float64),
            np.array(calibration.upper_offsets, np.float64),
        )

    def predict(self, features: NDArray[np.float32]) -> CostPrediction:
        """Predictions for a feature matrix [n, BASE_FEATURES]. Raises ModelError for another width."""
        out = np.empty((len(features), 3))
        _predict(features, self._mean.margins(features), self._quantiles.margins(features), self._fitted, out)
        return CostPrediction(out[:, 0], out[:, 1], out[:, 2])

    def contributions(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """TreeSHAP contributions in dollars [n, BASE_FEATURES]; with `bias` they sum to the prediction.

        Exact for the trees; what recalibration adds or takes is shared among the features by size.
        """
        out = np.empty(features.shape, np.float32)
        _share(self._explained.of(features), self.bias(), self._fitted, out)
        return out

    def bias(self) -> float:
        """The prediction in dollars for nobody in particular, to which the contributions add."""
        return self._explained.bias * self.calibration.scale


def conformal_offset(scores: Sequence[float], level: float) -> float:
    """The finite-sample quantile: the ceil((n + 1) level)-th smallest score; the largest if n is too small."""
    ordered = np.sort(np.asarray(scores, np.float64))
    rank = int(np.ceil((len(ordered) + 1) * level))
    return float(ordered[min(rank, len(ordered)) - 1])
