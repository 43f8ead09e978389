"""The physiology model's measures from laboratory results, self-rated health, age and sex."""

import numpy as np
from numba import njit
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


@njit(cache=True, nogil=True)
def _measure(
    features: NDArray[np.float32],
    lab_value: NDArray[np.float64],
    lab_time: NDArray[np.int64],
    as_of_us: NDArray[np.int64],
    said: NDArray[np.int64],
    told: NDArray[np.int64],
    tests: NDArray[np.int64],
    columns: NDArray[np.int64],
    out: NDArray[np.float64],
) -> None:
    """Features `said` into columns `told`, valid results of `tests` into `columns`."""
    for i in range(len(features)):
        for k in range(len(said)):
            out[i, told[k]] = features[i, said[k]]
        for k in range(len(tests)):
            if as_of_us[i] - VALID_US < lab_time[i, tests[k]] <= as_of_us[i]:
                out[i, columns[k]] = lab_value[i, tests[k]]


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
    _measure(features, lab_value, lab_time, as_of_us, _FEATURES, _TOLD, _TESTS, _COLUMNS, out)
    return out


def valid(lab_time: NDArray[np.int64], as_of_us: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """As-of times around `as_of_us` [n], from the first up to the second, at which the same results are known."""
    starts = lab_time[:, _TESTS]
    turns = np.concatenate([starts, starts + VALID_US], axis=1)
    past = turns <= as_of_us[:, None]
    bounds = np.iinfo(np.int64)
    return np.where(past, turns, bounds.min).max(axis=1), np.where(past, bounds.max, turns).min(axis=1)
