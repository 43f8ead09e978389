import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from engine.errors import SourceError
from engine.learning.arrow_files import (
    answers,
    csv_of_texts,
    floats,
    parquet_table,
    text_columns,
    texts,
    without_words_for_nothing,
)

FILE = b"member_id,dual,birth_date,age\n007,NA,1945-03-15,80\nNA,,NA,\n1e6,02,,NA\n"


def test_identifiers_and_codes_are_text_and_only_a_blank_is_nothing() -> None:
    names = ("member_id", "dual", "birth_date")
    table = csv.read_csv(io.BytesIO(FILE), convert_options=text_columns(names))
    read = without_words_for_nothing(table, ("member_id", "dual"))
    assert read["member_id"].to_pylist() == ["007", "NA", "1e6"]
    assert read["dual"].to_pylist() == ["NA", None, "02"]
    assert read["birth_date"].to_pylist() == ["1945-03-15", None, None]
    assert read["age"].cast(pa.float64()).to_pylist() == [80, None, None]


def test_numbers_of_texts_and_of_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,steps\n007, 12 \n8,\n9,inf\n")
    table = csv_of_texts(tmp_path / "t.csv", ("id", "steps"))
    np.testing.assert_array_equal(floats(table, "steps", tmp_path), [12, np.nan, np.nan])
    assert np.isnan(floats(table, "absent", tmp_path)).all()
    assert texts(table, "id", tmp_path) == ["007", "8", "9"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"id,steps\n7,1\n8,many\n", "'steps', row 2: 'many' is no number"),
        (b"id,steps\n7,1\n,2\n", "'id', row 2 is empty"),
        (b"id\n7\n", "no column 'steps'"),
        (b"id,steps,id\n7,1,8\n", "'id' more than once"),
        (b"", "not a CSV table"),
        (b"id,steps,\xff\n7,1,2\n", "not a CSV table"),
        (None, "not a file"),
    ],
)
def test_a_csv_that_cannot_be_used_is_named(tmp_path: Path, content: bytes | None, told: str) -> None:
    path = tmp_path / "t.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError, match=told):
        table = csv_of_texts(path, ("id", "steps"))
        floats(table, "steps", path), texts(table, "id", path)


def test_a_parquet_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"id,steps\n")
    with pytest.raises(SourceError, match="not a Parquet file"):
        parquet_table(tmp_path / "t.parquet", ())
    with pytest.raises(SourceError, match="a folder"):
        parquet_table(tmp_path, ())
    parquet.write_table(pa.table({"id": [[1], [2]]}), tmp_path / "t.parquet")
    table = parquet_table(tmp_path / "t.parquet", ("id",))
    with pytest.raises(SourceError, match="'id'"):
        texts(table, "id", tmp_path)
    with pytest.raises(SourceError, match="'id'"):
        floats(table, "id", tmp_path)


def test_answers_are_words_whatever_encodes_them_and_numbers_are_refused() -> None:
    codes = {"Male": 1.0, "Female": 0.0}
    words = pa.array(["Female", None, "Male", "male"])
    table = pa.table({"plain": words, "coded": words.dictionary_encode(), "none": pa.nulls(4), "numbers": [1, 2, 1, 2]})
    for name in ("plain", "coded"):
        np.testing.assert_array_equal(answers(table, name, Path("f"), codes), [0, np.nan, 1, np.nan])
    assert np.isnan(answers(table, "none", Path("f"), codes)).all()
    with pytest.raises(SourceError, match="column 'numbers' of type int64 holds no answers such as 'Male', 'Female'"):
        answers(table, "numbers", Path("f"), codes)
