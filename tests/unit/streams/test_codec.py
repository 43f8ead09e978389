"""Bad input by reason and field, and bytes that never raise anything else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.domain.events import CLAIM, ENROLLMENT, EVENT_KINDS, LAB, PHARMACY, READING, SELF_REPORT, EventKind
from engine.errors import InvalidRecordError
from engine.streams.codec import EARLIEST_MS, FUTURE_TOLERANCE_MS, MAX_PAYLOAD, decode

NOW = 1_735_689_600_000
ENVELOPE = {"v": 1, "event_id": "e1", "source": "test", "member_id": "m1", "time": NOW}
VALID = {
    READING: {"metric": "heart_rate", "value": 72, "unit": "bpm"},
    LAB: {"test": "hba1c", "value": 6.1, "unit": "%"},
    SELF_REPORT: {"general_health": 2, "conditions": ["asthma"]},
    CLAIM: {
        "claim_id": "c1",
        "line": 1,
        "claim_type": "professional",
        "service_date": "2024-12-01",
        "diagnoses": ["E119"],
        "paid_cents": 12_000,
    },
    PHARMACY: {
        "claim_id": "f1",
        "line": 1,
        "ndc": "00093721410",
        "fill_date": "2024-12-01",
        "quantity": 30,
        "paid_cents": 400,
    },
    ENROLLMENT: {
        "action": "enroll",
        "birth_date": "1980-02-29",
        "sex": "female",
        "region": "south",
        "line_of_business": "individual",
        "policy_id": "p",
        "cohort_id": "c",
        "effective_date": "2025-06-01",
    },
}
BAD = [
    (READING, {"value": 900}, "out_of_range", "value"),
    (READING, {"metric": "aura"}, "unknown_metric", "metric"),
    (READING, {"unit": "furlong"}, "unknown_unit", "unit"),
    (READING, {"unit": "kg"}, "wrong_unit", "unit"),
    (READING, {"value": "72"}, "wrong_type", "value"),
    (READING, {"value": None}, "wrong_type", "value"),
    (READING, {"colour": "red"}, "unknown_field", "colour"),
    (READING, {"v": 3}, "out_of_range", "v"),
    (READING, {"member_id": ""}, "wrong_type", "member_id"),
    (READING, {"member_id": "m" * 65}, "wrong_type", "member_id"),
    (READING, {"event_id": "a\u0000b"}, "malformed_text", ""),
    (READING, {"time": NOW + FUTURE_TOLERANCE_MS + 1}, "future_time", "time"),
    (READING, {"time": EARLIEST_MS - 1}, "out_of_range", "time"),
    (READING, {"time": NOW + 0.5}, "wrong_type", "time"),
    (LAB, {"test": "mood"}, "unknown_test", "test"),
    (LAB, {"value": 99}, "out_of_range", "value"),
    (CLAIM, {"paid_cents": -1}, "out_of_range", "paid_cents"),
    (CLAIM, {"allowed_cents": -5}, "out_of_range", "allowed_cents"),
    (CLAIM, {"paid_cents": 12.5}, "wrong_type", "paid_cents"),
    (CLAIM, {"service_date": "2025-03-01"}, "future_date", "service_date"),
    (CLAIM, {"diagnoses": ["A00"] * 101}, "wrong_type", "diagnoses"),
    (PHARMACY, {"ndc": " "}, "missing_field", "ndc"),
    (CLAIM, {"claim_type": "cash"}, "unknown_claim_type", "claim_type"),
    (ENROLLMENT, {"birth_date": "2999-01-01"}, "future_date", "birth_date"),
    (ENROLLMENT, {"birth_date": "1700-01-01"}, "out_of_range", "birth_date"),
    (ENROLLMENT, {"birth_date": "29.02.1980"}, "wrong_type", "birth_date"),
    (ENROLLMENT, {"sex": "f"}, "unknown_sex", "sex"),
    (CLAIM, {"paid_cents": 10**12 + 1}, "out_of_range", "paid_cents"),
    (CLAIM, {"paid_cents": 10**30}, "out_of_range", "paid_cents"),
    (READING, {"time": 10**30}, "future_time", "time"),
    (READING, {"time": -1}, "out_of_range", "time"),
    (READING, {"v": 0}, "out_of_range", "v"),
    (SELF_REPORT, {"general_health": 6}, "out_of_range", "general_health"),
    (READING, {"utc_offset_min": 60}, "unknown_field", "utc_offset_min"),
    (CLAIM, {"status": "paid"}, "unknown_field", "status"),
    (CLAIM, {"paid_cents": None}, "missing_field", "paid_cents"),
    (READING, {"v": 2, "utc_offset_min": 900}, "out_of_range", "utc_offset_min"),
    (READING, {"v": 2, "sign": 0, "adjusts": "e0"}, "out_of_range", "sign"),
    (READING, {"v": 2, "sign": -1}, "missing_field", "adjusts"),
    (LAB, {"v": 2, "adjusts": "e0"}, "out_of_range", "sign"),
    (CLAIM, {"v": 2, "sign": 0}, "missing_field", "adjusts"),
    (CLAIM, {"v": 2, "sign": 2, "adjusts": "e0"}, "out_of_range", "sign"),
    (CLAIM, {"v": 2, "charge_cents": -1}, "out_of_range", "charge_cents"),
    (CLAIM, {"v": 2, "sign": -1, "adjusts": "e0", "paid_cents": 0, "charge_cents": 5}, "out_of_range", "charge_cents"),
    (CLAIM, {"v": 2, "status": "lost"}, "unknown_status", "status"),
    (CLAIM, {"v": 2, "paid_date": "2025-03-01"}, "future_date", "paid_date"),
    (CLAIM, {"v": 2, "through_date": "2024-11-30"}, "out_of_range", "through_date"),
    (CLAIM, {"v": 2, "units": -1}, "out_of_range", "units"),
    (ENROLLMENT, {"v": 2, "state": "ZZ"}, "unknown_state", "state"),
    (ENROLLMENT, {"v": 2, "metal": "tin"}, "unknown_metal", "metal"),
    (ENROLLMENT, {"v": 2, "csr_variant": 14}, "out_of_range", "csr_variant"),
]


def encoded(kind: EventKind, **change: object) -> bytes:
    return json.dumps({**ENVELOPE, **VALID[kind], **change}).encode()


@pytest.mark.parametrize("kind", VALID, ids=lambda kind: kind.name)
def test_a_sound_event_is_taken(kind: EventKind) -> None:
    assert decode(kind, encoded(kind), NOW).member_id == "m1"
    assert decode(kind, encoded(kind, time=NOW + FUTURE_TOLERANCE_MS), NOW).time == NOW + FUTURE_TOLERANCE_MS


SECOND = [
    (READING, {"utc_offset_min": -300}),
    (READING, {"sign": -1, "adjusts": "e0", "revision": 1}),
    (CLAIM, {"paid_cents": None, "status": "accepted", "received_date": "2024-12-20", "through_date": "2024-12-01"}),
    (CLAIM, {"sign": 0, "adjusts": "e0", "paid_cents": -12_000, "allowed_cents": 15_000, "paid_date": "2024-12-31"}),
    (CLAIM, {"sign": -1, "adjusts": "e0", "paid_cents": -12_000, "charge_cents": -1}),
    (CLAIM, {"paid_cents": -9_955}),
    (CLAIM, {"modifiers": ["59 ", "rt"], "units": 1.5, "drg": "64", "discharge_status": "1"}),
    (ENROLLMENT, {"state": "IL", "metal": "silver", "csr_variant": 0, "plan_id": "p1", "subscriber_id": "m0"}),
]


@pytest.mark.parametrize(("kind", "change"), SECOND)
def test_an_event_of_version_2_is_taken(kind: EventKind, change: dict) -> None:
    event = decode(kind, encoded(kind, v=2, **change), NOW)
    spelled = {"modifiers": ["59", "RT"], "drg": "064", "discharge_status": "01"}
    for name, value in change.items():
        told = getattr(event, name)
        assert (told.isoformat() if name.endswith("_date") else told) == spelled.get(name, value), name


@pytest.mark.parametrize(("kind", "change", "reason", "field"), BAD)
def test_a_bad_one_is_refused_by_reason_and_field(kind: EventKind, change: dict, reason: str, field: str) -> None:
    with pytest.raises(InvalidRecordError) as refused:
        decode(kind, encoded(kind, **change), NOW)
    assert (refused.value.reason, refused.value.field) == (reason, field)


def test_codes_are_given_their_one_spelling() -> None:
    claim = decode(
        CLAIM,
        encoded(CLAIM, diagnoses=["e11.9", " I25.2", " "], procedure="j1885", bill_type="0131", revenue_center="450"),
        NOW,
    )
    assert claim.diagnoses == ["E119", "I252"]
    assert (claim.procedure, claim.bill_type, claim.revenue_center) == ("J1885", "131", "0450")
    assert decode(CLAIM, encoded(CLAIM, place_of_service=" "), NOW).place_of_service is None
    fill = decode(PHARMACY, encoded(PHARMACY, ndc="0093-7214-10"), NOW)
    assert fill.ndc == "00093721410"


def test_a_missing_field_is_named() -> None:
    for name in (*ENVELOPE, *VALID[READING]):
        fields = {k: v for k, v in {**ENVELOPE, **VALID[READING]}.items() if k != name}
        with pytest.raises(InvalidRecordError) as refused:
            decode(READING, json.dumps(fields).encode(), NOW)
        assert (refused.value.reason, refused.value.field) == ("missing_field", name)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (None, "empty"),
        (b"", "malformed_json"),
        (b'{"v":1', "malformed_json"),
        (b"\xff\xfe", "malformed_json"),
        (b'{"v":1,"source":"\xff"}', "malformed_json"),
        (b'{"source":"\\ud800"}', "malformed_json"),
        (b"[]", "wrong_type"),
        (b"x" * (MAX_PAYLOAD + 1), "too_large"),
    ],
)
def test_what_is_no_event_is_refused(payload: bytes | None, reason: str) -> None:
    with pytest.raises(InvalidRecordError) as refused:
        decode(READING, payload, NOW)
    assert refused.value.reason == reason


@pytest.mark.parametrize("kind", VALID, ids=lambda kind: kind.name)
def test_an_event_cut_short_anywhere_is_malformed(kind: EventKind) -> None:
    whole = encoded(kind)
    for length in range(len(whole)):
        with pytest.raises(InvalidRecordError) as refused:
            decode(kind, whole[:length], NOW)
        assert refused.value.reason == "malformed_json", whole[:length]


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity", "1e-400", "0x10", "01", "9" * 400])
def test_a_number_that_is_none_or_beyond_all_bounds_is_refused(number: str) -> None:
    payload = encoded(READING).replace(b": 72", b": " + number.encode())
    assert number.encode() in payload
    with pytest.raises(InvalidRecordError) as refused:
        decode(READING, payload, NOW)
    assert refused.value.reason in ("malformed_json", "out_of_range", "wrong_type")


@pytest.mark.parametrize("opening", [b"[", b'{"x":'])
def test_deep_nesting_is_refused_and_fells_nobody(opening: bytes) -> None:
    deep = opening * (MAX_PAYLOAD // len(opening))
    for payload in (deep, b'{"v":' + deep[:500_000], encoded(READING)[:-1] + b',"more":' + deep[:500_000]):
        with pytest.raises(InvalidRecordError) as refused:
            decode(READING, payload, NOW)
        assert refused.value.reason in ("malformed_json", "wrong_type", "unknown_field")


def test_of_a_key_given_twice_the_last_value_counts_as_in_every_json_reader() -> None:
    twice = encoded(READING)[:-1] + b', "value": 80, "value": 90}'
    assert decode(READING, twice, NOW).value == 90 == json.loads(twice)["value"]
    wrong = encoded(READING)[:-1] + b', "value": 80, "value": 9000}'
    with pytest.raises(InvalidRecordError, match="value is 9000"):
        decode(READING, wrong, NOW)


@given(st.sampled_from(EVENT_KINDS), st.one_of(st.binary(max_size=200), st.text(max_size=50).map(str.encode)))
def test_arbitrary_bytes_raise_nothing_else(kind: EventKind, payload: bytes) -> None:
    with pytest.raises(InvalidRecordError):
        decode(kind, payload, NOW)


@given(
    st.dictionaries(st.sampled_from([*ENVELOPE, *VALID[READING]]), st.none() | st.integers() | st.text() | st.floats())
)
def test_arbitrary_fields_raise_nothing_else(change: dict) -> None:
    try:
        event = decode(READING, json.dumps({**ENVELOPE, **VALID[READING], **change}).encode(), NOW)
    except InvalidRecordError as refused:
        assert refused.reason
    else:
        assert 20 <= event.value <= 300 or event.metric != "heart_rate"
