import csv
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from engine.domain.claims import SERVICE_CATEGORIES, service_category
from engine.domain.events import REGIONS, SourceEvent
from engine.errors import SourceError
from engine.interop import sources, tuva
from tests.conftest import shared_data
from tests.unit.interop.judge import fault_of


@pytest.fixture(scope="module")
def folder() -> Path:
    return shared_data("tuva_demo_100")


@pytest.fixture(scope="module")
def events(folder: Path) -> list[SourceEvent]:
    return list(sources.read("tuva", folder))


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def of(events: list[SourceEvent], kind: str) -> list[SourceEvent]:
    return [event for event in events if event.kind.name == kind]


def test_every_line_and_span_becomes_an_event(events: list[SourceEvent]) -> None:
    assert Counter(event.kind.name for event in events) == {
        "claim.submitted": 6_075,
        "pharmacy.fill": 612,
        "enrollment.change": 219 + 209,
    }
    actions = Counter(event.fields["action"] for event in of(events, "enrollment.change"))
    assert actions == {"enroll": 219, "terminate": 209}
    ids = Counter((event.kind.name, event.fields["event_id"]) for event in events)
    assert max(ids.values()) == 1


def test_only_what_the_files_have_wrong_is_wrong(events: list[SourceEvent]) -> None:
    faults = Counter((event.kind.name, fault_of(event)) for event in events if fault_of(event))
    assert faults == {("claim.submitted", "paid_cents"): 5}
    assert all(event.fields["paid_cents"] < 0 for event in events if fault_of(event))


@pytest.mark.parametrize(
    ("kind", "file", "column", "field"),
    [
        ("claim.submitted", tuva.MEDICAL, "paid_amount", "paid_cents"),
        ("claim.submitted", tuva.MEDICAL, "charge_amount", "charge_cents"),
        ("claim.submitted", tuva.MEDICAL, "allowed_amount", "allowed_cents"),
        ("pharmacy.fill", tuva.PHARMACY_CLAIM, "paid_amount", "paid_cents"),
    ],
)
def test_money_is_exact_to_the_cent(
    folder: Path, events: list[SourceEvent], kind: str, file: str, column: str, field: str
) -> None:
    dollars = sum(Decimal(row[column]) for row in lines(folder / file) if row[column])
    ours = [event.fields[field] for event in of(events, kind) if event.fields[field] is not None]
    assert all(type(amount) is int for amount in ours)
    assert Decimal(sum(ours)) / 100 == dollars.quantize(Decimal("0.01"))
    assert len(ours) == sum(row[column] != "" for row in lines(folder / file))


def test_a_claim_line_keeps_what_it_says(events: list[SourceEvent]) -> None:
    line = next(e for e in events if e.fields["event_id"] == "medical-1004555-3").fields
    assert line == {
        "v": 1,
        "event_id": "medical-1004555-3",
        "source": "tuva",
        "member_id": "tuva-10133",
        "time": 1_541_116_800_000,  # 2018-11-02T00:00:00Z
        "claim_id": "1004555",
        "line": 3,
        "claim_type": "institutional",
        "service_date": "2018-11-02",
        "diagnoses": ["Z9861", "I2510"],
        "procedure": "93797",
        "place_of_service": None,
        "bill_type": "853",
        "revenue_center": "0943",
        "provider_id": None,
        "charge_cents": 6500,
        "allowed_cents": None,
        "paid_cents": 2956,
    }


def test_diagnoses_keep_number_and_order(folder: Path, events: list[SourceEvent]) -> None:
    ours = {event.fields["event_id"]: event.fields["diagnoses"] for event in of(events, "claim.submitted")}
    for row in lines(folder / tuva.MEDICAL):
        expected = [row[f"diagnosis_code_{i}"] for i in range(1, 26) if row[f"diagnosis_code_{i}"]]
        assert ours[f"medical-{row['claim_id']}-{row['claim_line_number']}"] == expected
    assert sum(map(len, ours.values())) == 18_096


def test_members_enroll_first_and_the_rest_is_in_order_of_time(events: list[SourceEvent]) -> None:
    members = {event.member_id for event in events}
    assert len(members) == 100
    head = events[:100]
    assert {event.member_id for event in head} == members
    assert {event.fields["action"] for event in head} == {"enroll"}
    times = [event.fields["time"] for event in events[100:]]
    assert times == sorted(times)


