"""Daily wearable tables as series of persons: LifeSnaps and Fitabase."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.errors import SourceError
from engine.learning.arrow_files import csv_of_texts, floats, texts
from engine.scoring.steps_forecast import SERIES, DailySeries

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
_LIFESNAPS = {
    "steps": ("steps",),
    "resting_heart_rate": ("resting_hr",),
    "sleep_minutes": ("minutesAsleep",),
    "active_minutes": ("moderately_active_minutes", "very_active_minutes"),
    "hrv_rmssd": ("rmssd",),
}


FITABASE_FILES = ("dailyActivity_merged.csv", "sleepDay_merged.csv")


@dataclass(frozen=True, slots=True, eq=False)
class DailyTable:
    """Persons' days by person and day: ids [persons], and the series with a row a day of the file."""

    ids: tuple[str, ...]
    series: DailySeries


def read_lifesnaps(path: Path) -> DailyTable:
    """Reads LifeSnaps' daily.csv. Columns but id, date and steps may be absent.

    Raises SourceError for a missing file or column, a cell that is no number or date, or a day that a person has twice.
    """
    table = csv_of_texts(path, ("id", "date", "steps"))
    days = _days(table, "date", "%Y-%m-%d", path)
    values = [_sum([_known(table, name, path) for name in names]) for names in _LIFESNAPS.values()]
    return _grouped(texts(table, "id", path), days, np.stack(values, axis=1), path)


def read_fitabase(folder: Path) -> DailyTable:
    """Reads dailyActivity_merged.csv and sleepDay_merged.csv of Fitabase; heart rate and its variability are unknown.

    Raises SourceError as `read_lifesnaps` does. A night that is there twice counts once.
    """
    activity, nights = (folder / name for name in FITABASE_FILES)
    table = csv_of_texts(activity, ("Id", "ActivityDate", "TotalSteps", "VeryActiveMinutes", "FairlyActiveMinutes"))
    ids, days = texts(table, "Id", activity), _days(table, "ActivityDate", "%m/%d/%Y", activity)
    slept = csv_of_texts(nights, ("Id", "SleepDay", "TotalMinutesAsleep"))
    night_days = _days(slept, "SleepDay", "%m/%d/%Y %I:%M:%S %p", nights)
    minutes = dict(zip(zip(texts(slept, "Id", nights), night_days.tolist(), strict=True),
                       _known(slept, "TotalMinutesAsleep", nights).tolist(), strict=True))  # fmt: skip
    unknown = np.full(len(ids), np.nan)
    columns = {
        "steps": _known(table, "TotalSteps", activity),
        "sleep_minutes": np.array([minutes.get(key, np.nan) for key in zip(ids, days.tolist(), strict=True)]),
        "active_minutes": _sum([_known(table, f"{n}ActiveMinutes", activity) for n in ("Very", "Fairly")]),
    }
    return _grouped(ids, days, np.stack([columns.get(name, unknown) for name in SERIES], axis=1), activity)


def without_gaps(series: DailySeries) -> DailySeries:
    """The same days with a row for every day between a person's first and last."""
    starts, days, values = [0], [], []
    for a, b in zip(series.starts[:-1].tolist(), series.starts[1:].tolist(), strict=True):
        every = np.arange(series.days[a], series.days[b - 1] + 1)
        filled = np.full((len(every), len(SERIES)), np.nan)
        filled[series.days[a:b] - series.days[a]] = series.values[a:b]
        starts.append(starts[-1] + len(every))
        days.append(every)
        values.append(filled)
    return DailySeries(np.array(starts, np.int64), np.concatenate(days), np.concatenate(values))


def _known(table: pa.Table, name: str, path: Path) -> Floats:
    """The column's numbers, NaN where it is negative: no device measures that."""
    values = floats(table, name, path)
    return np.where(values >= 0, values, np.nan)


def _days(table: pa.Table, name: str, pattern: str, path: Path) -> Integers:
    try:
        found = pc.cast(pc.strptime(table[name], format=pattern, unit="s"), pa.date32())
    except pa.ArrowException as error:
        raise SourceError(f"{path}: column {name!r}: {error}") from error
    if found.null_count:
        row = int(np.flatnonzero(np.asarray(pc.is_null(found)))[0])
        raise SourceError(f"{path}: column {name!r}, row {row + 1}: no date")
    return np.asarray(pc.cast(found, pa.int32()).to_numpy(), np.int64)


def _sum(columns: list[Floats]) -> Floats:
    """Sum of the known; NaN where none is."""
    stacked = np.stack(columns)
    return np.where(np.isnan(stacked).all(axis=0), np.nan, np.nansum(stacked, axis=0))


def _grouped(ids: list[str], days: Integers, values: Floats, path: Path) -> DailyTable:
    if not ids:
        raise SourceError(f"{path} has no rows")
    names, codes = np.unique(np.array(ids), return_inverse=True)
    order = np.lexsort((days, codes))
    codes, days, values = codes[order], days[order], values[order]
    twice = np.flatnonzero((np.diff(codes) == 0) & (np.diff(days) == 0))
    if twice.size:
        raise SourceError(f"{path}: {names[codes[twice[0]]]} has {np.datetime64(int(days[twice[0]]), 'D')} twice")
    starts = np.searchsorted(codes, np.arange(len(names) + 1)).astype(np.int64)
    return DailyTable(tuple(names.tolist()), DailySeries(starts, days, np.ascontiguousarray(values)))
