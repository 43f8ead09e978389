"""The resources of version 1: pages, tags, keys, what-if, guardrails, deprecation."""

import datetime as dt
import json
import threading
import time
import uuid
from typing import Any
from urllib.parse import quote

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient

from engine.finance.guardrails import check_rating_factors
from engine.finance.premium import PremiumError
from engine.settings import load_rules
from engine.storage.idempotency import IdempotencyKeys, KeyedWrite
from engine.storage.queries import Queries
from engine.storage.runs import Runs
from serve_apps.access.gate import Gate
from serve_apps.access.limits import RequestLimiter
from serve_apps.deprecation import deprecated
from tests.integration.test_access import PREMIUM, TRIANGLE
from tests.service import ODD, OURS, TENANT, Service

PREMIUMS = "/v1/premiums/recommendation"


def pages(http: Any, path: str, name: str, limit: int) -> list[Any]:
    """All items of a paged resource, fetched page by page."""
    found: list[Any] = []
    cursor = None
    while True:
        params = {"limit": limit} | ({"cursor": cursor} if cursor else {})
        answer = http.get(path, params=params)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert len(page[name]) <= limit
        found += page[name]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


def test_history_comes_page_by_page_without_gap_or_repeat(service: Service, queries: Queries) -> None:
    path = f"/v1/members/{OURS}/score/history"
    stored = queries.score_history(OURS, 1000)
    assert len(stored) >= 3, "the fixture must have made several scores"
    with service.client() as http:
        for limit in (1, 2, len(stored), 1000):
            found = pages(http, path, "scores", limit)
            assert [dt.datetime.fromisoformat(s["as_of"]) for s in found] == [row["as_of"] for row in stored]


def test_clients_of_the_former_cursor_page_right(service: Service, queries: Queries) -> None:
    path, found = f"/v1/members/{OURS}/score/history", []
    with service.client() as http:
        page = http.get(path, params={"limit": 1}).json()
        while page["next_before"] is not None:
            found += page["scores"]
            page = http.get(path, params={"limit": 1, "before": page["next_before"]}).json()
    assert len(found + page["scores"]) == len(queries.score_history(OURS, 1000))


@pytest.mark.parametrize("member", ODD)
def test_whoever_is_enrolled_can_be_asked_for(service: Service, member: str) -> None:
    name = quote(member, safe="")
    with service.client() as http:
        for end in ("score", "score/history", "factors"):
            answer = http.get(f"/v1/members/{name}/{end}")
            assert answer.status_code == 200 and answer.json()["member_id"] == member, answer.text
        answer = http.post(f"/v1/members/{name}/what-if", json={"general_health": 2})
        assert answer.status_code == 200 and answer.json()["member_id"] == member, answer.text


def test_text_that_cannot_be_stored_is_refused_by_name(service: Service) -> None:
    with service.client() as http:
        for end in ("score", "score/history", "factors"):
            assert http.get(f"/v1/members/%00/{end}").status_code == 422
        for text in (r"a\u0000", r"a\ud800"):
            headers = {"content-type": "application/json"}
            premium = json.dumps(PREMIUM | {"cohort_id": "COHORT"}).replace("COHORT", text)
            answer = http.post(PREMIUMS, content=premium, headers=headers)
            assert answer.status_code in (400, 422) and "cohort_id" in answer.text, answer.text
            scenario = json.dumps(TRIANGLE | {"name": "NAME"}).replace("NAME", text)
            answer = http.post("/v1/simulations", content=scenario, headers=headers)
            assert answer.status_code == 422, answer.text


def test_recommendations_and_runs_come_page_by_page(service: Service) -> None:
    tenant = uuid.uuid4().hex
    runs = Runs(service.database, pool_size=1)
    queued = [uuid.uuid4().hex for _ in range(5)]
    for run in queued:
        runs.queue(run, TRIANGLE, "test", tenant)
    runs.close()
    with service.client(tenant=tenant) as http:
        made = [http.post(PREMIUMS, json=PREMIUM).json()["recommendation_id"] for _ in range(5)]
        found = pages(http, "/v1/premiums/recommendations", "recommendations", 2)
        assert [each["recommendation_id"] for each in found] == made[::-1]
        assert [run["run_id"] for run in pages(http, "/v1/simulations", "runs", 2)] == queued[::-1]


