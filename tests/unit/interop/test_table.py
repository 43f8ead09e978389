import datetime as dt
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import SourceError
from engine.interop.table import cents, day, instant_ms, number, rows, whole


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_rows_are_picked_by_name_in_the_order_asked(tmp_path: Path) -> None:
    path = write(tmp_path, '\ufeffa,b,c\n1,"x,y",3\n\n4,5,6\n')
    assert list(rows(path, ("c", "b"))) == [(2, ("3", "x,y")), (4, ("6", "5"))]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", ["t.csv", "no column c", "a, b"]),
        ("", ["t.csv", "no column b, c"]),
        ("b,c\n1,2\n1\n", ["line 3", "1 cells", "2"]),
        ("b,c\n1,2,3\n", ["line 2", "3 cells"]),
        ("b,c,b\n1,2,3\n", ["t.csv", "column b more than once"]),
        (b"b,c\n\xff\xfe,1\n", ["t.csv", "UTF-8"]),
        ('b,c\n"' + "x" * 200_000 + '",1\n', ["t.csv"]),
    ],
)
def test_a_broken_file_is_refused_by_place(tmp_path: Path, text: str | bytes, words: list[str]) -> None:
    with pytest.raises(SourceError) as error:
        list(rows(write(tmp_path, text), ("b", "c")))
    assert all(word in str(error.value) for word in words), error.value


def test_a_column_may_have_had_another_name_or_be_missing(tmp_path: Path) -> None:
    path = write(tmp_path, "old,b,also\n1,2,3\n")
    assert list(rows(path, ("new|old", "b"))) == [(2, ("1", "2"))]
    assert list(rows(path, ("also|old", "c|"))) == [(2, ("3", ""))]
    with pytest.raises(SourceError, match="no column new or newer; the header has old, b, also"):
        list(rows(path, ("new|newer", "b")))


def test_what_a_row_is_about_must_be_named(tmp_path: Path) -> None:
    path = write(tmp_path, "id,b\n1,2\n ,3\n")
    with pytest.raises(SourceError, match=r"t\.csv line 3: person or id is blank"):
        list(rows(path, ("person|id", "b"), ("person|id",)))


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        list(rows(tmp_path, ("b", "c")))


@pytest.mark.parametrize("text", ["", "20180101", "2018-1-1", "2018-02-30", "01/02/2018", "2018-01-01 00:00:00"])
def test_a_date_is_refused_by_place_and_column(tmp_path: Path, text: str) -> None:
    assert day("2018-02-28", "start", tmp_path, 1) == dt.date(2018, 2, 28)
    with pytest.raises(SourceError, match=r"f\.csv line 7: start is (blank|'.*'); it must be a date"):
        day(text, "start", tmp_path / "f.csv", 7)


def test_a_missing_file_is_refused_with_what_it_should_hold(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"none\.csv does not exist.*b, c"):
        list(rows(tmp_path / "none.csv", ("b", "c")))


def test_times_are_utc_and_strict(tmp_path: Path) -> None:
    assert instant_ms("01/02/1970", "%d/%m/%Y", tmp_path, 1) == 31 * 86_400_000
    with pytest.raises(SourceError, match=r"line 7: '13/13/2016'"):
        instant_ms("13/13/2016", "%d/%m/%Y", tmp_path / "f.csv", 7)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.29", 29),  # 0.29 * 100 is 28.999999999999996 in floats
        ("1.10", 110),
        ("-99.55", -9955),
        ("58.599999999999994", 5860),
        ("60.260000000000005", 6026),
        ("12.345", "12.345"),
        ("90071992547409.93", 9007199254740993),  # past 2**53: a float would give ...992
        ("", None),
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ("1_0", "1_0"),
        ("abc", "abc"),
    ],
)
def test_cents_are_exact(text: str, expected: int | str | None) -> None:
    assert cents(text) == expected


@given(st.integers(-(10**15), 10**15))
def test_any_amount_of_cents_comes_back(amount: int) -> None:
    sign = "-" if amount < 0 else ""
    assert cents(f"{sign}{abs(amount) // 100}.{abs(amount) % 100:02d}") == amount


def test_what_is_no_number_stays_text() -> None:
    assert [number(text) for text in ("1.5", "1e3", "", "x", "nan", "inf", "1_0")] == [
        1.5,
        1000.0,
        "",
        "x",
        "nan",
        "inf",
        "1_0",
    ]
    assert [whole(text) for text in ("7", "-7", "7.0", "7.5", "", "1_0")] == [7, -7, 7, "7.5", "", "1_0"]
