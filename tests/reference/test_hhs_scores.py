"""HHS-HCC against an independent count of the shared samples, and against persons worked out by hand.

The totals are of synthetic commercial members with their dates moved to the benefit year, everybody at silver; the
same count with one rule left out tells what each rule is worth, and that the tests would see it go.
"""

import calendar
import dataclasses
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyarrow import csv

from engine.scoring.hcc.hhs import score as scoring
from engine.scoring.hcc.hhs.compiled import DURATION, SEVERE_COUNT, TRANSPLANT_COUNT, CompiledHhs, compiled_hhs
from engine.scoring.hcc.hhs.score import HhsScores, score
from tests.conftest import shared_data
from tests.hhs import Diagnosis, at, one, traced, variables

OF = 2025
TEXT = ("ENROLID", "SEX", "DOB", "CSR_INDICATOR", "DIAG", "DIAGNOSIS_SERVICE_DATE", "NDC")
# totals at silver and persons with an HCC, of the two halves of the sample
TOTALS = {
    2021: ((7128.878, 2395), (6289.430, 2294)),
    2022: ((6970.385, 2395), (6160.326, 2294)),
    2023: ((7153.434, 2394), (6146.670, 2293)),
    2024: ((7027.298, 2394), (6030.225, 2293)),
    2025: ((6894.555, 2388), (5905.736, 2286)),
}
INSULIN, ANTIDIABETIC = "00002751001", "00002771559"


def read(name: str) -> pa.Table:
    options = csv.ConvertOptions(column_types=dict.fromkeys(TEXT, pa.string()))
    return csv.read_csv(shared_data("hhs_sim") / f"{name}.csv", convert_options=options)


def moved(table: pa.Table, column: str, years: int) -> pa.Table:
    """The dates of a column so many years later; of 29 February the 28th where the year has none."""

    def later(text: str) -> str:
        year, month, day = int(text[:4]) + years, int(text[4:6]), int(text[6:])
        return f"{year}{month:02d}{min(day, calendar.monthrange(year, month)[1]):02d}"

    dates = table[column].combine_chunks().dictionary_encode()
    fresh = pa.array([later(text) for text in dates.dictionary.to_pylist()]).take(dates.indices)
    return table.set_column(table.column_names.index(column), column, fresh)


def sample(year: int, **how: object) -> HhsScores:
    people, diagnoses = moved(read("PERSON"), "DOB", year - OF), read("DIAG")
    diagnoses = moved(diagnoses, "DIAGNOSIS_SERVICE_DATE", year - OF)
    return score(people, diagnoses, year, read("NDC"), **how)  # type: ignore[arg-type]


def halves(found: HhsScores) -> list[pa.Table]:
    table = found.table()
    return [table.filter(pc.starts_with(table["member_id"], prefix)) for prefix in ("2021_", "2022_")]


@pytest.mark.parametrize("year", TOTALS)
def test_the_sample_has_the_totals_of_an_independent_count(year: int) -> None:
    found = sample(year, metal="silver")
    for half, (total, ill), adults, children in zip(
        halves(found), TOTALS[year], (11263, 9184), (2465, 2187), strict=True
    ):
        assert round(pc.sum(half["score"]).as_py(), 3) == total
        assert pc.sum(pc.greater(pc.list_value_length(half["hccs"]), 0)).as_py() == ill
        models = half["model"].cast(pa.string())
        assert [pc.sum(pc.equal(models, kind)).as_py() for kind in ("adult", "child")] == [adults, children]


def test_own_metals_with_cost_sharing_and_bronze() -> None:
    found = sample(2025, all_metals=True)
    assert [round(pc.sum(half["csr_score"]).as_py(), 5) for half in halves(found)] == [6866.44620, 5898.15784]
    assert [round(pc.sum(half["score_bronze"]).as_py(), 3) for half in halves(found)] == [5759.488, 4938.068]
    ledger = found.ledger()
    assert round(pc.sum(ledger["coefficient_bronze"]).as_py(), 3) == round(5759.488 + 4938.068, 3)