@pytest.mark.parametrize(
    "cursor", ["x", "bm9wZQ", "WyJydW5zIiwxXQ", "WyJoaXN0b3J5IiwiYSJd", "WyJoaXN0b3J5Il0", "A" * 500]
)
def test_a_cursor_that_was_not_given_is_refused(service: Service, cursor: str) -> None:
    with service.client() as http:
        for path in (f"/v1/members/{OURS}/score/history", "/v1/simulations", "/v1/premiums/recommendations"):
            answer = http.get(path, params={"cursor": cursor})
            assert answer.status_code == 400 and "cursor" in answer.json()["detail"]


def test_reads_have_tags_and_are_not_sent_twice(service: Service) -> None:
    with service.client() as http:
        made = http.post(PREMIUMS, json=PREMIUM).json()["recommendation_id"]
        for path in (
            f"/v1/members/{OURS}/score",
            f"/v1/members/{OURS}/score/history",
            f"/v1/members/{OURS}/factors",
            "/v1/interventions",
            "/v1/interventions/sleep_coaching",
            "/v1/simulations",
            f"/v1/premiums/recommendations/{made}",
        ):
            first = http.get(path)
            tag = first.headers["etag"]
            assert first.headers["cache-control"] == "private, no-cache"
            time.sleep(0.02)  # its age changes, the score does not
            for names in (tag, f'"other", {tag}', tag.removeprefix("W/"), "*"):
                again = http.get(path, headers={"If-None-Match": names})
                assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag), path
            assert http.get(path, headers={"If-None-Match": '"other"'}).status_code == 200
        a, b = (http.get(f"/v1/members/{m}/score").headers["etag"] for m in (OURS, "M0000005"))
        assert a != b


def test_a_conditional_read_is_audited_as_well(service: Service) -> None:
    actor = uuid.uuid4().hex
    with service.client(sub=actor) as http:
        tag = http.get(f"/v1/members/{OURS}/score").headers["etag"]
        assert http.get(f"/v1/members/{OURS}/score", headers={"If-None-Match": tag}).status_code == 304
    assert len(service.audited(actor=actor)) == 2


def test_a_repeat_gets_the_first_answer_and_another_body_is_refused(service: Service) -> None:
    key = {"Idempotency-Key": uuid.uuid4().hex}
    with service.client() as http:
        first = http.post(PREMIUMS, json=PREMIUM, headers=key)
        again = http.post(PREMIUMS, json=PREMIUM, headers=key)
        assert first.status_code == 200 and "idempotency-replayed" not in first.headers
        assert (again.status_code, again.content) == (200, first.content)
        assert again.headers["idempotency-replayed"] == "true"
        assert again.headers["content-type"] == first.headers["content-type"]
        other = http.post(PREMIUMS, json=PREMIUM | {"utilisation_factor": "0.02"}, headers=key)
        assert other.status_code == 422 and "Idempotency-Key" in other.json()["detail"]
        elsewhere = http.post("/v1/simulations", json=PREMIUM, headers=key)
        assert elsewhere.status_code == 422 and "Idempotency-Key" in elsewhere.json()["detail"]
        refused = http.post(
            PREMIUMS, json=PREMIUM | {"members": 1}, headers={"Idempotency-Key": "r-" + key["Idempotency-Key"]}
        )
        assert refused.status_code == 422
        for bad in ("", "a b", "x" * 129, "ü"):
            answer = http.post(PREMIUMS, json=PREMIUM, headers={"Idempotency-Key": bad.encode()})
            assert answer.status_code == 400, bad
    with service.client(sub="user-2") as http:
        theirs = http.post(PREMIUMS, json=PREMIUM, headers=key)
        assert theirs.json()["recommendation_id"] != first.json()["recommendation_id"], "a key is its caller's own"


def test_a_write_that_failed_for_a_reason_of_ours_can_be_tried_again(service: Service) -> None:
    key = {"Idempotency-Key": uuid.uuid4().hex}
    with service.client() as http:
        for _ in range(2):  # no Ray behind this application: 503 is not kept, and not taken for under way
            answer = http.post("/v1/simulations", json=TRIANGLE, headers=key)
            assert answer.status_code == 503 and "idempotency-replayed" not in answer.headers


