import csv
import gzip
import json
from collections import Counter

import pytest

from engine.domain import codes
from engine.domain.claims import (
    CONDITION_PREFIXES,
    LAB_THRESHOLDS,
    SERVICE_CATEGORIES,
    conditions_of,
    lab_conditions,
    service_category,
)
from engine.domain.events import CONDITIONS
from engine.domain.metrics import LAB_INDEX
from engine.errors import InvalidRecordError
from tests.conftest import shared_data

# CCSR category -> the condition that every code of the category has
WHOLE_CATEGORIES = {
    "CIR001": "other_heart_disease",  # chronic rheumatic heart disease
    "CIR009": "heart_attack",
    "CIR022": "stroke",
    "CIR025": "stroke",
    "END003": "diabetes",
    "END010": "high_cholesterol",
    "RSP009": "asthma",
    "MUS004": "arthritis",
    "MUS006": "arthritis",
}
# Condition -> the CCSR categories its codes may lie in, and no others
MAY_LIE_IN = {
    "hypertension": {"CIR007", "CIR008", "EYE005"},
    "angina": {"CIR011"},
    "heart_attack": {"CIR009", "CIR010", "CIR011"},
    "coronary_heart_disease": {"CIR005", "CIR010", "CIR011", "CIR015", "CIR027"},
    "emphysema": {"RSP008"},
    "chronic_bronchitis": {"RSP008"},
    "high_cholesterol": {"END010"},
    "asthma": {"RSP009"},
    "stroke": {"CIR020", "CIR021", "CIR022", "CIR025", "NVS012"},
    "joint_pain": {"MUS010"},
}


@pytest.fixture(scope="module")
def ccsr() -> dict[str, str]:
    return json.load(gzip.open(shared_data("codes") / "ccsr_dx_cat1_mapping.json.gz"))


@pytest.fixture(scope="module")
def icd10() -> set[str]:
    with gzip.open(shared_data("codes") / "icd10cm-codes-2024.txt.gz", "rt") as lines:
        return {line.split()[0] for line in lines}


def names(code: str) -> set[str]:
    return {CONDITIONS[c] for c in conditions_of(code)}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("I10", {"hypertension"}),
        ("I110", {"hypertension", "other_heart_disease"}),
        ("I119", {"hypertension"}),
        ("I160", {"hypertension"}),
        ("I2510", {"coronary_heart_disease"}),
        ("I25110", {"coronary_heart_disease", "angina"}),
        ("I252", {"heart_attack"}),
        ("I209", {"angina"}),
        ("I214", {"heart_attack"}),
        ("I4891", {"other_heart_disease"}),
        ("I5A", {"other_heart_disease"}),
        ("I639", {"stroke"}),
        ("G459", {"stroke"}),
        ("G454", set()),
        ("I6521", set()),
        ("J439", {"emphysema"}),
        ("J449", {"chronic_bronchitis"}),
        ("J209", set()),
        ("E785", {"high_cholesterol"}),
        ("E786", set()),
        ("C509", {"cancer"}),
        ("D0510", set()),
        ("E1165", {"diabetes"}),
        ("R7303", set()),
        ("M25561", {"joint_pain"}),
        ("M1711", {"arthritis"}),
        ("J45909", {"asthma"}),
        ("Z0000", set()),
        ("I", set()),
        ("", set()),
    ],
)
def test_conditions_of_known_codes(code: str, expected: set[str]) -> None:
    assert names(code) == expected


def test_every_prefix_names_codes_that_exist(icd10: set[str]) -> None:
    unused = [prefix for prefix in CONDITION_PREFIXES if not any(code.startswith(prefix) for code in icd10)]
    assert unused == []


def test_every_condition_has_codes() -> None:
    assert {c for found in CONDITION_PREFIXES.values() for c in found} == set(range(len(CONDITIONS)))


