"""How Arrow reads our CSV files: identifiers and codes are text from the first byte on, and only a blank is nothing.

Left to itself Arrow takes `007` for the number 7, and `NA` for the want of a value, which in a column of Medicaid codes
is one of them.
"""

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

_NOTHING = pa.array(["NA", "N/A", "NULL", "null", "NaN", "nan"])
"""What R, spreadsheets and databases write for a value that is not there."""


def text_columns(names: Iterable[str]) -> csv.ConvertOptions:
    """Options that read the columns `names` as text, and of any column only a blank cell as null."""
    return csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), null_values=[""], strings_can_be_null=True
    )


def without_words_for_nothing(table: pa.Table, codes: Iterable[str]) -> pa.Table:
    """The table with null where a text says that there is nothing, but in the columns `codes`, where it may be one."""
    kept = set(codes)
    for place, name in enumerate(table.column_names):
        column = table[name]
        if name not in kept and pa.types.is_string(column.type):
            nothing = pc.is_in(column, value_set=_NOTHING)
            table = table.set_column(place, name, pc.if_else(nothing, pa.scalar(None, pa.string()), column))
    return table
