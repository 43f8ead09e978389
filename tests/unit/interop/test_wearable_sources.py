import csv
import shutil
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from engine.domain.events import SourceEvent
from engine.errors import SourceError
from engine.interop import fitabase, lifesnaps, sources
from engine.interop.demographics import Known, SyntheticDemographics
from tests.conftest import shared_data
from tests.unit.interop.judge import fault_of


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def utc(event: SourceEvent) -> datetime:
    return datetime.fromtimestamp(event.fields["time"] / 1000, UTC)


def readings(events: list[SourceEvent], metric: str) -> list[SourceEvent]:
    return [event for event in events if event.fields.get("metric") == metric]


@pytest.fixture(scope="module")
def fitabase_folder() -> Path:
    return shared_data("fitbit_fitabase_2016")


@pytest.fixture(scope="module")
def fitabase_events(fitabase_folder: Path) -> list[SourceEvent]:
    return list(sources.read("fitabase", fitabase_folder))


@pytest.fixture(scope="module")
def lifesnaps_events() -> list[SourceEvent]:
    return list(sources.read("lifesnaps", shared_data("lifesnaps")))


def test_fitabase_counts_are_those_of_its_files(fitabase_events: list[SourceEvent]) -> None:
    found = Counter(event.fields.get("metric", event.kind.name) for event in fitabase_events)
    assert found == {
        "enrollment.change": 33,
        "steps": 22_099,
        "calories": 22_099,
        "active_minutes": 940,
        "sedentary_minutes": 940,
        "sleep_minutes": 413,
        "weight": 67,
    }


def test_fitabase_steps_are_counted_once(fitabase_folder: Path, fitabase_events: list[SourceEvent]) -> None:
    hours = sum(int(row["StepTotal"]) for row in lines(fitabase_folder / fitabase.HOURLY_STEPS))
    assert sum(event.fields["value"] for event in readings(fitabase_events, "steps")) == hours
    # within 2 % of the daily totals, which are not read: the files differ by some hours of the last days
    days = sum(int(row["TotalSteps"]) for row in lines(fitabase_folder / "dailyActivity_merged.csv"))
    assert hours == pytest.approx(days, rel=0.02)


def test_fitabase_days_and_months_are_not_swapped(fitabase_events: list[SourceEvent]) -> None:
    for metric in ("steps", "calories", "active_minutes", "sedentary_minutes", "sleep_minutes", "weight"):
        days = [utc(event).date() for event in readings(fitabase_events, metric)]
        assert (min(days), max(days)) == (date(2016, 4, 12), date(2016, 5, 12)), metric


def test_fitabase_hours_agree_with_the_daily_file(fitabase_folder: Path, fitabase_events: list[SourceEvent]) -> None:
    by_day: Counter[tuple[str, date]] = Counter()
    for event in readings(fitabase_events, "steps"):
        by_day[event.member_id, utc(event).date()] += event.fields["value"]
    daily = lines(fitabase_folder / "dailyActivity_merged.csv")
    same = 0
    for row in daily:
        month, day, year = map(int, row["ActivityDate"].split("/"))
        same += abs(by_day[f"fitabase-{row['Id']}", date(year, month, day)] - int(row["TotalSteps"])) <= 100
    assert same / len(daily) > 0.9


def test_fitabase_times_of_the_clock_files(fitabase_events: list[SourceEvent]) -> None:
    mine = [event for event in fitabase_events if event.member_id == "fitabase-1503960366"]
    weight = readings(mine, "weight")[0]
    assert (utc(weight).isoformat(), weight.fields["value"]) == (
        "2016-05-02T23:59:59+00:00",
        52.5999984741211,
    )
    sleep = readings(mine, "sleep_minutes")[0]
    assert (utc(sleep).isoformat(), sleep.fields["value"]) == ("2016-04-12T00:00:00+00:00", 327.0)
    steps = readings(mine, "steps")[:2]
    assert [(utc(event).hour, event.fields["value"]) for event in steps] == [(0, 373.0), (1, 160.0)]
    assert readings(mine, "active_minutes")[0].fields["value"] == 25 + 13


