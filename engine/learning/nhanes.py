"""NHANES with linked mortality, in the layout of the BioAge package: measures and follow-up of adults.

Source: US CDC/NCHS public-use files. `eligstat` 1 is eligible for follow-up; a death has a leading cause
(`ucod_leading`) or status 1: status alone leaves out accidents, influenza and the causes that have no group of their
own.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from engine.errors import SourceError
from engine.scoring.physiology import MEASURES

Floats = NDArray[np.float64]
_HALF_A_MONTH = 0.5


@dataclass(frozen=True, slots=True)
class NhanesSample:
    """Adults: sampleID, features [n, MEASURES]; months followed (NaN if not known) and whether they ended in death."""

    sample_id: pa.ChunkedArray
    features: Floats
    months: Floats
    died: NDArray[np.bool_]

    def rows(self, chosen: NDArray[np.bool_]) -> "NhanesSample":
        """The chosen rows."""
        ids = self.sample_id.filter(pa.array(chosen))
        return NhanesSample(ids, self.features[chosen], self.months[chosen], self.died[chosen])

    @property
    def followed(self) -> NDArray[np.bool_]:
        """Rows whose follow-up is known."""
        return ~np.isnan(self.months)


def read_nhanes(path: Path) -> NhanesSample:
    """Reads a file. Raises SourceError where it is missing or lacks sampleID, age or gender.

    gender is 1 male, 2 female. Any other column may be absent: its values are not known. An infinite value is unknown.
    """
    if not path.is_file():
        raise SourceError(f"{path} is not a file")
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise SourceError(f"{path} is not a Parquet file: {error}") from error
    for name in ("sampleID", "age", "gender"):
        if name not in table.column_names:
            raise SourceError(f"{path} has no column {name!r}: is it laid out as the BioAge package does?")
    gender = _numbers(table, "gender", path)
    male = np.where(gender == 1, 1.0, np.where(gender == 2, 0.0, np.nan))
    columns = [male if m.code == "male" else _numbers(table, m.code, path) for m in MEASURES]
    months = _numbers(table, "permth_int" if "permth_int" in table.column_names else "time", path)
    died = (_numbers(table, "status", path) == 1) | ~np.isnan(_numbers(table, "ucod_leading", path))
    return NhanesSample(table["sampleID"], np.stack(columns, axis=1), np.maximum(months, _HALF_A_MONTH), died)


def _numbers(table: pa.Table, name: str, path: Path) -> Floats:
    if name not in table.column_names or pa.types.is_null(table[name].type):
        return np.full(table.num_rows, np.nan)
    try:
        values = np.asarray(table[name].cast(pa.float64()).to_numpy(), np.float64)
    except pa.ArrowInvalid as error:
        raise SourceError(f"{path}: column {name!r} holds no numbers: {error}") from error
    return np.where(np.isfinite(values), values, np.nan)
