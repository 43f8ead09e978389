"""What other implementations of HHS-HCC have wrong, each as a person: who is right, and why.

hccpy 0.1.5 and prism were compared on 25,099 synthetic members; elsewhere both agree with the engine to the thousandth.
"""

from tests.hhs import at, one, traced, variables

INSULIN, ANTIDIABETIC = "00002751001", "00002771559"


def test_groups_are_the_years_own_and_asthma_is_worth_something() -> None:
    """hccpy takes the groups of V05: asthma, HCC 161, which V07 split into 161_1 and 161_2, is worth 0 there."""
    assert "G15A" in variables(one("F", 40, ["J45901"], year=2022))
    assert at(one("F", 40, ["J45901"], year=2022)) > at(one("F", 40, [], year=2022))


def test_drugs_meet_hccs_as_they_are_before_groups() -> None:
    """hccpy looks for HCC 19 to 21 after G01 has taken them: RXC_06 with diabetes never fires. CMS's program reads the
    ungrouped flags."""
    found = variables(one("F", 44, ["E1165"], [INSULIN]))
    assert {"G01", "RXC_06", "RXC_06_X_HCC018_019_020_021"} <= found


def test_a_code_has_all_its_ccs() -> None:
    """hccpy keeps one CC a code; E1052 has three, two of diabetes and one of the vessels."""
    found = one("M", 40, ["E1052"])
    assert len({line.cc for line in traced(found, ["E1052"]).lines}) == 3
    assert at(found) == 8.408


def test_code_editor_edits_hold_on_the_age_at_diagnosis() -> None:
    """hccpy and prism have none: a boy's or a girl of 8's delivery would count. At 9 it does, as CMS's table says."""
    assert at(one("F", 8, ["O80"])) == at(one("F", 8, []))
    assert at(one("F", 9, ["O80"])) > at(one("F", 9, []))
    assert at(one("M", 30, ["O80"], year=2024)) == at(one("M", 30, [], year=2024))


def test_heart_anomalies_count_for_adults() -> None:
    """hccpy zeroes HCC 137 to 139 for adults; V07 and V08 have them in group G21 of the adult model."""
    model = one("F", 30, []).model
    code = next(code for code, rows in sorted(model.codes.items()) if [row.ccs for row in rows] == [("137",)])
    assert "G21" in variables(one("F", 30, [code]))


def test_infants_have_a_severity_and_a_maturity_whatever_is_known() -> None:
    """hccpy never sets severity 1 and misspells IHCC_AGE1: a healthy girl of 1 scores 0.0; prism scores no infant."""
    assert at(one("F", 1, [])) == 0.431
    assert variables(one("F", 1, [])) == {"AGE1_X_SEVERITY1"}


def test_hccs_9_and_26_make_an_infant_severe() -> None:
    """hccpy lacks a comma in the list of severity 4 and loses HCC 9 and 26."""
    model = one("F", 1, []).model
    for hcc in ("9", "26"):
        code = next(code for code, rows in sorted(model.codes.items()) if [row.ccs for row in rows] == [(hcc,)])
        assert variables(one("F", 1, [code])) == {"AGE1_X_SEVERITY4"}


def test_cost_sharing_raises_the_score() -> None:
    """hccpy and prism leave it out: the transfer is of the score with it."""
    assert round(float(one("F", 44, ["E1165"], [INSULIN], csr=3).csr_score[0]), 5) == 2.24672


def test_insulin_drops_the_other_drugs_for_diabetes() -> None:
    """prism keeps RXC 7 beside RXC 6; table 11 drops it, and so its interaction."""
    found = variables(one("F", 44, ["E1165"], [INSULIN, ANTIDIABETIC]))
    assert "RXC_06" in found and not {name for name in found if name.startswith("RXC_07")}


def test_groups_and_hccs_have_cmss_names() -> None:
    """prism names HCC 19 in G01 as 019 in one place and 19 in another, so that nobody is in G01."""
    assert "G01" in variables(one("F", 44, ["E1165"]))


def test_severe_illness_counts_the_hccs() -> None:
    """prism has no SEVERE: 13,306.038 on the sample without, 12,800.291 with."""
    found = variables(one("M", 55, ["Z940", "E119", "I5022", "J449"]))
    assert [name for name in found if name.startswith("TRANSPLANT_HCC_COUNT")] == ["TRANSPLANT_HCC_COUNT4"]


def test_a_split_code_takes_the_row_of_the_persons_age() -> None:
    """prism lets the last row of a code win for everybody."""
    young, old = one("F", 49, ["C50911"]), one("F", 50, ["C50911"])
    assert young.hcc_lists()[0].as_py() != old.hcc_lists()[0].as_py()


def test_a_code_longer_than_one_of_the_table_is_another() -> None:
    """prism matches E119XX with E119."""
    assert one("F", 40, ["E119XX"]).hcc_lists()[0].as_py() == []
    assert one("F", 40, ["E119"]).hcc_lists()[0].as_py() == ["21"]


def test_age_counts_on_the_last_day_of_enrolment() -> None:
    """prism always takes 31 December: who leaves at 20 and turns 21 in the year is a child."""
    from engine.scoring.hcc.hhs.score import score

    members = {"member_id": ["p"], "sex": ["M"], "birth_date": ["2004-11-01"], "metal": ["silver"], "duration": [6]}
    diagnoses = {"member_id": ["p"], "icd10": ["J45909"], "service_date": ["2025-03-01"]}
    assert score(members | {"last_day": ["2025-06-30"]}, diagnoses, 2025).table()["model"][0].as_py() == "child"
    assert score(members | {"last_day": ["2025-12-31"]}, diagnoses, 2025).table()["model"][0].as_py() == "adult"
