"""NHANES with linked mortality, in the layout of the BioAge package: measures and follow-up of adults.

Source: US CDC/NCHS public-use files. `eligstat` 1 is eligible for follow-up; a death has a leading cause
(`ucod_leading`) or status 1: status alone leaves out accidents, influenza and the causes that have no group of their
own.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine.learning.arrow_files import answers, floats, parquet_table
from engine.scoring.features import BASE_FEATURES, FEATURE_INDEX
from engine.scoring.physiology import MEASURES

Floats = NDArray[np.float64]
_HALF_A_MONTH = 0.5


@dataclass(frozen=True, slots=True)
class NhanesSample:
    """Adults: sampleID, features [n, MEASURES]; months followed (NaN if not known) and whether they ended in death."""

    sample_id: pa.ChunkedArray
    features: Floats
    months: Floats
    died: NDArray[np.bool_]

    def rows(self, chosen: NDArray[np.bool_]) -> "NhanesSample":
        """The chosen rows."""
        ids = self.sample_id.filter(pa.array(chosen))
        return NhanesSample(ids, self.features[chosen], self.months[chosen], self.died[chosen])

    @property
    def followed(self) -> NDArray[np.bool_]:
        """Rows whose follow-up is known."""
        return ~np.isnan(self.months)


@dataclass(frozen=True, slots=True)
class StepsSample:
    """Adults who wore an accelerometer: mean steps a day, what base risk takes of them, months followed, death."""

    features: NDArray[np.float32]
    steps: Floats
    months: Floats
    died: NDArray[np.bool_]


STEPS_CONDITIONS = {
    "diabetes": "bin_diabetes",
    "arthritis": "arthritis",
    "coronary_heart_disease": "chd",
    "angina": "angina",
    "heart_attack": "heartattack",
    "stroke": "stroke",
    "cancer": "cancer",
}
"""Conditions among the base features that the accelerometer file supplies, and its columns."""
_MALE = {"Male": 1.0, "Female": 0.0}
_HEALTH = {"Excellent": 1.0, "Very good": 2.0, "Good": 3.0, "Fair": 4.0, "Poor": 5.0}


def read_steps(path: Path) -> StepsSample:
    """Adults of NHANES 2011-2014 with valid accelerometer days and known follow-up, from the month of the examination.

    Steps are those of stepcount's self-supervised model, among the wrist algorithms the closest to counted steps
    (Koffman et al., Med Sci Sports Exerc 2024, confirm). Raises SourceError for a missing file or column.
    """
    names = ["gender", "age_in_years_at_screening", "general_health_condition", "valid_accel", "mortstat"]
    names += ["permth_exm", "total_scsslsteps", *STEPS_CONDITIONS.values()]
    table = parquet_table(path, names)
    age, months, dead, steps = (
        floats(table, name, path)
        for name in ("age_in_years_at_screening", "permth_exm", "mortstat", "total_scsslsteps")
    )
    features = np.full((table.num_rows, len(BASE_FEATURES)), np.nan, np.float32)
    features[:, FEATURE_INDEX["age"]] = age
    features[:, FEATURE_INDEX["male"]] = answers(table, "gender", path, _MALE)
    features[:, FEATURE_INDEX["general_health"]] = answers(table, "general_health_condition", path, _HEALTH)
    for code, name in STEPS_CONDITIONS.items():
        features[:, FEATURE_INDEX[code]] = floats(table, name, path)
    rows = (
        (floats(table, "valid_accel", path) == 1) & (age >= 18) & ~np.isnan(months) & ~np.isnan(dead) & ~np.isnan(steps)
    )
    return StepsSample(features[rows], steps[rows], np.maximum(months[rows], _HALF_A_MONTH), dead[rows] == 1)


def read_nhanes(path: Path) -> NhanesSample:
    """Reads a file. Raises SourceError where it is missing or lacks sampleID, age or gender.

    gender is 1 male, 2 female. Any other column may be absent: its values are not known. An infinite value is unknown.
    """
    table = parquet_table(path, ("sampleID", "age", "gender"))
    gender = floats(table, "gender", path)
    male = np.where(gender == 1, 1.0, np.where(gender == 2, 0.0, np.nan))
    columns = [male if m.code == "male" else floats(table, m.code, path) for m in MEASURES]
    months = floats(table, "permth_int" if "permth_int" in table.column_names else "time", path)
    died = (floats(table, "status", path) == 1) | ~np.isnan(floats(table, "ucod_leading", path))
    return NhanesSample(table["sampleID"], np.stack(columns, axis=1), np.maximum(months, _HALF_A_MONTH), died)
