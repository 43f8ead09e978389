"""Predicts the cost of the persons of a MEPS file for the year after it."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from engine.errors import SourceError
from engine.learning.meps import read_meps
from engine.scoring.base_risk import BaseRiskModel


def predict_meps_cost(model: BaseRiskModel, directory: Path, year: int, out: Path) -> int:
    """Writes dupersid, panel, predicted_cost, lower_90, upper_90 of all in `meps_{year}.parquet`; returns how many.

    Costs are dollars of the year after. Raises SourceError where the input cannot be read or the output not be written.
    """
    persons = read_meps(directory, year)
    prediction = model.predict(persons.features)
    table = pa.table(
        {
            "dupersid": persons.dupersid,
            "panel": persons.panel,
            "predicted_cost": prediction.mean,
            "lower_90": prediction.lower_90,
            "upper_90": prediction.upper_90,
        }
    )
    try:
        pq.write_table(table, out)
    except OSError as error:
        raise SourceError(f"cannot write {out}: {error.strerror or error}") from error
    return int(table.num_rows)
