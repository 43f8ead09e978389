import csv
import json
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from engine.domain.claims import SERVICE_CATEGORIES, service_category
from engine.domain.events import CLAIM, REGIONS, SourceEvent
from engine.errors import SourceError
from engine.interop import sources, tuva
from engine.streams.codec import decode
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


def test_every_event_of_the_files_is_sound(events: list[SourceEvent]) -> None:
    """One institutional claim was paid less than nothing: its deductible was more than the payment."""
    now = 1_780_000_000_000
    for event in events:
        decode(event.kind, json.dumps(event.fields).encode(), now)
    below = {
        e.fields["claim_id"]: e.fields["paid_cents"]
        for e in of(events, "claim.submitted")
        if e.fields["paid_cents"] < 0
    }
    assert list(below.values()) == [-99_55]


def test_dates_and_who_gave_the_care_are_kept(events: list[SourceEvent]) -> None:
    claims, fills = of(events, "claim.submitted"), of(events, "pharmacy.fill")
    assert sum(event.fields["paid_date"] is not None for event in fills) == len(fills)
    assert all(
        event.fields["through_date"] >= event.fields["service_date"] for event in claims if event.fields["through_date"]
    )
    assert {len(event.fields["drg"]) for event in claims if event.fields["drg"]} == {3}
    states = Counter(event.fields.get("state") for event in of(events, "enrollment.change"))
    assert None not in states and states["KY"] > 0
    assert [tuva.state_of(name) for name in ("kentucky", "KY", "Kentucky (note)", "Atlantis")] == [
        "KY",
        "KY",
        "KY",
        None,
    ]


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
    repeated = set()
    dollars = Decimal(0)
    for row in lines(folder / file):  # in these files an institutional claim repeats its amount on every line
        amount = (row["claim_id"], row[column]) if row.get("claim_type") == "institutional" else None
        if row[column] and amount not in repeated:
            dollars += Decimal(row[column])
        repeated |= {amount} - {None}
    ours = [event.fields[field] for event in of(events, kind) if event.fields[field] is not None]
    assert all(type(amount) is int for amount in ours)
    assert Decimal(sum(ours)) / 100 == dollars.quantize(Decimal("0.01"))
    assert len(ours) == sum(row[column] != "" for row in lines(folder / file))


def test_what_is_paid_is_counted_once_a_claim(events: list[SourceEvent]) -> None:
    paid = sum(event.fields["paid_cents"] for event in of(events, "claim.submitted"))
    assert paid == 516_261_45  # 289,024.62 on institutional claims, 227,236.83 on lines of professional ones


