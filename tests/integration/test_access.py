"""Who may do what: roles by resources, tenants, and one test for each of the OWASP API Security Top 10 (2023)."""

import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import httpx2
import jwt
import pytest

from engine.errors import SettingsError
from engine.storage.queries import Queries
from engine.storage.runs import Runs
from serve_apps.access.caller import OPS, PREMIUM_READ, SCOPES, SCORE_READ, SCORE_WRITE, SIMULATION_RUN
from serve_apps.access.plan import AccessPlan, check_reach
from serve_apps.access.policy import PUBLIC_PATHS, rule_of
from tests.service import OURS, TENANT, THEIRS, Issuer, Service, served
from tests.waiting import PATIENCE

RECORD = {"birth_date": "1961-05-04", "sex": "female", "conditions": ["diabetes"], "general_health": 4}
PREMIUM = {
    "cohort_id": "planned",
    "members": 500,
    "line_of_business": "small_group",
    "base_premium": "512.40",
    "health_improvement_factor": "0.03",
    "utilisation_factor": "0.015",
    "regional_cost_index": "1.02",
    "effective_date": "2027-01-01",
}
TRIANGLE = {"kind": "ibnr", "seed": 1, "paths": 1000, "triangle": [[100, 150, 160], [110, 170], [120]]}
ROLES = {
    "nobody": [],
    "care app": [SCORE_READ],
    "scoring app": [SCORE_WRITE],
    "underwriter": [PREMIUM_READ],
    "actuary": [SIMULATION_RUN],
    "operator": [OPS],
    "all": list(SCOPES),
}
RESOURCES: dict[str, tuple[str, str, Any, str, int]] = {
    "score": ("GET", f"/v1/members/{OURS}/score", None, SCORE_READ, 200),
    "history": ("GET", f"/v1/members/{OURS}/score/history", None, SCORE_READ, 200),
    "factors": ("GET", f"/v1/members/{OURS}/factors", None, SCORE_READ, 200),
    "what-if": ("POST", f"/v1/members/{OURS}/what-if", {"general_health": 1}, SCORE_READ, 200),
    "interventions": ("GET", "/v1/interventions", None, SCORE_READ, 200),
    "record": ("POST", "/v1/scores", RECORD, SCORE_WRITE, 200),
    "records": ("POST", "/v1/scores/bulk", RECORD, SCORE_WRITE, 200),
    "premium": ("POST", "/v1/premiums/recommendation", PREMIUM, PREMIUM_READ, 200),
    "recommendations": ("GET", "/v1/premiums/recommendations", None, PREMIUM_READ, 200),
    "runs": ("GET", "/v1/simulations", None, SIMULATION_RUN, 200),
    "submit": ("POST", "/v1/simulations", TRIANGLE, SIMULATION_RUN, 503),  # no Ray behind this application
    "unknown area": ("GET", "/v1/secrets", None, OPS, 404),
    "metrics": ("GET", "/metrics", None, OPS, 404),
}


@pytest.mark.parametrize("resource", RESOURCES)
@pytest.mark.parametrize("role", ROLES)
def test_a_role_reaches_its_resources_and_no_others(service: Service, role: str, resource: str) -> None:
    method, path, body, scope, good = RESOURCES[resource]
    with service.client(scope=" ".join(ROLES[role])) as http:
        answer = http.request(method, path, json=body)
    if scope in ROLES[role]:
        assert answer.status_code == good, answer.text
    else:
        assert answer.status_code == 403, answer.text
        assert f'error="insufficient_scope", scope="{scope}"' in answer.headers["www-authenticate"]
        assert answer.headers["content-type"] == "application/problem+json"


MEMBER_PATHS = {
    "score": ("GET", "score", None),
    "history": ("GET", "score/history", None),
    "factors": ("GET", "factors", None),
    "what-if": ("POST", "what-if", {"general_health": 1}),
}


