"""The quick lane beside the FastAPI route: the same answers, and its refusals, to the letter."""

import copy
import dataclasses
import datetime as dt
import json
import subprocess
import sys
from collections.abc import Iterator

import msgspec
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from engine.domain.events import CONDITIONS
from engine.domain.metrics import LAB_TESTS, METRICS
from engine.learning.registry import load_models
from engine.scoring.health_score import HealthScorer
from engine.scoring.record import score_record
from engine.settings import load_rules
from serve_apps import problems, score_codec, scoring
from serve_apps.conditional import tagged
from serve_apps.hot import HotLane
from serve_apps.members import VOLATILE
from serve_apps.records import SERVICES
from serve_apps.scores import Scores
from serve_apps.scoring import ScoreRequest, ScoreResponse

AS_OF = "2026-01-15T08:30:00Z"
RECORD = {
    "birth_date": "1961-05-04",
    "sex": "female",
    "as_of": AS_OF,
    "care": {"inpatient": {"cost": 18250.0, "count": 1}, "office": {"cost": 2100.5, "count": 9}},
    "other_cost": 12.5,
    "diagnoses": ["E11.9", "I50.9"],
    "conditions": ["diabetes", "hypertension"],
    "general_health": 4,
    "wearables": {"steps": {"mean": 5200, "days": 20}},
    "vitals": {"spo2": 95.0, "heart_rate": 72},
    "labs": {"hba1c": 7.1, "creatinine": 1.2},
    "observed_days": 300,
}


class Loaded:
    """Models that no database names."""

    def __init__(self) -> None:
        self.scorer = HealthScorer(load_models(), load_rules())


class Counted(HotLane):
    """The lane, and how many requests it left to the application."""

    left = 0

    def __init__(self, app, scores, titles) -> None:
        async def counting(scope, receive, send) -> None:
            self.left += scope["type"] == "http"
            await app(scope, receive, send)

        super().__init__(counting, scores, live=None, reads=None, titles=titles)  # no member is asked for here


@pytest.fixture(scope="module")
def clients() -> Iterator[tuple[TestClient, TestClient, Counted]]:
    """A client of the lane, one of the FastAPI application behind it, and the lane."""
    scores, titles = Scores(Loaded()), {entry.code: entry.title for entry in load_rules().catalogue}
    app = FastAPI()
    problems.install(app)
    app.include_router(scoring.router(scores, titles))
    lane = Counted(app, scores, titles)
    with TestClient(lane) as quick, TestClient(app) as plain:
        yield quick, plain, lane


JSON = {"content-type": "application/json"}


def both(clients, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, dict]:
    """Sends the body both ways, asserts equal answers, and returns status and content."""
    quick, plain, _ = clients
    answers = [client.post("/v1/scores", content=body, headers=headers or JSON) for client in (quick, plain)]
    assert answers[0].status_code == answers[1].status_code, (body, [a.text for a in answers])
    assert answers[0].headers["content-type"] == answers[1].headers["content-type"]
    first, second = (answer.json() for answer in answers)
    if answers[0].status_code == 200 and not json.loads(body).get("as_of"):
        times = [dt.datetime.fromisoformat(each.pop("as_of")) for each in (first, second)]
        assert abs(times[0] - times[1]) < dt.timedelta(seconds=20)
    assert first == second, body
    return answers[0].status_code, first


_numbers = st.one_of(st.integers(-(2**70), 2**70), st.floats(), st.just(3.0), st.integers(0, 30))
_texts = st.one_of(st.text(max_size=6), st.sampled_from(["1", "true", "E11.9", "é", "\ud800", AS_OF, "1961-05-04"]))
_values = st.recursive(
    st.one_of(st.none(), st.booleans(), _numbers, _texts),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["cost", "mean", "steps"]), inner, max_size=3)
    ),
    max_leaves=4,
)
_metrics = {metric.code: metric for metric in METRICS}
_tests = {test.code: test for test in LAB_TESTS}


