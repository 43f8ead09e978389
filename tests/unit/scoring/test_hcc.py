"""Rules of the HCC engine one by one, kernels against the trace, and input that cannot be used."""

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import HccError
from engine.scoring.hcc.member_index import MemberIndex
from engine.scoring.hcc.model import load_model
from engine.scoring.hcc.score import HccScorer, blend, score
from engine.scoring.hcc.trace import trace
from tests.conftest import ROOT
from tests.hcc import hccs, one, raw, variables

V28 = load_model("v28", 2026)
EDITED = sorted(V28.edits)
CODES = sorted(V28.codes)


def test_dots_case_spaces_and_repetition_do_not_matter() -> None:
    assert hccs(one(["e11.69", " E1169 ", "E11.69", "E1169"])) == hccs(one(["E1169"])) == [37]


def test_hierarchies_fire_from_the_original_flags() -> None:
    """HCC 35 drops 36 and 36 drops 37: 37 goes though 36 itself has gone."""
    pancreas, complications, chronic = "E08641", "E1010", "E1169"
    held = {code: V28.codes[code] for code in (pancreas, complications, chronic)}
    assert set(held.values()) >= {(36,), (37,)}, held
    assert hccs(one([pancreas, complications, chronic])) == [36]
    chain = next((a, b, c) for a, bs in V28.hierarchy.items() for b in bs for c in V28.hierarchy.get(b, ()))
    code = {hcc: next(c for c, h in V28.codes.items() if h == (hcc,) and c not in V28.edits) for hcc in chain}
    assert hccs(one([code[hcc] for hcc in chain], age=66)) == [chain[0]]


def test_counts_are_of_payment_hccs_after_hierarchies_and_10_is_10_or_more() -> None:
    assert "D1" in variables(one(["E1169", "E119"]), "CNA")
    related = {c for children in V28.hierarchy.values() for c in children} | set(V28.hierarchy) | set(V28.needs)
    alone = {h[0]: c for c, h in V28.codes.items() if len(h) == 1 and h[0] not in related and c not in V28.edits}
    singles = list(alone.values())
    ten = one(singles[:10])
    assert len(hccs(ten)) == 10 and "D10P" in variables(ten, "CNA")
    assert variables(one(singles[:10], lti=True), "INS")["D10P"] == 0.373
    assert "D9" in variables(one(singles[:9]), "CNA")
    assert "D10P" in variables(one(singles[:12]), "CNA")


def test_new_enrollees_have_no_hccs_in_their_score_and_count_none() -> None:
    ill, well = (one(codes, new_enrollee=True, age=70) for codes in (["E1169", "I509"], []))
    assert variables(ill, "NE") == variables(well, "NE") and len(variables(ill, "NE")) == 1


def test_v24_institutional_counts_nothing() -> None:
    assert not [name for name in variables(one(["E1169"], "v24", lti=True), "INS") if name.startswith("D1")]


def test_disabled_is_any_entitlement_but_age_and_originally_disabled_only_1() -> None:
    cancer = ["C772"]
    for orec in "123":
        assert "DISABLED_CANCER_V28" in variables(one(cancer, age=64, orec=orec), "INS")
    assert "DISABLED_CANCER_V28" not in variables(one(cancer, age=64, orec="0"), "INS")
    assert "DISABLED_CANCER_V28" not in variables(one(cancer, age=65, orec="1"), "INS")
    for orec in "023":
        assert "OriginallyDisabled_Male" not in variables(one([], age=70, orec=orec), "CNA")
    assert "OriginallyDisabled_Male" in variables(one([], age=70, orec="1"), "CNA")


def test_renal_failure_as_reason_of_entitlement_is_scored_by_the_community_model() -> None:
    for orec in "23":
        assert raw(one([], age=67, orec=orec, new_enrollee=True), "NE") > 0
        assert one([], age=50, orec=orec).table()["segment"][0].as_py() == "COMMUNITY_ND"


