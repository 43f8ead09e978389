"""Predictions for survey files: next year's cost for MEPS, health for NHANES."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engine.errors import SourceError
from engine.learning.meps import read_meps
from engine.learning.nhanes import read_nhanes
from engine.scoring.base_risk import BaseRiskModel
from engine.scoring.physiology import PhysiologyModel, lacking


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
    return _write(table, out)


def predict_nhanes_health(model: PhysiologyModel, file: Path, out: Path) -> tuple[int, int]:
    """Writes sampleID, health_score, hazard, ten_year_mortality and reason of all in `file`; returns (scored, not).

    hazard is relative to the average of the training adults. A row with too little data has nulls and the reason.
    Raises SourceError where the input cannot be read or the output not be written.
    """
    persons = read_nhanes(file)
    hazard = model.log_hazard(persons.features)
    unknown = np.isnan(hazard)
    columns = {
        "health_score": model.health_score(hazard),
        "hazard": np.exp(hazard),
        "ten_year_mortality": model.ten_year_mortality(hazard),
    }
    reasons = [reason or None for reason in lacking(persons.features)]
    table = pa.table(
        {"sampleID": persons.sample_id}
        | {name: pa.array(values, mask=unknown) for name, values in columns.items()}
        | {"reason": pa.array(reasons, pa.string())}
    )
    return _write(table, out) - int(unknown.sum()), int(unknown.sum())


def _write(table: pa.Table, out: Path) -> int:
    try:
        pq.write_table(table, out)
    except OSError as error:
        raise SourceError(f"cannot write {out}: {error.strerror or error}") from error
    return int(table.num_rows)
