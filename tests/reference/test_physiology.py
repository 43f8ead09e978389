"""The physiology model on NHANES III: it ranks ten-year mortality better than PhenoAge, and a gap moves nobody."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.errors import SourceError
from engine.learning import fit_physiology, registry
from engine.learning.nhanes import NhanesSample, read_nhanes
from engine.learning.predict import predict_nhanes_health
from engine.scoring.physiology import INDEX, MEASURES, cleaned, lacking
from tests.conftest import shared_data

FILE = "nhanes3_labs_mortality.parquet"


@pytest.fixture(scope="module")
def sample() -> NhanesSample:
    return read_nhanes(shared_data("nhanes") / FILE)


@pytest.fixture(scope="module")
def hazards(sample: NhanesSample) -> np.ndarray:
    return registry.load_physiology().log_hazard(sample.features)


def test_it_ranks_mortality_better_than_pheno_age_out_of_fold(sample: NhanesSample) -> None:
    unseen = fit_physiology.cross_validated(sample)
    model = registry.load_physiology()
    found = fit_physiology.evaluate(sample, unseen, model.ten_year_mortality(unseen))
    assert found["adults"] == 15_150
    assert found["auc_all"]["model"] >= found["auc_all"]["pheno_age"] + 0.01
    assert found["auc_50-70"]["model"] >= found["auc_50-70"]["pheno_age"] + 0.03
    card = next(card for card in registry.cards() if card.name == registry.PHYSIOLOGY)
    assert card.metrics["auc_all"] == found["auc_all"], "the card's figures are not what the code gives"
    ratios = found["predicted_over_observed_by_tenth"]
    assert all(0.9 < ratio < 1.25 for ratio in ratios[5:]), "where nine tenths of the deaths are"


def test_pheno_age_is_the_published_one(sample: NhanesSample) -> None:
    found = fit_physiology.pheno_age(sample)
    known = ~np.isnan(found)
    age = sample.features[known, INDEX["age"]]
    # Levine et al. 2018: correlation with age 0.94 to 0.96
    assert np.corrcoef(found[known], age)[0, 1] == pytest.approx(0.95, abs=0.015)
    assert abs(np.mean(found[known] - age)) < 5


def test_the_fit_is_reproducible(sample: NhanesSample, hazards: np.ndarray) -> None:
    again, _ = fit_physiology.fit("1", sample)
    np.testing.assert_allclose(again.log_hazard(sample.features), hazards, atol=1e-5)


def test_a_row_alone_has_the_bits_it_has_in_the_batch(sample: NhanesSample, hazards: np.ndarray) -> None:
    model = registry.load_physiology()
    for row in (0, 17, 4000, 18_000):
        np.testing.assert_array_equal(model.log_hazard(sample.features[row : row + 1]), hazards[row : row + 1])


def test_worse_self_rated_health_and_more_years_raise_the_hazard(sample: NhanesSample, hazards: np.ndarray) -> None:
    model, known = registry.load_physiology(), ~np.isnan(hazards)
    for code, step in (("health", 1.0), ("age", 5.0)):
        changed = sample.features.copy()
        changed[:, INDEX[code]] += step
        changed[:, INDEX["health"]] = np.minimum(changed[:, INDEX["health"]], 5)
        moved = (model.log_hazard(changed) - hazards)[known & (sample.features[:, INDEX[code]] < 80)]
        assert np.nanmean(moved) > 0.1, code


def test_hiding_values_moves_few_and_little_on_average(sample: NhanesSample, hazards: np.ndarray) -> None:
    hidden = sample.features.copy()
    hidden[:, [INDEX[code] for code in ("crp", "rdw", "albumin", "ggt", "hba1c")]] = np.nan
    moved = registry.load_physiology().log_hazard(hidden) - hazards
    spread = np.nanstd(hazards)
    assert abs(np.nanmean(moved)) < 0.1 * spread and np.nanstd(moved) < 0.3 * spread


def test_a_file_of_another_year_is_scored_with_nulls_and_reasons(sample: NhanesSample, tmp_path: Path) -> None:
    table = pq.read_table(shared_data("nhanes") / FILE)[:200]
    table = table.drop_columns(["status", "permth_int", "time", "ucod_leading", "ggt", "fev", "year", "crp"])
    table = table.append_column("crp", pa.nulls(200))
    ages = table["age"].to_pylist()
    ages[3], ages[4] = None, 12.0
    table = table.set_column(table.column_names.index("age"), "age", pa.array(ages, pa.float64()))
    pq.write_table(table, tmp_path / "f.parquet")
    scored, refused = predict_nhanes_health(registry.load_physiology(), tmp_path / "f.parquet", tmp_path / "g.parquet")
    found = pq.read_table(tmp_path / "g.parquet")
    assert found.column_names == ["sampleID", "health_score", "hazard", "ten_year_mortality", "reason"]
    assert found["sampleID"].equals(table["sampleID"]) and scored + refused == 200 and refused >= 2
    rows = found.to_pylist()
    for row in rows:
        assert (row["reason"] is None) == (row["health_score"] is not None) == (row["hazard"] is not None)
        assert row["health_score"] is None or 1 <= row["health_score"] <= 100
    assert "age" in rows[3]["reason"] and rows[4]["reason"] == rows[3]["reason"]


def test_an_impossible_value_is_not_known() -> None:
    row = np.full((1, len(MEASURES)), np.nan)
    for code, value in {"age": 50, "male": 1, "albumin": 4.1, "sbp": 125, "bun": 14, "wbc": 6, "rdw": 13}.items():
        row[0, INDEX[code]] = value
    assert lacking(row) == [""]
    model = registry.load_physiology()
    known = model.log_hazard(row)
    row[0, INDEX["creat"]] = 900.0
    np.testing.assert_array_equal(model.log_hazard(row), known)
    row[0, INDEX["rdw"]] = -1.0
    assert lacking(row) == ["4 measures are known, 5 are needed"] and np.isnan(model.log_hazard(row))[0]


def test_the_penalised_cox_fit_is_at_the_top_of_its_likelihood() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(80, 3))
    months = np.ceil(rng.exponential(20 * np.exp(-x @ [0.8, -0.5, 0.0])))  # whole months: many ties
    died = rng.random(80) < 0.7

    def likelihood(b: np.ndarray) -> float:
        lp = x @ b
        each = [lp[i] - np.log(np.exp(lp[months >= months[i]]).sum()) for i in np.flatnonzero(died)]
        return float(sum(each) - 2.0 * (b @ b) / 2)

    b = fit_physiology.penalised_cox(x, months, died, 2.0)
    for j in range(3):
        for step in (-1e-3, 1e-3):
            moved = b.copy()
            moved[j] += step
            assert likelihood(moved) < likelihood(b)


def test_auc_counts_ties_half() -> None:
    positive = np.array([True, True, False, False])
    assert fit_physiology.auc(positive, np.array([3.0, 2.0, 2.0, 1.0])) == (1 + 1 + 0.5 + 1) / 4


@pytest.mark.parametrize("missing", ["sampleID", "age", "gender"])
def test_a_file_without_an_essential_column_is_refused(tmp_path: Path, missing: str) -> None:
    columns = {"sampleID": ["1"], "age": [50.0], "gender": [1.0]}
    pq.write_table(
        pa.table({name: values for name, values in columns.items() if name != missing}), tmp_path / "f.parquet"
    )
    with pytest.raises(SourceError, match=missing):
        read_nhanes(tmp_path / "f.parquet")


def test_values_under_the_assays_least_count_as_it() -> None:
    row = np.full((2, len(MEASURES)), 50.0)
    row[:, INDEX["crp"]] = [0.02, 0.21]
    clean = cleaned(row)
    assert clean[0, INDEX["crp"]] == clean[1, INDEX["crp"]] == np.log(0.21)
