"""Columns of members and diagnoses, checked: what cannot be used is named, and nothing is defaulted in silence."""

import datetime as dt
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.errors import HccError

_TRUE = {"1": 1, "TRUE": 1, "Y": 1, "YES": 1, "0": 0, "FALSE": 0, "N": 0, "NO": 0}
SEX_CODES = {"F": 1, "M": 0, "2": 1, "1": 0, "FEMALE": 1, "MALE": 0}
SEXES_ALLOWED = "F, M, 2 or 1"
OLDEST = 130
_DATE = re.compile(r"\d{4}-\d\d-\d\d|\d{8}")


@dataclass(frozen=True, slots=True)
class Refusal:
    """One value that cannot be used: whose, which, and why."""

    member_id: str
    column: str
    value: str
    reason: str

    def __str__(self) -> str:
        return f"member {self.member_id}: {self.column} is {self.value}: {self.reason}"


class Reader:
    """Reads columns of one table and gathers what has to be refused, by row."""

    def __init__(self, table: pa.Table, kind: str = "members") -> None:
        twice = [name for name, times in Counter(table.column_names).items() if times > 1]
        if twice:
            raise HccError(f"{kind} have the column {twice[0]} more than once")
        self.table, self.kind = table, kind
        self.n = table.num_rows
        self.refused: dict[int, tuple[str, str, str]] = {}

    def column(self, name: str) -> pa.Array | None:
        """The column in one piece, where the table has it."""
        if name not in self.table.column_names:
            return None
        return self.table[name].combine_chunks()

    def needed(self, name: str) -> pa.Array:
        """The column. Raises HccError where the table has none."""
        values = self.column(name)
        if values is None:
            raise HccError(f"{self.kind} have no column {name}; they have {', '.join(self.table.column_names)}")
        return values

    def refuse(self, bad: NDArray[np.bool_], column: str, values: pa.Array, reason: str) -> None:
        """Refuses the rows that are bad, unless they are already."""
        for row in np.flatnonzero(bad).tolist():
            value = values[row].as_py()
            self.refused.setdefault(
                row,
                (column, "missing" if value is None else repr(value) if isinstance(value, str) else str(value), reason),
            )

    def codes(self, name: str, table: Mapping[str, int], allowed: str) -> NDArray[np.int64]:
        """The column through a closed code; a value that is not in it is refused."""
        values = self.needed(name)
        if "" in table and not pa.types.is_dictionary(values.type):
            values = pc.fill_null(pc.cast(values, pa.string()), "")  # a blank is a code of this column
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
        known = [meaning(code_text(value, name)) for value in encoded.dictionary.to_pylist()]
        meanings = np.array([-1 if value is None else value for value in known] or [-1], np.int64)
        indices = encoded.indices
        null = np.asarray(pc.is_null(indices))
        found = meanings[np.asarray(indices.fill_null(0), np.int64)] if len(indices) else np.zeros(0, np.int64)
        bad = null | (found < 0)
        if bad.any():
            self.refuse(bad, name, values, f"must be {allowed}")
        return np.where(bad, 0, found)

    def numbers(self, name: str, values: pa.Array, unit: str) -> NDArray[np.float64]:
        """The column as numbers, NaN where there is none. Raises HccError where it holds no numbers."""
        try:
            numbers = np.asarray(pc.cast(values, pa.float64()).to_numpy(zero_copy_only=False), np.float64)
        except pa.ArrowException as error:
            raise HccError(f"column {name}: {error}") from error
        infinite = np.isinf(numbers)
        self.refuse(infinite, name, values, f"is not a number of {unit}")
        return np.where(infinite, np.nan, numbers)

    def days(self, name: str, values: pa.Array) -> NDArray[np.float64]:
        """The dates of a column as days from 1970-01-01, NaN where there is none.

        Dates, or texts or integers YYYY-MM-DD or YYYYMMDD. Raises HccError for a column of another kind.
        """
        if pa.types.is_integer(values.type):  # 19450315, as CMS's own input has it
            values = pc.cast(values, pa.string())
        if pa.types.is_null(values.type):
            return np.full(self.n, np.nan)
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
            values = self._parsed(name, values)
        if not (pa.types.is_date(values.type) or pa.types.is_timestamp(values.type)):
            raise HccError(
                f"column {name} is of type {values.type}: it must hold dates, or texts YYYY-MM-DD or YYYYMMDD"
            )
        dates = pc.cast(pc.cast(values, pa.date32()), pa.int32())
        return np.asarray(dates.to_numpy(zero_copy_only=False), np.float64)

    def _parsed(self, name: str, values: pa.Array) -> pa.Array:
        encoded = values.dictionary_encode()
        parsed = pa.array([_date(text) for text in encoded.dictionary.to_pylist()], pa.date32())
        dates = parsed.take(encoded.indices)
        bad = np.asarray(pc.and_(pc.is_null(dates), pc.is_valid(values)))
        self.refuse(bad, name, values, "must be YYYY-MM-DD or YYYYMMDD")
        return dates

    def refuse_repeated(self, ids: pa.Array, column: str = "member_id") -> None:
        """Refuses the ids of a column that appear more than once."""
        if len(ids) < 2 or pc.all(pc.greater(ids[1:], ids[:-1]), skip_nulls=False).as_py():
            return  # in ascending order, as files mostly are: cheaper to see than to count
        if pc.count_distinct(ids, mode="only_valid").as_py() == len(ids) - ids.null_count:
            return
        counts = pc.value_counts(ids.drop_null())
        repeated = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
        self.refuse(np.asarray(pc.is_in(ids, value_set=repeated)), column, ids, "appears more than once")

    def refusals(self, ids: pa.Array) -> list[Refusal]:
        """What was refused, by row."""
        return [Refusal(str(ids[row].as_py()), *self.refused[row]) for row in sorted(self.refused)]


def _date(text: str | None) -> dt.date | None:
    if text is None or not _DATE.fullmatch(text.strip()):
        return None
    try:
        return dt.date.fromisoformat(text.strip())
    except ValueError:
        return None


def code_text(value: object, name: str) -> str:
    """A code as text, whatever a file has made of it: 1.0 is 1, and dual 2 is 02."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).strip().upper()
    if text.endswith(".0") and text[:-2].isdigit():  # a code that has been through a column of floats
        text = text[:-2]
    return text.zfill(2) if name == "dual" and text.isdigit() else text
