"""The physiology model's measures from laboratory results, self-rated health, age and sex."""

import numpy as np
from numpy.typing import NDArray

from engine.domain.metrics import LAB_INDEX
from engine.scoring.features import FEATURE_INDEX
from engine.scoring.physiology import AGE, INDEX, MALE, MEASURES

VALID_US = 730 * 86_400_000_000
"""A result counts for two years."""
MEASURE_OF_TEST: dict[str, str] = {
    "hba1c": "hba1c",
    "fasting_glucose": "glucose",
    "total_cholesterol": "totchol",
    "hdl_cholesterol": "hdl",
    "triglycerides": "trig",
    "creatinine": "creat",
    "systolic_bp": "sbp",
    "diastolic_bp": "dbp",
    "bmi": "bmi",
    "height": "height",
    "waist": "waist",
    "albumin": "albumin",
    "alkaline_phosphatase": "alp",
    "urea_nitrogen": "bun",
    "total_bilirubin": "ttbl",
    "uric_acid": "uap",
    "ggt": "ggt",
    "crp": "crp",
    "white_cells": "wbc",
    "red_cells": "rbc",
    "mean_cell_volume": "mcv",
    "red_cell_width": "rdw",
    "lymphocytes": "lymph",
    "monocytes": "monopa",
}
_TOLD = np.array([AGE, MALE, INDEX["health"]])
_FEATURES = np.array([FEATURE_INDEX[code] for code in ("age", "male", "general_health")])
_TESTS = np.array([LAB_INDEX[test] for test in MEASURE_OF_TEST])
_COLUMNS = np.array([INDEX[measure] for measure in MEASURE_OF_TEST.values()])


def measures(
    features: NDArray[np.float32],
    lab_value: NDArray[np.float64],
    lab_time: NDArray[np.int64],
    as_of_us: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Measures [n, MEASURES] from base features [n, BASE_FEATURES] and the latest results [n, LAB_TESTS] as of then.

    A result after the as-of time or older than VALID_US is not known (NaN).
    """
    out = np.full((len(features), len(MEASURES)), np.nan)
    out[:, _TOLD] = features[:, _FEATURES]
    times = lab_time[:, _TESTS]
    at = as_of_us[:, None]
    out[:, _COLUMNS] = np.where((times <= at) & (times > at - VALID_US), lab_value[:, _TESTS], np.nan)
    return out


def valid(lab_time: NDArray[np.int64], as_of_us: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """As-of times around `as_of_us` [n], from the first up to the second, at which the same results are known."""
    starts = lab_time[:, _TESTS]
    turns = np.concatenate([starts, starts + VALID_US], axis=1)
    past = turns <= as_of_us[:, None]
    bounds = np.iinfo(np.int64)
    return np.where(past, turns, bounds.min).max(axis=1), np.where(past, bounds.max, turns).min(axis=1)
