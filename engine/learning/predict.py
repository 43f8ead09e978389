"""Predictions for survey files: next year's cost for MEPS, health for NHANES, steps for LifeSnaps."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engine.errors import SourceError
from engine.learning import fit
from engine.learning.daily import read_lifesnaps
from engine.learning.meps import read_meps
from engine.learning.nhanes import read_nhanes
from engine.scoring.base_risk import BaseRiskModel
from engine.scoring.physiology import PhysiologyModel, lacking
from engine.scoring.steps_forecast import StepsForecaster

EARLIER_DAYS = 14


def predict_meps_cost(model: BaseRiskModel, directory: Path, year: int, out: Path) -> int:
    """Writes dupersid, panel, predicted_cost, lower_90, upper_90 of all in `meps_{year}.parquet`; returns how many.

    Costs are dollars of the year after, by `fit.predict_year`. Raises SourceError where the input cannot be read or the
    output not be written.
    """
    persons = read_meps(directory, year)
    prediction = fit.predict_year(model, persons)
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


def predict_steps(model: StepsForecaster, file: Path, out: Path) -> tuple[int, int]:
    """Writes id, date, steps_next7_mean, lower_80, upper_80 and reason of a LifeSnaps table; returns (forecast, not).

    One row for each day of a person that has at least 14 earlier days in the file. The forecast stands on the days up
    to and including the date, for the mean of the seven days after it; without any day of known steps it is null, with
    the reason. Raises SourceError where the input cannot be read or the output not be written.
    """
    table = read_lifesnaps(file)
    series = table.series
    person = np.repeat(np.arange(len(table.ids)), np.diff(series.starts))
    earlier = np.arange(len(series.days)) - series.starts[person]
    known = np.cumsum(~np.isnan(series.values[:, 0]))
    before = np.concatenate([[0], known])[series.starts[person]]
    rows, unknown = earlier >= EARLIER_DAYS, known - before == 0
    columns = dict(zip(("steps_next7_mean", "lower_80", "upper_80"), model.forecast(series), strict=True))
    reasons = pa.array(["no day of known steps" if none else None for none in unknown[rows].tolist()], pa.string())
    found = pa.table(
        {
            "id": pa.array(np.array(table.ids, object)[person[rows]].tolist(), pa.string()),
            "date": pa.array(series.days[rows].astype("M8[D]"), pa.date32()),
        }
        | {name: pa.array(values[rows], mask=unknown[rows]) for name, values in columns.items()}
        | {"reason": reasons}
    )
    lacking_steps = int(unknown[rows].sum())
    return _write(found, out) - lacking_steps, lacking_steps


def _write(table: pa.Table, out: Path) -> int:
    try:
        pq.write_table(table, out)
    except OSError as error:
        raise SourceError(f"cannot write {out}: {error.strerror or error}") from error
    return int(table.num_rows)
