"""The Medical Expenditure Panel Survey, full-year consolidated files: features of a year, persons of two years.

Source: Agency for Healthcare Research and Quality, MEPS HC-155 (2012) and HC-163 (2013). Negative codes (-1
inapplicable, -7 refused, -8 don't know, -9 not ascertained) are missing; yes/no answers are 1 and 2.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine.errors import SourceError
from engine.learning.arrow_files import floats, parquet_table, texts
from engine.scoring.features import BASE_FEATURES

_YEARLY = {  # feature: columns whose sum it is, {} for the year's two digits
    "cost_total": ("totexp{}",),
    "cost_inpatient": ("iptexp{}",),
    "cost_emergency": ("ertexp{}",),
    "cost_outpatient": ("optexp{}",),
    "cost_office": ("obvexp{}",),
    "cost_pharmacy": ("rxexp{}",),
    "cost_home_health": ("hhaexp{}", "hhnexp{}"),
    "n_inpatient": ("ipdis{}",),
    "n_emergency": ("ertot{}",),
    "n_outpatient": ("optotv{}",),
    "n_office": ("obtotv{}",),
    "n_pharmacy": ("rxtot{}",),
    "n_home_health": ("hhtotd{}",),
}
_RATED = {"general_health": "rthlth", "mental_health": "mnhlth"}
_ROUNDS = ("53", "42", "31")
"""Interview rounds, latest first: the latest answer of the year counts."""
_CONDITIONS = {
    "hypertension": ("hibpdx",),
    "coronary_heart_disease": ("chddx",),
    "angina": ("angidx",),
    "heart_attack": ("midx",),
    "other_heart_disease": ("ohrtdx",),
    "stroke": ("strkdx",),
    "emphysema": ("emphdx",),
    "chronic_bronchitis": ("chbron31", "chbron53"),
    "high_cholesterol": ("choldx",),
    "cancer": ("cancerdx",),
    "diabetes": ("diabdx",),
    "joint_pain": ("jtpain31", "jtpain53"),
    "arthritis": ("arthdx",),
    "asthma": ("asthdx",),
}


SUPPLY: dict[str, str] = {
    "age": "age{}x, agelast",
    "male": "sex",
    **{code: " + ".join(names) for code, names in _YEARLY.items()},
    **{code: ", ".join(stem + r for r in _ROUNDS) + " (first known)" for code, stem in _RATED.items()},
    **{code: " or ".join(names) for code, names in _CONDITIONS.items()},
}
"""MEPS variables of each base feature, {} for the year's two digits."""


@dataclass(frozen=True, slots=True)
class MepsYear:
    """One year's persons. `cost` is the year's total in dollars, `weight` the person weight (NaN if absent).

    `race` is MEPS's RACETHX (NaN if absent): for evaluation by group, never a feature. `dupersid` and `panel` are as
    the file has them, `keys` (dupersid, panel) of each person: neither alone names a person over the years.
    """

    year: int
    dupersid: pa.ChunkedArray
    panel: pa.ChunkedArray
    keys: list[tuple[str, int]]
    features: NDArray[np.float32]
    cost: NDArray[np.float64]
    weight: NDArray[np.float64]
    race: NDArray[np.float64]


def read_meps(directory: Path, year: int) -> MepsYear:
    """Reads `meps_{year}.parquet`. Raises SourceError for a missing file or essential column.

    Essential are dupersid, panel, sex, age and total expenditure; any other column that is absent is not known (NaN).
    """
    path = directory / f"meps_{year}.parquet"
    if not path.is_file():
        raise SourceError(f"{path} is missing: --dir must hold meps_{year}.parquet")
    table = parquet_table(path, ())
    suffix = f"{year % 100:02d}"
    age = next((name for name in (f"age{suffix}x", "agelast") if name in table.column_names), f"age{suffix}x")
    for name in ("dupersid", "panel", "sex", age, f"totexp{suffix}"):
        if name not in table.column_names:
            raise SourceError(f"{path} has no column {name!r}: is it the full-year consolidated file of {year}?")
    columns = {"age": _valid(table, age, path), "male": np.where(_valid(table, "sex", path) == 1, 1.0, 0.0)}
    for code, names in _YEARLY.items():
        columns[code] = np.sum([_valid(table, name.format(suffix), path) for name in names], axis=0)
    for code, stem in _RATED.items():
        columns[code] = _first_known([_valid(table, stem + round_, path) for round_ in _ROUNDS])
    for code, names in _CONDITIONS.items():
        columns[code] = np.fmax.reduce([_yes(table, name, path) for name in names])
    return MepsYear(
        year,
        table["dupersid"],
        table["panel"],
        list(zip(texts(table, "dupersid", path), _panels(table, path), strict=True)),
        np.stack([columns[feature.code] for feature in BASE_FEATURES], axis=1).astype(np.float32),
        _valid(table, f"totexp{suffix}", path),
        _valid(table, f"perwt{suffix}f", path),
        _valid(table, "racethx", path),
    )


def _panels(table: pa.Table, path: Path) -> list[int]:
    values = floats(table, "panel", path)
    bad = np.flatnonzero(np.isnan(values) | (values != np.floor(values)))
    if bad.size:
        raise SourceError(f"{path}: column 'panel', row {bad[0] + 1}: {table['panel'][bad[0]].as_py()!r} is no panel")
    return [int(value) for value in values.tolist()]


def _valid(table: pa.Table, name: str, path: Path) -> NDArray[np.float64]:
    values = floats(table, name, path)
    return np.where(values < 0, np.nan, values)


def _yes(table: pa.Table, name: str, path: Path) -> NDArray[np.float64]:
    values = _valid(table, name, path)
    return np.where(values == 1, 1.0, np.where(values == 2, 0.0, np.nan))


def _first_known(columns: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    known = columns[0]
    for column in columns[1:]:
        known = np.where(np.isnan(known), column, known)
    return known


def link(first: MepsYear, second: MepsYear) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the persons who are in both years, by dupersid and panel: (rows of `first`, rows of `second`)."""
    row_of = {key: row for row, key in enumerate(second.keys)}
    pairs = [(row, row_of[key]) for row, key in enumerate(first.keys) if key in row_of]
    both = np.array(pairs, np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]