def no_hierarchy(arrays: CompiledHhs) -> CompiledHhs:
    return arrays._replace(rules=arrays.rules._replace(drops=np.zeros_like(arrays.rules.drops)))


def no_drug_edge(arrays: CompiledHhs) -> CompiledHhs:
    return arrays._replace(rules=arrays.rules._replace(rxc_drops=np.zeros_like(arrays.rules.rxc_drops)))


def without(arrays: CompiledHhs, *kinds: int) -> CompiledHhs:
    rows = arrays.rules.rows.copy()
    rows[:, list(kinds)] = -1
    return arrays._replace(rules=arrays.rules._replace(rows=rows))


def no_duration(arrays: CompiledHhs) -> CompiledHhs:
    return without(arrays, DURATION)


def no_severity(arrays: CompiledHhs) -> CompiledHhs:
    return without(arrays, SEVERE_COUNT, TRANSPLANT_COUNT)


def first_validity_column(arrays: CompiledHhs) -> CompiledHhs:
    valid = arrays.codes.valid[:, :1].repeat(2, axis=1)
    return arrays._replace(codes=arrays.codes._replace(valid=valid))


def no_split(arrays: CompiledHhs) -> CompiledHhs:
    codes = arrays.codes
    wide = codes._replace(
        low=np.zeros_like(codes.low), high=np.full_like(codes.high, 999), sex=np.full_like(codes.sex, -1)
    )
    return arrays._replace(codes=wide)


