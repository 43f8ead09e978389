"""Rules of HHS-HCC one by one, kernels against the trace, laws, and input that cannot be used."""

import datetime as dt
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.domain.events import METALS
from engine.errors import HccError
from engine.scoring.hcc.hhs.model import BENEFIT_YEARS, load_hhs
from engine.scoring.hcc.hhs.people import DURATION_ENDS, read_persons
from engine.scoring.hcc.hhs.plrs import enrolments, liability
from engine.scoring.hcc.hhs.score import NO_NEWBORN, NOT_ADULT, HhsScorer, score
from engine.scoring.hcc.hhs.trace import BUNDLED
from tests.hhs import COLUMNS, at, one, traced, variables

YEARS = st.sampled_from(BENEFIT_YEARS)
SPLIT = {year: sorted(code for code, rows in load_hhs(year).codes.items() if len(rows) > 1) for year in (2021, 2025)}
CODES = {year: sorted(load_hhs(year).codes) for year in BENEFIT_YEARS}
DRUGS = {year: sorted(code for kind, code in load_hhs(year).drugs if kind == "ndc") for year in BENEFIT_YEARS}


@st.composite
def persons(draw: st.DrawFn) -> dict[str, Any]:
    """Somebody of any age with codes of the year, many of them split by age or of few HCCs."""
    year = draw(YEARS)
    codes = st.sampled_from(CODES[year]) | st.sampled_from(SPLIT[2021 if year == 2021 else 2025])
    days = st.dates(dt.date(year, 1, 2), dt.date(year, 12, 31)).map(lambda day: f"{day:%m-%d}")
    return {
        "year": year,
        "sex": draw(st.sampled_from(["F", "M"])),
        "age": draw(st.integers(0, 70) | st.sampled_from([0, 1, 2, 17, 18, 20, 21, 49, 50])),
        "duration": draw(st.integers(1, 12)),
        "codes": draw(st.lists(st.tuples(codes, days), max_size=12)),
        "ndc": draw(st.lists(st.sampled_from(DRUGS[year]), max_size=3)),
    }


@settings(max_examples=150)
@given(persons())
def test_kernels_and_trace_say_the_same(person: dict[str, Any]) -> None:
    codes, ndc = person.pop("codes"), person.pop("ndc")
    found = one(**person, codes=codes, ndc=ndc)
    explained = traced(found, codes, ndc)
    assert explained.variables == variables(found)
    assert {line.cc for line in explained.lines if line.counts and line.cc} == set(found.hcc_lists()[0].as_py())
    assert {line.counts for line in explained.lines if line.day is None and line.counts} == {
        f"RXC {rxc}" for rxc in found.rxc_lists()[0].as_py()
    }
    row = found.model.coefficients[[found.model.variables.index((explained.model, v)) for v in explained.variables]]
    assert [round(at(found, metal) * 1000) for metal in METALS] == row.sum(axis=0).tolist()


