"""Files as users have them: a good one with cells, rows, columns or bytes changed."""

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
from hypothesis import strategies as st

GOOD = Path(__file__).parent / "good"
"""Small files of every kind that are taken as they are."""
ODD = (
    *("", " ", "NA", "null", "nan", "inf", "-inf", "1e400", "1e6", "1e-400", "-1", "0", "99999999999999999999"),
    *("1,234.50", "1_000", "0x10", "0010", "true", "=1+1", "é", "\x00", '"', "'", "١٢", "x" * 100),
    *("20180101", "9999-12-31", "0001-01-01", "0000-00-00", "2018-02-30", "31/12/2018", "2018-01-01T00:00:00Z"),
)
"""What real files hold where something else belongs."""


@st.composite
def broken(draw: st.DrawFn, good: str) -> bytes:
    """A CSV file that was good before one to three of its places were changed."""
    rows = [line.split(",") for line in good.strip().split("\n")]
    for _ in range(draw(st.integers(1, 3))):
        _change(draw, rows)
    data = "\n".join(",".join(row) for row in rows).encode("utf-8", "replace") + b"\n"
    return draw(st.sampled_from(_ENDINGS))(data)


def _change(draw: st.DrawFn, rows: list[list[str]]) -> None:
    row = draw(st.integers(0, len(rows) - 1))
    cells = rows[row]
    what = draw(st.sampled_from(["odd", "odd", "odd", "other", "repeat", "drop", "short", "swap"]))
    if what == "repeat":
        rows.append(list(cells))
    elif what == "drop" and len(rows) > 1:
        del rows[row]
    elif what == "short" and len(cells) > 1:
        cells.pop()
    elif cells:
        at = draw(st.integers(0, len(cells) - 1))
        if what == "swap":
            cells[0], cells[at] = cells[at], cells[0]
        else:
            cells[at] = draw(st.sampled_from(ODD) if what == "odd" else st.text(max_size=8))


_ENDINGS = (
    *((lambda data: data),) * 6,
    lambda data: data[: len(data) // 2],
    lambda data: b"\xef\xbb\xbf" + data,
    lambda data: data.replace(b"\n", b"\r\n"),
    lambda data: data.decode().encode("utf-16"),
    lambda data: data.decode().encode("latin-1", "replace") + b"\xff",
    lambda data: b"",
)


@st.composite
def changed(draw: st.DrawFn, document: object) -> object:
    """A document of lists and mappings with one place replaced, taken out, doubled, or added."""
    if isinstance(document, dict) and document and draw(st.integers(0, 3)):
        key = draw(st.sampled_from(sorted(document)))
        return {**document, key: draw(changed(document[key]))}
    if isinstance(document, list) and document and draw(st.integers(0, 3)):
        at = draw(st.integers(0, len(document) - 1))
        return [*document[:at], draw(changed(document[at])), *document[at + 1 :]]
    return draw(_VALUES)


_NUMBERS: Sequence[object] = (
    0,
    1,
    -1,
    0.5,
    -0.5,
    1e-300,
    1e300,
    2**63,
    2**70,
    float("nan"),
    float("inf"),
    True,
    10**30,
)
_VALUES = st.one_of(
    st.sampled_from(_NUMBERS),
    st.sampled_from(ODD),
    st.none(),
    st.lists(st.sampled_from(_NUMBERS), max_size=3),
    st.dictionaries(st.text(max_size=4), st.sampled_from(_NUMBERS), max_size=2),
)


_COLUMNS: Sequence[Sequence[object]] = (
    *((1, 2), (0.5, None), (None, None), (float("nan"), float("inf")), (2**63 - 1, -1), (True, False)),
    *(("Male", "7"), ("", " "), (b"\xff", b"1"), ([1], []), ({"a": 1}, None), (Decimal("1.5"), None)),
    *((dt.date(2012, 1, 1), None), (dt.datetime(2012, 1, 1), None), (dt.timedelta(1), None)),
)
"""Two cells of every type that a Parquet file may hold."""


@st.composite
def typed(draw: st.DrawFn, names: Sequence[str]) -> pa.Table:
    """A table of two rows with the columns `names`: most are numbers, some are of other types, some are not there."""
    columns = {name: pa.array([1, 2]) for name in names}
    for name in draw(st.lists(st.sampled_from(list(names)), max_size=3)):
        columns[name] = pa.array(draw(st.sampled_from(_COLUMNS)))
        if columns[name].type == pa.string() and draw(st.booleans()):
            columns[name] = columns[name].dictionary_encode()
    for name in draw(st.lists(st.sampled_from(list(names)), max_size=1)):
        del columns[name]
    return pa.table(columns)
