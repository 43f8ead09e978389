"""Whatever a file, a scenario or a payload holds: it is taken, or refused in one line; and no result holds a NaN.

A sample runs with the unit tests; `make fuzz` goes on for ten minutes with fresh examples.
"""

import json
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from pydantic import ValidationError

from cluster.commands import hcc_files
from cluster.simulation import job, yaml12
from cluster.simulation.files import Inputs, read_scenario
from engine.domain.events import EVENT_KINDS, SourceEvent
from engine.errors import InvalidRecordError, VitaNexusError
from engine.interop import sources
from engine.learning.daily import read_lifesnaps
from engine.learning.meps import link, read_meps
from engine.learning.nhanes import STEPS_CONDITIONS, read_nhanes, read_steps
from engine.scoring.hcc.hhs.edge import select
from engine.scoring.hcc.hhs.plrs import enrolments, liability
from engine.scoring.hcc.hhs.score import HhsScorer
from engine.scoring.hcc.score import HccScorer
from engine.scoring.physiology import MEASURES
from engine.streams.codec import decode
from serve_apps.premium import PremiumRequest, _recommended
from simulations.reserve import here
from tests.fuzz.broken import GOOD, broken, changed, typed

_few = settings(
    max_examples=max(15, settings().max_examples // 10),
    deadline=None,
    suppress_health_check=[*HealthCheck],
    print_blob=True,
)
NOW_MS = 1_767_225_600_000


def good(kind: str, suffix: str = ".csv") -> dict[str, str]:
    """The good files of a kind, by name."""
    return {path.name: path.read_text() for path in sorted((GOOD / kind).glob(f"*{suffix}"))}


FOLDERS = {source: good(source) for source in sources.SOURCES}
TABLES = good("scenarios")
SCENARIOS = {name.removesuffix(".yaml"): yaml12.load(text) for name, text in good("scenarios", ".yaml").items()}
USES = [
    (kind, table)
    for kind, scenario in SCENARIOS.items()
    for table in TABLES
    if f'"{table}"' in json.dumps(scenario) and kind != "specific"  # seconds a run, and reads what others read
]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


def write(folder: Path, files: Mapping[str, str | bytes]) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def judged(events: Iterator[SourceEvent]) -> int:
    """How many events there are; each is taken or refused by the decoder."""
    count = 0
    for event in events:
        count += 1
        try:
            decode(event.kind, json.dumps(event.fields).encode(), NOW_MS)
        except InvalidRecordError as refused:
            assert refused.reason
    return count


@pytest.mark.parametrize("source", FOLDERS)
def test_the_good_files_are_taken(source: str, folder: Path) -> None:
    write(folder, FOLDERS[source])
    assert judged(sources.read(source, folder)) > 2


@pytest.mark.parametrize(("source", "name"), [(source, name) for source, files in FOLDERS.items() for name in files])
@_few
@given(data=st.data())
def test_a_broken_source_is_taken_or_refused(source: str, name: str, folder: Path, data: st.DataObject) -> None:
    write(folder, {**FOLDERS[source], name: data.draw(broken(FOLDERS[source][name]))})
    try:
        judged(sources.read(source, folder))
    except VitaNexusError as refused:
        assert str(refused)


@_few
@given(data=st.data())
def test_a_broken_daily_table_is_read_or_refused(folder: Path, data: st.DataObject) -> None:
    write(folder, {"daily.csv": data.draw(broken(FOLDERS["lifesnaps"]["daily.csv"]))})
    try:
        assert np.isfinite(read_lifesnaps(folder / "daily.csv").series.days).all()
    except VitaNexusError as refused:
        assert str(refused)


SURVEYS: Mapping[str, tuple[str, Callable[[Path], Any], Sequence[str]]] = {
    "meps": (
        "meps_2012.parquet",
        lambda folder: link(read_meps(folder, 2012), read_meps(folder, 2012)),
        ("dupersid", "panel", "sex", "age12x", "totexp12", "rthlth53", "diabdx", "perwt12f", "racethx"),
    ),
    "nhanes": (
        "n.parquet",
        lambda folder: read_nhanes(folder / "n.parquet"),
        ("sampleID", "age", "gender", "permth_int", "status", "ucod_leading", *(m.code for m in MEASURES[2:5])),
    ),
    "steps": (
        "s.parquet",
        lambda folder: read_steps(folder / "s.parquet"),
        (*("gender", "age_in_years_at_screening", "general_health_condition", "valid_accel", "mortstat"),
         *("permth_exm", "total_scsslsteps"), *STEPS_CONDITIONS.values()),
    ),
}  # fmt: skip


@pytest.mark.parametrize("survey", SURVEYS)
@_few
@given(data=st.data())
def test_a_survey_of_any_types_is_read_or_refused(survey: str, folder: Path, data: st.DataObject) -> None:
    name, read, columns = SURVEYS[survey]
    parquet.write_table(data.draw(typed(columns)), folder / name)
    try:
        read(folder)
    except VitaNexusError as refused:
        assert str(refused)


@pytest.mark.parametrize("which", ["members", "diagnoses"])
@_few
@given(data=st.data())
def test_broken_hcc_files_are_scored_or_refused(which: str, folder: Path, data: st.DataObject) -> None:
    files = good("hcc")
    write(folder, {**files, f"{which}.csv": data.draw(broken(files[f"{which}.csv"]))})
    try:
        scorer = HccScorer.of(hcc_files.read(folder / "members.csv"), "v28", 2026, report=data.draw(st.booleans()))
        scorer.add(hcc_files.read(folder / "diagnoses.csv"))
        for row in scorer.finish().table().to_pylist():
            assert math.isfinite(row["raw_score"])
    except VitaNexusError as refused:
        assert str(refused)


@pytest.mark.parametrize("which", sorted(good("hhs")))
@_few
@given(data=st.data())
def test_broken_commercial_files_are_scored_or_refused(which: str, folder: Path, data: st.DataObject) -> None:
    files = good("hhs")
    write(folder, {**files, which: data.draw(broken(files[which]))})

    def read(name: str) -> pa.Table:
        return hcc_files.read(folder / f"{name}.csv", every=True)

    try:
        if which in ("claims.csv", "spans.csv"):
            assert select(read("claims"), read("spans"), 2025).rejected["reason"].null_count == 0
            return
        whole = which != "enrolments.csv"
        scorer = HhsScorer.of(read("members"), 2025, enrolled=whole, report=data.draw(st.booleans()))
        scorer.add(read("diagnoses"))
        scorer.add_drugs(read("drugs"))
        found = scorer.finish()
        assert np.isfinite(found.score).all() and found.table().num_rows == len(found.persons)
        if not whole:
            assert liability(enrolments(scorer, read("enrolments")))["months"].null_count == 0
    except VitaNexusError as refused:
        assert str(refused)


def simulated(folder: Path) -> None:
    """Runs the folder's scenario; a result is JSON without NaN, or there is none and a line says why."""
    try:
        scenario, document = read_scenario(folder / "s.yaml", {})
        if scenario.paths > 1000 or '"members"' in json.dumps(document):  # too much to run, not to read
            return
        outcome = job.run(scenario, document, Inputs(folder), here(1))
    except VitaNexusError as refused:
        assert str(refused)
        return
    json.dumps(outcome.result, allow_nan=False)


@pytest.mark.parametrize("kind", SCENARIOS)
def test_the_good_scenarios_are_simulated(kind: str, folder: Path) -> None:
    write(folder, {**TABLES, "s.yaml": yaml.safe_dump(SCENARIOS[kind])})
    scenario, document = read_scenario(folder / "s.yaml", {})
    json.dumps(job.run(scenario, document, Inputs(folder), here(1)).result, allow_nan=False)


@pytest.mark.parametrize(("kind", "table"), USES)
@_few
@given(data=st.data())
def test_a_broken_table_is_simulated_or_refused(kind: str, table: str, folder: Path, data: st.DataObject) -> None:
    write(folder, {**TABLES, "s.yaml": yaml.safe_dump(SCENARIOS[kind]), table: data.draw(broken(TABLES[table]))})
    simulated(folder)


@pytest.mark.parametrize("kind", SCENARIOS)
@_few
@given(data=st.data())
def test_a_broken_scenario_is_simulated_or_refused(kind: str, folder: Path, data: st.DataObject) -> None:
    document = data.draw(changed(SCENARIOS[kind]))
    write(folder, {**TABLES, "s.yaml": yaml.safe_dump(document)})
    simulated(folder)


@pytest.mark.parametrize("kind", EVENT_KINDS, ids=lambda kind: kind.name)
@_few
@given(payload=st.binary(max_size=200))
def test_any_payload_is_taken_or_refused(kind: Any, payload: bytes) -> None:
    try:
        decode(kind, payload, NOW_MS)
    except InvalidRecordError as refused:
        assert refused.reason


PREMIUM = {
    "cohort_id": "c",
    "line_of_business": "individual",
    "members": 100,
    "base_premium": "400.00",
    "health_improvement_factor": "0.02",
    "utilisation_factor": 0.01,
    "regional_cost_index": 1,
    "rating_factors": {"age": "3"},
    "changes_last_12_months": ["0.04"],
    "effective_date": "2027-01-01",
}


@_few
@given(body=changed(PREMIUM))
def test_a_broken_premium_request_is_answered_or_refused(body: object) -> None:
    try:
        asked = PremiumRequest.model_validate_json(json.dumps(body))
        answer, _ = _recommended(asked, asked.members or 100, "individual")
    except (ValidationError, VitaNexusError):
        return
    json.dumps(answer.model_dump(mode="json"), allow_nan=False)
