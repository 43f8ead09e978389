"""Members and diagnoses as columns, checked: what cannot be scored is named, and nothing is defaulted in silence."""

import datetime as dt
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.domain.age import completed_years
from engine.errors import HccError
from engine.scoring.hcc.model import SEGMENTS

FULL_BENEFIT = ("02", "04", "08")
PARTIAL_BENEFIT = ("01", "03", "05", "06")
_DUAL_CODES = {f"{n:02d}": n for n in range(11)} | {"NA": 0, "": 0}
_SEX_CODES = {"F": 1, "M": 0, "2": 1, "1": 0, "FEMALE": 1, "MALE": 0}
_OREC_CODES = {"0": 0, "1": 1, "2": 2, "3": 3}
_TRUE = {"1": 1, "TRUE": 1, "Y": 1, "YES": 1, "0": 0, "FALSE": 0, "N": 0, "NO": 0}
_FLAGS = ("new_enrollee", "snp", "lti")
_OLDEST = 130
_LOOKUP = {"sex": _SEX_CODES, "orec": _OREC_CODES, "dual": _DUAL_CODES}
_ALLOWED = {"sex": "F, M, 2 or 1", "orec": "0 to 3", "dual": "00 to 10 or NA"}


@dataclass(frozen=True, slots=True)
class Refusal:
    """One value that cannot be used: whose, which, and why."""

    member_id: str
    column: str
    value: str
    reason: str

    def __str__(self) -> str:
        return f"member {self.member_id}: {self.column} is {self.value}: {self.reason}"


@dataclass(frozen=True)
class Members:
    """Members ready for the kernels, in the order given; arrays of one length.

    `rows` are their rows in the table they came from. `female` 1 or 0, `age` in completed years on 1 February of the
    payment year, `segment` an index of SEGMENTS.
    """

    ids: pa.Array
    rows: NDArray[np.int64]
    age: NDArray[np.int16]
    female: NDArray[np.int8]
    orec: NDArray[np.int8]
    ltimcaid: NDArray[np.bool_]
    nemcaid: NDArray[np.bool_]
    segment: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.ids)

    def without(self, rows: Sequence[int]) -> "Members":
        """These members but for some, by their place here."""
        kept = np.ones(len(self), np.bool_)
        kept[list(rows)] = False
        return Members(
            self.ids.filter(pa.array(kept)),
            self.rows[kept],
            self.age[kept],
            self.female[kept],
            self.orec[kept],
            self.ltimcaid[kept],
            self.nemcaid[kept],
            self.segment[kept],
        )


