"""The access log: every request a line without health data, shed ones problems, the caller's trace kept."""

import asyncio
import json
from collections.abc import Iterator

import pytest

from serve_apps import access_log
from serve_apps.access_log import RequestLog, Telemetry, route_of, trace_of

HEADERS = [(b"x-request-id", b"r-1"), (b"traceparent", b"00-" + b"ab" * 16 + b"-" + b"cd" * 8 + b"-01")]


@pytest.fixture
def telemetry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Telemetry]:
    monkeypatch.setattr(access_log, "FLUSH_SECONDS", 3600.0)
    access_log.telemetry.cache_clear()
    yield access_log.telemetry()
    access_log.telemetry.cache_clear()


def answered(app, path: str, method: str = "GET") -> list[dict]:
    sent: list[dict] = []

    async def send(message: dict) -> None:
        sent.append(message)

    async def receive() -> dict:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "path": path, "method": method, "headers": HEADERS}
    asyncio.run(RequestLog(app)(scope, receive, send))
    return sent


def saying(status: int, kind: bytes, body: bytes):
    async def app(scope, receive, send) -> None:
        assert access_log.TRACE.get() == "ab" * 16
        await send({"type": "http.response.start", "status": status, "headers": [[b"content-type", kind]]})
        await send({"type": "http.response.body", "body": body})

    return app


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/v1/members/M0000007/score", "/v1/members/{id}/score"),
        ("/v1/members/M0000007/score/history", "/v1/members/{id}/score/history"),
        ("/v1/members/M0000007/what-if", "/v1/members/{id}/what-if"),
        ("/v1/members/score", "/v1/members/{id}/score"),
        ("/v1/members/lab80/0001/score", "/v1/members/{id}/score"),
        ("/v1/members/a/score/score/history", "/v1/members/{id}/score/history"),
        ("/v1/simulations/0123456789abcdef0123456789abcdef/results", "/v1/simulations/{id}/results"),
        ("/v1/simulations", "/v1/simulations"),
        ("/v1/scores", "/v1/scores"),
        ("/v1/premiums/recommendation", "/v1/premiums/recommendation"),
        ("/M0000007", "other"),
        ("/v1/M0000007", "other"),
        ("/v1/members/Jane Doe/Jane Doe/Jane Doe", "/v1/members/{id}"),
        ("/", "other"),
    ],
)
def test_a_route_names_nobody(path: str, route: str) -> None:
    assert route_of(path) == route


def test_a_request_is_a_line_without_the_member(telemetry: Telemetry, capsysbinary: pytest.CaptureFixture) -> None:
    sent = answered(saying(200, b"application/json", b"{}"), "/v1/members/M0000007/score")
    assert (b"traceparent", b"00-" + b"ab" * 16) in [(name, value[:35]) for name, value in sent[0]["headers"]]
    telemetry.flush()
    out = capsysbinary.readouterr().out
    line = json.loads(out)
    assert b"M0000007" not in out
    assert (line["route"], line["method"], line["status"]) == ("/v1/members/{id}/score", "GET", 200)
    assert line["trace_id"] == "ab" * 16 and line["request_id"] == "r-1" and "shed" not in line
    assert telemetry.in_progress == 0


def test_what_serve_sheds_becomes_a_problem_and_what_the_application_refuses_stays(telemetry: Telemetry, capsysbinary):
    sent = answered(saying(503, b"text/plain; charset=utf-8", b"Request dropped"), "/v1/scores", "POST")
    assert (b"content-type", b"application/problem+json") in sent[0]["headers"]
    assert json.loads(sent[1]["body"])["status"] == 503
    assert (b"content-length", str(len(sent[1]["body"])).encode()) in sent[0]["headers"]
    sent = answered(saying(503, b"application/problem+json", b'{"own": 1}'), "/readyz")
    assert sent[1]["body"] == b'{"own": 1}'
    telemetry.flush()
    lines = [json.loads(line) for line in capsysbinary.readouterr().out.splitlines()]
    assert [line.get("shed", False) for line in lines] == [True, False]


def test_a_request_that_fails_is_a_500_in_the_log(telemetry: Telemetry, capsysbinary) -> None:
    async def app(scope, receive, send) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        answered(app, "/v1/scores", "POST")
    telemetry.flush()
    assert json.loads(capsysbinary.readouterr().out)["status"] == 500
    assert telemetry.in_progress == 0


@pytest.mark.parametrize(
    "given", ["", "garbage", "00-" + "0" * 32 + "-" + "1" * 16 + "-01", "00-" + "G" * 32 + "-x-01"]
)
def test_a_trace_that_is_none_is_made_anew(given: str) -> None:
    trace, parent = trace_of(given)
    assert len(trace) == 32 and set(trace) != {"0"} and parent.startswith(f"00-{trace}-")
    assert trace_of(given)[0] != trace