def crowd(n: int, year: int = 2025) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Persons of all ages, with eight diagnoses and two drugs each."""
    chance = np.random.default_rng(3)
    age = chance.integers(0, 70, n)
    people = pa.table(
        {
            "member_id": [f"P{i}" for i in range(n)],
            "sex": chance.choice(["F", "M"], n),
            "birth_date": [f"{year - years}-01-02" for years in age.tolist()],
            "age_last": age,
            "metal": chance.choice(METALS, n),
            "duration": chance.integers(1, 13, n),
        }
    )
    owner = np.repeat(np.arange(n), 8)
    days = chance.integers(1, 364, 8 * n)
    diagnoses = pa.table(
        {
            "member_id": [f"P{i}" for i in owner.tolist()],
            "icd10": chance.choice(CODES[year], 8 * n),
            "service_date": pa.array([dt.date(year, 1, 2) + dt.timedelta(int(day) - 1) for day in days.tolist()]),
        }
    )
    drugs = pa.table(
        {"member_id": [f"P{i}" for i in np.repeat(np.arange(n), 2).tolist()], "ndc": chance.choice(DRUGS[year], 2 * n)}
    )
    return people, diagnoses, drugs


def test_order_repetition_and_parts_do_not_change_a_bit() -> None:
    people, diagnoses, drugs = crowd(400)
    whole = score(people, diagnoses, 2025, drugs, all_metals=True)
    mixed = np.random.default_rng(4).permutation(np.repeat(np.arange(diagnoses.num_rows), 2))
    scorer = HhsScorer.of(people, 2025)
    scorer.add_drugs(drugs)
    for part in np.array_split(mixed, 7):
        scorer.add(diagnoses.take(pa.array(part)))
    again = scorer.finish(all_metals=True)
    assert again.table().equals(whole.table()) and again.excluded.equals(whole.excluded)
    helper = scorer.fresh()()
    helper.add(diagnoses)
    other = HhsScorer.of(people, 2025)
    other.add_drugs(drugs)
    assert other.absorb(helper.taken()) > 300
    assert other.finish(all_metals=True).table().equals(whole.table())
    own = score(people, diagnoses, 2025, drugs)
    assert own.table()["score"].equals(whole.table()["score"])
    ledger = own.ledger()
    sums = ledger.group_by("member_id", use_threads=False).aggregate([("coefficient", "sum")]).to_pydict()
    assert np.allclose(sums["coefficient_sum"], own.score, atol=1e-9)


@pytest.mark.parametrize("days", [1, 31, 32, 62, 63, 335, 336, 365])
def test_months_of_enrolment_follow_the_last_day(days: int) -> None:
    months = next(month for month, end in enumerate(DURATION_ENDS, 1) if days <= end)
    assert DURATION_ENDS == (31, 62, 92, 123, 153, 184, 214, 245, 275, 306, 335, 366)
    members = {"member_id": ["p"], "sex": ["F"], "birth_date": ["1980-01-01"], "age_last": [45], "metal": ["gold"]}
    read, _ = read_persons(pa.table(members | {"days": [days]}), load_hhs(2025))
    assert read.duration.tolist() == [months]


def test_age_on_the_last_day_of_enrolment_decides_the_model() -> None:
    members = {"member_id": ["p"], "sex": ["F"], "birth_date": ["2004-07-01"], "metal": ["gold"], "duration": [6]}
    for last_day, kind in (("2025-06-30", "child"), ("2025-07-01", "adult")):
        found = score(members | {"last_day": [last_day]}, pa.Table.from_pylist([], COLUMNS), 2025)
        assert found.table()["model"][0].as_py() == kind


def test_drugs_by_hcpcs_and_an_ndc_written_with_dashes() -> None:
    model = load_hhs(2025)
    hcpcs = next(code for kind, code in sorted(model.drugs) if kind == "hcpcs")
    members = {
        "member_id": ["p", "q"],
        "sex": ["F"] * 2,
        "birth_date": ["1980-01-01"] * 2,
        "age_last": [45] * 2,
        "metal": ["gold"] * 2,
        "duration": [12] * 2,
    }
    drugs = pa.table({"member_id": ["p", "q"], "hcpcs": [hcpcs, None], "ndc": [None, "00002-7510-01"]})
    found = score(members, pa.Table.from_pylist([], COLUMNS), 2025, drugs)
    assert found.rxc_lists().to_pylist() == [[model.drugs["hcpcs", hcpcs]], [model.drugs["ndc", "00002751001"]]]


def test_a_childs_drugs_are_excluded_by_name_and_an_infant_without_a_newborns_code_is_noted() -> None:
    child = one("M", 12, [], ["00002751001"])
    assert child.rxc_lists()[0].as_py() == []
    assert child.excluded.to_pylist() == [{"member_id": "p", "kind": "ndc", "code": "00002751001", "reason": NOT_ADULT}]
    assert one("M", 0, ["C9100"]).notes().to_pylist() == [{"member_id": "p", "note": NO_NEWBORN}]
    assert not one("M", 0, ["Z3800"]).notes().num_rows and not one("M", 1, []).notes().num_rows


def test_a_mother_with_a_newborns_codes_is_noted_and_scored_as_the_mother() -> None:
    both = one("F", 30, ["O80", "Z3800"])
    assert both.hcc_lists()[0].as_py() == one("F", 30, ["O80"]).hcc_lists()[0].as_py() != []
    assert traced(both, ["O80", "Z3800"]).notes == (BUNDLED,)
    baby = one("F", 0, ["O80", "Z3800"])
    assert baby.hcc_lists()[0].as_py() == ["249"] and traced(baby, ["O80", "Z3800"]).notes == (BUNDLED,)
    assert traced(one("F", 30, ["O80"]), ["O80"]).notes == ()


GOOD = {"sex": "F", "birth_date": "1980-05-04", "age_last": 45, "metal": "gold", "csr": None, "duration": 12}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"sex": "X"}, r"sex is 'X': must be F, M, 2 or 1"),
        ({"metal": "tin"}, r"metal is 'tin': must be one of platinum"),
        ({"metal": None}, r"metal is missing"),
        ({"csr": "44"}, r"csr is '44': must be a cost-sharing indicator of 2025: 1, 2"),
        ({"csr": "3"}, r"csr is '3': is the indicator of a silver plan"),
        ({"duration": 0}, r"duration is 0: must be 1 to 12"),
        ({"duration": 13}, r"duration is 13"),
        ({"duration": 1.5}, r"duration is 1.5"),
        ({"birth_date": "1980-02-30"}, r"birth_date is '1980-02-30': must be YYYY-MM-DD"),
        ({"birth_date": "2026-01-01"}, r"birth_date is '2026-01-01'"),
        ({"birth_date": None}, r"birth_date is missing"),
        ({"age_last": 47}, r"age_last is 47: is no age that this birth_date gives"),
        ({"age_last": None}, r"age_last is missing"),
    ],
)
def test_a_person_who_cannot_be_scored_is_named(change: dict[str, Any], told: str) -> None:
    members = {"member_id": ["p"], **{name: [value] for name, value in (GOOD | change).items()}}
    nothing = pa.Table.from_pylist([], COLUMNS)
    with pytest.raises(HccError, match=rf"member p: {told}"):
        score(members, nothing, 2025)
    found = score(members, nothing, 2025, report=True)
    assert len(found.persons) == 0 and [refusal.member_id for refusal in found.refused] == ["p"]


@pytest.mark.parametrize("blank", [pa.array([None, "3"]), pa.array(["", "3"]), pa.array([None, 3])])
def test_a_blank_indicator_of_cost_sharing_is_none(blank: pa.Array) -> None:
    members = {"member_id": ["p", "q"], **{name: [value] * 2 for name, value in GOOD.items()}}
    members |= {"metal": ["gold", "silver"], "csr": blank}
    assert score(members, pa.Table.from_pylist([], COLUMNS), 2025).persons.csr.tolist() == [100, 112]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"service_date": None}, "has no date of service"),
        ({"service_date": dt.date(2024, 12, 31)}, "is of another year"),
        ({"service_date": dt.date(2026, 1, 1)}, "is of another year"),
        ({"icd10": "not a code"}, "is no ICD-10-CM code"),
    ],
)
def test_a_diagnosis_that_cannot_count_is_named_or_excluded(row: dict[str, Any], reason: str) -> None:
    members = {"member_id": ["p"], **{name: [value] for name, value in GOOD.items()}}
    good = {"member_id": "p", "icd10": "E1165", "service_date": dt.date(2025, 3, 3)}
    diagnoses = pa.Table.from_pylist([good, good | row], COLUMNS)
    with pytest.raises(HccError, match=rf"member p: diagnosis .* {reason}"):
        score(members, diagnoses, 2025)
    found = score(members, diagnoses, 2025, report=True)
    assert found.excluded["reason"].to_pylist() == [reason]
    assert found.hcc_lists()[0].as_py() == ["21"]


def test_diagnoses_before_birth_at_another_age_and_of_nobody() -> None:
    members = {"member_id": ["p"], **{name: [value] for name, value in GOOD.items()}}
    newborn = {"birth_date": "2025-06-01", "age_last": 0}
    baby = {"member_id": ["p"], **{name: [value] for name, value in (GOOD | newborn).items()}}

    def diagnosed(people: dict[str, Any], day: dt.date, owner: str = "p") -> Any:
        rows = [{"member_id": owner, "icd10": "C9100", "service_date": day}]
        return score(people, pa.Table.from_pylist(rows, COLUMNS), 2025, report=True)

    assert diagnosed(baby, dt.date(2025, 5, 31)).excluded["reason"].to_pylist() == ["is before birth"]
    early = members | {"age_last": [44]}  # the last day of enrolment was before the birthday
    assert diagnosed(early, dt.date(2025, 5, 4)).excluded["reason"].to_pylist() == ["is at an age above age_last"]
    assert not diagnosed(early, dt.date(2025, 5, 3)).excluded.num_rows
    stranger = diagnosed(members, dt.date(2025, 5, 5), "q")
    assert [str(refusal) for refusal in stranger.refused] == ["member q: member_id is 'q': has claims but is no member"]


@pytest.mark.parametrize("ndc", ["2751001", "000027510010", "0002-7510-01", "ABCDEFGHIJK"])
def test_an_ndc_of_the_wrong_length_is_named(ndc: str) -> None:
    with pytest.raises(HccError, match=rf"member p: ndc '{ndc}' is no NDC code"):
        one("F", 44, [], [ndc])
    assert one("F", 44, [], [ndc], report=True).excluded["reason"].to_pylist() == ["is no NDC code"]


def test_columns_that_are_missing_or_of_the_wrong_kind_are_named() -> None:
    members = {"member_id": ["p"], **{name: [value] for name, value in GOOD.items()}}
    nothing = pa.Table.from_pylist([], COLUMNS)
    for column in ("member_id", "sex", "birth_date", "metal"):
        with pytest.raises(HccError, match=f"members have no column {column}"):
            score({name: values for name, values in members.items() if name != column}, nothing, 2025)
    with pytest.raises(HccError, match="neither a column age_last nor last_day"):
        score({name: values for name, values in members.items() if name != "age_last"}, nothing, 2025)
    with pytest.raises(HccError, match="neither a column duration, in months, nor days"):
        score({name: values for name, values in members.items() if name != "duration"}, nothing, 2025)
    with pytest.raises(HccError, match="diagnoses have no column service_date"):
        score(members, {"member_id": ["p"], "icd10": ["E1165"]}, 2025)
    with pytest.raises(HccError, match="not text: leading zeros are lost"):
        score(members, nothing, 2025, {"member_id": ["p"], "ndc": [2751001]})
    with pytest.raises(HccError, match="benefit year 2019: there are tables for 2021, 2022"):
        score(members, nothing, 2019)
    with pytest.raises(HccError, match="the columns member_id and ENROLID both are member_id"):
        score(members | {"ENROLID": ["p"]}, nothing, 2025)


def plan(members: list[dict[str, Any]], rows: list[dict[str, Any]], codes: list[dict[str, Any]]) -> pa.Table:
    scorer = HhsScorer.of(pa.Table.from_pylist(members), 2025, enrolled=False)
    scorer.add(pa.Table.from_pylist(codes, COLUMNS))
    scorer.add_drugs({"member_id": ["a"], "ndc": ["00002751001"]})
    return liability(enrolments(scorer, pa.Table.from_pylist(rows)))


def test_a_plans_liability_risk_score_is_over_billable_months() -> None:
    """2.24672, 0.3192 and 0.315, twelve months each, the third not billable: 1.44046, not 0.960307."""
    members = [
        {"member_id": "a", "sex": "F", "birth_date": "1981-01-02", "age_last": 44},
        {"member_id": "b", "sex": "M", "birth_date": "2013-01-02", "age_last": 12},
        {"member_id": "c", "sex": "F", "birth_date": "1979-01-02", "age_last": 46},
    ]
    day = dt.date(2025, 6, 1)
    codes = [
        {"member_id": "a", "icd10": "E1165", "service_date": day},
        {"member_id": "b", "icd10": "J45909", "service_date": day},
    ]
    rows = [
        {"member_id": "a", "plan_id": "1", "rating_area": "R1", "metal": "silver", "csr": "3", "days": 365},
        {"member_id": "b", "plan_id": "1", "rating_area": "R1", "metal": "silver", "csr": "3", "days": 365},
    ]
    (two,) = plan(members, rows, codes).to_pylist()
    assert round(two["plrs"], 6) == round((2.24672 + 0.3192) / 2, 6) and two["billable_months"] == 24
    third = {"member_id": "c", "plan_id": "1", "rating_area": "R1", "metal": "silver", "csr": "1", "days": 365}
    billed = [row | {"billable": flag} for row, flag in zip([*rows, third], (True, True, False), strict=True)]
    (three,) = plan(members, billed, codes).to_pylist()
    score_of_c = one("F", 46, [])
    assert round(three["plrs"], 6) == round((2.24672 + 0.3192 + at(score_of_c)) / 2, 6)
    assert three["months"] == 36 and three["billable_months"] == 24 and three["enrollees"] == 3
    mixed = [billed[2], billed[0], billed[1]]
    assert plan(members, mixed, codes).equals(plan(members, billed, codes))


def test_a_familys_fourth_child_counts_above_the_line_alone_and_plans_are_apart() -> None:
    years = {"mum": 1985, "one": 2010, "two": 2012, "three": 2014, "four": 2016}
    members = [
        {"member_id": who, "sex": "F", "birth_date": f"{born}-01-02", "age_last": 2025 - born}
        for who, born in years.items()
    ]
    rows = [
        {
            "member_id": who,
            "plan_id": plan_id,
            "rating_area": "R1",
            "metal": metal,
            "days": days,
            "family_id": "f",
            "relationship": "subscriber" if who == "mum" else "child",
        }
        for plan_id, metal, days in (("1", "gold", 181), ("2", "catastrophic", 184))
        for who in years
    ]
    scorer = HhsScorer.of(pa.Table.from_pylist(members), 2025, enrolled=False)
    found = enrolments(scorer, pa.Table.from_pylist(rows))
    assert found.billable.tolist() == [True, True, True, True, False] * 2
    table = liability(found).to_pylist()
    assert [(row["plan_id"], row["metal"]) for row in table] == [("1", "gold"), ("2", "catastrophic")]
    scores = found.table().to_pylist()
    for row in table:
        own = [each["csr_score"] for each in scores if each["plan_id"] == row["plan_id"]]
        assert row["plrs"] == pytest.approx(sum(own) / 4, abs=1e-9)
        assert row["billable_months"] == pytest.approx(row["months"] * 4 / 5)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"member_id": "z"}, "member z: member_id is 'z': is no member"),
        ({"days": 366}, "days is 366: must be 1 to 365 days"),
        ({"plan_id": None}, "plan_id is missing: must be given"),
        ({"metal": "gold", "csr": "3"}, "csr is '3': is the indicator of a silver plan"),
    ],
)
def test_an_enrolment_that_cannot_be_used_is_named(change: dict[str, Any], told: str) -> None:
    members = [{"member_id": "a", "sex": "F", "birth_date": "1981-01-02", "age_last": 44}]
    row = {"member_id": "a", "plan_id": "1", "rating_area": "R1", "metal": "silver", "csr": "3", "days": 365}
    with pytest.raises(HccError, match=told):
        plan(members, [row | change], [])