def test_whole_ccsr_categories_have_their_condition(ccsr: dict[str, str]) -> None:
    for category, condition in WHOLE_CATEGORIES.items():
        codes = [code for code, found in ccsr.items() if found == category]
        assert codes
        assert [code for code in codes if condition not in names(code)] == []


def test_conditions_stay_inside_their_ccsr_categories(ccsr: dict[str, str]) -> None:
    for condition, allowed in MAY_LIE_IN.items():
        found = Counter(ccsr[code] for code in ccsr if condition in names(code))
        stray = {category for category in found if category not in allowed}
        # codes of pregnancy are filed with it; they keep the condition they name
        assert not {category for category in stray if not category.startswith("PRG")}, (condition, found)


def test_cancer_is_malignant_neoplasm_and_nothing_else(ccsr: dict[str, str]) -> None:
    for code, category in ccsr.items():
        assert ("cancer" in names(code)) == code.startswith("C")
        if code.startswith("C"):
            assert category.startswith("NEO")


def test_diabetes_is_that_of_the_chronic_conditions_warehouse() -> None:
    path = shared_data("codes") / "cms_chronic_conditions_hierarchy.csv"
    with path.open(encoding="utf-8") as file:
        codes = {
            row["code"]
            for row in csv.DictReader(file)
            if row["condition"] == "Diabetes"
            and row["code_system"] == "ICD-10-CM"
            and row["inclusion_type"] == "Include"
        }
    assert codes
    assert [code for code in codes if "diabetes" not in names(code)] == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (("professional", "11", None, None), "office"),
        (("professional", "21", None, None), "inpatient"),
        (("professional", "61", None, None), "inpatient"),
        (("professional", "23", None, None), "emergency"),
        (("professional", "22", None, None), "outpatient"),
        (("professional", "12", None, None), "home_health"),
        (("professional", "01", None, None), "pharmacy"),
        (("professional", "81", None, None), "other"),
        (("professional", "41", None, None), "other"),
        (("professional", None, "111", "0450"), "other"),
        (("institutional", None, "111", "0120"), "inpatient"),
        (("institutional", None, "0111", "0120"), "inpatient"),
        (("institutional", None, "111", "0450"), "inpatient"),
        (("institutional", None, "131", "0450"), "emergency"),
        (("institutional", None, "131", "450"), "emergency"),
        (("institutional", None, "131", "0981"), "emergency"),
        (("institutional", None, "131", "0460"), "outpatient"),
        (("institutional", None, "13I", "0300"), "outpatient"),
        (("institutional", None, "851", None), "outpatient"),
        (("institutional", None, "329", "0551"), "home_health"),
        (("institutional", None, "711", None), "office"),
        (("institutional", None, "811", None), "other"),
        (("institutional", None, None, None), "other"),
        (("dental", "11", None, None), "other"),
    ],
)
def test_service_category(line: tuple[str, str | None, str | None, str | None], expected: str) -> None:
    spellings = (codes.place_of_service, codes.bill_type, codes.revenue_center)
    spelled = [code and spelling(code) for spelling, code in zip(spellings, line[1:], strict=True)]
    assert SERVICE_CATEGORIES[service_category(line[0], *spelled)] == expected


@pytest.mark.parametrize(("test", "threshold", "condition"), [(k, *v) for k, v in LAB_THRESHOLDS.items()])
def test_lab_thresholds_are_inclusive(test: str, threshold: float, condition: str) -> None:
    assert lab_conditions(test, threshold) == CONDITIONS.index(condition)
    assert lab_conditions(test, threshold - 0.01) is None
    assert lab_conditions(test, float("nan")) is None


def test_labs_without_a_threshold_find_nothing_and_unknown_tests_are_refused() -> None:
    for test in LAB_INDEX.keys() - LAB_THRESHOLDS.keys():
        assert lab_conditions(test, 1e6) is None
    with pytest.raises(InvalidRecordError, match="ferritin"):
        lab_conditions("ferritin", 1.0)