def test_a_claim_line_keeps_what_it_says(events: list[SourceEvent]) -> None:
    line = next(e for e in events if e.fields["event_id"] == "medical-1004555-3").fields
    assert line == {
        "v": 2,
        "event_id": "medical-1004555-3",
        "source": "tuva-cclf",
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
        "charge_cents": 0,  # 65.00 charged and 29.56 paid are the claim's, and stand on its first line
        "allowed_cents": None,
        "paid_cents": 0,
        "status": "paid",
        "through_date": "2018-11-02",
        "paid_date": None,
        "units": 1.0,
        "modifiers": ["59"],
        "rendering_id": "1942275334",
        "drg": None,
        "discharge_status": "30",
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


DIAGNOSES = ",".join(f"diagnosis_code_{i}" for i in range(1, 26))
PERSON = "1950-01-01,female,Ohio"


def small(folder: Path, eligibility: str, claims: str = "", person: str = "patient_id") -> Path:
    """A folder of few rows. Claims: id, line, type, person, day, charge, paid, data source, first diagnosis."""
    head = f"{person},enrollment_start_date,enrollment_end_date,birth_date,gender,state\n"
    (folder / tuva.ELIGIBILITY).write_text(head + eligibility)
    (folder / tuva.PHARMACY_CLAIM).write_text(
        f"claim_id,claim_line_number,{person},dispensing_date,ndc_code,quantity,days_supply,allowed_amount,paid_amount\n"
    )
    columns = f"claim_id,claim_line_number,claim_type,{person},claim_start_date,charge_amount,paid_amount,data_source"
    empty = "claim_line_start_date,hcpcs_code,place_of_service_code,bill_type_code,revenue_center_code,billing_npi"
    rows = [row.rpartition(",") for row in claims.split()]
    text = "".join(f"{row},,,,,,,,icd-10-cm,{code}{',' * 24}\n" for row, _, code in rows)
    (folder / tuva.MEDICAL).write_text(f"{columns},{empty},allowed_amount,diagnosis_code_type,{DIAGNOSES}\n{text}")
    return folder


def changes(path: Path, person: str) -> list[tuple[object, object]]:
    events = of(list(sources.read("tuva", path)), "enrollment.change")
    return [(e.fields["action"], e.fields["effective_date"]) for e in events if e.member_id == f"tuva-{person}"]


def test_a_span_that_follows_the_day_after_updates(tmp_path: Path) -> None:
    path = small(
        tmp_path,
        f"7,2018-02-01,2018-02-28,{PERSON}\n7,2018-01-01,2018-01-31,{PERSON}\n8,2018-01-01,2018-12-31,{PERSON}\n",
    )
    assert changes(path, "7") == [("enroll", "2018-01-01"), ("update", "2018-02-01"), ("terminate", "2018-03-01")]
    assert changes(path, "8") == [("enroll", "2018-01-01")]


def test_a_plan_that_ends_within_another_ends_nothing(tmp_path: Path) -> None:
    path = small(tmp_path, f"A,2018-01-01,2018-12-31,{PERSON}\nA,2018-03-01,2018-05-31,{PERSON}\n")
    assert changes(path, "A") == [("enroll", "2018-01-01"), ("update", "2018-03-01")]


def test_when_the_inner_plan_ends_the_outer_one_speaks_again(tmp_path: Path) -> None:
    texas = PERSON.replace("Ohio", "Texas")
    path = small(tmp_path, f"A,2018-01-01,2018-12-31,{PERSON}\nA,2018-03-01,2018-05-31,{texas}\n")
    events = of(list(sources.read("tuva", path)), "enrollment.change")
    assert [(e.fields["effective_date"], e.fields["region"]) for e in events] == [
        ("2018-01-01", "midwest"),
        ("2018-03-01", "south"),
        ("2018-06-01", "midwest"),
    ]


def test_spans_that_overlap_or_repeat_are_one_coverage(tmp_path: Path) -> None:
    spans = [("2018-01-01", "2018-06-30"), ("2018-04-01", "2018-09-30"), ("2018-04-01", "2018-09-30")]
    rows = "".join(f"A,{first},{last},{PERSON}\n" for first, last in spans)
    path = small(tmp_path, f"{rows}B,2018-01-01,2018-12-31,{PERSON}\n")
    assert changes(path, "A") == [("enroll", "2018-01-01"), ("update", "2018-04-01"), ("terminate", "2018-10-01")]


@pytest.mark.parametrize("end", ["", "2999-12-31", "9999-12-31"])
def test_coverage_without_an_end_goes_on(tmp_path: Path, end: str) -> None:
    rows = f"A,2018-01-01,{end},{PERSON}\nA,2018-07-01,{end},{PERSON}\nC,2018-01-01,2018-12-31,{PERSON}\n"
    path = small(tmp_path, rows)
    assert changes(path, "A") == [("enroll", "2018-01-01"), ("update", "2018-07-01")]
    # a file that knows of open coverage says where coverage ends
    assert changes(path, "C") == [("enroll", "2018-01-01"), ("terminate", "2019-01-01")]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("7,2018-02-01,2018-01-01", "line 2: enrollment_end_date 2018-01-01 is before"),
        ("7,2018-02-01,soon", r"eligibility\.csv line 2: enrollment_end_date is 'soon'; it must be a date"),
        ("7,,2018-02-01", r"eligibility\.csv line 2: enrollment_start_date is blank"),
        ("7,20180201,20180301", "enrollment_start_date is '20180201'"),
    ],
)
def test_spans_that_cannot_be_are_refused(tmp_path: Path, row: str, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        list(sources.read("tuva", small(tmp_path, f"{row},{PERSON}\n")))


def test_words_of_files_become_ours(tmp_path: Path) -> None:
    rows = "A,2018-01-01,2018-12-31,1950-01-01,F,OH\n"
    events = list(sources.read("tuva", small(tmp_path, rows, "C1,1.0,Professional,A,2018-03-01,9,5,s,E119")))
    assert not [event for event in events if fault_of(event)]
    (person,), (claim,) = of(events, "enrollment.change"), of(events, "claim.submitted")
    assert (person.fields["sex"], person.fields["region"]) == ("female", "midwest")
    assert (claim.fields["line"], claim.fields["claim_type"]) == (1, "professional")


def test_the_person_is_person_id_since_0_13(tmp_path: Path) -> None:
    rows = f"P1,2018-01-01,2018-12-31,{PERSON}\n"
    path = small(tmp_path, rows, "C1,1,professional,P1,2018-03-01,150.00,80.00,cclf,E119", person="person_id")
    assert {event.member_id for event in sources.read("tuva", path)} == {"tuva-P1"}


def test_two_sources_may_number_their_claims_alike(tmp_path: Path) -> None:
    rows = "1001,1,professional,A,2018-08-01,,100.00,cclf,E119\n1001,1,professional,B,2018-09-01,,900.00,blue,I509"
    claims = of(list(sources.read("tuva", small(tmp_path, f"A,2018-01-01,2018-12-31,{PERSON}\n", rows))), CLAIM.name)
    assert [(c.fields["source"], c.fields["event_id"]) for c in claims] == [
        ("tuva-cclf", "medical-1001-1"),
        ("tuva-blue", "medical-1001-1"),
    ]


def amounts(folder: Path, claims: str, levels: str = "") -> list[tuple[object, object]]:
    """Charge and paid of each line, as read, from lines of claim, line, type, charge and paid."""
    rows = [row.split(",") for row in claims.split()]
    text = "\n".join(f"{c},{line},{form},A,2018-08-01,{charge},{paid},s,E119" for c, line, form, charge, paid in rows)
    path = small(folder, f"A,2018-01-01,2018-12-31,{PERSON}\n", text)
    if levels:
        (path / "amount_levels.csv").write_text(f"data_source,claim_type,amount,level\n{levels}\n")
    events = of(list(sources.read("tuva", path)), CLAIM.name)
    return [(e.fields["charge_cents"], e.fields["paid_cents"]) for e in events]


REPEATED = "1,2,institutional,9,5 1,1,institutional,9,5 2,1,institutional,7,3"


def test_an_amount_repeated_on_every_line_is_the_claims(tmp_path: Path) -> None:
    assert amounts(tmp_path, REPEATED) == [(0, 0), (900, 500), (700, 300)]


def test_where_only_charges_repeat_only_they_are_the_claims(tmp_path: Path) -> None:
    found = amounts(tmp_path, "1,1,institutional,9,5 1,2,institutional,9,4 2,1,institutional,7,3 2,2,institutional,7,1")
    assert found == [(900, 500), (0, 400), (700, 300), (0, 100)]


def test_lines_of_professional_claims_are_priced_one_by_one(tmp_path: Path) -> None:
    assert amounts(tmp_path, "1,1,professional,9,5 1,2,professional,9,5") == [(900, 500), (900, 500)]


def test_what_is_declared_counts(tmp_path: Path) -> None:
    assert amounts(tmp_path, REPEATED, "s,institutional,paid_amount,line") == [(0, 500), (900, 500), (700, 300)]
    professional = "1,1,professional,9,5 1,2,professional,9,5"
    assert amounts(tmp_path, professional, "s,professional,paid_amount,claim") == [(900, 500), (900, 0)]


def test_the_claims_amount_is_kept_wherever_it_stands(tmp_path: Path) -> None:
    levels = "s,institutional,charge_amount,claim"
    assert amounts(tmp_path, "1,1,institutional,,5 1,2,institutional,9,6", levels) == [(900, 500), (0, 600)]


def test_a_line_given_twice_is_no_repeated_amount(tmp_path: Path) -> None:
    assert amounts(tmp_path, "1,1,institutional,9,5 1,1,institutional,9,5") == [(900, 500), (900, 500)]


@pytest.mark.parametrize(
    ("claims", "levels", "words"),
    [
        (
            "1,1,institutional,9,5 1,2,institutional,8,5",
            "s,institutional,charge_amount,claim",
            "claim 1 of tuva-s: charge_amount is of the claim, and its lines differ: 800, 900 cents",
        ),
        (
            "1,1,institutional,9,5 1,2,institutional,9,6 2,1,institutional,8,5 2,2,institutional,7,6",
            "",
            "charge_amount of institutional claims of tuva-s: 1 claims of several lines repeat it on each, 1 do not",
        ),
        (REPEATED, "s,institutional,paid,claim", "line 2: amount is 'paid'"),
        (REPEATED, "s,institutional,paid_amount,header", "line 2: level is 'header'"),
        (REPEATED, "t,institutional,paid_amount,claim", "data_source 't' has no claims of claim_type 'institutional'"),
        (
            REPEATED,
            "s,institutional,paid_amount,claim\ns,institutional,paid_amount,line",
            "line 3: paid_amount of institutional claims of s is declared both ways",
        ),
    ],
)
def test_levels_that_cannot_be_are_refused(tmp_path: Path, claims: str, levels: str, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        amounts(tmp_path, claims, levels)


def test_icd_9_is_refused_by_line(tmp_path: Path) -> None:
    path = small(tmp_path, f"7,2018-02-01,2018-03-01,{PERSON}\n", "C1,1,professional,7,2018-03-01,,80.00,cclf,E119")
    text = (path / tuva.MEDICAL).read_text().replace("icd-10-cm", "icd-9-cm")
    (path / tuva.MEDICAL).write_text(text)
    with pytest.raises(SourceError, match=r"medical_claim\.csv line 2: diagnosis_code_type 'icd-9-cm'"):
        list(sources.read("tuva", path))


def test_regions_are_those_of_the_census_bureau() -> None:
    expected = {
        "Kentucky": "south",
        "Ohio": "midwest",
        "Maine": "northeast",
        "Hawaii": "west",
        "Ohio (eff. 10/2005)": "midwest",
        "OH": "midwest",
        "new york": "northeast",
        "dc": "south",
    }
    assert {state: tuva.region_of(state) for state in expected} == expected
    assert tuva.region_of("Guam") == "Guam"
    assert set(tuva._POSTAL) == set(tuva._STATES)
    for region, codes in tuva._POSTAL.items():
        assert len(codes.split()) == len(tuva._STATES[region].split("|"))
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
