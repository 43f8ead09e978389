"""The commercial component: HHS-HCC for individual and small-group members, as the batch engine scores them."""

import datetime as dt
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.domain.events import CLAIM, ENROLLMENT, LINES_OF_BUSINESS, METALS, PHARMACY
from engine.scoring import commercial
from engine.scoring.hcc.hhs import score as hhs
from engine.scoring.health_score import HealthScorer
from engine.scoring.member_features import grounds, known
from engine.scoring.member_state import PartitionState
from engine.scoring.record import HealthRecord, RecordScore, score_record
from engine.scoring.told import score_columns, told_row
from engine.streams.apply import Touched, apply_events
from engine.streams.codec import decode
from engine.streams.scoring import renew_base

AS_OF = dt.datetime(2025, 9, 1, tzinfo=dt.UTC)
AS_OF_US = int(AS_OF.timestamp() * 1e6)
AS_OF_MS = AS_OF_US // 1000
INSULIN, HUMIRA = "00002751001", "00074433902"
CODES = ("E1165", "E119", "J45901", "I742", "M069", "C50911", "F3481", "Z940", "I5022", "J449", "P0701", "Z0000", "O80")


def scored(scorer: HealthScorer, age: int, female: bool, codes: list[str], **more: object) -> RecordScore:
    features = {"age": float(age), "male": float(not female)}
    record = HealthRecord(AS_OF_US, features, {}, {}, {}, codes, commercial=True, **more)  # type: ignore[arg-type]
    return score_record(scorer, record)


def factor(score: RecordScore) -> float | None:
    return next((each.value for each in score.risk_factors if each.code == "hhs_risk"), None)


@pytest.mark.parametrize(
    ("age", "female", "metal", "codes", "drugs", "value"),
    [
        (44, True, "silver", ["E1165"], [INSULIN], 2.006),
        (12, False, "silver", ["J45909"], [], 0.285),
        (47, True, "silver", [], ["00002771559"], 1.295),
        (61, True, "gold", ["J42", "J4531"], [], 0.925),
        (69, True, "silver", ["E119", "J45901", "I742", "S22080A", "I2609"], ["00002771559"], 18.147),
    ],
)
def test_the_published_persons_have_their_scores(
    scorer: HealthScorer, age: int, female: bool, metal: str, codes: list[str], drugs: list[str], value: float
) -> None:
    """Those of CMS's tables of 2025 who are enrolled for the whole year and whose plan reduces no cost sharing."""
    classes = commercial.drug_classes(drugs)
    ccs = commercial.categories_of([codes], np.array([age]), np.array([female], np.int8))[0]
    room = commercial.room_for_one()
    raw, effect = commercial.risk(ccs, classes, age, int(female), METALS.index(metal), commercial.tables(), room)
    assert raw == pytest.approx(value, abs=1e-9) and effect >= 0
    told = factor(scored(scorer, age, female, codes, metal=metal, drugs=drugs))
    assert told is None or told == pytest.approx(value, abs=1e-3)


@given(
    st.integers(0, 70),
    st.booleans(),
    st.sampled_from(METALS),
    st.lists(st.sampled_from(CODES), max_size=5),
    st.lists(st.sampled_from([INSULIN, HUMIRA, "00000000000"]), max_size=2),
)
@settings(max_examples=150, deadline=None)
def test_a_score_is_that_of_the_batch_engine(age: int, female: bool, metal: str, codes: list, drugs: list) -> None:
    members = {
        "member_id": ["m"],
        "sex": ["F" if female else "M"],
        "birth_date": [dt.date(2025 - age, 1, 1)],
        "age_last": [age],
        "metal": [metal],
        "duration": [12],
    }
    diagnoses = {"member_id": ["m"] * len(codes), "icd10": codes, "service_date": [dt.date(2025, 7, 1)] * len(codes)}
    if not codes:
        diagnoses = {"member_id": ["m"], "icd10": ["Z0000"], "service_date": [dt.date(2025, 7, 1)]}
    filled = {"member_id": ["m"] * len(drugs), "ndc": drugs} if drugs and age >= 21 else None
    wanted = hhs.score(members, diagnoses, 2025, filled)
    ccs = commercial.categories_of([codes], np.array([age]), np.array([female], np.int8))[0]
    room = commercial.room_for_one()
    given_drugs, of = commercial.drug_classes(drugs), (age, int(female), METALS.index(metal))
    raw, effect = commercial.risk(ccs, given_drugs, *of, commercial.tables(), room)
    assert round(raw * 1000) == wanted.raw[0, 0]
    assert room.hccs[0].tolist() == wanted.hccs[0].tolist()
    plain = commercial.risk.py_func(ccs, given_drugs, *of, commercial.tables(), commercial.room_for_one.py_func())
    assert (raw, effect) == plain or (raw == plain[0] and np.isnan(effect) and np.isnan(plain[1]))


