"""LifeSnaps (Yfantidou et al. 2022, Zenodo 10.5281/zenodo.7229547): 36 Fitbit wearers, one row a person and
day.

A cell that is empty gives no event; between a third and five sixths of them are. Skin temperature, stress
scores and moods have no place in the metrics and are not read: nightly_temperature is of the wrist, not of
the body.

Each row's values are of its day and stand at its midnight UTC. The table gives age as "<30" or ">=30" and a
gender, on some of a person's rows; the other demographics are stand-ins (see demographics), of ages 18-29
and 30-64.
"""

from collections.abc import Iterator
from pathlib import Path

from engine.domain.events import SourceEvent
from engine.errors import SourceError
from engine.interop.demographics import Known, SyntheticDemographics
from engine.interop.fitabase import total
from engine.interop.table import Row, instant_ms, number, rows
from engine.interop.wearables import Reading, stream

DAILY = "daily.csv"
FILES: tuple[str, ...] = (DAILY,)
COLUMNS: dict[str, str] = {
    "steps": "steps",
    "resting_hr": "resting_heart_rate",
    "rmssd": "hrv_rmssd",
    "spo2": "spo2",
    "full_sleep_breathing_rate": "respiratory_rate",
    "minutesAsleep": "sleep_minutes",
    "sedentary_minutes": "sedentary_minutes",
    "calories": "calories",
    "bpm": "heart_rate",
}
"""Column of the table -> metric. active_minutes are moderately_active_minutes + very_active_minutes."""

_AGES: dict[str, tuple[int, int]] = {"": (18, 65), "<30": (18, 30), ">=30": (30, 65)}
_SEXES: dict[str, str | None] = {"": None, "FEMALE": "female", "MALE": "male"}


def read(path: Path, demographics: SyntheticDemographics) -> Iterator[SourceEvent]:
    """Events of the table in the folder `path`: one enrollment a person, then the readings by time."""
    file = path / DAILY
    known = _known(file)
    yield from stream("lifesnaps", _readings(file), known, demographics)


def _known(file: Path) -> dict[str, Known]:
    ages: dict[str, str] = {}
    sexes: dict[str, str] = {}
    for line, (person, age, gender) in rows(file, ("id", "age", "gender"), ("id",)):
        if age not in _AGES or gender not in _SEXES:
            raise SourceError(
                f"{file.name} line {line}: age {age!r} is none of {sorted(_AGES)} "
                f"or gender {gender!r} none of {sorted(_SEXES)}"
            )
        ages[person] = ages.get(person) or age
        sexes[person] = sexes.get(person) or gender
    return {person: Known(_SEXES[sexes[person]], *_AGES[age]) for person, age in ages.items()}


def _readings(file: Path) -> Iterator[Reading]:
    columns = ("id", "date", "moderately_active_minutes", "very_active_minutes", *COLUMNS)
    for line, row in rows(file, columns):
        time = instant_ms(row[1], "%Y-%m-%d", file, line)
        yield from _of_row(row, time)


def _of_row(row: Row, time: int) -> Iterator[Reading]:
    person, _, moderately, very, *values = row
    if moderately or very:
        yield time, person, "active_minutes", total(moderately or "0", very or "0")
    for metric, value in zip(COLUMNS.values(), values, strict=True):
        if value:
            yield time, person, metric, number(value)