def test_fitabase_rows_that_repeat_repeat_their_id(fitabase_events: list[SourceEvent]) -> None:
    ids = Counter(event.fields["event_id"] for event in fitabase_events)
    repeated = {name: count for name, count in ids.items() if count > 1}
    assert len(repeated) == 3
    assert set(repeated.values()) == {2}
    assert all(name.startswith("sleep_minutes-") for name in repeated)


def test_ids_do_not_depend_on_the_order_of_rows(fitabase_folder: Path, tmp_path: Path) -> None:
    for name in fitabase.FILES:
        header, *body = (fitabase_folder / name).read_text(encoding="utf-8-sig").splitlines()
        (tmp_path / name).write_text("\n".join([header, *reversed(body)]), encoding="utf-8")

    def contents(folder: Path) -> set[tuple[str, object]]:
        return {(e.fields["event_id"], e.fields.get("value")) for e in sources.read("fitabase", folder)}

    assert contents(tmp_path) == contents(fitabase_folder)


@pytest.mark.parametrize("source", ["fitabase", "lifesnaps"])
def test_people_enroll_before_their_first_reading(source: str, request: pytest.FixtureRequest) -> None:
    events: list[SourceEvent] = request.getfixturevalue(f"{source}_events")
    people = {event.member_id for event in events}
    enrolled = events[: len(people)]
    assert {event.kind.name for event in enrolled} == {"enrollment.change"}
    assert {event.member_id for event in enrolled} == people
    assert {event.fields["source"] for event in enrolled} == {"synthetic"}
    assert {event.fields["source"] for event in events[len(people) :]} == {source}
    assert all(event.member_id.startswith(f"{source}-") for event in events)
    times = [event.fields["time"] for event in events[len(people) :]]
    assert times == sorted(times)
    starts = {event.member_id: event.fields["time"] for event in enrolled}
    assert all(event.fields["time"] >= starts[event.member_id] for event in events)


@pytest.mark.parametrize("source", ["fitabase", "lifesnaps"])
def test_events_are_sound_but_for_what_the_files_hold(source: str, request: pytest.FixtureRequest) -> None:
    events: list[SourceEvent] = request.getfixturevalue(f"{source}_events")
    faults = [(event.fields["metric"], event.fields["value"]) for event in events if fault_of(event)]
    # LifeSnaps has nights with a breathing rate of 0, which no sleeper has: the shard is to refuse them
    assert set(faults) <= ({("respiratory_rate", 0.0)} if source == "lifesnaps" else set())


def test_lifesnaps_gives_an_event_for_every_filled_cell(lifesnaps_events: list[SourceEvent]) -> None:
    table = lines(shared_data("lifesnaps") / "daily.csv")
    found = Counter(event.fields.get("metric", event.kind.name) for event in lifesnaps_events)
    assert found.pop("enrollment.change") == len({row["id"] for row in table}) == 36
    assert found.pop("active_minutes") == sum(row["very_active_minutes"] != "" for row in table) == 3_683
    for column, metric in lifesnaps.COLUMNS.items():
        assert found.pop(metric) == sum(row[column] != "" for row in table), metric
    assert not found
    first = [event for event in lifesnaps_events if utc(event).date() == date(2021, 5, 24)]
    mine = [e for e in first if e.member_id == "lifesnaps-621e2e8e67b776a24055b564"]
    assert readings(mine, "active_minutes")[0].fields["value"] == 24 + 33
    assert readings(mine, "hrv_rmssd")[0].fields["value"] == 89.603