@pytest.mark.parametrize(
    ("person", "segment"),
    [
        ({"dual": "00"}, "COMMUNITY_NA"),
        ({"dual": "00", "age": 64, "orec": "1"}, "COMMUNITY_ND"),
        *(({"dual": code}, "COMMUNITY_FBA") for code in ("02", "04", "08")),
        *(({"dual": code, "age": 40, "orec": "1"}, "COMMUNITY_PBD") for code in ("01", "03", "05", "06")),
        ({"dual": "09"}, "COMMUNITY_NA"),
        ({"lti": True, "dual": "02"}, "INSTITUTIONAL"),
        ({"new_enrollee": True}, "NE"),
        ({"new_enrollee": True, "snp": True}, "NE_SNP"),
        ({"snp": True}, "COMMUNITY_NA"),
    ],
)
def test_segment(person: dict[str, Any], segment: str) -> None:
    assert one([], **person).table()["segment"][0].as_py() == segment


def test_medicaid_flags_part_ways_where_they_are_given() -> None:
    assert "LTIMCAID" in variables(one([], lti=True, dual="09"), "INS")
    assert "LTIMCAID" not in variables(one([], lti=True, dual="02", ltimcaid=False), "INS")
    assert "NMCAID_NORIGDIS_NEM70_74" in variables(one([], dual="02", nemcaid=False), "NE")
    assert "MCAID_NORIGDIS_NEM70_74" in variables(one([], dual="00", nemcaid=True), "NE")
    assert "LTIMCAID" not in variables(one([], dual="02"), "CNA")


def test_64_and_entitled_by_age_counts_as_65_in_v24_alone() -> None:
    assert one([], "v24", age=64).table()["segment"][0].as_py() == "COMMUNITY_NA"
    assert "M65_69" in variables(one([], "v24", age=64), "CNA")
    assert one([], "v28", age=64).table()["segment"][0].as_py() == "COMMUNITY_ND"
    assert one([], "v24", age=64, orec="1").table()["segment"][0].as_py() == "COMMUNITY_ND"


@pytest.mark.parametrize(
    ("born", "year", "age"),
    [("1961-02-01", 2026, 65), ("1961-02-02", 2026, 64), ("1960-02-29", 2025, 64), ("2026-02-01", 2026, 0)],
)
def test_age_is_completed_years_on_1_february(born: str, year: int, age: int) -> None:
    members = {"member_id": ["m"], "birth_date": [born], "sex": ["F"], "orec": ["0"]}
    got = score(members, {"member_id": ["m"], "icd10": ["E1169"]}, "v28", year)
    assert got.members.age.tolist() == [age]


def test_age_overrides_birth_date_and_a_fraction_is_no_birthday() -> None:
    members = {"member_id": ["m"], "birth_date": ["1950-01-01"], "age": [49.9], "sex": ["F"], "orec": ["1"]}
    got = score(members, {"member_id": ["m"], "icd10": ["C50229"]})
    assert got.members.age.tolist() == [49] and got.hcc_lists().to_pylist() == [[22]]


@pytest.mark.parametrize(
    ("code", "age", "sex", "mce", "expected"),
    [
        ("C50011", 49, "F", True, [22]),
        ("C50011", 50, "F", True, [23]),
        ("J449", 17, "F", True, []),
        ("J449", 18, "F", True, [280]),
        ("P0449", 1, "F", True, [137]),
        ("P0449", 2, "F", True, []),
    ],
)
def test_edits_at_their_ages(code: str, age: int, sex: str, mce: bool, expected: list[int]) -> None:
    assert hccs(one([code], age=age, sex=sex, orec="0", mce=mce)) == expected


def test_the_code_editor_invalidates_every_category_of_a_code_and_can_be_switched_off() -> None:
    code = next(c for c, e in V28.edits.items() if e.mce and e.at_most == 14 and len(V28.codes[c]) == 2)
    assert hccs(one([code], age=14)) == []
    assert hccs(one([code], age=14, mce=False)) == hccs(one([code], age=15)) != []


def test_a_retired_code_counts_until_its_last_year() -> None:
    retired = set(load_model("v28", 2025).codes) - set(V28.codes)
    assert len(retired) == 18
    code = min(retired)
    assert hccs(one([code], "v28", 2025)) and not hccs(one([code], "v28", 2026))
    assert one([code], "v28", 2026).unmapped.to_pylist() == [{"member_id": "m", "icd10": code}]


