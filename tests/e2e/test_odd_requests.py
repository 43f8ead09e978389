"""Whatever is asked of the running service: an answer or a refusal, no 5xx, and no NaN in either.

Every operation of its OpenAPI document, with good requests of which one place is broken: in the path, the query, the
headers or the body. A sample runs here; `make fuzz` goes on with fresh examples.
"""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import VitaNexusError
from simulations.scenario import parse
from tests.e2e.conftest import RunningStack
from tests.e2e.test_http import PREMIUM, RECORD
from tests.fuzz.broken import ODD, changed

BODIES: Mapping[str, object] = {
    "/v1/scores": RECORD,
    "/v1/scores/bulk": RECORD,
    "/v1/members/{member_id}/what-if": {
        "general_health": 5,
        "conditions": {"stroke": True},
        "labs": {"hba1c": 9.1},
        "wearables": {"steps": {"mean": 4000, "days": 20}},
        "care": {"inpatient": {"cost": 100.0, "count": 1}},
    },
    "/v1/premiums/recommendation": PREMIUM
    | {"cohort_id": "c", "line_of_business": "individual", "members": 100, "changes_last_12_months": ["0.04"]},
    "/v1/simulations": {
        "kind": "ibnr",
        "paths": 100,
        "seed": 1,
        "triangle": {"origins": [2020, 2021], "cumulative": [[10, 12], [11]]},
    },
}
"""A good body of each operation that takes one."""
LINES = "application/x-ndjson"
KNOWN = ("M0000007", "0" * 32, "1", "health_coaching")
OPERATIONS = ("get", "post", "put", "patch", "delete")


def _texts() -> st.SearchStrategy[str]:
    return st.one_of(st.sampled_from(KNOWN), st.sampled_from(ODD), st.text(max_size=12))


def _header(value: str) -> str:
    """What can travel in a header."""
    return quote(value, safe=" ,;=\"'*/+") or "x"


@st.composite
def requests(draw: st.DrawFn, path: str, method: str, operation: Mapping[str, Any]) -> dict[str, Any]:
    """A request of the operation, broken in some places."""
    made: dict[str, Any] = {"method": method.upper(), "url": path, "params": {}, "headers": {}}
    for each in operation.get("parameters", ()):
        name, where = each["name"], each["in"]
        if where == "path":
            made["url"] = made["url"].replace(f"{{{name}}}", quote(draw(_texts()) or "x", safe=""))
        elif draw(st.booleans()):
            made["params" if where == "query" else "headers"][name] = (
                draw(_texts()) if where == "query" else _header(draw(_texts()))
            )
    if "requestBody" not in operation:
        return made
    made["headers"]["content-type"] = LINES if path.endswith("/bulk") else "application/json"
    good = BODIES[path]
    if draw(st.integers(0, 9)) == 0:
        made["content"] = draw(st.binary(max_size=60))
    elif path.endswith("/bulk"):
        made["content"] = "\n".join(json.dumps(draw(changed(good))) for _ in range(draw(st.integers(1, 3))))
    else:
        made["content"] = json.dumps(draw(changed(good)))
    return made


def _runs(content: str | bytes) -> bool:
    """Whether a scenario can be run: those that can would each take the machine; tests/e2e/test_jobs.py has them."""
    try:
        parse(json.loads(content))
    except (VitaNexusError, ValueError):
        return False
    return True


def _no_number(word: str) -> None:
    raise AssertionError(f"{word} in an answer")


def answered(http: httpx2.Client, made: dict[str, Any]) -> httpx2.Response:
    """The answer, which is no 5xx and whose documents hold no NaN; a refusal is a problem document."""
    answer = http.request(**made)
    assert answer.status_code < 500 or "/readyz" in made["url"], f"{made}: {answer.status_code} {answer.text}"
    kind = answer.headers.get("content-type", "")
    lines = answer.text.splitlines() if kind.startswith(LINES) else [answer.text] if "json" in kind else []
    found = [json.loads(line, parse_constant=_no_number) for line in lines if line]
    if answer.status_code >= 400:
        assert kind.startswith("application/problem+json"), f"{made}: {answer.status_code} {kind}"
        assert found[0]["status"] == answer.status_code and found[0]["title"]
    return answer


def test_odd_requests_are_answered_or_refused(stack: RunningStack) -> None:
    document = stack.http.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if method not in OPERATIONS:
                continue
            assert "requestBody" not in operation or path in BODIES, f"{path} takes a body: name a good one in BODIES"

            @settings(
                max_examples=max(8, settings().max_examples // 10), deadline=None, suppress_health_check=[*HealthCheck]
            )
            @given(made=requests(path, method, operation))
            def ask(made: dict[str, Any]) -> None:
                if made["url"] != "/v1/simulations" or made["method"] != "POST" or not _runs(made["content"]):
                    answered(stack.http, made)

            ask()


@pytest.mark.parametrize("path", [path for path in BODIES if path != "/v1/simulations"])
def test_the_good_requests_are_taken(stack: RunningStack, path: str) -> None:
    headers = {"content-type": LINES if path.endswith("/bulk") else "application/json"}
    url = path.replace("{member_id}", "M0000007")
    answer = answered(
        stack.http, {"method": "POST", "url": url, "content": json.dumps(BODIES[path]), "headers": headers}
    )
    assert answer.status_code == 200 or (answer.status_code == 404 and "what-if" in path), answer.text