@pytest.mark.parametrize("path", MEMBER_PATHS)
@pytest.mark.parametrize(
    ("tenant", "member", "good"),
    [
        (TENANT, OURS, True),
        (TENANT, THEIRS, False),
        ("default", THEIRS, True),
        ("default", OURS, False),
        (None, THEIRS, True),
        (None, OURS, False),
        ("stranger", OURS, False),
        ("Acme", OURS, False),
    ],
)
def test_an_application_sees_members_of_its_own_tenant(
    service: Service, path: str, tenant: str | None, member: str, good: bool
) -> None:
    method, end, body = MEMBER_PATHS[path]
    with service.client(tenant=tenant) as http:
        answer = http.request(method, f"/v1/members/{member}/{end}", json=body)
        nobody = http.request(method, f"/v1/members/M9999999/{end}", json=body)
    assert answer.status_code == (200 if good else 404), answer.text
    assert nobody.status_code == 404
    if not good:  # told apart by nothing but the name
        ours, theirs = (json.loads(a.text.replace(m, "X")) for a, m in ((answer, member), (nobody, "M9999999")))
        assert ours == theirs
        assert answer.headers.keys() == nobody.headers.keys()


def test_api1_object_level_authorization(service: Service, queries: Queries) -> None:
    with service.client(tenant="default") as http:
        made = http.post("/v1/premiums/recommendation", json=PREMIUM).json()["recommendation_id"]
        assert http.get(f"/v1/premiums/recommendations/{made}").status_code == 200
    run_id = uuid.uuid4().hex
    runs = Runs(service.database, pool_size=1)
    runs.queue(run_id, TRIANGLE, "test", "default")
    runs.close()
    with service.client() as http:
        assert http.get(f"/v1/premiums/recommendations/{made}").status_code == 404
        listed = http.get("/v1/premiums/recommendations", params={"limit": 100}).json()["recommendations"]
        assert made not in [each["recommendation_id"] for each in listed]
        for method, path in (("GET", ""), ("GET", "/results"), ("DELETE", "")):
            assert http.request(method, f"/v1/simulations/{run_id}{path}").status_code == 404
        assert run_id not in [run["run_id"] for run in http.get("/v1/simulations").json()["runs"]]
    denied = service.audited(member_id=THEIRS, outcome="denied")
    with service.client(sub="snoop") as http:
        http.get(f"/v1/members/{THEIRS}/score")
    after = service.audited(member_id=THEIRS, outcome="denied")
    assert len(after) == len(denied) + 1 and after[-1]["actor"] == "snoop"


def test_api1_a_cohort_counts_the_tenants_own_members(service: Service, queries: Queries) -> None:
    cohort, line, _ = queries.cohorts()[0]
    counts = {tenant: queries.cohort(cohort, tenant)[0] for tenant in (TENANT, "default")}
    assert all(counts.values()) and counts[TENANT] != counts[TENANT] + counts["default"]
    ask = {**PREMIUM, "cohort_id": cohort, "line_of_business": line, "members": None}
    for tenant, count in counts.items():
        with service.client(tenant=tenant) as http:
            answer = http.post("/v1/premiums/recommendation", json=ask)
        assert answer.status_code == (200 if count >= 11 else 422)
        assert f"{count} members" in answer.text or answer.json()["members"] == count
    with service.client(tenant="stranger") as http:
        assert http.post("/v1/premiums/recommendation", json=ask).status_code == 404


def test_api2_authentication(service: Service, make_args: Callable[..., Any], issuer: Issuer) -> None:
    """Guesses are counted by address; tests/integration/test_tokens.py has the attacks on tokens."""
    args = make_args(requests_per_minute=20)
    with served(args) as url, httpx2.Client(base_url=url) as http:
        codes = [http.get("/v1/interventions", headers={"Authorization": f"Bearer a.b.{i}"}) for i in range(30)]
        assert [answer.status_code for answer in codes] == [401] * 20 + [429] * 10
        good = http.get("/v1/interventions", headers={"Authorization": f"Bearer {issuer.token()}"})
        assert good.status_code == 200, "guesses of others do not lock a user out"