def one_cc(arrays: CompiledHhs) -> CompiledHhs:
    from engine.scoring.hcc.hhs.model import load_hhs

    model, words = load_hhs(2025), np.zeros_like(arrays.codes.words)
    for i, row in enumerate(row for rows in model.codes.values() for row in rows):
        bit = model.hccs.index(row.ccs[0])
        words[i, bit // 64] = np.uint64(1 << bit % 64)
    return arrays._replace(codes=arrays.codes._replace(words=words))


@pytest.mark.parametrize(
    ("broken", "total"),
    [
        (no_split, 12959.515),
        (one_cc, 12703.893),
        (first_validity_column, 12817.730),
        (no_drug_edge, 12876.141),
        (no_hierarchy, 12870.905),
        (no_duration, 12083.832),
        (no_severity, 13306.038),
    ],
)
def test_a_rule_left_out_changes_the_total_by_what_it_is_worth(broken, total: float, monkeypatch) -> None:
    monkeypatch.setattr(scoring, "compiled_hhs", lambda year: broken(compiled_hhs(year)))
    found = sample(2025, metal="silver")
    assert round(float(found.score.sum()), 3) == total
    assert total != 12800.291


# sex, age, codes, drugs; year, months, metal; score; with cost sharing the indicator and the score
PERSONS: list[
    tuple[str, int, Sequence[Diagnosis], Sequence[str], dict[str, object], float, tuple[int, float] | None]
] = [
    ("F", 44, ["E1165"], [INSULIN], {}, 2.006, (3, 2.24672)),
    ("F", 60, ["E1142"], [ANTIDIABETIC], {"metal": "bronze", "duration": 1}, 9.541, None),
    ("M", 12, ["J45909"], [], {}, 0.285, (3, 0.3192)),
    ("F", 47, [], [ANTIDIABETIC], {}, 1.295, None),
    ("F", 46, ["Z4822"], [], {"metal": "bronze"}, 0.239, None),
    ("F", 61, ["J42", "J4531"], [], {"metal": "gold"}, 0.925, None),
    ("F", 69, ["E119", "J45901", "I742", "S22080A", "I2609"], [ANTIDIABETIC], {}, 18.147, None),
    ("M", 72, ["E1122", "M069", "K5090", "J449"], ["00597015390", "00074433902"], {}, 15.709, None),
    ("F", 67, ["C9590", "R569", "I21A1", "I2692", "J449", "J45909"], [], {}, 16.074, None),
    ("M", 55, ["Z940", "E119", "I5022", "J449"], [], {}, 8.547, None),
    ("M", 55, ["Z940", "E119", "I5022", "J449"], [], {"metal": "bronze"}, 0.0, (4, 12.54961)),
    ("M", 40, ["E1052"], [], {}, 8.408, None),
    ("F", 52, ["E1165"], [INSULIN], {"year": 2022, "duration": 3}, 2.370, None),
    ("F", 30, ["E1010"], [], {"duration": 3}, 3.153, None),
    ("F", 20, ["E1010"], [], {"duration": 3}, 2.059, None),
    ("M", 30, ["D66"], [], {}, 72.576, None),
    ("F", 30, ["D66"], [], {}, 2.208, None),
    ("F", 49, ["C50911"], [], {}, 3.682, None),
    ("F", 50, ["C50911"], [], {}, 2.537, None),
    ("F", 5, ["F3481"], [], {}, 0.053, None),
    ("F", 6, ["F3481"], [], {}, 2.244, None),
    ("F", 18, ["F3481"], [], {}, 2.336, None),
    ("F", 19, ["F3481"], [], {}, 0.145, None),
    ("F", 9, ["O80"], [], {}, 1.967, None),
    ("F", 8, ["O80"], [], {}, 0.053, None),
    ("M", 30, ["O80"], [], {"year": 2024}, 0.097, None),
    ("M", 30, ["O80"], [], {}, 2.445, None),
    ("M", 63, [("G20", "09-10")], [], {"year": 2023}, 1.732, None),
    ("M", 63, [("G20", "10-10")], [], {"year": 2023}, 0.297, None),
    ("M", 63, [("G20A1", "09-10")], [], {"year": 2023}, 0.297, None),
    ("M", 63, [("G20A1", "10-10")], [], {"year": 2023}, 1.732, None),
    ("M", 51, ["C3490", "A419"], [], {"year": 2021}, 26.137, None),
    ("M", 0, [], [], {}, 0.491, None),
    ("F", 0, [], [], {}, 0.431, None),
    ("M", 1, [], [], {}, 0.491, None),
    ("F", 1, [], [], {}, 0.431, None),
    ("F", 0, ["P0701", "Z3800"], [], {}, 31.251, None),
    ("M", 0, ["Z3800"], [], {}, 1.674, None),
    ("M", 0, ["C9100"], [], {}, 12.002, None),
    ("M", 1, ["C9100"], [], {}, 12.002, None),
    ("M", 1, ["P0701"], [], {}, 0.491, None),
]


@pytest.mark.parametrize(("sex", "age", "codes", "ndc", "more", "score_", "shared"), PERSONS)
def test_a_person_worked_out_by_hand(sex, age, codes, ndc, more, score_, shared) -> None:
    found = one(sex, age, codes, ndc, **more)
    if score_:
        assert at(found, more.get("metal", "silver")) == score_
    if shared:
        indicator, with_factor = shared
        assert round(float(one(sex, age, codes, ndc, csr=indicator, **more).csr_score[0]), 5) == with_factor
    explained = traced(found, codes, ndc)
    assert explained.variables == variables(found)
    assert {line.cc for line in explained.lines if line.counts and line.cc} == set(found.hcc_lists()[0].as_py())


def test_the_parts_of_a_score_are_told() -> None:
    found = one("F", 44, ["E1165"], [INSULIN])
    amounts = sorted(row["coefficient_silver"] for row in found.ledger().to_pylist())
    assert amounts == sorted([0.284, 0.172, 1.018, 0.532])
    assert sum(dataclasses.astuple(line)[3] is not None for line in traced(found, ["E1165"], [INSULIN]).lines) == 2
