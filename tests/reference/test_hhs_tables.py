"""The HHS-HCC tables, cell by cell against CMS's, and against the counts of what CMS published."""

import csv
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from engine.domain.events import METALS
from engine.errors import HccError
from engine.scoring.hcc.hhs.convert import convert
from engine.scoring.hcc.hhs.model import BENEFIT_YEARS, MODELS, load_hhs
from tests.conftest import ROOT, shared_data

OURS = ROOT / "engine" / "scoring" / "hcc" / "tables" / "hhs"
# rows and codes of table 3, drugs of 10a and 10b, eligible services of 2, variables of adults, children and infants
COUNTS = {
    2021: (10841, 10737, 11652, 36, 6574, 202, 159, 27),
    2022: (11111, 11007, 11980, 38, 6207, 202, 159, 27),
    2023: (11233, 11043, 12628, 44, 6211, 211, 167, 27),
    2024: (11233, 11043, 12674, 43, 6240, 212, 167, 27),
    2025: (11362, 11172, 12983, 66, 6280, 211, 166, 27),
}


def theirs(year: int, number: str) -> list[list[str]]:
    table = parquet.read_table(shared_data("hhs_diy") / f"cy{year}" / f"table_{number}.parquet")
    columns = [["" if cell is None else str(cell).strip() for cell in column.to_pylist()] for column in table.columns]
    return [list(row) for row in zip(*columns, strict=True)]


def ours(year: int, name: str) -> list[dict[str, str]]:
    with (OURS / str(year) / name).open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


@pytest.mark.parametrize("year", BENEFIT_YEARS)
def test_counts_are_those_of_cms(year: int) -> None:
    model = load_hhs(year)
    kinds = Counter(kind for kind, _ in model.drugs)
    variables = Counter(kind for kind, _ in model.variables)
    assert (
        sum(map(len, model.codes.values())),
        len(model.codes),
        kinds["ndc"],
        kinds["hcpcs"],
        len(model.services),
        *(variables[kind] for kind in MODELS),
    ) == COUNTS[year]
    assert len(model.hccs) == len(model.labels) == 141
    edges = {(hcc, dropped) for hcc, all_dropped in model.hierarchy.items() for dropped in all_dropped}
    assert len(edges) == 203
    assert {(a, d) for a, b in edges for c, d in edges if b == c} <= edges, "the hierarchies are not closed"
    assert [len(model.excluded[kind]) for kind in MODELS] == [10, 11, 17]
    groups = {2024: [19, 21, 0], 2025: [18, 20, 0]}.get(year, [18, 21, 0])
    assert [len(model.groups[kind]) for kind in MODELS] == groups
    assert len(model.interactions) == 13 and model.rxc_drops == ((6, 7),)
    assert [code for code, rows in model.codes.items() if len(rows[0].ccs) == 3] == ["E1052"]


@pytest.mark.parametrize("year", BENEFIT_YEARS)
def test_what_the_converter_writes_of_cmss_tables_is_what_is_kept(year: int, tmp_path: Path) -> None:
    convert(shared_data("hhs_diy") / f"cy{year}", year, tmp_path)
    names = sorted(path.name for path in (OURS / str(year)).iterdir())
    assert names == sorted(path.name for path in tmp_path.iterdir())
    for name in names:
        assert (tmp_path / name).read_text() == (OURS / str(year) / name).read_text(), name


@pytest.mark.parametrize("year", BENEFIT_YEARS)
def test_every_code_and_coefficient_is_cmss(year: int) -> None:
    """Read once more without the converter."""
    coefficients = {(row[0].lower(), row[1].upper()): [float(cell) for cell in row[3:8]] for row in theirs(year, "9")}
    kept = {
        (row["model"], row["variable"]): [float(row[metal]) for metal in METALS]
        for row in ours(year, "coefficients.csv")
    }
    assert kept.keys() == coefficients.keys()
    assert max(abs(a - b) for key in kept for a, b in zip(kept[key], coefficients[key], strict=True)) < 0.0005
    rounded = [key for key in kept if kept[key] != coefficients[key]]
    assert {kind for kind, _ in rounded} == ({"child", "infant"} if year == 2024 else set())
    periods = 3 if year <= 2023 else 1
    for row, own in zip(theirs(year, "3"), ours(year, "codes.csv"), strict=True):
        edits, split, ccs = row[5 : 5 + 2 * periods], row[5 + 2 * periods : 7 + 2 * periods], row[7 + 2 * periods : -1]
        assert (own["code"], own["valid"], own["sex"]) == (row[1], row[3] + row[4], split[1][:1].upper())
        assert own["ccs"].replace("_", ".").split() == [re.sub(r"\.0$", "", cc) for cc in ccs if cc]
        sexes = (own["mce_sex"].split("|") * periods)[:periods]
        assert sexes == [each[:1].upper() for each in edits[1::2]]
        ages = [*(own["mce_age"].split("|") * periods)[:periods], own["age_last"]]
        for said, text in zip([*edits[0::2], split[0]], ages, strict=True):
            low, _, high = text.partition("-")
            for age in range(130):
                assert _holds(said, age) == (int(low or 0) <= age <= int(high or 999)), (said, text, age)
    drugs = {("ndc", row[2], row[0]) for row in theirs(year, "10a")}
    drugs |= {("hcpcs", row[2], row[0]) for row in theirs(year, "10b")}
    assert drugs == {(row["kind"], row["code"], row["rxc"]) for row in ours(year, "drugs.csv")}


def _holds(said: str, age: int) -> bool:
    """CMS's age condition, evaluated as it is written."""
    if not said:
        return True
    numbers = [int(number) for number in re.findall(r"\d+", said)]
    signs = re.findall(r"<=|>=|<|=", said)
    if len(numbers) == 2:
        return numbers[0] <= age <= numbers[1]
    return {"=": age == numbers[0], "<": age < numbers[0], ">=": age >= numbers[0]}[signs[0]]


def test_a_table_that_looks_otherwise_is_refused(tmp_path: Path) -> None:
    source, broken = shared_data("hhs_diy") / "cy2025", tmp_path / "cy2026"
    broken.mkdir()
    for path in source.iterdir():
        (broken / path.name).symlink_to(path)
    with pytest.raises(HccError, match="benefit year 2026: say which fiscal year"):
        convert(broken, 2026, tmp_path / "out")
    table = parquet.read_table(source / "table_3.parquet")
    (broken / "table_3.parquet").unlink()
    ages = np.array(table["cc_age_split"].to_pylist(), object)
    ages[5] = "age < 99"
    place = table.column_names.index("cc_age_split")
    parquet.write_table(
        table.set_column(place, "cc_age_split", pa.array(ages, pa.string())), broken / "table_3.parquet"
    )
    with pytest.raises(HccError, match="table 3: age condition 'age < 99'"):
        convert(broken, 2025, tmp_path / "out")
