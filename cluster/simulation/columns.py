"""Columns of a table as what a scenario takes them for: names, amounts, days. What cannot be one is named by row."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.learning.arrow_files import first_no_number
from simulations.errors import SpecError
from simulations.portfolio import Labels

Floats = NDArray[np.float64]


def _held(table: pa.Table, name: str | None, field: str) -> pa.Array:
    if name is None or name not in table.column_names:
        raise SpecError(field, f"no column {name!r}; there are {table.column_names}")
    return table[name].combine_chunks()


def labels(table: pa.Table, name: str, field: str) -> Labels:
    """A column of names. Raises SpecError for the first row that has none, and for a type that names nothing."""
    values = _held(table, name, field)
    try:
        encoded = values if pa.types.is_dictionary(values.type) else pc.cast(values, pa.string()).dictionary_encode()
    except pa.ArrowException as error:
        raise SpecError(field, f"column {name!r} of type {values.type} holds no names") from error
    if encoded.null_count:
        row = int(np.flatnonzero(np.asarray(pc.is_null(encoded)))[0])
        raise SpecError(field, f"column {name!r}, row {row + 1} is empty")
    names = tuple(str(text) for text in encoded.dictionary.to_pylist())
    codes = np.asarray(encoded.indices, np.int32)
    blank = [code for code, text in enumerate(names) if not text.strip()]
    if blank and np.isin(codes, blank).any():
        row = int(np.flatnonzero(np.isin(codes, blank))[0])
        raise SpecError(field, f"column {name!r}, row {row + 1} is blank")
    return Labels(codes, names)


def numbers(table: pa.Table, name: str, field: str) -> Floats:
    """A column of finite numbers. Raises SpecError for the first row that holds none."""
    values = _held(table, name, field)
    try:
        found = np.asarray(pc.cast(values, pa.float64()).to_numpy(zero_copy_only=False), np.float64)
    except pa.ArrowException as error:
        row = first_no_number(values)
        told = "" if row is None else f", row {row + 1}: {values[row].as_py()!r} is no number"
        raise SpecError(field, f"column {name!r}{told or f': {error}'}") from error
    if not np.isfinite(found).all():
        row = int(np.flatnonzero(~np.isfinite(found))[0])
        shown = "it is empty" if values[row].as_py() is None else f"{found[row]} is no amount"
        raise SpecError(field, f"column {name!r}, row {row + 1}: {shown}")
    return found


def days(table: pa.Table, name: str | None, field: str) -> NDArray[np.datetime64]:
    """A column of dates, NaT where it is empty. Raises SpecError for the first row that holds something else."""
    values = _held(table, name, field)
    try:
        if pa.types.is_null(values.type):
            return np.full(len(values), "NaT", "M8[D]")
        return np.asarray(pc.cast(values, pa.date32()).to_numpy(zero_copy_only=False), "M8[D]")
    except pa.ArrowException as error:
        row = _first_no_day(values)
        if row is None:
            raise SpecError(field, f"column {name!r} of type {values.type} holds no dates") from error
        shown = values[row].as_py()
        raise SpecError(field, f"column {name!r}, row {row + 1}: {shown!r} is no date YYYY-MM-DD") from error


def _first_no_day(values: pa.Array) -> int | None:
    for row in range(len(values)):
        try:
            pc.cast(values.slice(row, 1), pa.date32())
        except pa.ArrowException:
            return row
    return None
