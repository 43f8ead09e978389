"""The base-risk model: next year's cost of care from this year's claims, demographics and self-rated health.

Mean cost: gradient-boosted trees with squared error on cost winsorised at a cap, rescaled to the uncapped mean, so that
TreeSHAP contributions are dollars that add up to the prediction. Interval: 5 % and 95 % quantile trees, made honest by
conformal offsets by age-sex group and band of predicted cost, from persons outside each fold (Romano, Patterson and
Candes, NeurIPS 2019, conformalized quantile regression; Mondrian by group: Vovk, Gammerman and Shafer 2005).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.errors import ModelError
from engine.scoring.features import BASE_FEATURES, FEATURE_INDEX
from engine.scoring.trees import Trees

AGE_EDGES = (18, 35, 50, 65)
GROUPS = 2 * (len(AGE_EDGES) + 1)


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


def age_sex_group(features: NDArray[np.float32]) -> NDArray[np.int64]:
    """Age-sex group [n] of a feature matrix, 0 .. GROUPS - 1: age bands of women, then of men."""
    age = np.searchsorted(AGE_EDGES, features[:, FEATURE_INDEX["age"]], side="right")
    male = features[:, FEATURE_INDEX["male"]] == 1
    return np.asarray(age + male * (len(AGE_EDGES) + 1), np.int64)


def recalibrated(
    mean: NDArray[np.float64],
    costs: Sequence[float] | NDArray[np.float64],
    factors: Sequence[float] | NDArray[np.float64],
) -> NDArray[np.float64]:
    """Mean costs [n] times the factors of the curve there; beyond its ends the factor of the end."""
    return np.asarray(mean * np.interp(np.log(mean), np.log(costs), factors))


def bands_of(mean: NDArray[np.float64], group: NDArray[np.int64], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    """Band [n] of a predicted cost within its group; edges [groups, bands - 1]."""
    return np.asarray((mean[:, None] >= edges[group]).sum(axis=1), np.int64)


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
        self._edges, self._lower = np.array(calibration.band_edges), np.array(calibration.lower_offsets)
        self._upper, costs = np.array(calibration.upper_offsets), np.array(calibration.reference_costs)
        self.reference = costs, np.linspace(0.0, 1.0, len(costs))
        self._curve = np.array(calibration.curve_costs), np.array(calibration.curve_factors)

    def predict(self, features: NDArray[np.float32]) -> CostPrediction:
        """Predictions for a feature matrix [n, BASE_FEATURES]. Raises ModelError for another width."""
        mean = self._recalibrated(self._mean.margins(features)[:, 0].astype(np.float64) * self.calibration.scale)
        quantiles = self._quantiles.margins(features).astype(np.float64)
        group = age_sex_group(features)
        band = bands_of(mean, group, self._edges)
        lower = quantiles[:, 0] - self._lower[group, band]
        upper = quantiles[:, 1] + self._upper[group, band]
        return CostPrediction(mean, np.minimum(np.maximum(lower, 0.0), mean), np.maximum(upper, mean))

    def contributions(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """TreeSHAP contributions in dollars [n, BASE_FEATURES]; with `bias` they sum to the prediction.

        Exact for the trees; what recalibration adds or takes is shared among the features by size.
        """
        exact = self._explained.of(features) * self.calibration.scale
        trees = exact.sum(axis=1) + self.bias()
        size = np.abs(exact)
        added = (self._recalibrated(trees) - trees) / np.maximum(size.sum(axis=1), 1e-9)
        return np.asarray(exact + size * added[:, None], np.float32)

    def _recalibrated(self, mean: NDArray[np.float64]) -> NDArray[np.float64]:
        floor = self.calibration.floor
        return np.maximum(recalibrated(np.maximum(mean, floor), *self._curve), floor)

    def bias(self) -> float:
        """The prediction in dollars for nobody in particular, to which the contributions add."""
        return self._explained.bias * self.calibration.scale


def conformal_offset(scores: Sequence[float], level: float) -> float:
    """The finite-sample quantile: the ceil((n + 1) level)-th smallest score; the largest if n is too small."""
    ordered = np.sort(np.asarray(scores, np.float64))
    rank = int(np.ceil((len(ordered) + 1) * level))
    return float(ordered[min(rank, len(ordered)) - 1])
