"""The endpoints of the running stack: what they answer, and what they refuse."""

import datetime as dt
from collections import Counter
from pathlib import Path

import psycopg
import pyarrow.parquet as pq
import pytest

from engine.domain.population import Population
from engine.interop import synthetic
from engine.scoring.told import with_factors
from engine.settings import load_rules
from engine.streams.producer import EventProducer
from tests.e2e.conftest import RunningStack
from tests.waiting import wait_for

MEMBERS = 150
RECORD = {
    "birth_date": "1961-05-04",
    "sex": "female",
    "care": {"inpatient": {"cost": 18250.0, "count": 1}, "office": {"cost": 2100.5, "count": 9}},
    "conditions": ["diabetes", "hypertension"],
    "general_health": 4,
}
PREMIUM = {
    "base_premium": "512.40",
    "health_improvement_factor": "0.03",
    "utilisation_factor": "0.015",
    "regional_cost_index": "1.02",
    "effective_date": "2027-01-01",
}


@pytest.fixture(scope="module")
def fed(stack: RunningStack) -> RunningStack:
    """The stack after three days of its members, whatever other tests have sent it before."""

    def committed() -> int:
        return sum(row.taken for row in stack.queries.consumed())

    before = committed()
    events = synthetic.month(Population.generate(11, MEMBERS), dt.date(2025, 1, 1), days=3, claims=100)
    with EventProducer(stack.endpoints.kafka) as producer:
        produced = producer.send_all(events)
    wait_for(lambda: committed() >= before + produced, "the events to be committed", seen=committed)
    assert committed() == before + produced
    return stack


def test_the_stored_score_keeps_up_with_the_live_one(fed: RunningStack) -> None:
    """A row says what is new: the last one is of the same category, and moved by less than the rule since."""
    live = fed.http.get("/v1/members/M0000007/score").json()
    stored = fed.http.get("/v1/members/M0000007/score/history", params={"limit": 1}).json()["scores"][0]
    assert live["answered_by"] == "shard"
    assert stored["answered_by"] == "postgres" and stored["age_seconds"] >= 0
    rules, cost = load_rules(), live["predicted_annual_cost"]
    assert (live["category"], live["model_version"]) == (stored["category"], stored["model_version"])
    assert live["as_of"] >= stored["as_of"] and live["as_of"][:10] == stored["as_of"][:10]
    told = stored["predicted_annual_cost"]["mean"]
    assert abs(live["score"] - stored["score"]) < rules.emit_score
    assert abs(cost["mean"] - told) < rules.emit_cost * told
    assert 1 <= live["score"] <= 100
    assert 0 <= cost["lower_90"] <= cost["mean"] <= cost["upper_90"]


def test_the_daily_batch_brings_claims_into_the_score(fed: RunningStack) -> None:
    done = fed.command("score", "batch", "--as-of", "2025-01-04")
    assert done.returncode == 0, done.stderr
    night = dt.datetime(2025, 1, 4, tzinfo=dt.UTC)
    after = {row["member_id"]: row for row in _newest(fed)}
    assert len(after) == MEMBERS
    assert all(row["as_of"] == night for row in after.values())
    # the last that readings made: another test may have run the batch before this one
    before = {}
    for member in after:
        rows = fed.queries.score_history(member, 1000)
        before[member] = next(row["predicted_cost"] for row in rows if row["as_of"] < night)
    assert any(row["predicted_cost"] > before[m] * 1.5 for m, row in after.items() if before[m] is not None)


def test_stream_batch_and_api_agree_to_the_last_bit(fed: RunningStack, tmp_path: Path) -> None:
    assert fed.command("score", "batch", "--as-of", "2025-01-04").returncode == 0
    out = tmp_path / "scores.parquet"
    done = fed.command("score", "batch", "--as-of", "2025-01-04", "--out", str(out))
    assert done.returncode == 0, done.stderr
    batch = {row["member_id"]: row for row in pq.read_table(out).to_pylist()}
    names = ("as_of", "score", "category", "predicted_cost", "cost_lower_90", "cost_upper_90", "news2", "components")
    for streamed in _newest(fed):
        row = batch[streamed["member_id"]]
        assert [row[name] for name in names] == [streamed[name] for name in names]
        assert with_factors(row)["risk_factors"] == streamed["risk_factors"]
        assert (row["interventions"], row["model_version"]) == (streamed["interventions"], streamed["model_version"])
    for member in ("M0000001", "M0000007"):
        live = fed.http.get(f"/v1/members/{member}/score").json()
        assert (live["answered_by"], live["score"]) == ("shard", batch[member]["score"])
        assert live["predicted_annual_cost"]["upper_90"] == batch[member]["cost_upper_90"]


