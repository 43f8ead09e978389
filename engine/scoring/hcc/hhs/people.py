"""Persons, diagnoses and drugs as columns, under our names or those of CMS's own input, checked."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.domain.age import completed_years
from engine.domain.events import METALS
from engine.errors import HccError
from engine.scoring.hcc.hhs.model import ADULT, CHILD, FIRST_AGES, INFANT, LAST_DURATION, HhsModel, load_hhs
from engine.scoring.hcc.reading import OLDEST, SEX_CODES, SEXES_ALLOWED, Reader, Refusal

DURATION_ENDS = (31, 62, 92, 123, 153, 184, 214, 245, 275, 306, 335, 366)
"""The last day of enrolment in the year, counted, by which so many months are enrolled."""
CMS_NAMES: Mapping[str, str] = {
    "enrolid": "member_id",
    "dob": "birth_date",
    "csr_indicator": "csr",
    "enrolduration": "duration",
    "diag": "icd10",
    "diagnosis_service_date": "service_date",
}
NO_FACTOR = 100
_METAL_CODES = {metal.upper(): i for i, metal in enumerate(METALS)}


@dataclass(frozen=True)
class Persons:
    """Persons ready for the kernels, in the order given; arrays of one length.

    `rows` are their rows in the table they came from; `born` days from 1970-01-01; `age_last` completed years on the
    last day of enrolment in the benefit year, `model` an index of MODELS by it; `metal` an index of METALS; `csr` the
    factor of cost sharing in hundredths, 100 where there is none; `duration` enrolled months, 1 to 12.
    """

    ids: pa.Array
    rows: NDArray[np.int64]
    born: NDArray[np.int64]
    age_last: NDArray[np.int16]
    female: NDArray[np.int8]
    model: NDArray[np.int8]
    metal: NDArray[np.int8]
    csr: NDArray[np.int16]
    duration: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.ids)

    def without(self, rows: list[int]) -> "Persons":
        """These persons but for some, by their place here."""
        kept = np.ones(len(self), np.bool_)
        kept[rows] = False
        arrays = [getattr(self, field.name)[kept] for field in fields(self)[1:]]
        return Persons(self.ids.filter(pa.array(kept)), *arrays)


def renamed(table: pa.Table) -> pa.Table:
    """The table with our names in lower case for CMS's. Raises HccError where two columns get one name."""
    names = [CMS_NAMES.get(name.lower(), name.lower()) for name in table.column_names]
    for name in names:
        if names.count(name) > 1:
            both = " and ".join(old for old, new in zip(table.column_names, names, strict=True) if new == name)
            raise HccError(f"the columns {both} both are {name}")
    return table.rename_columns(names)


def read_persons(
    table: pa.Table, model: HhsModel, metal: str = "", enrolled: bool = True
) -> tuple[Persons, list[Refusal]]:
    """The persons of a table who can be scored, and a refusal for each who cannot.

    Columns: member_id, sex, birth_date, age_last or last_day (of enrolment in the benefit year), metal, duration
    (months) or days, and if there is one csr. With `metal` everybody is scored at that level, and cost sharing, which
    belongs to a person's own plan, does not count. Where they are not `enrolled` here, the last four are told by
    enrolments. Raises HccError for a column that is missing.
    """
    reader = Reader(renamed(table))
    ids = reader.needed("member_id")
    reader.refuse(np.asarray(pc.is_null(ids)), "member_id", ids, "must be given")
    reader.refuse_repeated(ids)
    female = reader.codes("sex", SEX_CODES, SEXES_ALLOWED).astype(np.int8)
    born = _born(reader, model.benefit_year)
    age = _age_last(reader, born, model.benefit_year)
    if metal:
        if metal not in METALS:
            raise HccError(f"metal {metal!r} is not one of {', '.join(METALS)}")
        level = np.full(reader.n, METALS.index(metal), np.int8)
        factor = np.full(reader.n, NO_FACTOR, np.int16)
    elif not enrolled:
        level, factor = np.zeros(reader.n, np.int8), np.full(reader.n, NO_FACTOR, np.int16)
    else:
        level = reader.codes("metal", _METAL_CODES, f"one of {', '.join(METALS)}").astype(np.int8)
        factor = _cost_sharing(reader, level, model)
    persons = Persons(
        ids,
        np.arange(reader.n),
        born,
        age,
        female,
        _models(age),
        level,
        factor,
        _duration(reader, model.benefit_year) if enrolled else np.full(reader.n, LAST_DURATION, np.int8),
    )
    refusals = reader.refusals(ids)
    return (persons.without(list(reader.refused)) if refusals else persons), refusals


def read_enrolments(reader: Reader, persons: Persons, rows: NDArray[np.int64], year: int) -> Persons:
    """Enrolments of persons at `rows`, as persons of their own: metal, csr, duration or days, and age_last if given."""
    model = load_hhs(year)
    metal = reader.codes("metal", _METAL_CODES, f"one of {', '.join(METALS)}").astype(np.int8)
    born = persons.born[rows]
    age = persons.age_last[rows]
    if reader.column("age_last") is not None or reader.column("last_day") is not None:
        age = _age_last(reader, born, year)
    return Persons(
        reader.needed("member_id"),
        np.arange(reader.n),
        born,
        age,
        persons.female[rows],
        _models(age),
        metal,
        _cost_sharing(reader, metal, model),
        _duration(reader, year),
    )


