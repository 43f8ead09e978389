"""Record tables: one declaration a record, from which DDL, numpy columns, COPY writers, JSON schemas and docs derive.

A column has a numpy dtype for memory, a PostgreSQL type for storage, a unit, and the bounds inside which a value is
possible at all. Conventions that hold for every record: instants are int64 microseconds since 1970-01-01 UTC in memory,
`timestamptz` in storage and integer milliseconds since 1970-01-01 UTC in JSON; dates are days since 1970-01-01 in
memory, `date` in storage and "YYYY-MM-DD" in JSON; money is an integer number of cents everywhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from engine.domain.codes import Spelling

STORABLE = r"^[^\x00]+$"
"""Pattern of a text that PostgreSQL can hold: without the character NUL. Lone surrogates, the other texts it cannot
hold, are no Unicode, and every decoder of ours refuses them."""
MOST_CENTS = 10**12
"""No amount is larger, in either sign."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a record.

    `dtype` is a numpy dtype string ("i8", "f8", "?", "M8[us]", "M8[D]") or "O" for text, bytes, lists and JSON.
    `low` and `high` are the inclusive bounds of a possible value, `choices` the closed list of a code.
    `default` is an SQL expression; such a column is left to the database when a writer does not give it.
    `spelling` gives a code its one spelling (engine.domain.codes): `spelled` puts it on where an event is decoded or
    read back from storage, which may be older than the spelling.
    """

    name: str
    dtype: str
    sql: str
    doc: str
    unit: str = ""
    nullable: bool = False
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    default: str = ""
    spelling: Spelling | None = None

    def spelled(self, value: Any) -> Any:
        """The value, a text, a list of texts or None, in the code's one spelling; a blank code is none."""
        if self.spelling is None or value is None:
            return value
        if isinstance(value, list):
            return [code for code in map(self.spelling, value) if code]
        return self.spelling(value) or None


@dataclass(frozen=True, slots=True)
class Record:
    """A record table: its columns, its key, and for a time series the column by which it is partitioned.

    `indexes` lists further indexes, each a tuple of column names. A time series (`time` not empty) is stored by month.
    """

    name: str
    doc: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    time: str = ""
    indexes: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names):
            raise ValueError(f"record {self.name}: column names repeat: {names}")
        for name in (*self.key, *(n for index in self.indexes for n in index), *([self.time] if self.time else [])):
            if name not in names:
                raise ValueError(f"record {self.name}: key or index names the unknown column {name!r}")

    def __getitem__(self, name: str) -> Column:
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"record {self.name} has no column {name!r}")

    def __iter__(self) -> Iterator[Column]:
        return iter(self.columns)

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(column.name for column in self.columns)


def text(
    name: str,
    doc: str,
    *,
    nullable: bool = False,
    choices: tuple[str, ...] = (),
    default: str = "",
    spelling: Spelling | None = None,
) -> Column:
    """A text column; with `choices`, a closed code; with `spelling`, an open one."""
    return Column(name, "O", "text", doc, nullable=nullable, choices=choices, default=default, spelling=spelling)


def whole(
    name: str,
    doc: str,
    *,
    sql: str = "bigint",
    unit: str = "",
    nullable: bool = False,
    low: float | None = None,
    high: float | None = None,
    default: str = "",
) -> Column:
    """An integer column; `sql` is smallint, integer or bigint."""
    return Column(name, "i8", sql, doc, unit=unit, nullable=nullable, low=low, high=high, default=default)


def real(
    name: str,
    doc: str,
    *,
    unit: str = "",
    nullable: bool = False,
    low: float | None = None,
    high: float | None = None,
) -> Column:
    """A float64 column; NaN in memory is NULL in storage where the column is nullable."""
    return Column(name, "f8", "double precision", doc, unit=unit, nullable=nullable, low=low, high=high)


def cents(name: str, doc: str, *, nullable: bool = False, low: float = 0) -> Column:
    """Money as an integer number of cents."""
    return Column(name, "i8", "bigint", doc, unit="cents", nullable=nullable, low=low, high=MOST_CENTS)


def instant(name: str, doc: str, *, nullable: bool = False, default: str = "") -> Column:
    """A moment in UTC; the most negative int64 (NaT) is NULL where the column is nullable."""
    return Column(name, "M8[us]", "timestamptz", doc, unit="UTC", nullable=nullable, default=default)


def day(name: str, doc: str, *, nullable: bool = False) -> Column:
    """A calendar date; NaT is NULL where the column is nullable."""
    return Column(name, "M8[D]", "date", doc, nullable=nullable)


def flag(name: str, doc: str, *, nullable: bool = False) -> Column:
    """A truth value."""
    return Column(name, "?", "boolean", doc, nullable=nullable)


def texts(name: str, doc: str, *, nullable: bool = False, spelling: Spelling | None = None) -> Column:
    """A list of texts, possibly empty; with `spelling`, of codes."""
    return Column(name, "O", "text[]", doc, nullable=nullable, spelling=spelling)


def document(name: str, doc: str, *, nullable: bool = False) -> Column:
    """A JSON document, as encoded bytes in memory."""
    return Column(name, "O", "jsonb", doc, nullable=nullable)


def blob(name: str, doc: str, *, nullable: bool = False) -> Column:
    """Raw bytes."""
    return Column(name, "O", "bytea", doc, nullable=nullable)
