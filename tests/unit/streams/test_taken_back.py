"""What is taken back leaves no trace: claims and fills in any order, results after they came, by whatever batches."""

import json
from itertools import groupby
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.domain.events import AMOUNTS, CLAIM, ENROLLMENT, LAB, PHARMACY, SELF_REPORT, EventKind
from engine.domain.packed_arrays import unpack
from engine.scoring.diagnosed import renew_categories
from engine.scoring.member_state import PartitionState
from engine.streams.apply import Touched, apply_events
from engine.streams.codec import decode

NOW = 1_735_689_600_000
DAY_MS = 86_400_000
MEMBER = {"v": 2, "source": "test", "member_id": "m"}
Made = tuple[EventKind, dict[str, Any]]


def made(kind: EventKind, name: str, **fields: Any) -> Made:
    return kind, MEMBER | {"event_id": name, "time": NOW - DAY_MS} | fields


def enrolled(birth: str = "1960-06-01", sex: str = "female", line: str = "individual") -> Made:
    rest = {"region": "south", "line_of_business": line, "policy_id": "p", "cohort_id": "c"}
    about = {"action": "enroll", "birth_date": birth, "sex": sex, "effective_date": "2020-01-01"}
    return made(ENROLLMENT, f"e-{birth}-{sex}", **rest, **about)


def back(event: Made) -> Made:
    kind, fields = event
    cents = {name: -fields[name] for name in AMOUNTS if fields.get(name) is not None}
    return kind, fields | cents | {"sign": -1, "adjusts": fields["event_id"], "event_id": f"b-{fields['event_id']}"}


def state_of(events: list[Made], size: int = 1) -> PartitionState:
    """The state after the events, in batches of `size` of one kind, and a last report that all are older than."""
    state = PartitionState(0)
    last = made(SELF_REPORT, "last", time=NOW, conditions=[], general_health=2)
    for kind, run in groupby([*events, last], key=lambda event: event[0]):
        took = [decode(kind, json.dumps(fields).encode(), NOW) for _, fields in run]
        for start in range(0, len(took), size):
            apply_events(state, kind, took[start : start + size], {}, Touched())
    return state


def content(state: PartitionState) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in unpack(state.dump()).items() if not name.startswith("window")}


claims = st.builds(
    lambda name, day, codes, place, status, cents: made(
        CLAIM,
        f"c{name}",
        claim_id="c",
        line=1,
        claim_type="professional",
        service_date=str(np.datetime64("2023-01-10") + day),
        diagnoses=codes,
        place_of_service=place,
        procedure="99213" if place == "11" else None,
        status=status,
        allowed_cents=cents,
        paid_cents=cents,
    ),
    st.integers(0, 10**9),
    st.integers(0, 700),
    st.lists(st.sampled_from(["E119", "I10", "I509", "C50911", "Z0000", "N184"]), max_size=3),
    st.sampled_from(["11", "21", "23"]),
    st.sampled_from(["paid", "paid", "denied", None]),
    st.sampled_from([None, 0, 12_345]),
)
fills = st.builds(
    lambda name, day, cents: made(
        PHARMACY,
        f"f{name}",
        claim_id="f",
        line=1,
        ndc="00002751001",
        fill_date=str(np.datetime64("2023-01-10") + day),
        quantity=30,
        paid_cents=cents,
    ),
    st.integers(0, 10**9),
    st.integers(0, 700),
    st.integers(0, 99_999),
)
cared = st.lists(st.one_of(claims, fills), max_size=6)


@given(cared, cared, st.randoms(use_true_random=False), st.integers(1, 4))
@settings(max_examples=80, deadline=None)
def test_care_taken_back_before_or_after_it_came_had_never_been(kept: list, gone: list, chance, size: int) -> None:
    mixed, line = [*kept, *gone, *map(back, gone)], chance.choice(["small_group", "medicare_advantage"])
    chance.shuffle(mixed)
    begun = enrolled(line=line)
    assert content(state_of([begun, *mixed], size)) == content(state_of([begun, *kept]))


@given(cared, st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_a_change_of_birth_date_or_sex_edits_the_diagnoses_anew(events: list, chance) -> None:
    """C50911, of the female breast, is another category in the young: in whatever order what is known comes."""
    later = enrolled("1985-06-01", "male", chance.choice(["large_group", "small_group"]))
    later = (later[0], later[1] | {"time": NOW - DAY_MS + 1})
    mixed = [*events, later]
    chance.shuffle(mixed)
    assert content(state_of([enrolled(), *mixed])) == content(state_of([enrolled(), later, *events]))


def test_a_result_taken_back_takes_its_condition_along() -> None:
    one = made(LAB, "l1", test="hba1c", value=7.1, unit="%", time=NOW - 9 * DAY_MS)
    two = made(LAB, "l2", test="hba1c", value=8.0, unit="%", time=NOW - 5 * DAY_MS)
    for kept, gone in ((one, two), (two, one)):
        assert content(state_of([enrolled(), one, two, back(gone)])) == content(state_of([enrolled(), kept]))
    assert content(state_of([enrolled(), one, back(one)])) == content(state_of([enrolled()]))


def test_a_line_priced_later_costs_what_it_is_priced() -> None:
    claim = made(
        CLAIM, "c1", claim_id="c", line=1, claim_type="professional", service_date="2024-11-01", diagnoses=["I10"]
    )
    priced = (
        CLAIM,
        claim[1] | {"event_id": "p1", "adjusts": "c1", "sign": 0, "allowed_cents": 8_000, "paid_cents": 6_400},
    )
    less = (CLAIM, priced[1] | {"event_id": "p2", "allowed_cents": -3_000, "paid_cents": -2_400})
    whole = (CLAIM, claim[1] | {"allowed_cents": 5_000, "paid_cents": 4_000})
    assert content(state_of([enrolled(), claim, priced, less])) == content(state_of([enrolled(), whole]))
    assert content(state_of([enrolled(), less, priced, claim])) == content(state_of([enrolled(), whole]))


@pytest.mark.parametrize("codes", [["E119"], ["E119", "E119"]])
def test_a_diagnosis_of_two_lines_stays_until_both_are_taken_back(codes: list[str]) -> None:
    """Bits would lose it with the first; counts of distinct claims would lose it with a code that is given twice."""
    lines = [
        made(
            CLAIM,
            f"c{line}",
            claim_id="c",
            line=line,
            claim_type="professional",
            service_date="2024-11-01",
            diagnoses=codes,
            paid_cents=5,
        )
        for line in (1, 2)
    ]
    one = state_of([enrolled(), *lines, back(lines[0])])
    assert one["ccs"][0].any() and one["conditions"][0]
    both = state_of([enrolled(), *lines, *map(back, lines)])
    assert not both["ccs"][0].any() and not both["conditions"][0]
    renew_categories(one, np.array([0]))
    assert content(one) == content(state_of([enrolled(), lines[1]]))