def _newest(stack: RunningStack) -> list[dict]:
    return [stack.queries.score_history(f"M{i:07d}", 1)[0] for i in range(1, MEMBERS + 1)]


def test_history_pages_backwards(fed: RunningStack) -> None:
    path = "/v1/members/M0000003/score/history"
    whole = fed.http.get(path, params={"limit": 1000}).json()
    assert len(whole["scores"]) >= 2 and whole["next_cursor"] is None
    first = fed.http.get(path, params={"limit": 1}).json()
    following = fed.http.get(path, params={"cursor": first["next_cursor"], "limit": 1000}).json()
    found = [score["as_of"] for score in first["scores"] + following["scores"]]
    assert found == [score["as_of"] for score in whole["scores"]]
    twice = fed.http.get(path, params={"cursor": first["next_cursor"], "before": first["next_cursor"]})
    assert twice.status_code == 400 and "give cursor alone" in twice.json()["detail"]


def test_a_read_of_the_live_score_is_audited_and_tagged(fed: RunningStack) -> None:
    purpose = "HPAYMT"  # no other test asks for it: reads of before may still be on their way
    first = fed.http.get("/v1/members/M0000007/score", headers={"X-Purpose-Of-Use": purpose})
    known = {"If-None-Match": first.headers["etag"], "X-Purpose-Of-Use": purpose}
    again = fed.http.get("/v1/members/M0000007/score", headers=known)
    assert (first.status_code, again.status_code) == (200, 304)
    query = "SELECT count(*) FROM audit_events WHERE purpose = %s AND member_id = 'M0000007'"

    def audited() -> int:
        with psycopg.connect(fed.endpoints.postgres) as connection:
            return connection.execute(query, (purpose,)).fetchone()[0]

    wait_for(lambda: audited() == 2, "two audit events", seen=audited)


def test_a_trace_goes_from_http_to_shard_and_postgres(fed: RunningStack) -> None:
    trace, above = "ab12" * 8, "cd" * 8
    headers = {"traceparent": f"00-{trace}-{above}-01"}
    path = "/v1/members/M0000019/score"  # asked for the first time: it is on no board, so the shard is asked
    assert fed.http.get(path, headers=headers).json()["answered_by"] == "shard"
    assert fed.http.get(f"{path}/history", headers=headers).status_code == 200
    wanted = Counter(
        {
            "GET /v1/members/{id}/score": 1,
            "GET /v1/members/{id}/score/history": 1,
            "MemberShard.score": 2,  # asked by the replica, answered in the shard: each process tells its own
            "postgresql SELECT": 1,
        }
    )

    def seen() -> Counter[str]:
        return Counter(span.name for span in fed.collector.of(trace))

    wait_for(lambda: seen() >= wanted, f"the spans {wanted}", seen=seen)
    spans = {span.span: span for span in fed.collector.of(trace)}
    shards = {shard.pid for shard in fed.shards()}
    (answered,) = [span for span in spans.values() if span.process in shards]
    asked = spans[answered.parent]
    assert answered.name == asked.name == "MemberShard.score" and asked.process not in shards
    assert spans[asked.parent].name == "GET /v1/members/{id}/score" and spans[asked.parent].parent == above
    history = next(span for span in spans.values() if span.name.endswith("history"))
    assert any(span.name == "postgresql SELECT" and span.parent == history.span for span in spans.values())
    assert not [span for span in spans.values() if "M0000019" in str(span)]


def test_what_if_stands_on_the_stored_events(fed: RunningStack) -> None:
    answer = fed.http.post("/v1/members/M0000007/what-if", json={"general_health": 5, "conditions": {"stroke": True}})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["difference"]["score"] > 0
    live = fed.http.get("/v1/members/M0000007/score").json()
    assert body["baseline"]["model_version"] == live["model_version"]


