"""Figures that say how good predicted costs are, overall and by group, on persons the model has not seen."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.domain.events import CONDITIONS
from engine.errors import SourceError
from engine.learning import fit
from engine.learning.meps import MepsYear, read_meps
from engine.scoring.base_risk import GROUPS, BaseRiskModel, CostPrediction, age_sex_group
from engine.scoring.features import FEATURE_INDEX

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
TENTHS = 10
FEWEST = 100
"""Smaller groups are named with their size but without figures: their predictive ratio would be luck."""
RACES = {1: "Hispanic", 2: "White", 3: "Black", 4: "Asian", 5: "other or several"}


@dataclass(frozen=True, slots=True)
class Judged:
    """Persons' cost and what was predicted of it, dollars, and named groups of them (rows)."""

    cost: Floats
    prediction: CostPrediction
    groups: Mapping[str, Mapping[str, Flags]]
    seen: str


def judge_meps(model: BaseRiskModel, directory: Path, year: int, fitted_on: int) -> Judged:
    """Predictions for the persons of `year` and `year` + 1.

    Of the year the model was fitted on, the predictions are of trees that have not seen the person, else the model's.
    """
    first, second = read_meps(directory, year), read_meps(directory, year + 1)
    sample = fit.linked_sample(first, second)
    if not len(sample.cost):
        raise SourceError(f"nobody of {year} is also in meps_{year + 1}.parquet: their panels do not overlap")
    if year == fitted_on:
        unseen = fit.cross_fitted(sample)
        low, high = fit.intervals(sample, unseen)
        prediction, seen = CostPrediction(unseen.mean, low, high), "trees fitted without the person's fold"
    else:
        every = fit.predict_year(model, first)
        rows = fit.linked_rows(first, second)[0]
        prediction = CostPrediction(every.mean[rows], every.lower_90[rows], every.upper_90[rows])
        seen = f"base risk {model.version}, fitted on {fitted_on}"
    return Judged(sample.cost, prediction, _groups(sample, first, second), seen)


def _groups(sample: fit.Sample, first: MepsYear, second: MepsYear) -> dict[str, dict[str, Flags]]:
    group = age_sex_group(sample.features)
    race = first.race[fit.linked_rows(first, second)[0]]
    return {
        "age and sex": {fit.GROUP_NAMES[g]: group == g for g in range(GROUPS)},
        "condition": {code.replace("_", " "): sample.features[:, FEATURE_INDEX[code]] == 1 for code in CONDITIONS},
        "race": {name: race == code for code, name in RACES.items() if (race == code).any()},
    }


def figures(judged: Judged) -> dict[str, Any]:
    """R2, MAE, coverage of the 90 % interval and predictive ratio (predicted over actual cost), overall and by group.

    By tenth of prediction also the mean predicted and actual cost: the calibration.
    """
    mean = judged.prediction.mean
    tenths = np.array_split(np.argsort(mean, kind="stable"), TENTHS)
    return {
        "seen": judged.seen,
        "all": _figures(judged, np.arange(len(mean)))
        | {
            "r2": round(fit.r2(judged.cost, mean), 4),
            "mae": round(float(np.abs(judged.cost - mean).mean()), 2),
        },
        "tenth of prediction": {str(i + 1): _figures(judged, rows) for i, rows in enumerate(tenths)},
        **{
            kind: {name: _figures(judged, np.flatnonzero(rows)) for name, rows in groups.items()}
            for kind, groups in judged.groups.items()
        },
    }


def _figures(judged: Judged, rows: NDArray[np.int64]) -> dict[str, Any]:
    if len(rows) < FEWEST:
        return {"persons": len(rows)}
    cost, mean = judged.cost[rows], judged.prediction.mean[rows]
    inside = (cost >= judged.prediction.lower_90[rows]) & (cost <= judged.prediction.upper_90[rows])
    return {
        "persons": len(rows),
        "predicted": round(float(mean.mean()), 2),
        "actual": round(float(cost.mean()), 2),
        "predictive_ratio": round(float(mean.sum() / cost.sum()), 3) if cost.sum() > 0 else None,
        "coverage_90": round(float(inside.mean()), 4),
    }