def test_scores_to_payment() -> None:
    got = one(["E1169", "I509"], "v28", 2025)
    assert got.raw_score[0] == 1.034
    assert got.normalized_score[0] == pytest.approx(1.034 / 1.045)
    assert got.payment_score[0] == pytest.approx(1.034 / 1.045 * 0.941)
    both = blend(one(["E1169", "I509"], "v24", 2025), got).to_pylist()[0]
    assert both["payment_score"] == pytest.approx(0.33 * 1.148 / 1.153 * 0.941 + 0.67 * 1.034 / 1.045 * 0.941)
    assert both["hccs"] == [37, 226] and both["hccs_v24"] == [18, 85]


PERSON = st.fixed_dictionaries(
    {
        "age": st.integers(0, 104),
        "sex": st.sampled_from(["M", "F"]),
        "orec": st.sampled_from("0123"),
        "dual": st.sampled_from(["00", "01", "02", "09"]),
        "lti": st.booleans(),
    }
)


@given(person=PERSON, codes=st.lists(st.one_of(st.sampled_from(EDITED), st.sampled_from(CODES)), max_size=15))
@settings(max_examples=150)
def test_kernels_and_trace_agree_and_the_ledger_sums_to_every_segment(person: dict[str, Any], codes: list[str]) -> None:
    got = one(codes, "v28", 2026, **person)
    lines = trace(V28, codes, person["age"], person["sex"] == "F")
    assert hccs(got) == sorted({line.hcc for line in lines if line.hcc is not None})
    sums: dict[str, int] = {}
    for row in got.ledger().to_pylist():
        sums[row["segment"]] = sums.get(row["segment"], 0) + round(1000 * row["coefficient"])
    table = got.table().to_pylist()[0]
    for segment, total in sums.items():
        assert table[f"score_{segment}"] == total / 1000
    assert table["raw_score"] == table[f"score_{table['segment']}"]


def crowd(n: int) -> tuple[pa.Table, pa.Table]:
    chance = np.random.default_rng(9)
    ids = pa.array([f"P{i}" for i in range(n)])
    members = {
        "member_id": ids,
        "age": chance.integers(0, 100, n),
        "sex": pa.array(np.array(["F", "M"])[chance.integers(0, 2, n)]),
        "orec": pa.array(chance.integers(0, 4, n)),
        "dual": pa.array(np.array(["00", "01", "02"])[chance.integers(0, 3, n)]),
    }
    codes = np.array([*CODES, *EDITED * 20])
    rows = chance.integers(0, n, 8 * n)
    diagnoses = {"member_id": ids.take(pa.array(rows)), "icd10": pa.array(codes[chance.integers(0, len(codes), 8 * n)])}
    return pa.table(members), pa.table(diagnoses)


def test_order_and_batches_do_not_change_a_bit() -> None:
    members, diagnoses = crowd(2000)
    whole = score(members, diagnoses, all_segments=True)
    order = np.random.default_rng(1).permutation(diagnoses.num_rows)
    shuffled = diagnoses.take(pa.array(order))
    scorer = HccScorer.of(members, "v28", 2026)
    for start in range(0, shuffled.num_rows, 777):
        scorer.add(shuffled.slice(start, 777))
    parts = scorer.finish(all_segments=True)
    np.testing.assert_array_equal(parts.raw, whole.raw)
    assert parts.table().equals(whole.table())