class _Reader:
    """Reads columns of one table and gathers what has to be refused, by row."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self.n = table.num_rows
        self.refused: dict[int, tuple[str, str, str]] = {}

    def column(self, name: str) -> pa.Array | None:
        if name not in self.table.column_names:
            return None
        return self.table[name].combine_chunks()

    def refuse(self, bad: NDArray[np.bool_], column: str, values: pa.Array, reason: str) -> None:
        for row in np.flatnonzero(bad).tolist():
            value = values[row].as_py()
            self.refused.setdefault(
                row,
                (column, "missing" if value is None else repr(value) if isinstance(value, str) else str(value), reason),
            )

    def codes(self, name: str, table: Mapping[str, int], allowed: str) -> NDArray[np.int64]:
        """The column through a closed code; a value that is not in it is refused."""
        values = self.column(name)
        if values is None:
            raise HccError(f"members have no column {name}")
        if "" in table and pa.types.is_string(values.type):
            values = pc.fill_null(values, "")  # a blank is a code of this column
        return self._translate(values, name, lambda text: table.get(text), allowed)

    def flag(self, name: str, absent: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
        """A yes or no; `absent` (default all False) where the table has no such column."""
        values = self.column(name)
        if values is None:
            return np.zeros(self.n, np.bool_) if absent is None else absent
        if pa.types.is_boolean(values.type) and not values.null_count:
            return np.asarray(values.to_numpy(zero_copy_only=False), np.bool_)
        return self._translate(values, name, lambda text: _TRUE.get(text), "true or false").astype(np.bool_)

    def _translate(
        self, values: pa.Array, name: str, meaning: Callable[[str], int | None], allowed: str
    ) -> NDArray[np.int64]:
        encoded = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
        known = [meaning(_text(value, name)) for value in encoded.dictionary.to_pylist()]
        meanings = np.array([-1 if value is None else value for value in known] or [-1], np.int64)
        indices = encoded.indices
        null = np.asarray(pc.is_null(indices))
        found = meanings[np.asarray(indices.fill_null(0), np.int64)] if len(indices) else np.zeros(0, np.int64)
        bad = null | (found < 0)
        if bad.any():
            self.refuse(bad, name, values, f"must be {allowed}")
        return np.where(bad, 0, found)


def _text(value: object, name: str) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).strip().upper()
    if text.endswith(".0") and text[:-2].isdigit():  # a code that has been through a column of floats
        text = text[:-2]
    return text.zfill(2) if name == "dual" and text.isdigit() else text


def _ages(reader: _Reader, payment_year: int) -> NDArray[np.int16]:
    """`age` where it is given, else completed years from `birth_date` to 1 February of the payment year."""
    given, born = reader.column("age"), reader.column("birth_date")
    if given is None and born is None:
        raise HccError("members have neither a column age nor birth_date")
    years = np.full(reader.n, np.nan)
    if born is not None:
        years = _completed_years(reader, born, payment_year)
    stated = np.zeros(reader.n, np.bool_)
    if given is not None:
        numbers = _numbers(reader, given)
        stated = ~np.isnan(numbers)
        years = np.where(stated, np.floor(numbers), years)
    column = given if born is None else born
    assert column is not None
    name = "age" if born is None else "birth_date"
    reader.refuse(np.isnan(years), name, column, "age or birth_date must be given")
    impossible = (years < 0) | (years > _OLDEST)
    for source, shown, told in (("age", given, stated), ("birth_date", born, ~stated)):
        if shown is not None:
            bad = impossible & told
            reader.refuse(bad, source, shown, f"gives an age of {_first(years, bad)}, not 0 to {_OLDEST}")
    return np.where(np.isnan(years) | impossible, 0, years).astype(np.int16)


def _first(years: NDArray[np.float64], bad: NDArray[np.bool_]) -> str:
    return f"{years[bad][0]:g}" if bad.any() else ""


def _numbers(reader: _Reader, values: pa.Array) -> NDArray[np.float64]:
    try:
        numbers = np.asarray(pc.cast(values, pa.float64()).to_numpy(zero_copy_only=False), np.float64)
    except pa.ArrowException as error:
        raise HccError(f"column age: {error}") from error
    infinite = np.isinf(numbers)
    reader.refuse(infinite, "age", values, "is not a number of years")
    return np.where(infinite, np.nan, numbers)


def _completed_years(reader: _Reader, born: pa.Array, payment_year: int) -> NDArray[np.float64]:
    if pa.types.is_integer(born.type):  # 19450315, as CMS's own input has it
        born = pc.cast(born, pa.string())
    if pa.types.is_null(born.type):
        return np.full(reader.n, np.nan)
    if pa.types.is_string(born.type) or pa.types.is_large_string(born.type):
        born = _parsed_dates(reader, born)
    if not (pa.types.is_date(born.type) or pa.types.is_timestamp(born.type)):
        raise HccError(f"column birth_date is of type {born.type}: it must hold dates, or texts YYYY-MM-DD or YYYYMMDD")
    days = np.asarray(pc.cast(pc.cast(born, pa.date32()), pa.int32()).to_numpy(zero_copy_only=False), np.float64)
    known = ~np.isnan(days)
    dates = np.where(known, days, 0).astype(np.int64).astype("M8[D]")
    return np.where(known, completed_years(dates, dt.date(payment_year, 2, 1)), np.nan)


def _parsed_dates(reader: _Reader, born: pa.Array) -> pa.Array:
    def parse(text: str | None) -> dt.date | None:
        try:
            return dt.date.fromisoformat(text.strip()) if text and len(text.strip()) in (8, 10) else None
        except ValueError:
            return None

    encoded = born.dictionary_encode()
    parsed = pa.array([parse(text) for text in encoded.dictionary.to_pylist()], pa.date32())
    dates = parsed.take(encoded.indices)
    bad = np.asarray(pc.and_(pc.is_null(dates), pc.is_valid(born)))
    reader.refuse(bad, "birth_date", born, "must be YYYY-MM-DD or YYYYMMDD")
    return dates


def _segments(
    reader: _Reader, age: NDArray[np.int16], orec: NDArray[np.int64], dual: NDArray[np.int64], recodes_64: bool
) -> NDArray[np.int8]:
    new, snp, lti = (reader.flag(name) for name in _FLAGS)
    both = new & lti
    if both.any():
        values = pa.array(both)
        reader.refuse(both, "new_enrollee", values, "a new enrollee cannot be long-term institutional (lti)")
    aged = (age >= 65) | (recodes_64 & (age == 64) & (orec == 0))
    full, partial = (np.isin(dual, [int(code) for code in codes]) for codes in (FULL_BENEFIT, PARTIAL_BENEFIT))
    community = np.where(full, 2, np.where(partial, 4, 0)) + ~aged
    index = {name: i for i, name in enumerate(SEGMENTS)}
    found = np.where(lti, index["INSTITUTIONAL"], np.where(new, np.where(snp, index["NE_SNP"], index["NE"]), community))
    return found.astype(np.int8)


def read_members(table: pa.Table, payment_year: int, recodes_64: bool) -> tuple[Members, list[Refusal]]:
    """The members of a table who can be scored, and a refusal for each who cannot.

    Columns: member_id, birth_date or age (which counts where both are given), sex, orec, and where they are there dual,
    new_enrollee, snp, lti, ltimcaid, nemcaid. Raises HccError for a column that is missing. `recodes_64` is the
    model's rule that 64 years and entitled by age count as 65.
    """
    twice = [name for name, times in Counter(table.column_names).items() if times > 1]
    if twice:
        raise HccError(f"members have the column {twice[0]} more than once")
    reader = _Reader(table)
    ids = reader.column("member_id")
    if ids is None:
        raise HccError(f"members have no column member_id; they have {', '.join(table.column_names)}")
    reader.refuse(np.asarray(pc.is_null(ids)), "member_id", ids, "must be given")
    _refuse_repeated(reader, ids)
    age = _ages(reader, payment_year)
    female = reader.codes("sex", _LOOKUP["sex"], _ALLOWED["sex"])
    orec = reader.codes("orec", _LOOKUP["orec"], _ALLOWED["orec"])
    dual = np.zeros(reader.n, np.int64)
    given = reader.column("dual")
    if given is not None and given.null_count < reader.n:
        dual = reader.codes("dual", _LOOKUP["dual"], _ALLOWED["dual"])
    medicaid = dual != 0
    segment = _segments(reader, age, orec, dual, recodes_64)
    ltimcaid, nemcaid = reader.flag("ltimcaid", medicaid), reader.flag("nemcaid", medicaid)
    if recodes_64:
        age = np.where((age == 64) & (orec == 0), 65, age).astype(np.int16)
    refusals = [Refusal(str(ids[row].as_py()), *reader.refused[row]) for row in sorted(reader.refused)]
    members = Members(
        ids,
        np.arange(reader.n),
        age,
        female.astype(np.int8),
        orec.astype(np.int8),
        ltimcaid,
        nemcaid,
        segment,
    )
    return (members.without(list(reader.refused)) if refusals else members), refusals


def _refuse_repeated(reader: _Reader, ids: pa.Array) -> None:
    if len(ids) < 2 or pc.all(pc.greater(ids[1:], ids[:-1]), skip_nulls=False).as_py():
        return  # in ascending order, as files mostly are: cheaper to see than to count
    if pc.count_distinct(ids, mode="only_valid").as_py() == len(ids) - ids.null_count:
        return
    counts = pc.value_counts(ids.drop_null())
    repeated = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    reader.refuse(np.asarray(pc.is_in(ids, value_set=repeated)), "member_id", ids, "appears more than once")