def test_the_line_of_business_decides_which_model_speaks(scorer: HealthScorer) -> None:
    codes = ["E1165", "I5022"]
    own = scored(scorer, 50, True, codes)
    features = {"age": 50.0, "male": 0.0}
    other = score_record(scorer, HealthRecord(AS_OF_US, features, {}, {}, {}, codes))
    assert own.components == ["base_risk", "clinical_commercial"] and other.components == ["base_risk", "clinical"]
    label = next(each.label for each in own.risk_factors if each.code == "hhs_risk")
    assert label.startswith("Clinical risk (HHS-HCC): HHS_HCC0") and "Heart Failure" in label
    assert {"hcc-v28.2027", "hhs-v08.2025"} <= set(own.model_version.split("+"))
    assert scored(scorer, 50, True, codes, metal="bronze").predicted_cost != own.predicted_cost
    assert scored(scorer, 50, True, codes, drugs=[INSULIN]).predicted_cost > own.predicted_cost


def test_a_childs_drugs_do_not_count(scorer: HealthScorer) -> None:
    assert scored(scorer, 12, True, ["E1165"], drugs=[INSULIN]) == scored(scorer, 12, True, ["E1165"])


@pytest.mark.parametrize(
    ("line", "counts"),
    [
        (("professional", None, "99213", None), True),
        (("professional", None, "00000", None), False),
        (("professional", None, None, None), False),
        (("institutional", "111", None, "01"), True),
        (("institutional", "111", None, None), True),
        (("institutional", "111", None, "30"), False),
        (("institutional", "131", "99213", None), True),
        (("institutional", "131", None, None), False),
        (("institutional", "211", "99213", None), False),
        (("dental", None, "99213", None), False),
    ],
)
def test_which_lines_diagnoses_are_admitted(line: tuple, counts: bool) -> None:
    assert commercial.admits(*line) == counts


def _applied(*events: tuple) -> PartitionState:
    state = PartitionState(0)
    for n, (kind, fields) in enumerate(events):
        about = {"v": 2, "source": "t", "member_id": "m", "event_id": f"e{n}", "time": AS_OF_MS - 1000 + n}
        apply_events(state, kind, [decode(kind, json.dumps(about | fields).encode(), AS_OF_MS)], {}, Touched())
    return state


def _enrolled(line: str = "individual", **more: object) -> tuple:
    policy = {"policy_id": "p", "cohort_id": "c", "region": "south", "line_of_business": line}
    about = {"action": "enroll", "birth_date": "1980-03-01", "sex": "female", "effective_date": "2024-01-01"}
    return ENROLLMENT, policy | about | more


def _claim(*codes: str, **more: object) -> tuple:
    line = {"claim_id": "c", "line": 1, "claim_type": "professional", "paid_cents": 0}
    return CLAIM, line | {"service_date": "2025-03-01", "procedure": "99213", "diagnoses": list(codes)} | more


FILL = (
    PHARMACY,
    {"claim_id": "f", "line": 1, "ndc": INSULIN, "fill_date": "2025-05-01", "quantity": 1, "paid_cents": 0},
)


def _told(scorer: HealthScorer, state: PartitionState) -> dict:
    slots, at = np.array([0]), np.array([AS_OF_US])
    renew_base(scorer, state, slots, at)
    of = known(state, slots, at, scorer.models.physiology)
    return told_row(score_columns(scorer, of, scorer.score(of), grounds(state, slots)), 0)


def test_a_members_state_says_what_a_record_of_them_says(scorer: HealthScorer) -> None:
    state = _applied(_enrolled(metal="gold"), _claim("E1165", "I5022"), FILL)
    of = known(state, np.array([0]), np.array([AS_OF_US]), scorer.models.physiology)
    ccs = commercial.categories_of([["E1165", "I5022"]], np.array([45]), np.array([1], np.int8))
    assert of.hhs_ccs.tolist() == ccs.tolist() and of.rxcs[0] == commercial.drug_classes([INSULIN]) != 0
    assert (of.commercial[0], of.metal[0]) == (True, METALS.index("gold"))
    told = _told(scorer, state)
    assert "clinical_commercial" in told["components"] and "clinical" not in told["components"]
    assert any(each.code == "hhs_risk" and "HHS_HCC" in each.label for each in told["risk_factors"])


@pytest.mark.parametrize("line", LINES_OF_BUSINESS)
def test_a_change_of_line_changes_the_model_whatever_came_first(scorer: HealthScorer, line: str) -> None:
    first, later = _enrolled("large_group"), _enrolled(line)
    one = _told(scorer, _applied(first, _claim("E1165"), FILL, later))
    other = _told(scorer, _applied(first, later, _claim("E1165"), FILL))
    assert one == other
    assert ("clinical_commercial" in one["components"]) == (line in ("individual", "small_group"))


def test_what_is_not_admitted_or_taken_back_does_not_count(scorer: HealthScorer) -> None:
    nothing = _told(scorer, _applied(_enrolled(), _claim()))
    for claim in (_claim("E1165", procedure=None), _claim("E1165", status="denied")):
        assert "clinical_commercial" not in _told(scorer, _applied(_enrolled(), claim))["components"]
    back = {"sign": -1, "adjusts": "e1"}
    gone = _told(scorer, _applied(_enrolled(), _claim("C50911"), (CLAIM, _claim("C50911")[1] | back)))
    assert gone["components"] == nothing["components"] == ["base_risk"]
    gone = _applied(_enrolled(), FILL, (PHARMACY, FILL[1] | back))
    assert not gone["rxcs"][0].any() and _applied(_enrolled(), FILL)["rxcs"][0].any()
