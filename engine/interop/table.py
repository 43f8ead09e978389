"""Reading CSV files whose header is a promise: named columns in, text out, and an error that says where it
broke.

Cells become numbers only if they are; what is not is passed on as text, for the shard to refuse with a
reason. Times are different: a time that cannot be read leaves the event nowhere to stand, and a wrong
reading of day and month goes unnoticed, so it stops the reader.
"""

import csv
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from math import isfinite
from operator import itemgetter
from pathlib import Path

from engine.errors import SourceError

Row = tuple[str, ...]
_BINARY_NOISE = Decimal("0.000001")


def rows(path: Path, columns: tuple[str, ...], keys: tuple[str, ...] = ()) -> Iterator[tuple[int, Row]]:
    """Line number and the cells of `columns` (two or more), in that order, of each row of a CSV file with a
    header.

    A column whose name has changed is given by all its names, newest first, as "person_id|patient_id"; one that may be
    missing, and is then blank, ends in "|". A file or column that is missing, a row of another length than the header
    and text that is not UTF-8 raise SourceError, as does a blank cell of `keys`, which name what the row is about.
    Blank lines are passed over.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            width = len(header)
            pick = itemgetter(*_places(header, columns, path))
            needed = [columns.index(key) for key in keys]
            for row in reader:
                if len(row) == width:
                    row.append("")
                    cells = pick(row)
                    for place in needed:
                        if not cells[place].strip():
                            name = columns[place].replace("|", " or ")
                            raise SourceError(f"{path.name} line {reader.line_num}: {name} is blank")
                    yield reader.line_num, cells
                elif row:
                    raise SourceError(
                        f"{path.name} line {reader.line_num}: {len(row)} cells where the header has {width}"
                    )
    except FileNotFoundError as error:
        raise SourceError(f"{path} does not exist; it must have the columns {', '.join(columns)}") from error
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path.name} is not a CSV file in UTF-8: {error}") from error


def _places(header: list[str], columns: tuple[str, ...], path: Path) -> list[int]:
    """Where the columns stand in a row: past its end, where a blank is put, for one that may be missing."""
    known = {name: place for place, name in reversed([*enumerate(header)])}
    found, missing = [], []
    for column in columns:
        names = column.split("|")
        held = [name for name in names if name in known]
        if held and header.count(held[0]) > 1:
            raise SourceError(f"{path.name}: the header has the column {held[0]} more than once")
        if not held and names[-1]:
            missing.append(" or ".join(names))
        found.append(known[held[0]] if held else len(header))
    if missing:
        raise SourceError(f"{path.name}: no column {', '.join(missing)}; the header has {', '.join(header)}")
    return found


@lru_cache(maxsize=65_536)
def _parse(text: str, form: str) -> int:
    return round(datetime.strptime(text, form).replace(tzinfo=UTC).timestamp() * 1000)


def instant_ms(text: str, form: str, path: Path, line: int) -> int:
    """Milliseconds since 1970-01-01 of a time taken as UTC; SourceError if not of the strptime `form`."""
    try:
        return _parse(text, form)
    except ValueError as error:
        raise SourceError(f"{path.name} line {line}: {text!r} is not a time of the form {form}") from error


def day(text: str, column: str, path: Path, line: int) -> date:
    """The date YYYY-MM-DD a cell holds; SourceError, naming file, line and column, where it holds none."""
    try:
        if len(text) == 10:
            return date.fromisoformat(text)
    except ValueError:
        pass
    shown = f"{column} is {text!r}" if text else f"{column} is blank"
    raise SourceError(f"{path.name} line {line}: {shown}; it must be a date of the form YYYY-MM-DD")


def number(text: str) -> float | str:
    """The finite number a cell holds, or the cell as it is."""
    try:
        value = float(text)
    except ValueError:
        return text
    return value if isfinite(value) and "_" not in text else text


def whole(text: str) -> int | str:
    """The integer a cell holds, 1.0 too, which has been through a column of floats; or the cell as it is."""
    try:
        return int(text.removesuffix(".0")) if "_" not in text else text
    except ValueError:
        return text


def cents(text: str) -> int | str | None:
    """Dollars as a whole number of cents, None for an empty cell, the cell as it is where there is no such
    number.

    Files written through binary floats hold 58.60 as 58.599999999999994: what is within a millionth of a cent
    of a whole one is that one. Anything else between two cents is left for the shard to refuse.
    """
    if not text:
        return None
    try:
        amount = Decimal(text) * 100
    except InvalidOperation:
        return text
    if "_" in text or not amount.is_finite():
        return text
    nearest = amount.to_integral_value()
    return int(nearest) if abs(amount - nearest) < _BINARY_NOISE else text