def test_api3_object_property_level_authorization(service: Service) -> None:
    with service.client() as http:
        score = http.get(f"/v1/members/{OURS}/score").json()
        assert not {"tenant_id", "partition", "seq", "birth_date", "policy_id"} & score.keys()
        for path, body in (
            ("/v1/premiums/recommendation", PREMIUM | {"tenant_id": "default"}),
            ("/v1/premiums/recommendation", PREMIUM | {"recommended_premium": "1.00"}),
            ("/v1/scores", RECORD | {"score": 1}),
            (f"/v1/members/{OURS}/what-if", {"general_health": 1, "tenant_id": "default"}),
        ):
            assert http.post(path, json=body).status_code == 422


def test_api4_resource_consumption(service: Service, make_args: Callable[..., Any], issuer: Issuer) -> None:
    args = make_args(requests_per_minute=5, body_bytes=2000, bulk_body_bytes=4000)
    with served(args) as url:
        limited = Service(url, issuer, args.postgres_url, args)
        with limited.client(sub="greedy") as http:
            answers = [http.get("/v1/interventions") for _ in range(7)]
            assert [a.status_code for a in answers] == [200] * 5 + [429] * 2
            assert answers[0].headers["ratelimit-policy"] == '"user";q=5;w=60'
            assert answers[0].headers["ratelimit"].startswith('"user";r=4;t=')
            assert answers[6].headers["ratelimit"].startswith('"user";r=0;t=')
            assert 1 <= int(answers[6].headers["retry-after"]) <= 60
            assert answers[6].headers["content-type"] == "application/problem+json"
        with limited.client(sub="modest") as http:
            assert http.get("/v1/interventions").status_code == 200
            big = http.post("/v1/premiums/recommendation", content=b"x" * 2001)
            assert big.status_code == 413 and big.headers["content-type"] == "application/problem+json"
            pieces = http.post("/v1/premiums/recommendation", content=(b"y" * 500 for _ in range(10)))
            assert pieces.status_code == 413, "a body of unannounced length is counted as it comes"
            assert http.post("/v1/scores", content=b"x" * 2001).status_code == 413
            bulk = http.post("/v1/scores/bulk", content=b"x" * 3000)
            assert bulk.status_code != 413
            bulk = http.post("/v1/scores/bulk", content=(b"z" * 1000 for _ in range(10)))
            assert bulk.status_code == 413
    with service.client() as http:
        assert http.get(f"/v1/members/{OURS}/score/history", params={"limit": 10**9}).status_code == 422
        huge = TRIANGLE | {"paths": 10**12}
        assert http.post("/v1/simulations", json=huge).status_code == 422


def test_api4_open_simulations_are_bounded(service: Service) -> None:
    runs = Runs(service.database, pool_size=1)
    for _ in range(20):
        runs.queue(uuid.uuid4().hex, TRIANGLE, "test", "busy")
    runs.close()
    with service.client(tenant="busy") as http:
        answer = http.post("/v1/simulations", json=TRIANGLE)
        assert answer.status_code == 429 and answer.headers["retry-after"]


def test_api5_function_level_authorization(service: Service) -> None:
    with service.client(scope=SCORE_READ) as http:
        assert http.delete(f"/v1/simulations/{uuid.uuid4().hex}").status_code == 403
        for method in ("PUT", "PATCH", "DELETE", "POST"):
            assert http.request(method, f"/v1/members/{OURS}/score").status_code == 405
        for path in ("/V1/members/x/score", "/v1//members/x/score", "/v1/scores/../members/x", "//v1/members/x/score"):
            assert http.get(path).status_code in (403, 404)
    assert rule_of("/v1/anything-new").scope == OPS


