import gzip
from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from engine.domain.claims import SERVICE_CATEGORIES, conditions_of, lab_conditions, service_category
from engine.domain.events import CONDITIONS, SourceEvent
from engine.domain.population import Population
from engine.errors import InvalidRecordError
from engine.interop import encounters, synthetic
from tests.conftest import shared_data
from tests.unit.interop.judge import fault_of

START = date(2025, 3, 1)


@pytest.fixture(scope="module")
def people() -> Population:
    return Population.generate(11, 120)


@pytest.fixture(scope="module")
def produced(people: Population) -> tuple[list[SourceEvent], synthetic.Tally]:
    tally = synthetic.Tally()
    rates = {"duplicate_rate": 0.02, "invalid_rate": 0.02}
    return list(synthetic.month(people, START, days=10, claims=300, labs=40, tally=tally, **rates)), tally


@pytest.fixture(scope="module")
def clean(people: Population) -> list[SourceEvent]:
    return list(synthetic.month(people, START, days=10, claims=300, labs=40, duplicate_rate=0, invalid_rate=0))


def of(events: list[SourceEvent], kind: str) -> list[SourceEvent]:
    return [event for event in events if event.kind.name == kind]


def test_counts_are_what_was_asked_for(clean: list[SourceEvent]) -> None:
    assert Counter(event.kind.name for event in clean) == {
        "enrollment.change": 120,
        "wearable.reading": 120 * 10 * 10,
        "claim.submitted": 300,
        "pharmacy.fill": 120,
        "lab.result": 40 * 10,
        "self.report": 30,
    }
    a_day = Counter((e.member_id, e.fields["time"] // 86_400_000) for e in of(clean, "wearable.reading"))
    assert len(a_day) == 120 * 10
    assert set(a_day.values()) == {10}


def test_every_clean_event_is_sound(clean: list[SourceEvent]) -> None:
    assert [event for event in clean if fault_of(event)] == []
    ids = [event.fields["event_id"] for event in clean]
    assert len(set(ids)) == len(ids)


def test_a_long_day_is_sound_too() -> None:
    few = Population.generate(1, 40)
    events = list(synthetic.month(few, START, days=3, readings_per_day=100, claims=0, invalid_rate=0))
    assert {event.fields["metric"] for event in of(events, "wearable.reading")} > {
        "weight",
        "glucose",
        "systolic_bp",
    }
    assert [event for event in events if fault_of(event)] == []


def test_faults_and_duplicates_are_counted_and_leave_the_rest_as_it_was(
    produced: tuple[list[SourceEvent], synthetic.Tally], clean: list[SourceEvent]
) -> None:
    events, tally = produced
    assert tally.events == len(events)
    assert tally.good.total() == len(clean)
    first: dict[object, SourceEvent] = {}
    duplicates = []
    for event in events:
        if event.fields["event_id"] in first:
            duplicates.append(event)
        else:
            first[event.fields["event_id"]] = event
    assert len(duplicates) == tally.duplicates > 150
    assert all(event == first[event.fields["event_id"]] for event in duplicates)
    faulty = [event for event in first.values() if str(event.fields["event_id"]).startswith("xr-")]
    assert len(faulty) == tally.invalid.total() > 150
    assert set(tally.invalid) == {name for name, _ in synthetic.FAULTS}
    assert [e for e in first.values() if not str(e.fields["event_id"]).startswith("xr-")] == clean


def test_each_fault_is_one_a_shard_can_see(
    produced: tuple[list[SourceEvent], synthetic.Tally], people: Population
) -> None:
    members = set(people.member_id.tolist())
    end = datetime(2100, 1, 1, tzinfo=UTC).timestamp() * 1000
    seen: Counter[str] = Counter()
    for event in produced[0]:
        if str(event.fields["event_id"]).startswith("xr-"):
            seen["future time"] += event.fields["time"] > end
            seen["unknown member"] += event.member_id not in members
            seen[fault_of(event) or "sound fields"] += 1
    invalid = produced[1].invalid
    assert seen == {
        "future time": invalid["future time"],
        "unknown member": invalid["unknown member"],
        "sound fields": invalid["future time"] + invalid["unknown member"],
        "columns": invalid["missing unit"],
        "unit": invalid["unknown unit"],
        "metric": invalid["unknown metric"],
        "value": invalid["impossible value"] + invalid["not a number"],
    }


def test_events_come_in_order_of_time_but_for_repeats(clean: list[SourceEvent]) -> None:
    times = [event.fields["time"] for event in clean]
    assert times == sorted(times)
    assert times[0] == datetime(2025, 3, 1, tzinfo=UTC).timestamp() * 1000
    assert times[-1] < datetime(2025, 3, 11, tzinfo=UTC).timestamp() * 1000


def test_the_same_seed_makes_the_same_month(people: Population, clean: list[SourceEvent]) -> None:
    again = Population.generate(11, 120)
    assert list(synthetic.month(again, START, days=10, claims=300, labs=40, duplicate_rate=0, invalid_rate=0)) == clean


def test_a_member_reads_the_same_in_a_larger_population(clean: list[SourceEvent]) -> None:
    larger = Population.generate(11, 300)
    events = synthetic.month(larger, START, days=10, claims=0, duplicate_rate=0, invalid_rate=0)
    ours = {e.fields["event_id"]: e for e in events if e.kind.name == "wearable.reading"}
    assert all(ours[e.fields["event_id"]] == e for e in of(clean, "wearable.reading"))


def test_the_month_does_not_depend_on_how_it_is_cut(
    people: Population, produced: tuple[list[SourceEvent], synthetic.Tally], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synthetic, "_CHUNK", 7)
    rates = {"duplicate_rate": 0.02, "invalid_rate": 0.02}
    assert list(synthetic.month(people, START, days=10, claims=300, labs=40, **rates)) == produced[0]


def test_the_faults_of_one_rate_are_among_those_of_a_higher(people: Population) -> None:
    def faults(rate: float) -> set[object]:
        month = synthetic.month(people, START, days=5, claims=0, duplicate_rate=0, invalid_rate=rate)
        return {e.fields["event_id"] for e in month if str(e.fields["event_id"]).startswith("x")}

    assert faults(0.01) < faults(0.05)


def test_steps_of_the_day_are_parts_of_the_members_habit(people: Population) -> None:
    events = synthetic.month(people, START, days=200, readings_per_day=3, claims=0, duplicate_rate=0, invalid_rate=0)
    total: Counter[str] = Counter()
    parts: Counter[tuple[str, int]] = Counter()
    for event in events:
        if event.fields.get("metric") == "steps":
            total[event.member_id] += event.fields["value"]
            parts[event.member_id, event.fields["time"] // 86_400_000] += 1
    assert set(parts.values()) == {2}
    means = np.array([total[member] / 200 for member in people.member_id.tolist()])
    assert means / people.baseline[:, 0] == pytest.approx(1, abs=0.12)


def test_claims_name_only_what_the_member_has(people: Population, clean: list[SourceEvent]) -> None:
    number = {member: i for i, member in enumerate(people.member_id.tolist())}
    named = 0
    for event in of(clean, "claim.submitted"):
        own = people.conditions[number[event.member_id]]
        for code in event.fields["diagnoses"]:
            assert all(own[c] for c in conditions_of(code)), code
            named += bool(conditions_of(code))
        assert event.fields["charge_cents"] >= event.fields["allowed_cents"] >= event.fields["paid_cents"] >= 0
        assert (
            datetime.fromtimestamp(event.fields["time"] / 1000, UTC).date().isoformat() == event.fields["service_date"]
        )
    assert named > 100


def test_codes_are_icd_10_cm_and_mean_what_they_should() -> None:
    with gzip.open(shared_data("codes") / "icd10cm-codes-2024.txt.gz", "rt") as lines:
        valid = {line.split()[0] for line in lines}
    assert set(encounters.CODES) == set(CONDITIONS)
    for condition, codes in encounters.CODES.items():
        for code in codes:
            assert CONDITIONS.index(condition) in conditions_of(code)
            assert len(conditions_of(code)) == 1
            assert code in valid, code
    for code in encounters.EVERYDAY:
        assert code in valid, code
        assert conditions_of(code) == ()


def test_places_are_of_the_category_they_are_named_for() -> None:
    for place in encounters.PLACES:
        index = service_category(place.claim_type, place.place_of_service, place.bill_type, place.revenue_center)
        assert SERVICE_CATEGORIES[index] == place.category
    np.testing.assert_allclose(encounters._MIX.sum(axis=1), 1)


def test_spending_is_that_of_the_population() -> None:
    many = Population.generate(9, 3_000)
    events = synthetic.month(
        many, START, days=365, readings_per_day=0, claims=60_000, fills=30_000, labs=0, self_reports=0
    )
    spent: defaultdict[str, int] = defaultdict(int)
    drugs = 0
    for event in events:
        allowed = event.fields.get("allowed_cents", 0)
        spent[event.member_id] += allowed
        drugs += allowed if event.kind.name == "pharmacy.fill" else 0
    expected = many.annual_cost_cents.sum()
    assert sum(spent.values()) == pytest.approx(expected, rel=0.1)
    assert drugs / sum(spent.values()) == pytest.approx(encounters.DRUG_SHARE, abs=0.05)
    ours = np.array([spent[member] for member in many.member_id.tolist()])
    assert np.corrcoef(ours, many.annual_cost_cents)[0, 1] > 0.9


def test_results_show_who_has_diabetes() -> None:
    many = Population.generate(10, 2_000)
    number = {member: i for i, member in enumerate(many.member_id.tolist())}
    events = synthetic.month(many, START, days=5, readings_per_day=0, claims=0, fills=0, labs=2_000, self_reports=0)
    found: defaultdict[bool, list[bool]] = defaultdict(list)
    for event in events:
        if event.fields.get("test") == "hba1c":
            has = bool(many.conditions[number[event.member_id], CONDITIONS.index("diabetes")])
            found[has].append(lab_conditions("hba1c", event.fields["value"]) is not None)
    assert np.mean(found[True]) > 0.65
    assert np.mean(found[False]) < 0.01


def test_reports_follow_health_and_name_own_conditions() -> None:
    many = Population.generate(12, 4_000)
    number = {member: i for i, member in enumerate(many.member_id.tolist())}
    events = synthetic.month(many, START, days=5, readings_per_day=0, claims=0, fills=0, labs=0, self_reports=4_000)
    ratings, sick, left_out = [], [], 0
    for event in of(list(events), "self.report"):
        own = many.conditions[number[event.member_id]]
        assert all(own[CONDITIONS.index(name)] for name in event.fields["conditions"])
        if event.fields["general_health"] is None:
            left_out += 1
        else:
            ratings.append(event.fields["general_health"])
            sick.append(many.health[number[event.member_id]])
    assert 300 < left_out < 500
    assert np.corrcoef(ratings, sick)[0, 1] > 0.5
    shares = np.bincount(ratings, minlength=6)[1:] / len(ratings)
    np.testing.assert_allclose(shares, [0.323, 0.325, 0.247, 0.080, 0.025], atol=0.035)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"start": date(2024, 12, 31)}, "start"),
        ({"days": 0}, "days"),
        ({"readings_per_day": -1}, "readings_per_day"),
        ({"readings_per_day": 101}, "readings_per_day"),
        ({"claims": -1}, "claims"),
        ({"labs": -1}, "labs"),
        ({"duplicate_rate": 1.5}, "duplicate_rate"),
        ({"invalid_rate": float("nan")}, "invalid_rate"),
    ],
)
def test_what_is_out_of_range_is_refused_before_the_first_event(
    people: Population, wrong: dict[str, object], field: str
) -> None:
    arguments = {"start": START} | wrong
    with pytest.raises(InvalidRecordError, match=field) as error:
        synthetic.month(people, **arguments)
    assert error.value.field == field


def test_nobody_has_no_month() -> None:
    nobody = Population.generate(1, 0)
    with pytest.raises(InvalidRecordError, match="claims"):
        synthetic.month(nobody, START)
    assert list(synthetic.month(nobody, START, claims=0, days=2)) == []


def test_a_month_spans_its_days(clean: list[SourceEvent]) -> None:
    days = {datetime.fromtimestamp(e.fields["time"] / 1000, UTC).date() for e in of(clean, "wearable.reading")}
    assert days == {START + timedelta(days=d) for d in range(10)}