def test_coverage_ends_where_no_span_follows(events: list[SourceEvent]) -> None:
    mine = [e.fields for e in events if e.member_id == "tuva-10133" and e.kind.name == "enrollment.change"]
    assert [(f["action"], f["effective_date"]) for f in mine[:4]] == [
        ("enroll", "2016-01-01"),
        ("terminate", "2017-12-01"),
        ("enroll", "2018-01-01"),
        ("terminate", "2018-03-01"),
    ]
    assert all(f["region"] == "south" and f["line_of_business"] == "medicare_advantage" for f in mine)
    # where the file ends, coverage is not known to
    changes = of(events, "enrollment.change")
    assert max(event.fields["effective_date"] for event in changes) < "2019-01-01"


def small(folder: Path, eligibility: str) -> Path:
    head = "patient_id,enrollment_start_date,enrollment_end_date,birth_date,gender,state\n"
    (folder / tuva.ELIGIBILITY).write_text(head + eligibility)
    source = shared_data("tuva_demo_100")
    for name in (tuva.MEDICAL, tuva.PHARMACY_CLAIM):
        with (source / name).open(encoding="utf-8") as file:
            (folder / name).write_text(file.readline())
    return folder


def test_a_span_that_follows_the_day_after_updates(tmp_path: Path) -> None:
    person = "1950-01-01,female,Ohio (eff. 10/2005)\n"
    path = small(
        tmp_path,
        f"7,2018-02-01,2018-02-28,{person}7,2018-01-01,2018-01-31,{person}8,2018-01-01,2018-12-31,{person}",
    )
    changes = [(e.member_id, e.fields["action"], e.fields["effective_date"]) for e in sources.read("tuva", path)]
    assert changes == [
        ("tuva-7", "enroll", "2018-01-01"),
        ("tuva-8", "enroll", "2018-01-01"),
        ("tuva-7", "update", "2018-02-01"),
        ("tuva-7", "terminate", "2018-03-01"),
    ]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("7,2018-02-01,2018-01-01,1950-01-01,female,Ohio\n", "enrollment_end_date 2018-01-01 is before"),
        ("7,2018-02-01,soon,1950-01-01,female,Ohio\n", "line 2: 'soon' is not a date"),
    ],
)
def test_spans_that_cannot_be_are_refused(tmp_path: Path, row: str, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        list(sources.read("tuva", small(tmp_path, row)))


def test_icd_9_is_refused_by_line(tmp_path: Path, folder: Path) -> None:
    path = small(tmp_path, "7,2018-02-01,2018-03-01,1950-01-01,female,Ohio\n")
    text = (folder / tuva.MEDICAL).read_text(encoding="utf-8").replace("icd-10-cm", "icd-9-cm", 1)
    (path / tuva.MEDICAL).write_text(text, encoding="utf-8")
    with pytest.raises(SourceError, match=r"medical_claim\.csv line 2: diagnosis_code_type 'icd-9-cm'"):
        list(sources.read("tuva", path))


def test_regions_are_those_of_the_census_bureau() -> None:
    expected = {
        "Kentucky": "south",
        "Ohio": "midwest",
        "Maine": "northeast",
        "Hawaii": "west",
        "Ohio (eff. 10/2005)": "midwest",
    }
    assert {state: tuva.region_of(state) for state in expected} == expected
    assert tuva.region_of("Guam") == "Guam"
    counts = Counter(tuva.region_of(state) for states in tuva._STATES.values() for state in states.split("|"))
    assert counts == dict(zip(REGIONS, (9 + 2, 12, 17, 13), strict=True))  # 50 states, D.C. and two territories


def test_real_lines_fall_into_the_categories_of_care(events: list[SourceEvent]) -> None:
    found: Counter[str] = Counter()
    for event in of(events, "claim.submitted"):
        f = event.fields
        index = service_category(f["claim_type"], f["place_of_service"], f["bill_type"], f["revenue_center"])
        found[SERVICE_CATEGORIES[index]] += 1
    assert found["inpatient"] == 253 + 45 + 84 + 2  # places 21 and 31, bills 11x
    assert found["office"] >= 2_199
    assert found["emergency"] >= 194
    assert found.total() == 6_075
