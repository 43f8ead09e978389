"""Files of members, diagnoses and scores: Parquet, or CSV by the file's name."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

_TEXT = ("member_id", "icd10", "sex", "orec", "dual", "birth_date")
_OTHER = ("age", "new_enrollee", "snp", "lti", "ltimcaid", "nemcaid")
_ROWS = 2_000_000
_CODES = ("member_id", "icd10", "sex", "orec", "dual")
"""In these a text such as NA is what it says, and not the want of a value."""


def read(path: Path, every: bool = False) -> "pa.Table":
    """All rows of a Parquet or CSV file: the columns of CMS-HCC, or `every` one, which in CSV all are text then.

    Raises HccError where it cannot be read, or has a column twice.
    """
    import pyarrow as pa

    from engine.errors import HccError

    table = pa.concat_tables(list(parts(path, every)))
    twice = [name for name, times in Counter(table.column_names).items() if times > 1]
    if twice:
        raise HccError(f"{path} has the column {twice[0]} more than once")
    return table


def parts(path: Path, every: bool = False) -> Iterator["pa.Table"]:
    """`read` in tables of bounded size."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    from engine.errors import HccError
    from engine.learning.arrow_files import text_columns, without_words_for_nothing

    try:
        if path.suffix == ".csv":
            text = tuple(arrow_csv.open_csv(path).schema.names) if every else _TEXT
            table = arrow_csv.read_csv(path, convert_options=text_columns(text))
            yield table if every else without_words_for_nothing(table, _CODES)
            return
        file = parquet.ParquetFile(path)
        wanted = [name for name in file.schema_arrow.names if every or name in {*_TEXT, *_OTHER}]
        empty = file.schema_arrow.empty_table().select(wanted)
        yield empty
        for batch in file.iter_batches(_ROWS, columns=wanted):
            yield pa.Table.from_batches([batch])
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise HccError(f"{path} cannot be read: {error}") from error


def size(path: Path) -> int | None:
    """Rows of a Parquet file; None where only reading it will tell."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        return None if path.suffix == ".csv" else int(parquet.read_metadata(path).num_rows)
    except (OSError, pa.ArrowException):
        return None


def write(table: "pa.Table", path: Path) -> None:
    """Parquet, or CSV by the file's name, where a list of HCCs is text with spaces between."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix != ".csv":
        parquet.write_table(table, path)
        return
    for i, field in enumerate(table.schema):
        if pa.types.is_list(field.type):
            words = pc.binary_join(pc.cast(table[field.name], pa.list_(pa.string())), " ")
            table = table.set_column(i, field.name, words)
        elif pa.types.is_dictionary(field.type):
            table = table.set_column(i, field.name, pc.cast(table[field.name], field.type.value_type))
    arrow_csv.write_csv(table, path)