def test_text_of_any_arrow_type_is_read() -> None:
    members, diagnoses = crowd(200)
    plain = score(members, diagnoses).raw
    for kind in (pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
        cast = pa.table({name: diagnoses[name].cast(kind) for name in diagnoses.column_names})
        np.testing.assert_array_equal(score(members, cast).raw, plain)


@given(st.lists(st.text(max_size=12), unique=True, max_size=200), st.lists(st.text(max_size=2), max_size=60))
@settings(max_examples=40)
def test_member_ids_find_their_rows(members: list[str], others: list[str]) -> None:
    asked = [*members[::-1], *members, *others, None]
    for kind in (pa.string(), pa.large_string()):
        found = MemberIndex(pa.array(members, kind)).rows(pa.array(asked, kind)).tolist()
        assert found == [members.index(name) if name in members else -1 for name in asked]
    numbers = MemberIndex(pa.array(range(1000, 1500)))
    assert numbers.rows(pa.array([1499, 7, 1000, None])).tolist() == [499, -1, 0, -1]
    assert numbers.rows(pa.array(["1499", "1000"])).tolist() == [499, 0]
    with pytest.raises(HccError, match="member_id is int64 in members and string in diagnoses"):
        numbers.rows(pa.array(["x"]))


@pytest.mark.parametrize(
    ("crowd_of", "engine", "call"),
    [
        ("test_hcc", "hcc.score", "score(*crowd(300), all_segments=True)"),
        ("test_hhs", "hcc.hhs.score", "score(*crowd(300)[:2], 2025, crowd(300)[2], all_metals=True)"),
    ],
)
def test_the_hash_seed_does_not_change_a_bit(crowd_of: str, engine: str, call: str) -> None:
    script = (
        f"from tests.unit.scoring.{crowd_of} import crowd; from engine.scoring.{engine} import score; import hashlib;"
        f"s = {call};"
        "print(hashlib.sha256(s.raw.tobytes() + s.hccs.tobytes() + repr(s.ledger().to_pydict()).encode()).hexdigest())"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    assert len(seen) == 1 and seen != {""}


GOOD = {"member_id": "m", "age": 70, "sex": "F", "orec": "0", "dual": "00"}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"orec": "7"}, r"member m: orec is '7': must be 0 to 3"),
        ({"orec": None}, r"member m: orec is missing"),
        ({"dual": "77"}, r"member m: dual is '77': must be 00 to 10 or NA"),
        ({"sex": "X"}, r"member m: sex is 'X': must be F, M, 2 or 1"),
        ({"age": None}, r"member m: age is missing: age or birth_date must be given"),
        ({"age": -1}, r"member m: age is -1: gives an age of -1, not 0 to 130"),
        ({"birth_date": "1950-13-01", "age": None}, r"member m: birth_date is '1950-13-01': must be YYYY-MM-DD"),
        ({"birth_date": "2030-01-01", "age": None}, r"member m: birth_date is '2030-01-01': gives an age of -4"),
        ({"new_enrollee": True, "lti": True}, r"member m: new_enrollee is True: a new enrollee cannot be"),
        ({"lti": "perhaps"}, r"member m: lti is 'perhaps': must be true or false"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(change: dict[str, Any], told: str) -> None:
    person = {name: [value] for name, value in (GOOD | change).items()}
    diagnoses = {"member_id": ["m"], "icd10": ["E1169"]}
    with pytest.raises(HccError, match=told):
        score(person, diagnoses)
    good = {
        name: [
            *value,
            GOOD.get(name, {"perhaps": "no", True: False}[value[0]] if name in ("lti", "new_enrollee") else None),
        ]
        for name, value in person.items()
    }
    good["member_id"] = ["m", "n"]
    if "birth_date" in good:
        good["birth_date"][1], good["age"] = "1950-01-01", [None, None]
    reported = score(good, {"member_id": ["m", "n"], "icd10": ["E1169", "E1169"]}, report=True)
    assert reported.members.ids.to_pylist() == ["n"] and reported.raw_score[0] > 0
    assert [refusal.member_id for refusal in reported.refused] == ["m"]


@pytest.mark.parametrize(
    ("diagnoses", "told"),
    [
        ([("ghost", "E1169")], "member ghost: member_id is 'ghost': has diagnoses but is no member"),
        ([("m", "1169")], "member m: icd10 is '1169': is not an ICD-10-CM code"),
        ([("m", "E1")], "member m: icd10 is 'E1'"),
        ([("m", "E11690000")], "member m: icd10 is 'E11690000'"),
        ([("m", "E11-69")], "member m: icd10 is 'E11-69'"),
        ([("m", None)], "member m: icd10 is missing"),
        ([("m", "")], "member m: icd10 is ''"),
    ],
)
def test_a_diagnosis_that_cannot_be_used_is_named(diagnoses: list[tuple[str, str]], told: str) -> None:
    person = {name: [value] for name, value in GOOD.items()}
    columns = {"member_id": [d[0] for d in diagnoses], "icd10": pa.array([d[1] for d in diagnoses], pa.string())}
    with pytest.raises(HccError, match=told):
        score(person, columns)
    reported = score(person, columns, report=True)
    assert len(reported.refused) == 1 and len(reported.members) == (1 if "ghost" in told else 0)


@pytest.mark.parametrize("born", ["1945-03-15", "19450315", 19450315, pa.scalar(19450315, pa.int32())])
def test_a_birth_date_may_be_eight_digits(born: Any) -> None:
    person = {name: [value] for name, value in GOOD.items() if name != "age"} | {"birth_date": pa.array([born])}
    assert score(person, {"member_id": ["m"], "icd10": ["E1169"]}).members.age[0] == 80


@pytest.mark.parametrize("born", [19451301, 7, "1945-3-15", "15.03.1945"])
def test_what_is_no_birth_date_is_named(born: Any) -> None:
    person = {name: [value] for name, value in GOOD.items() if name != "age"} | {"birth_date": [born]}
    with pytest.raises(HccError, match=f"member m: birth_date is '{born}': must be YYYY-MM-DD or YYYYMMDD"):
        score(person, {"member_id": ["m"], "icd10": ["E1169"]})


@pytest.mark.parametrize("dual", ["NA", "", None])
def test_no_medicaid_code_is_none(dual: str | None) -> None:
    person = {name: [value] for name, value in GOOD.items()} | {"dual": pa.array([dual], pa.string())}
    assert score(person, {"member_id": ["m"], "icd10": ["E1169"]}).table()["segment"].to_pylist() == ["COMMUNITY_NA"]


def test_codes_that_have_been_numbers_or_have_space_around_them() -> None:
    person = {name: [value] for name, value in GOOD.items()} | {"orec": ["0.0"], "dual": ["2.0"]}
    found = score(person, {"member_id": ["m", "m"], "icd10": ["\tE1169\r", " e11.9 "]})
    assert found.table()["segment"].to_pylist() == ["COMMUNITY_FBA"] and found.raw_score[0] > 0.5


def test_a_column_given_twice_is_refused() -> None:
    arrays = [pa.array(["m"]), pa.array([70]), pa.array([71]), pa.array(["F"]), pa.array(["0"])]
    people = pa.Table.from_arrays(arrays, ["member_id", "age", "age", "sex", "orec"])
    with pytest.raises(HccError, match="column age more than once"):
        score(people, {"member_id": ["m"], "icd10": ["E1169"]})
    with pytest.raises(HccError, match="diagnoses must have one column icd10; they have member_id, code"):
        score({name: [value] for name, value in GOOD.items()}, {"member_id": ["m"], "code": ["E1169"]})


def test_members_given_twice_are_refused() -> None:
    person = {name: [value, value, value] for name, value in GOOD.items()} | {"member_id": ["b", "a", "b"]}
    with pytest.raises(HccError, match=r"member b: member_id is 'b': appears more than once \(and 1 more\)"):
        score(person, {"member_id": ["a"], "icd10": ["E1169"]})


@pytest.mark.parametrize(("model", "year"), [("v99", 2026), ("v28", 2031), ("v24", 2026)])
def test_an_unknown_model_or_year_is_an_error(model: str, year: int) -> None:
    with pytest.raises(HccError, match=str(year) if model != "v99" else "v99"):
        one([], model, year)


@pytest.mark.parametrize("column", ["member_id", "sex", "orec"])
def test_a_missing_column_is_named(column: str) -> None:
    person = {name: [value] for name, value in GOOD.items() if name != column}
    with pytest.raises(HccError, match=f"no column {column}"):
        score(person, {"member_id": ["m"], "icd10": ["E1169"]})