def test_of_many_at_once_one_is_done(service: Service) -> None:
    tenant, key = uuid.uuid4().hex, {"Idempotency-Key": uuid.uuid4().hex}
    answers: list[Any] = []

    def send() -> None:
        with service.client(token) as http:
            answers.append(http.post(PREMIUMS, json=PREMIUM, headers=key))

    token = service.issuer.token(tenant=tenant)
    threads = [threading.Thread(target=send) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {a.status_code for a in answers} <= {200, 409}
    assert len({a.json()["recommendation_id"] for a in answers if a.status_code == 200}) == 1
    with service.client(tenant=tenant) as http:
        assert len(http.get("/v1/premiums/recommendations").json()["recommendations"]) == 1


def test_an_abandoned_or_old_key_is_new(database: str) -> None:
    import psycopg

    keys = IdempotencyKeys(database, pool_size=1)
    write = KeyedWrite("t", "s", "k", "/p", b"digest")
    assert keys.begin(write) is None
    earlier = keys.begin(write)
    assert earlier is not None and earlier.status is None and earlier.same

    def age(interval: str) -> None:
        with psycopg.connect(database) as connection:
            connection.execute(f"UPDATE idempotency_keys SET begun_at = now() - interval '{interval}'")

    age("3 minutes")
    assert keys.begin(write) is None, "its first request died"
    keys.finish(write, 200, {"content-type": "a/b"}, b"answer")
    age("23 hours")
    earlier = keys.begin(write)
    assert earlier is not None and (earlier.status, earlier.body) == (200, b"answer")
    age("25 hours")
    assert keys.begin(KeyedWrite("t", "s", "k", "/p", b"other")) is None
    age("25 hours")
    keys.purge()
    keys.give_back(write)
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM idempotency_keys").fetchone() == (0,)
    keys.close()


def test_what_if_answers_with_both_scores(service: Service) -> None:
    path = f"/v1/members/{OURS}/what-if"
    with service.client() as http:
        ill = http.post(path, json={"conditions": {"diabetes": True, "stroke": True}, "general_health": 5}).json()
        well = http.post(path, json={"general_health": 1, "wearables": {"steps": {"mean": 11000, "days": 30}}}).json()
        acute = http.post(path, json={"vitals": {"spo2": 84, "respiratory_rate": 29, "resting_heart_rate": 118}}).json()
        cared = http.post(path, json={"care": {"inpatient": {"cost": 90000, "count": 3}}}).json()
        same = http.post(path, json={"conditions": {}, "vitals": {}}).json()
        live = http.get(f"/v1/members/{OURS}/score").json()
    assert ill["baseline"] == well["baseline"] == same["baseline"]
    assert ill["changed"]["score"] > ill["baseline"]["score"] > well["changed"]["score"]
    assert ill["difference"]["score"] == ill["changed"]["score"] - ill["baseline"]["score"]
    assert cared["difference"]["predicted_annual_cost"] > 0
    assert acute["changed"]["category"] == "Critical"
    assert same["difference"] == {"score": 0, "predicted_annual_cost": 0}
    assert ill["baseline"]["model_version"] == live["model_version"]
    # the stored score differs by the steps forecast alone, which may move the cost by a few percent
    assert ill["baseline"]["predicted_annual_cost"]["mean"] == pytest.approx(
        live["predicted_annual_cost"]["mean"], rel=0.15
    )


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body"),
        ({"vitals": {"aura": 1}}, "vitals"),
        ({"wearables": {"steps": {"mean": -1, "days": 3}}}, "wearables"),
        ({"labs": {"hba1c": 9999}}, "labs"),
        ({"conditions": {"dragon pox": True}}, "conditions"),
        ({"general_health": 9}, "general_health"),
        ({"birth_date": "1960-01-01"}, "birth_date"),
    ],
)
def test_an_impossible_change_is_refused_by_name(service: Service, body: dict[str, Any], field: str) -> None:
    with service.client() as http:
        answer = http.post(f"/v1/members/{OURS}/what-if", json=body)
    assert answer.status_code == 422, answer.text
    assert field in [error["field"] for error in answer.json()["errors"]]


def test_factors_are_those_of_the_score(service: Service) -> None:
    with service.client() as http:
        score, factors = (http.get(f"/v1/members/{OURS}/{end}").json() for end in ("score", "factors"))
    assert factors["risk_factors"] and factors == {name: score[name] for name in factors}