def test_lifesnaps_people_keep_the_age_and_sex_they_have(lifesnaps_events: list[SourceEvent]) -> None:
    enrolled = {e.member_id: e.fields for e in lifesnaps_events if e.kind.name == "enrollment.change"}
    for row in lines(shared_data("lifesnaps") / "daily.csv"):
        fields = enrolled[f"lifesnaps-{row['id']}"]
        if row["gender"]:
            assert fields["sex"] == row["gender"].lower()
        start, born = date.fromisoformat(fields["effective_date"]), date.fromisoformat(fields["birth_date"])
        age = start.year - born.year - ((start.month, start.day) < (born.month, born.day))
        assert 18 <= age < 65
        if row["age"]:
            assert (age < 30) == (row["age"] == "<30")


def test_a_stand_in_depends_on_seed_and_member_alone() -> None:
    day, known = date(2021, 1, 1), Known("female", 30, 40)
    one = SyntheticDemographics(1).enroll("x-1", known, day)
    assert one == SyntheticDemographics(1).enroll("x-1", known, day)
    assert one.fields["sex"] == "female"
    assert 1980 <= int(one.fields["birth_date"][:4]) <= 1991
    others = [SyntheticDemographics(1).enroll(f"x-{i}", known, day) for i in range(20)]
    assert len({event.fields["birth_date"] for event in others}) > 15
    assert SyntheticDemographics(2).enroll("x-1", known, day).fields != one.fields
    with pytest.raises(SourceError, match="'other'"):
        SyntheticDemographics().enroll("x-1", Known("other"), day)
    with pytest.raises(SourceError, match="no synthetic member"):
        SyntheticDemographics().enroll("x-1", Known(None, 120, 130), day)


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        (fitabase.HOURLY_STEPS, "StepTotal", "Steps", ["hourlySteps_merged.csv", "no column StepTotal"]),
        (fitabase.HOURLY_STEPS, "13/04/2016", "04/13/2016", ["hourlySteps_merged.csv line", "04/13/2016"]),
        (fitabase.SLEEP_DAY, "4/13/2016", "13/4/2016", ["sleepDay_merged.csv line", "13/4/2016"]),
    ],
)
def test_a_file_that_is_not_as_promised_stops_the_reader(
    fitabase_folder: Path, tmp_path: Path, name: str, old: str, new: str, words: list[str]
) -> None:
    for file in fitabase.FILES:
        shutil.copyfile(fitabase_folder / file, tmp_path / file)
    text = (tmp_path / name).read_text(encoding="utf-8-sig")
    (tmp_path / name).write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(SourceError) as error:
        list(sources.read("fitabase", tmp_path))
    assert all(word in str(error.value) for word in words), error.value


def test_a_cell_that_is_no_number_is_passed_on(tmp_path: Path, fitabase_folder: Path) -> None:
    for file in fitabase.FILES:
        shutil.copyfile(fitabase_folder / file, tmp_path / file)
    path = tmp_path / fitabase.DAILY_INTENSITIES
    path.write_text(path.read_text(encoding="utf-8-sig").replace(",13,25,", ",many,25,", 1), encoding="utf-8")
    events = list(sources.read("fitabase", tmp_path))
    assert "many" in [event.fields["value"] for event in readings(events, "active_minutes")]


def test_unknown_sources_and_missing_files_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="'garmin' is none of fitabase, lifesnaps, tuva"):
        sources.read("garmin", tmp_path)
    (tmp_path / fitabase.SLEEP_DAY).write_text("Id\n")
    with pytest.raises(SourceError) as error:
        sources.read("fitabase", tmp_path)
    assert "has no hourlySteps_merged.csv" in str(error.value)
    assert set(sources.SOURCES) == {"fitabase", "lifesnaps", "tuva"}


def test_lifesnaps_refuses_an_age_it_does_not_know(tmp_path: Path) -> None:
    text = (shared_data("lifesnaps") / "daily.csv").read_text(encoding="utf-8")
    (tmp_path / "daily.csv").write_text(text.replace(",<30,MALE,", ",30,MALE,", 1), encoding="utf-8")
    with pytest.raises(SourceError, match="line 2: age '30'"):
        list(sources.read("lifesnaps", tmp_path))
