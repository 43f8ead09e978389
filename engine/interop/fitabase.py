"""Fitabase exports of 2016 (Furberg et al., Zenodo 10.5281/zenodo.53894): 33 Fitbit wearers, 31 days.

What is read, and what is not:
- steps and calories come hour by hour from hourlySteps and hourlyCalories. dailyActivity holds the same
  numbers as daily totals and is not read, nor are the minute files: a step counts once.
- active_minutes (very + fairly active) and sedentary_minutes come from dailyIntensities.
- sleep_minutes come from sleepDay, weight from weightLogInfo.

Dates are written in three ways: `12/04/2016` is 12 April in the hourly files (day first), `4/12/2016` is 12
April in dailyIntensities (month first), and sleepDay and weightLogInfo have `4/12/2016 12:00:00 AM` (month
first). None has a time zone; all are taken as UTC. A total of a day stands at its midnight, a total of an
hour at its beginning.

There are no demographics. The wearers were adults; ages 18-64 and everything else are stand-ins (see
demographics).
"""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from engine.domain.events import SourceEvent
from engine.interop.demographics import SyntheticDemographics
from engine.interop.table import instant_ms, number, rows
from engine.interop.wearables import Reading, stream

HOURLY_STEPS = "hourlySteps_merged.csv"
HOURLY_CALORIES = "hourlyCalories_merged.csv"
DAILY_INTENSITIES = "dailyIntensities_merged.csv"
SLEEP_DAY = "sleepDay_merged.csv"
WEIGHT_LOG = "weightLogInfo_merged.csv"
FILES: tuple[str, ...] = (HOURLY_STEPS, HOURLY_CALORIES, DAILY_INTENSITIES, SLEEP_DAY, WEIGHT_LOG)

_DAY_FIRST = "%d/%m/%Y %H:%M:%S"
_MONTH_FIRST = "%m/%d/%Y"
_MONTH_FIRST_CLOCK = "%m/%d/%Y %I:%M:%S %p"


def read(path: Path, demographics: SyntheticDemographics) -> Iterator[SourceEvent]:
    """Events of the export in the folder `path`: one enrollment a person, then the readings by time."""
    readings = chain(
        _hourly(path / HOURLY_STEPS, "StepTotal", "steps"),
        _hourly(path / HOURLY_CALORIES, "Calories", "calories"),
        _intensities(path / DAILY_INTENSITIES),
        _clocked(path / SLEEP_DAY, "SleepDay", "TotalMinutesAsleep", "sleep_minutes"),
        _clocked(path / WEIGHT_LOG, "Date", "WeightKg", "weight"),
    )
    return stream("fitabase", readings, {}, demographics)


def _hourly(file: Path, column: str, metric: str) -> Iterator[Reading]:
    for line, (person, day, clock, value) in rows(file, ("Id", "ActivityDate", "ActivityTime", column), ("Id",)):
        yield instant_ms(f"{day} {clock}", _DAY_FIRST, file, line), person, metric, number(value)


def _intensities(file: Path) -> Iterator[Reading]:
    columns = ("Id", "ActivityDay", "VeryActiveMinutes", "FairlyActiveMinutes", "SedentaryMinutes")
    for line, (person, day, very, fairly, sedentary) in rows(file, columns, ("Id",)):
        time = instant_ms(day, _MONTH_FIRST, file, line)
        yield time, person, "active_minutes", total(very, fairly)
        yield time, person, "sedentary_minutes", number(sedentary)


def _clocked(file: Path, when: str, column: str, metric: str) -> Iterator[Reading]:
    for line, (person, day, value) in rows(file, ("Id", when, column), ("Id",)):
        yield instant_ms(day, _MONTH_FIRST_CLOCK, file, line), person, metric, number(value)


def total(*cells: str) -> float | str:
    """The sum of cells, or the first that is no number."""
    values = [number(cell) for cell in cells]
    words = [value for value in values if isinstance(value, str)]
    return words[0] if words else sum(value for value in values if isinstance(value, float))