def _models(age_last: NDArray[np.int16]) -> NDArray[np.int8]:
    young = np.where(age_last < FIRST_AGES[CHILD], INFANT, CHILD)
    return np.where(age_last < FIRST_AGES[ADULT], young, ADULT).astype(np.int8)


def _born(reader: Reader, year: int) -> NDArray[np.int64]:
    values = reader.needed("birth_date")
    days = reader.days("birth_date", values)
    reader.refuse(np.isnan(days), "birth_date", values, "must be given")
    born = np.where(np.isnan(days), 0, days).astype(np.int64)
    first, last = _year(year)
    ages = completed_years(born.astype("M8[D]"), first)
    reader.refuse((born > last) | (ages > OLDEST), "birth_date", values, f"gives no age from 0 to {OLDEST} in {year}")
    return born


def _year(year: int) -> tuple[np.datetime64, int]:
    """The first day of a year, and the last as a number of days from 1970-01-01."""
    return np.datetime64(f"{year}-01-01"), int(np.datetime64(f"{year}-12-31").astype(np.int64))


def _age_last(reader: Reader, born: NDArray[np.int64], year: int) -> NDArray[np.int16]:
    given, last_day = reader.column("age_last"), reader.column("last_day")
    if given is None and last_day is None:
        raise HccError("members have neither a column age_last nor last_day, the last day of enrolment in the year")
    dates = born.astype("M8[D]")
    first, end = _year(year)
    counted = np.full(reader.n, np.nan)
    if last_day is not None:
        days = reader.days("last_day", last_day)
        outside = (days < first.astype(np.int64)) | (days > end) | (days < born)
        reader.refuse(outside, "last_day", last_day, f"must be a day of {year} from birth on")
        known = ~np.isnan(days) & ~outside
        counted = np.where(
            known, completed_years(dates, np.where(known, days, 0).astype(np.int64).astype("M8[D]")), np.nan
        )
        if given is None:
            reader.refuse(np.isnan(days), "last_day", last_day, "must be given")
    if given is not None:
        stated = reader.numbers("age_last", given, "years")
        youngest, oldest = np.maximum(completed_years(dates, first), 0), completed_years(dates, dt.date(year, 12, 31))
        wrong = ~((stated >= youngest) & (stated <= oldest) & (stated == np.floor(stated))) & np.isnan(counted)
        reader.refuse(wrong, "age_last", given, f"is no age that this birth_date gives on a day of {year}")
        differs = ~np.isnan(stated) & ~np.isnan(counted) & (stated != counted)
        reader.refuse(differs, "age_last", given, "is not the age on last_day")
        counted = np.where(np.isnan(counted), stated, counted)
    return np.where(np.isnan(counted), 0, counted).astype(np.int16)


def _cost_sharing(reader: Reader, metal: NDArray[np.int8], model: HhsModel) -> NDArray[np.int16]:
    values = reader.column("csr")
    factor = np.full(reader.n, NO_FACTOR, np.int16)
    if values is None or values.null_count == reader.n:
        return factor
    known = {str(indicator): indicator for indicator in (*model.cost_sharing, model.no_cost_sharing)}
    allowed = f"a cost-sharing indicator of {model.benefit_year}: {', '.join(sorted(known, key=int))}"
    indicator = reader.codes("csr", {**known, "": model.no_cost_sharing}, allowed)
    for number, (name, hundredths) in model.cost_sharing.items():
        of, at = indicator == number, metal == METALS.index(name)
        reader.refuse(of & ~at, "csr", values, f"is the indicator of a {name} plan, and this plan is another")
        factor[of & at] = hundredths
    return factor


def _duration(reader: Reader, year: int) -> NDArray[np.int8]:
    months, days = reader.column("duration"), reader.column("days")
    if months is None and days is None:
        raise HccError("members have neither a column duration, in months, nor days, of enrolment in the year")
    if months is not None:
        found = reader.numbers("duration", months, "months")
        good = (found >= 1) & (found <= LAST_DURATION) & (found == np.floor(found))
        reader.refuse(~good, "duration", months, f"must be 1 to {LAST_DURATION} months")
    else:
        assert days is not None
        found = reader.numbers("days", days, "days")
        good = (found >= 1) & (found <= days_of(year)) & (found == np.floor(found))
        reader.refuse(~good, "days", days, f"must be 1 to {days_of(year)} days")
        found = (np.searchsorted(DURATION_ENDS, found) + 1).astype(np.float64)
    return np.where(good, found, 1).astype(np.int8)


def days_of(year: int) -> int:
    """Days of a year."""
    return (dt.date(year + 1, 1, 1) - dt.date(year, 1, 1)).days