def test_a_supplied_record_is_scored(stack: RunningStack) -> None:
    answer = stack.http.post("/v1/scores", json=RECORD)
    assert answer.status_code == 200, answer.text
    ill = answer.json()
    well = stack.http.post("/v1/scores", json={"birth_date": "1996-05-04", "sex": "male"}).json()
    assert ill["score"] > well["score"]
    assert ill["risk_factors"][0]["direction"] == "raises"
    assert ill["components"] == ["base_risk"]
    acute = stack.http.post(
        "/v1/scores", json=RECORD | {"vitals": {"spo2": 84, "respiratory_rate": 29, "heart_rate": 138}}
    ).json()
    assert acute["category"] == "Critical" and acute["news2"] == 9
    assert acute["interventions"][0]["code"] == "urgent_clinical_review"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"birth_date": "2999-01-01"}, "body"),
        ({"sex": "unknown"}, "sex"),
        ({"care": {"office": {"cost": -1}}}, "care.office.cost"),
        ({"vitals": {"heart_rate": 900}}, "vitals"),
        ({"vitals": {"aura": 1}}, "vitals"),
        ({"conditions": ["dragon pox"]}, "conditions"),
        ({"general_health": 6}, "general_health"),
        ({"wearables": {"steps": {"mean": 8000, "days": 31}}}, "wearables.steps.days"),
        ({"member_name": "x"}, "member_name"),
    ],
)
def test_an_impossible_record_is_refused_by_name(stack: RunningStack, change: dict, field: str) -> None:
    answer = stack.http.post("/v1/scores", json=RECORD | change)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == 422 and problem["instance"] == "/v1/scores"
    assert field in [error["field"] for error in problem["errors"]]


def test_malformed_json_is_a_bad_request(stack: RunningStack) -> None:
    answer = stack.http.post("/v1/scores", content=b'{"sex":', headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_unknown_member_and_an_unknown_path_are_problems(stack: RunningStack) -> None:
    for path in ("/v1/members/nobody/score", "/v1/members/nobody/score/history", "/v1/nothing"):
        answer = stack.http.get(path)
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"
    assert "nobody" in stack.http.get("/v1/members/nobody/score").json()["detail"]
    assert stack.http.get(f"/v1/members/{'x' * 65}/score").status_code == 422


def test_a_premium_is_recommended_for_a_cohort_in_exact_decimals(fed: RunningStack) -> None:
    cohort = fed.queries.cohorts()[0]
    answer = fed.http.post("/v1/premiums/recommendation", json=PREMIUM | {"cohort_id": cohort[0]})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["combined_factor"] == "1.0042410000" or body["combined_factor"].rstrip("0") == "1.004241"
    assert body["recommended_premium"] == "514.57"
    assert body["rate_review"] is False
    assert body["members"] == cohort[2]
    assert fed.queries.count("premium_recommendations") >= 1


def test_rate_review_begins_at_fifteen_percent_within_twelve_months(stack: RunningStack) -> None:
    ask = PREMIUM | {"cohort_id": "planned", "members": 500, "line_of_business": "small_group"}
    ask |= {"health_improvement_factor": "0", "regional_cost_index": "1"}
    at = stack.http.post("/v1/premiums/recommendation", json=ask | {"utilisation_factor": "0.15"}).json()
    below = stack.http.post("/v1/premiums/recommendation", json=ask | {"utilisation_factor": "0.1499"}).json()
    earlier = stack.http.post(
        "/v1/premiums/recommendation", json=ask | {"utilisation_factor": "0.05", "changes_last_12_months": ["0.10"]}
    ).json()
    assert (at["rate_review"], below["rate_review"], earlier["rate_review"]) == (True, False, True)


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"member_id": "M0000001"}, 422, "member_id"),
        ({"members": 1}, 422, "members"),
        ({"base_premium": "-3"}, 422, "base_premium"),
        ({"regional_cost_index": "0"}, 422, "regional_index"),
        ({"line_of_business": "pets"}, 422, ""),
        ({"members": None}, 404, ""),
    ],
)
def test_a_premium_never_follows_one_member(stack: RunningStack, change: dict, status: int, field: str) -> None:
    ask = PREMIUM | {"cohort_id": "planned", "members": 500, "line_of_business": "small_group"} | change
    answer = stack.http.post("/v1/premiums/recommendation", json=ask)
    assert answer.status_code == status, answer.text
    if field:
        assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_the_parts_are_ready_and_documented(stack: RunningStack) -> None:
    assert stack.http.get("/healthz").json() == {"status": "ok"}
    ready = stack.http.get("/readyz")
    assert ready.status_code == 200, ready.text
    assert set(ready.json()["parts"]) == {"postgres", "kafka", "shards"}
    assert stack.http.get("/docs").status_code == 200
    assert "/v1/members/{member_id}/score" in stack.http.get("/openapi.json").json()["paths"]