def _measured(known: dict, number) -> st.SearchStrategy:
    return st.dictionaries(st.sampled_from(sorted(known)), number, max_size=4)


_good = st.fixed_dictionaries(
    {
        "birth_date": st.dates(dt.date(1879, 12, 31), dt.date(2026, 2, 1)).map(str),
        "sex": st.sampled_from(["female", "male"]),
    },
    optional={
        "as_of": st.one_of(
            st.none(),
            st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2026, 1, 1), timezones=st.sampled_from(
                [dt.UTC, dt.timezone(dt.timedelta(hours=5, minutes=30)), dt.timezone(dt.timedelta(hours=-8))]
            )).map(dt.datetime.isoformat),
            st.sampled_from([
                "2025-01-01T00:00:00Z", "2025-01-01 00:00:00+00:00", "2025-01-01T00:00:00.1234567Z",
                "2025-01-01T00:00Z",
                "2025-01-01T24:00:00Z", "2025-01-01T23:59:60Z", "2025-01-01T00:00:00-00:00", "2025-01-01T00:00:00",
                "2025-01-01t00:00:00z", "2999-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "2025-01-01T00:00:00+23:59",
            ]),
        ),
        "care": st.dictionaries(st.sampled_from(SERVICES), st.fixed_dictionaries(
            {}, optional={"cost": st.floats(-1, 2e10), "count": st.integers(-1, 100_001)}
        ), max_size=3),
        "other_cost": st.one_of(st.floats(0, 1e10), st.integers(0, 10**10)),
        "diagnoses": st.lists(st.sampled_from(["E11.9", "I509", "c3490", "E11.9\n", "E11", "Z"]), max_size=4),
        "conditions": st.lists(st.sampled_from([*CONDITIONS, "dragon pox"]), max_size=3),
        "general_health": st.one_of(st.none(), st.integers(0, 6)),
        "mental_health": st.one_of(st.none(), st.integers(1, 5)),
        "wearables": _measured(
            _metrics, st.fixed_dictionaries({"mean": st.floats(0, 200), "days": st.integers(0, 31)})
        ),
        "vitals": _measured(_metrics, st.floats(20, 120)),
        "labs": _measured(_tests, st.floats(0.5, 60)),
        "observed_days": st.integers(-1, 50_001),
    },
)  # fmt: skip


@st.composite
def _broken(draw: st.DrawFn) -> dict:
    """A good record with one place of it replaced, taken out, or added."""
    body = copy.deepcopy(RECORD)
    place, keys = body, sorted(RECORD)
    while True:
        key = draw(st.sampled_from(keys))
        if isinstance(place.get(key), dict) and draw(st.booleans()):
            place, keys = place[key], sorted(place[key])
            continue
        break
    what = draw(st.sampled_from(["replace", "remove", "add"]))
    if what == "remove":
        place.pop(key)
    else:
        place[key if what == "replace" else draw(st.text(max_size=5))] = draw(_values)
    return body


_quiet = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@_quiet
@given(body=_good)
@example(body=RECORD)
def test_likely_records_are_answered_alike(clients, body: dict) -> None:
    both(clients, json.dumps(body).encode())


@_quiet
@given(body=_broken())
def test_broken_records_are_answered_alike(clients, body: dict) -> None:
    both(clients, json.dumps(body).encode())


@_quiet
@given(body=st.one_of(st.binary(max_size=40), _values.map(lambda value: json.dumps(value).encode())))
@example(body=b'{"sex":')
@example(body="\ufeff{}".encode())
@example(body=json.dumps(RECORD).encode("utf-16"))
@example(body=json.dumps(RECORD).replace("18250.0", "1e400").encode())
@example(body=json.dumps(RECORD).replace("18250.0", "NaN").encode())
@example(body=json.dumps(RECORD).replace('"female"', '"female", "sex": "male"').encode())
@example(body=json.dumps(RECORD)[:-1].encode() + b',"member_name":"x"}')
def test_any_bytes_are_answered_alike(clients, body: bytes) -> None:
    both(clients, body)