def test_api6_sensitive_business_flows(service: Service) -> None:
    """A premium never follows a person, however it is asked for; a repeated write is done once."""
    with service.client() as http:
        for field in ("member_id", "health_score", "family_history", "diagnoses"):
            answer = http.post("/v1/premiums/recommendation", json=PREMIUM | {field: "x"})
            assert answer.status_code == 422 and "CFR" in answer.json()["citation"]
        key = {"Idempotency-Key": uuid.uuid4().hex}
        first = http.post("/v1/premiums/recommendation", json=PREMIUM, headers=key)
        again = http.post("/v1/premiums/recommendation", json=PREMIUM, headers=key)
        assert first.json()["recommendation_id"] == again.json()["recommendation_id"]


def test_api7_server_side_request_forgery(service: Service) -> None:
    with service.client() as http:
        for portfolio in (
            "http://169.254.169.254/latest/meta-data",
            "file:///etc/passwd",
            "/etc/passwd",
            {"view": "members"},
            {"view": "MEMBERS"},
            {"view": "readings_2025_01"},
            {"view": "pg_catalog.pg_authid"},
            {"view": "other.portfolio"},
            {"view": "public.portfolio"},
        ):
            body = {
                "kind": "reserve",
                "seed": 1,
                "portfolio": portfolio,
                "categories": [
                    {
                        "name": "a",
                        "frequency": {"distribution": "poisson", "rate": 1.0},
                        "severity": {"distribution": "lognormal", "mu": 9.1, "sigma": 1.1},
                    }
                ],
            }
            answer = http.post("/v1/simulations", json=body)
            assert answer.status_code == 422, (portfolio, answer.text)
        own = body | {"portfolio": {"view": f"{TENANT}.portfolio"}}
        assert http.post("/v1/simulations", json=own).status_code == 503  # checked; only Ray is missing
    with pytest.raises(SettingsError, match="https"):
        AccessPlan(jwks="http://keys.example.org/jwks.json", issuer="i", audience="a")


def test_api8_misconfiguration(service: Service, make_args: Callable[..., Any], issuer: Issuer) -> None:
    hardened = {
        "x-content-type-options": "nosniff",
        "cache-control": "no-store",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
        "referrer-policy": "no-referrer",
        "x-frame-options": "DENY",
    }
    with service.client() as http:
        answers = [
            http.post("/v1/scores", json=RECORD),
            http.get("/v1/nothing"),
            http.get("/healthz"),
            http.post("/v1/scores", content=b"{"),
            service.bare().get("/v1/interventions"),
        ]
        for answer in answers:
            assert {name: answer.headers[name] for name in hardened} == hardened
        cross = http.get("/v1/interventions", headers={"Origin": "https://evil.example"})
        assert not [name for name in cross.headers if name.startswith("access-control")]
        preflight = {"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"}
        assert http.options("/v1/interventions", headers=preflight).status_code == 405
    ready = service.bare().get("/readyz")
    assert ready.status_code == 503 and all(part["detail"] == "" for part in ready.json()["parts"].values())
    with service.client() as http:
        assert http.get("/readyz").json()["parts"]["kafka"]["detail"], "operators are told why"
    args = make_args(cors_origins=("https://app.example",))
    with served(args) as url, httpx2.Client(base_url=url) as http:
        for origin, allowed in (("https://app.example", "https://app.example"), ("https://evil.example", None)):
            answer = http.options("/v1/interventions", headers=preflight | {"Origin": origin})
            assert answer.headers.get("access-control-allow-origin") == allowed


