import io

import pyarrow as pa
from pyarrow import csv

from engine.interop.arrow_csv import text_columns, without_words_for_nothing

FILE = b"member_id,dual,birth_date,age\n007,NA,1945-03-15,80\nNA,,NA,\n1e6,02,,NA\n"


def test_identifiers_and_codes_are_text_and_only_a_blank_is_nothing() -> None:
    names = ("member_id", "dual", "birth_date")
    table = csv.read_csv(io.BytesIO(FILE), convert_options=text_columns(names))
    read = without_words_for_nothing(table, ("member_id", "dual"))
    assert read["member_id"].to_pylist() == ["007", "NA", "1e6"]
    assert read["dual"].to_pylist() == ["NA", None, "02"]
    assert read["birth_date"].to_pylist() == ["1945-03-15", None, None]
    assert read["age"].cast(pa.float64()).to_pylist() == [80, None, None]
