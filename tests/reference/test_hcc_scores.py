"""Scores and assignments published with other implementations, some of them run against CMS's own software.

Sources: hccpy (its own test scores), risk_adjustment_model (scores checked against CMS's PY2026 programs).
"""

import pytest

from tests.hcc import hccs, one, raw, variables

HEART = ["E1169", "I5030", "I509", "I211", "I209", "R05"]


@pytest.mark.parametrize(
    ("model", "year", "codes", "person", "segment", "score"),
    [
        ("v28", 2026, ["E1169", "I5030", "I509", "I2111"], {}, "CNA", 1.286),
        ("v28", 2027, ["E1169", "I5030", "I509", "I2111"], {}, "CNA", 1.286),
        ("v28", 2025, ["E1169", "I509"], {}, "CNA", 1.034),
        ("v28", 2025, HEART, {}, "CNA", 1.034),
        ("v28", 2025, [*HEART, "A4154"], {}, "CNA", 1.534),
        ("v28", 2025, ["E1169", "I5030", "I509", "I2111", "I2109"], {"age": 45, "sex": "F"}, "CND", 1.250),
        ("v24", 2025, ["E1169", "I509"], {}, "CNA", 1.148),
        ("v24", 2025, HEART, {}, "CNA", 1.283),
        ("v24", 2025, HEART, {"age": 45, "sex": "F"}, "CND", 1.281),
        ("v24", 2025, ["E109", "I509"], {"age": 80, "dual": "01"}, "CPA", 1.080),
        ("v24", 2025, ["A021"], {"age": 63, "dual": "02", "lti": True}, "INS", 1.446),
    ],
)
def test_published_score(model, year, codes, person, segment, score) -> None:
    assert raw(one(codes, model, year, **person), segment) == score


def test_published_payment_of_v28_in_2024_and_the_factors_of_later_years() -> None:
    got = one(HEART, "v28", 2024)
    assert got.payment_score[0] == pytest.approx(0.9586, abs=5e-5)
    assert [one([], "v28", year).model.year(year).normalisation for year in (2026, 2027)] == [1.067, 1.079]


@pytest.mark.parametrize(
    ("codes", "person", "segment", "variable"),
    [
        (["E0810", "I5084"], {"age": 67, "sex": "F"}, "CNA", "DIABETES_HF_V28"),
        (["T8620", "J84112"], {"age": 67, "sex": "F"}, "CNA", "HF_CHR_LUNG_V28"),
        (["I0981", "N184"], {"age": 67, "sex": "F"}, "CNA", "HF_KIDNEY_V28"),
        (["E8419", "P2881"], {"age": 67, "sex": "F"}, "CNA", "CHR_LUNG_CARD_RESP_FAIL_V28"),
        (["I0981", "I470"], {"age": 67, "sex": "F"}, "CNA", "HF_HCC238_V28"),
        (["F10132", "F28"], {"age": 60, "sex": "F", "orec": "1"}, "CND", "gSubUseDisorder_gPsych_V28"),
        (["C772"], {"age": 60, "sex": "F", "orec": "1"}, "INS", "DISABLED_CANCER_V28"),
        (["G1220"], {"age": 60, "sex": "F", "orec": "1"}, "INS", "DISABLED_NEURO_V28"),
        (["I5084"], {"age": 60, "sex": "F", "orec": "1"}, "INS", "DISABLED_HF_V28"),
        (["E8419"], {"age": 60, "sex": "F", "orec": "1"}, "INS", "DISABLED_CHR_LUNG_V28"),
        (["L89003"], {"age": 60, "sex": "F", "orec": "1"}, "INS", "DISABLED_ULCER_V28"),
        ([], {"age": 67, "orec": "1"}, "CNA", "OriginallyDisabled_Male"),
        ([], {"age": 86, "sex": "F", "dual": "01"}, "CNA", "F85_89"),
        ([], {"age": 66}, "NE", "NMCAID_NORIGDIS_NEM66"),
        ([], {"age": 66, "dual": "02"}, "SNPNE", "MCAID_NORIGDIS_NEM66"),
        ([], {"age": 67, "sex": "F", "orec": "1", "dual": "02"}, "NE", "MCAID_ORIGDIS_NEF67"),
        ([], {"age": 64, "sex": "F"}, "NE", "NMCAID_NORIGDIS_NEF65"),
        ([], {"age": 64, "sex": "F", "orec": "1"}, "NE", "NMCAID_NORIGDIS_NEF60_64"),
    ],
)
def test_variable_of_v28(codes, person, segment, variable) -> None:
    assert variable in variables(one(codes, **person), segment)


@pytest.mark.parametrize(
    ("codes", "person", "segment", "variable"),
    [
        (["D61811", "C4010"], {}, "CNA", "HCC47_gCancer"),
        (["E1169", "A3681"], {}, "CNA", "DIABETES_CHF"),
        (["A3681", "J410"], {}, "CNA", "CHF_gCopdCF"),
        (["A3681", "I120"], {}, "CNA", "HCC85_gRenal_V24"),
        (["J410", "R092"], {}, "CNA", "gCopdCF_CARD_RESP_FAIL"),
        (["A3681", "I442"], {}, "CNA", "HCC85_HCC96"),
        (["F10120", "F28"], {"age": 60, "orec": "1"}, "CND", "gSubstanceUseDisorder_gPsych"),
        (["A021", "L89000"], {"age": 60, "orec": "1"}, "INS", "SEPSIS_PRESSURE_ULCER"),
        (["A021", "Z432"], {"age": 60, "orec": "1"}, "INS", "SEPSIS_ARTIF_OPENINGS"),
        (["Z432", "L89000"], {"age": 60, "orec": "1"}, "INS", "ART_OPENINGS_PRESS_ULCER"),
        (["J410", "A481"], {"age": 60, "orec": "1"}, "INS", "gCopdCF_ASP_SPEC_B_PNEUM"),
    ],
)
def test_variable_of_v24(codes, person, segment, variable) -> None:
    assert variable in variables(one(codes, "v24", **person), segment)


@pytest.mark.parametrize(
    ("codes", "person", "model", "expected"),
    [
        (["E08311"], {}, "v28", [37, 298]),
        (["D8687"], {}, "v28", [93]),
        (["T82522A"], {}, "v28", []),
        (["T82522A", "I5023"], {}, "v28", [223]),
        (["D66"], {"sex": "F"}, "v28", [112]),
        (["D66"], {"sex": "M"}, "v28", [111]),
        (["J430"], {"age": 17}, "v28", []),
        (["C50229"], {"age": 47, "sex": "F"}, "v28", [22]),
        (["P0449"], {"age": 5}, "v28", []),
        (["I209"], {}, "v24", [88]),
        (["D66"], {"sex": "F"}, "v24", [48]),
        (["J430"], {"age": 17}, "v24", [112]),
        (["F3481"], {"age": 25}, "v24", []),
        (["F3481"], {"age": 12}, "v24", [59]),
        (["E0952"], {}, "v24", [18, 106]),
        (["E083599"], {}, "v24", [18, 122]),
    ],
)
def test_hccs_of_codes(codes, person, model, expected) -> None:
    assert hccs(one(codes, model, **person)) == expected
