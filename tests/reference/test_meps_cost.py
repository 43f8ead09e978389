"""The shipped base-risk model on the persons of MEPS it has not seen: at least the R2 it must show."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.errors import ModelError, SourceError
from engine.learning import fit, registry
from engine.learning.meps import link, read_meps
from engine.learning.predict import predict_meps_cost
from engine.scoring.base_risk import conformal_offset
from engine.scoring.features import FEATURE_INDEX
from tests.conftest import shared_data


@pytest.fixture(scope="module")
def sample() -> fit.Sample:
    data = shared_data("meps")
    return fit.linked_sample(read_meps(data, 2012), read_meps(data, 2013))


def test_r2_coverage_and_ratios_on_persons_outside_the_fold(sample: fit.Sample) -> None:
    figures = fit.evaluate(sample, fit.cross_fitted(sample))
    assert figures["r2"] >= 0.225
    assert 0.885 <= figures["coverage_90"] <= 0.915
    assert all(0.87 <= share <= 0.93 for share in figures["coverage_90_by_group"].values())
    assert 0.95 <= figures["predictive_ratio"] <= 1.05
    card = next(card for card in registry.cards() if card.name == registry.BASE_RISK)
    assert {name: card.metrics[name] for name in figures} == figures


def test_a_persons_fold_is_their_own(sample: fit.Sample) -> None:
    fold = fit.folds(sample)
    assert np.bincount(fold).min() > 0.18 * len(fold)
    some = np.arange(len(fold)) % 7 == 3
    np.testing.assert_array_equal(fit.folds(sample[some]), fold[some])


def test_persons_are_linked_by_both_keys() -> None:
    data = shared_data("meps")
    first, second = read_meps(data, 2012), read_meps(data, 2013)
    rows_first, rows_second = link(first, second)
    assert len(rows_first) == 18_134
    keys, others = first.keys, second.keys
    assert [keys[row] for row in rows_first.tolist()] == [others[row] for row in rows_second.tolist()]


def test_everyone_is_predicted(tmp_path: Path) -> None:
    data, out = shared_data("meps"), tmp_path / "out.parquet"
    model = registry.load_base_risk()
    assert predict_meps_cost(model, data, 2013, out) == 36_940
    table = pq.read_table(out)
    source = pq.read_table(data / "meps_2013.parquet", columns=["dupersid", "panel"])
    assert table.column_names == ["dupersid", "panel", "predicted_cost", "lower_90", "upper_90"]
    assert table["dupersid"].equals(source["dupersid"]) and table["panel"].equals(source["panel"])
    mean, lower, upper = (table[name].to_numpy() for name in table.column_names[2:])
    assert np.isfinite(mean).all() and (lower >= 0).all() and (lower <= mean).all() and (mean <= upper).all()


def test_negative_codes_are_missing_and_another_years_suffix_is_read(tmp_path: Path) -> None:
    columns = {"dupersid": ["1", "2"], "panel": [20.0, 20.0], "sex": [1.0, 2.0], "age15x": [44.0, -1.0]}
    columns |= {"totexp15": [1200.0, 0.0], "hibpdx": [1.0, -9.0], "rthlth53": [-1.0, 3.0], "rthlth42": [2.0, 5.0]}
    pq.write_table(pa.table(columns), tmp_path / "meps_2015.parquet")
    year = read_meps(tmp_path, 2015)
    assert year.features[0, FEATURE_INDEX["age"]] == 44 and np.isnan(year.features[1, FEATURE_INDEX["age"]])
    assert year.features[0, FEATURE_INDEX["hypertension"]] == 1
    assert np.isnan(year.features[1, FEATURE_INDEX["hypertension"]])
    assert year.features[:, FEATURE_INDEX["general_health"]].tolist() == [2, 3]
    assert np.isnan(year.features[:, FEATURE_INDEX["cost_inpatient"]]).all()


def test_a_missing_file_or_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="meps_1999"):
        read_meps(tmp_path, 1999)
    pq.write_table(pa.table({"dupersid": ["1"]}), tmp_path / "meps_2014.parquet")
    with pytest.raises(SourceError, match="panel"):
        read_meps(tmp_path, 2014)


def test_the_conformal_offset_is_the_finite_sample_rank() -> None:
    scores = [5.0, 1.0, 4.0, 2.0, 3.0, 9.0, 8.0, 7.0, 6.0]
    assert conformal_offset(scores, 0.5) == 5.0  # ceil(10 x 0.5) = 5th
    assert conformal_offset(scores, 0.9) == 9.0
    assert conformal_offset(scores, 0.99) == 9.0


def test_a_changed_model_file_is_refused(tmp_path: Path) -> None:
    source = registry.MODELS / registry.BASE_RISK / "3"
    copy = tmp_path / registry.BASE_RISK / "3"
    copy.mkdir(parents=True)
    for path in source.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    assert registry.load_base_risk(root=tmp_path).version == "3"
    damaged = bytearray((copy / "mean.json").read_bytes())
    damaged[100] ^= 1
    (copy / "mean.json").write_bytes(damaged)
    with pytest.raises(ModelError, match=r"mean\.json"):
        registry.load_base_risk(root=tmp_path)
    card = json.loads((copy / "card.json").read_text())
    assert card["name"] == registry.BASE_RISK
    with pytest.raises(ModelError, match="no base_risk model 9"):
        registry.load_base_risk("9", tmp_path)