@_quiet
@given(body=_good)
def test_what_is_decoded_quickly_is_what_the_schema_takes(body: dict) -> None:
    raw = json.dumps(body).encode()
    quick = score_codec.decode(raw)
    try:
        whole = ScoreRequest.model_validate(json.loads(raw))
    except ValidationError:
        assert quick is None
        return
    assert quick is not None or body.get("as_of") is not None  # a time may be written in ways left to the schema
    if quick is not None and body.get("as_of") is not None:
        assert quick == (whole.record(), whole.as_of)


def test_a_likely_record_takes_the_lane_and_a_refusal_does_not(clients) -> None:
    lane = clients[2]
    before = lane.left
    status, answer = both(clients, json.dumps(RECORD).encode())
    assert (status, lane.left) == (200, before)
    assert ScoreResponse.model_validate(answer).components == ["base_risk", "clinical", "wearables", "news2"]
    status, problem = both(clients, json.dumps(RECORD | {"sex": "unknown"}).encode())
    assert (status, lane.left) == (422, before + 1)
    assert problem["errors"] == [{"field": "sex", "message": "Input should be 'female' or 'male'", "value": "unknown"}]


@pytest.mark.parametrize("diagnoses", [["E11.9", "C34.90"], []])
def test_a_members_score_fits_the_schema_and_keeps_its_tag_wherever_it_comes_from(diagnoses: list[str]) -> None:
    record, as_of = score_codec.decode(json.dumps(RECORD | {"diagnoses": diagnoses}).encode())
    scored = dataclasses.asdict(score_record(Loaded().scorer, record))
    row = msgspec.to_builtins(scored) | {"member_id": "M1"}
    titles = {entry.code: entry.title for entry in load_rules().catalogue}
    live = score_codec.live_answer(row | {"as_of": as_of.timestamp() * 1e6, "age_seconds": 0.25}, titles)
    stored = score_codec.stored_answer(row | {"as_of": as_of, "scored_at": as_of}, titles)
    answers = [tagged(each, "", VOLATILE) for each in (live, stored)]
    for (status, _, body), source in zip(answers, ("shard", "postgres"), strict=True):
        whole = ScoreResponse.model_validate_json(body, strict=True)
        assert (status, whole.answered_by, whole.member_id) == (200, source, "M1")
        assert whole.model_dump(mode="json") == json.loads(body)
        assert {each.code for each in whole.interventions} == set(row["interventions"])
    tag = answers[0][1]["ETag"]
    assert answers[1][1]["ETag"] == tag and tagged(live, tag, VOLATILE)[::2] == (304, b"")
    other = score_codec.live_answer(row | {"as_of": as_of.timestamp() * 1e6, "age_seconds": 0.25, "score": 1.5}, titles)
    assert tagged(other, tag, VOLATILE)[0] == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/jsonp", "application/json; charset=utf-8", ""])
def test_another_content_type_is_answered_alike(clients, kind: str) -> None:
    both(clients, json.dumps(RECORD).encode(), {"content-type": kind})


def test_a_replica_needs_no_training_library() -> None:
    """Ray Serve itself imports pandas where it is installed; our modules score without it and without the others."""
    script = f"""
import sys
banned = ("tensorflow", "keras", "sklearn", "pandas", "xgboost", "matplotlib")
class Ban:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in banned:
            raise ImportError(name + " is banned here")
sys.meta_path.insert(0, Ban())
import serve_apps.gateway
from serve_apps import score_codec
from engine.learning.registry import load_models
from engine.settings import load_rules
from engine.scoring.health_score import HealthScorer
from serve_apps.scores import warmed
from engine.scoring.record import score_record
scorer = warmed(HealthScorer(load_models(), load_rules()))
record, as_of = score_codec.decode({json.dumps(RECORD).encode()!r})
print(score_codec.encode(score_codec.answer(score_record(scorer, record), {{}}, as_of)).decode())
assert not [name for name in banned if name in sys.modules]
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["category"] in ("Low", "Moderate", "High", "Critical")
