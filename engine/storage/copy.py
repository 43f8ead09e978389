"""Binary COPY from columns: the rows are laid out with numpy, without a Python object a value.

Format: PostgreSQL documentation, COPY, "Binary Format".
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import numpy as np
import psycopg
from numba import njit
from numpy.typing import NDArray
from psycopg import sql

from engine.domain.batch import TextColumn, grouped, joined
from engine.domain.records import Column, Record

Values = Sequence[object] | NDArray[np.generic]
_HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_FIXED: dict[str, str] = {
    "bigint": ">i8",
    "integer": ">i4",
    "smallint": ">i2",
    "double precision": ">f8",
    "boolean": "?",
    "timestamptz": ">i8",
    "date": ">i4",
}
_EPOCH_US = 946_684_800_000_000  # 2000-01-01 in microseconds since 1970: PostgreSQL counts from there
_EPOCH_DAYS = 10_957
_TOGETHER = 10_000
"""Rows that are laid out at once: what that costs whatever their number is not to be paid a partition."""
_TEXT_OID = 25


def _fixed(column: Column, values: Values) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The column's values as big-endian bytes [n, width], and which of them are NULL."""
    if isinstance(values, np.ndarray):
        array = values
        if array.dtype.kind == "M":
            null = np.isnat(array)
        elif array.dtype.kind == "f" and column.nullable:
            null = np.isnan(array)
        else:
            null = np.zeros(len(array), bool)
        array = array.view("i8") if array.dtype.kind == "M" else array
    else:
        null = np.fromiter((value is None for value in values), bool, len(values))
        dtype = {"double precision": "f8", "boolean": "?"}.get(column.sql, "i8")
        array = np.array([0 if value is None else value for value in values], dtype)
    if column.sql == "timestamptz":
        array = array - _EPOCH_US
    elif column.sql == "date":
        array = array - _EPOCH_DAYS
    wire = np.ascontiguousarray(np.where(null, np.zeros(1, array.dtype), array).astype(_FIXED[column.sql]))
    return wire.view(np.uint8).reshape(len(wire), wire.dtype.itemsize), null


def _text_array(items: Sequence[str]) -> bytes:
    encoded = [item.encode() for item in items]
    head = struct.pack(">iii", 1 if encoded else 0, 0, _TEXT_OID)
    if not encoded:
        return head
    return head + struct.pack(">ii", len(encoded), 1) + b"".join(struct.pack(">i", len(e)) + e for e in encoded)


def _variable(column: Column, values: Values) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The column's values as wire bytes one after the other, and their lengths; -1 for NULL."""
    if isinstance(values, TextColumn):
        return values.packed(), values.lengths
    wire = [_wire(column, value) for value in values]
    lengths = np.fromiter((-1 if field is None else len(field) for field in wire), np.int64, len(wire))
    return np.frombuffer(b"".join(field or b"" for field in wire), np.uint8), lengths


def _wire(column: Column, value: object) -> bytes | None:
    if value is None:
        return None
    if column.sql == "text[]":
        return _text_array(cast(Sequence[str], value))
    prefix = b"\x01" if column.sql == "jsonb" else b""
    if isinstance(value, str):
        return prefix + value.encode()
    if isinstance(value, bytes):
        return prefix + value
    raise TypeError(f"column {column.name}: {value!r} is neither text nor bytes")


@njit(cache=True, nogil=True)
def _lay_out(
    out: NDArray[np.uint8], position: NDArray[np.int64], lengths: NDArray[np.int64], flat: NDArray[np.uint8]
) -> None:
    """Writes one column's fields, length first, at each row's position, and moves the positions behind them."""
    at = 0
    for i in range(len(position)):
        place, length = position[i], lengths[i]
        for k in range(4):
            out[place + k] = (length >> (24 - 8 * k)) & 255
        place += 4
        for k in range(length):
            out[place + k] = flat[at + k]
        at += max(length, 0)
        position[i] = place + max(length, 0)


def encode(record: Record, parts: Sequence[Mapping[str, Values]]) -> Iterator[bytes]:
    """The rows of all parts in PostgreSQL's binary COPY format, in pieces.

    A part maps names of `record` to equally long columns: numpy arrays of the column's dtype, or sequences with None
    for NULL (instants as int64 microseconds, dates as days, both since 1970; text as str; jsonb and bytea as bytes).
    Columns with a database default may be left out, of all parts alike. Raises KeyError for a column that is missing
    and ValueError for one of another length.
    """
    yield _HEADER
    for group in grouped(parts, [len(next(iter(part.values()))) for part in parts], _TOGETHER):
        yield _rows(record, {name: joined([part[name] for part in group]) for name in group[0]})
    yield b"\xff\xff"


def _rows(record: Record, columns: Mapping[str, Values]) -> bytes:
    chosen = [column for column in record if column.name in columns or not column.default]
    n = len(columns[chosen[0].name])
    lengths = np.zeros((len(chosen), n), np.int64)
    data: list[NDArray[np.uint8]] = []
    for i, column in enumerate(chosen):
        values = columns[column.name]
        if len(values) != n:
            raise ValueError(f"table {record.name}: column {column.name} has {len(values)} values, not {n}")
        if column.sql in _FIXED:
            matrix, null = _fixed(column, values)
            flat, lengths[i] = matrix[~null].reshape(-1), np.where(null, -1, matrix.shape[1])
        else:
            flat, lengths[i] = _variable(column, values)
        data.append(flat)
    sizes = 2 + 4 * len(chosen) + np.maximum(lengths, 0).sum(axis=0)
    position = np.cumsum(sizes) - sizes
    out = np.zeros(int(sizes.sum()), np.uint8)
    out[position + 1] = len(chosen)
    position += 2
    for flat, length in zip(data, lengths, strict=True):
        _lay_out(out, position, length, flat)
    return out.tobytes()


def copy_rows(
    cursor: psycopg.Cursor[tuple[object, ...]], record: Record, parts: Sequence[Mapping[str, Values]], into: str = ""
) -> None:
    """COPYs the rows of all parts into the record's table, or a table like it, inside the cursor's transaction."""
    names = [column.name for column in record if column.name in parts[0] or not column.default]
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
        sql.Identifier(into or record.name), sql.SQL(", ").join(map(sql.Identifier, names))
    )
    with cursor.copy(statement) as copy:
        for piece in encode(record, parts):
            copy.write(piece)
