"""How Arrow reads our files: identifiers and codes are text from the first byte on, and only a blank is nothing.

Left to itself Arrow takes `007` for the number 7, and `NA` for the want of a value, which in a column of Medicaid codes
is one of them. A file that cannot be read is refused by name, and a cell by column and row.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv, parquet

from engine.errors import SourceError

Floats = NDArray[np.float64]
_NOTHING = ("NA", "N/A", "NULL", "null", "NaN", "nan")
"""What R, spreadsheets and databases write for a value that is not there."""


def text_columns(names: Iterable[str]) -> csv.ConvertOptions:
    """Options that read the columns `names` as text, and of any column only a blank cell as null."""
    return csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), null_values=[""], strings_can_be_null=True
    )


def without_words_for_nothing(table: pa.Table, codes: Iterable[str]) -> pa.Table:
    """The table with null where a text says that there is nothing, but in the columns `codes`, where it may be one."""
    kept, words = set(codes), pa.array(_NOTHING)  # made here: it has Arrow import pandas, which most commands can spare
    for place, name in enumerate(table.column_names):
        column = table.column(place)
        if name not in kept and pa.types.is_string(column.type):
            nothing = pc.is_in(column, value_set=words)
            table = table.set_column(place, name, pc.if_else(nothing, pa.scalar(None, pa.string()), column))
    return table


def csv_of_texts(path: Path, needed: Sequence[str]) -> pa.Table:
    """A CSV file with every column as text, blank cells as null.

    Raises SourceError for a file that is missing, no CSV in UTF-8, or without a column that is needed.
    """
    _present(path)
    try:
        with csv.open_csv(path) as reader:
            names = list(reader.schema.names)
        table = csv.read_csv(path, convert_options=text_columns(names))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} is not a CSV table: {error}") from error
    return _with(table, needed, path)


def parquet_table(path: Path, needed: Sequence[str]) -> pa.Table:
    """A Parquet file. Raises SourceError where it is missing, none, or without a column that is needed."""
    _present(path)
    try:
        table = parquet.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{path} is not a Parquet file: {error}") from error
    return _with(table, needed, path)


def _present(path: Path) -> None:
    if not path.is_file():
        raise SourceError(f"{path} is {'a folder, not a file' if path.is_dir() else 'not a file'}")


def _with(table: pa.Table, needed: Sequence[str], path: Path) -> pa.Table:
    names = Counter(table.column_names)
    for name in needed:
        if name not in names:
            raise SourceError(f"{path} has no column {name!r}")
    twice = [name for name, times in names.items() if times > 1]
    if twice:
        raise SourceError(f"{path} has the column {twice[0]!r} more than once")
    return table


def floats(table: pa.Table, name: str, path: Path) -> Floats:
    """The numbers of a column; NaN where a cell is empty or infinite, and throughout where there is no such column.

    Raises SourceError for the first cell that holds something else.
    """
    if name not in table.column_names or pa.types.is_null(table[name].type):
        return np.full(table.num_rows, np.nan)
    values = table[name]
    if pa.types.is_string(values.type):
        values = pc.utf8_trim_whitespace(values)
        values = pc.if_else(pc.equal(values, ""), pa.scalar(None, pa.string()), values)
    try:
        found = np.asarray(pc.cast(values, pa.float64()).to_numpy(), np.float64)
    except pa.ArrowException as error:
        row = first_no_number(values)
        told = f": {error}" if row is None else f", row {row + 1}: {values[row].as_py()!r} is no number"
        raise SourceError(f"{path}: column {name!r}{told}") from error
    return np.where(np.isfinite(found), found, np.nan)


def first_no_number(values: pa.Array | pa.ChunkedArray) -> int | None:
    """The first row that is no number, and not empty; None where each is one."""
    for row, value in enumerate(values.to_pylist()):
        try:
            if value is not None:
                float(value)
        except (TypeError, ValueError):
            return row
    return None


def answers(table: pa.Table, name: str, path: Path, codes: Mapping[str, float]) -> Floats:
    """The codes of a column's answers; NaN where a cell is empty or another answer.

    Raises SourceError where the column holds no words: numbers would be none of the answers, and so nobody's.
    """
    values = table[name]
    if pa.types.is_dictionary(values.type):
        values = pc.cast(values, values.type.value_type)
    if pa.types.is_null(values.type):
        return np.full(table.num_rows, np.nan)
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        known = ", ".join(map(repr, codes))
        raise SourceError(f"{path}: column {name!r} of type {values.type} holds no answers such as {known}")
    return np.array([codes.get(answer, np.nan) for answer in values.to_pylist()], np.float64)


def texts(table: pa.Table, name: str, path: Path) -> list[str]:
    """The names in a column, which must be there in every row. Raises SourceError for the first that is not."""
    values = table[name]
    try:
        found = pc.cast(values, pa.string())
    except pa.ArrowException as error:
        raise SourceError(f"{path}: column {name!r} of type {values.type} holds no names") from error
    if found.null_count:
        row = int(np.flatnonzero(np.asarray(pc.is_null(found)))[0])
        raise SourceError(f"{path}: column {name!r}, row {row + 1} is empty")
    return [str(text) for text in found.to_pylist()]