def test_the_catalogue_is_the_configured_one(service: Service) -> None:
    with service.client() as http:
        found = http.get("/v1/interventions").json()
        assert [e["code"] for e in found["interventions"]] == [entry.code for entry in load_rules().catalogue]
        assert http.get("/v1/interventions/sleep_coaching").json() in found["interventions"]
        assert http.get("/v1/interventions/leeches").status_code == 404


@pytest.mark.parametrize(
    ("line", "ratios", "citation"),
    [
        ("individual", {"age": "3.01"}, "147.102"),
        ("small_group", {"tobacco": "1.51"}, "147.102"),
        ("individual", {"sex": "1.2"}, "147.102"),
        ("small_group", {"occupation": "1.2"}, "147.102"),
        ("large_group", {"claims_experience": "1.5"}, "146.121"),
        ("self_funded", {"health_status": "1.1"}, "146.121"),
        ("large_group", {"family_history": "1.1"}, "146.122"),
        ("individual", {"age": "3", "tobacco": "1.5", "family": "4", "rating_area": "2"}, None),
        ("large_group", {"age": "5"}, None),
    ],
)
def test_what_the_law_forbids_is_refused_with_its_citation(
    service: Service, line: str, ratios: dict[str, str], citation: str | None
) -> None:
    with service.client() as http:
        answer = http.post(PREMIUMS, json=PREMIUM | {"line_of_business": line, "rating_factors": ratios})
    if citation is None:
        assert answer.status_code == 200, answer.text
        return
    problem = answer.json()
    assert answer.status_code == 422 and citation in problem["citation"]
    assert problem["errors"][0]["field"] in [f"rating_factors.{name}" for name in ratios] + list(ratios)
    with pytest.raises(PremiumError) as refused:
        check_rating_factors(line, {name: __import__("decimal").Decimal(ratio) for name, ratio in ratios.items()})
    assert citation in refused.value.citation


def test_a_deprecated_route_says_so_and_until_when() -> None:
    since, sunset = dt.date(2026, 1, 1), dt.date(2026, 12, 31)
    app, routes = FastAPI(), APIRouter()

    @routes.get("/v1/interventions", **deprecated(since, sunset, "/v2/interventions"))
    async def old() -> dict[str, str]:
        return {"still": "here"}

    @routes.get("/v1/members")
    async def current() -> dict[str, str]:
        return {}

    app.include_router(routes)
    gate = Gate(app, None, RequestLimiter(1000), None, (1000, 1000))  # type: ignore[arg-type]
    client = TestClient(gate, base_url="http://127.0.0.1")
    headers = client.get("/v1/interventions").headers
    assert headers["deprecation"] == "@1767225600"  # RFC 9745: an sf-date
    assert headers["sunset"] == "Thu, 31 Dec 2026 00:00:00 GMT"  # RFC 8594: an HTTP-date
    assert '</v2/interventions>; rel="successor-version"' in headers["link"]
    assert "deprecation" not in client.get("/v1/members").headers
    assert app.openapi()["paths"]["/v1/interventions"]["get"]["deprecated"] is True
    with pytest.raises(ValueError, match="180 days"):
        deprecated(since, since + dt.timedelta(days=179), "/v2")


def test_refusals_are_problems_whatever_refuses(service: Service) -> None:
    with service.client() as http:
        for method, path, body in (
            ("GET", f"/v1/members/{'x' * 65}/score", None),
            ("GET", "/v1/members/a%00b/score", None),
            ("POST", "/v1/scores", b"{"),
            ("POST", PREMIUMS, b"[]"),
            ("POST", PREMIUMS, json.dumps(PREMIUM | {"cohort_id": "a\x00b"}).encode()),
            ("POST", "/v1/simulations", json.dumps(TRIANGLE | {"x\x00": 1}).encode()),
            ("PUT", "/v1/scores", None),
            ("GET", "/v1/simulations/nope", None),
        ):
            answer = http.request(method, path, content=body, headers={"Content-Type": "application/json"})
            assert 400 <= answer.status_code < 500, (path, answer.text)
            problem = answer.json()
            assert answer.headers["content-type"] == "application/problem+json"
            assert problem["status"] == answer.status_code and problem["detail"] and problem["title"]
    assert TENANT