def test_api8_without_authentication_only_loopback_is_served(make_args: Callable[..., Any]) -> None:
    open_plan = AccessPlan()
    for host in ("0.0.0.0", "::", "10.1.2.3", "api.example.org"):
        with pytest.raises(SettingsError, match="only loopback"):
            check_reach(host, open_plan)
        check_reach(host, AccessPlan(jwks="https://issuer.test/jwks", issuer="i", audience="a"))
    check_reach("127.0.0.1", open_plan)
    args = make_args(jwks="", issuer="", audience="")
    with served(args) as url, httpx2.Client(base_url=url) as http:
        assert http.get(f"/v1/members/{THEIRS}/score").status_code == 200
        assert http.get(f"/v1/members/{OURS}/score").status_code == 404, "it acts for the default tenant"
        rebound = http.get(f"/v1/members/{THEIRS}/score", headers={"Host": "evil.example"})
        assert rebound.status_code == 403 and "loopback" in rebound.json()["detail"]


def test_api9_inventory(service: Service) -> None:
    """Every path that is served is in the document with the scope it asks for, and nothing else is public."""
    with service.bare() as http:
        document = http.get("/openapi.json").json()
        for path, operations in document["paths"].items():
            scope = rule_of(path).scope
            assert (scope == "") == (path in PUBLIC_PATHS), path
            for operation in operations.values():
                assert bool(operation["security"]) == bool(scope)
                assert not scope or f"Scope: `{scope}`" in operation["description"]
        for path in ("/", "/debug", "/admin", "/v2/members/x/score", "/v1", "/metrics", "/-/routes"):
            assert http.get(path).status_code == 401, path


def test_api10_unsafe_consumption_of_other_apis(make_args: Callable[..., Any], tmp_path: Any, issuer: Issuer) -> None:
    """What the issuer's key server answers is judged: garbage leaves the last good set in force."""
    copy = tmp_path / "jwks.json"
    args = make_args(jwks=str(copy), keys_seconds=1.0)
    with served(args) as url:
        service = Service(url, issuer, args.postgres_url, args)
        with service.client() as http:
            early = http.get("/v1/interventions")
            assert early.status_code == 503 and early.headers["retry-after"]
        copy.write_bytes(issuer.jwks.read_bytes())
        deadline = time.monotonic() + PATIENCE
        with service.client() as http:
            while http.get("/v1/interventions").status_code != 200:
                assert time.monotonic() < deadline, "the keys were never read"
                time.sleep(0.5)
            for garbage in (b"", b"<html>", b'{"keys": []}', b'{"keys": [{"kty": "oct", "kid": "ec-1", "k": "AAAA"}]}'):
                copy.write_bytes(garbage)
                time.sleep(1.2)
                assert http.get("/v1/interventions").status_code == 200, garbage
            forged = jwt.encode(issuer.claims(), "AAAA" * 8, "HS256", headers={"kid": "ec-1"})
        with service.client(forged) as http:
            assert http.get("/v1/interventions").status_code == 401


def test_replicas_share_one_limit_through_redis_and_go_on_without_it(
    redis_url: str, make_args: Callable[..., Any], issuer: Issuer
) -> None:
    import redis

    plans = [make_args(requests_per_minute=10, redis_url=redis_url) for _ in range(2)]
    with served(plans[0]) as one, served(plans[1]) as other:
        replicas = [Service(url, issuer, plans[0].postgres_url, plans[0]) for url in (one, other)]
        codes = []
        for i in range(16):
            with replicas[i % 2].client(sub="shared") as http:
                codes.append(http.get("/v1/interventions").status_code)
        assert codes == [200] * 10 + [429] * 6
        alone = make_args(requests_per_minute=10)
        assert alone.access.redis_url == ""
        with redis.Redis.from_url(redis_url) as client:
            client.execute_command("CLIENT", "PAUSE", "4000", "ALL")  # it takes connections and answers nobody
        with replicas[0].client(sub="shared") as http:
            assert http.get("/v1/interventions").status_code == 200, "its own count begins anew"


def test_redis_addresses_are_checked() -> None:
    from serve_apps.access.limits import RequestLimiter

    with pytest.raises(SettingsError, match=r"VITANEXUS_LIMITS_REDIS_URL is 'example\.org'"):
        RequestLimiter(10, "http://user:secret@example.org")
