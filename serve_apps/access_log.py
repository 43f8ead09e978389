"""What is known of every request: a structured access log without health data, metrics, and the trace it belongs to.

`RequestLog` is the outermost layer of a replica, outside Serve's own queue, so that it sees what is shed as well. Ray
Serve puts it there by RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH = serve_apps.access_log:layers. The event loop only
notes a request; a thread writes the lines and adds to the metrics, several times a second.

A line has the route's template and never the path, for a path names a member; no header, no body, no address. The
metrics are those of the group `serving` in `actors.metric_list`.
"""

import atexit
import json
import secrets
import sys
import threading
import time
from collections import deque
from contextvars import ContextVar
from functools import cache

import msgspec
from ray.serve.context import _get_internal_replica_context
from starlette.middleware import Middleware

from actors import metric_list as known
from actors.metrics import counter, gauge, histogram
from engine import tracing
from serve_apps.asgi import App, Message, Receive, Scope, Send
from serve_apps.problems import document

FLUSH_SECONDS = 0.25
_MOST_NOTED = 100_000
_INNER = "/-/"
_PROBLEM = b"application/problem+json"
_UNWATCHED = (b"x-request-disconnect-disabled", b"?1")
TRACE: ContextVar[str] = ContextVar("trace", default="")
"""Trace id of the request under way, 32 hexadecimal digits; "" outside one."""
_MEMBER_TAILS = ("/score/history", "/score", "/factors", "/what-if")
_KNOWN = ("/healthz", "/readyz", "/docs", "/openapi.json", "/v1/scores", "/v1/scores/bulk", "/v1/interventions")


def _refusal(path: str) -> bytes:
    return json.dumps(document(503, "too many requests are waiting: try again", path).model_dump()).encode()


class Line(msgspec.Struct, omit_defaults=True):
    """One line of the access log. `ms` is the time in the replica, `shed` whether the queue was full."""

    time: float
    route: str
    method: str
    status: int
    ms: float
    trace_id: str
    request_id: str
    replica: str
    shed: bool = False


def route_of(path: str) -> str:
    """The path without what names anyone or anything: identifiers become {id}, what is not known "other"."""
    if path in _KNOWN:
        return path
    parts = path.split("/")
    if len(parts) < 3 or parts[1] != "v1" or parts[2] not in ("members", "premiums", "simulations", "scores"):
        return "other"
    if parts[2] == "members":  # whose ids may hold slashes
        tail = next((tail for tail in _MEMBER_TAILS if path.endswith(tail)), "")
        return f"/v1/members/{{id}}{tail}" if len(parts) > 3 else "/v1/members"
    if parts[2] == "premiums":
        return "/v1/premiums/recommendation" if parts[3:] == ["recommendation"] else "/v1/premiums/{id}"
    rest = [part for part in parts[4:5] if part == "results"]
    return "/".join(["/v1", parts[2], *(["{id}"] if len(parts) > 3 else []), *rest])


def trace_of(given: str) -> tuple[str, str]:
    """Trace id and `traceparent` of a request, after W3C Trace Context: the caller's trace, or a new one."""
    parts = given.split("-")
    known = len(parts) == 4 and [len(part) for part in parts] == [2, 32, 16, 2] and parts[0] == "00"
    trace = parts[1] if known and set(parts[1]) <= set("0123456789abcdef") and set(parts[1]) != {"0"} else ""
    trace = trace or secrets.token_hex(16)
    return trace, f"00-{trace}-{secrets.token_hex(8)}-01"


class Telemetry:
    """Takes notes in the event loop, and writes them down in a thread of its own."""

    def __init__(self) -> None:
        self._lines: deque[Line] = deque()
        self._served: deque[tuple[str, float]] = deque()
        self._unrecorded = 0
        self.in_progress = 0
        self._requests = counter(known.HTTP_REQUESTS)
        self._seconds = histogram(known.HTTP_SECONDS)
        self._progress = gauge(known.HTTP_IN_PROGRESS)
        self._shed = counter(known.HTTP_SHED)
        self._lost = counter(known.HTTP_UNRECORDED)
        self._sources = counter(known.SCORES_SERVED)
        self._ages = histogram(known.SCORE_AGE)
        self._encode = msgspec.json.Encoder().encode
        context = _get_internal_replica_context()
        self.replica = "" if context is None else str(context.replica_tag)
        self._stop = threading.Event()
        threading.Thread(target=self._run, name="telemetry", daemon=True).start()
        atexit.register(self.flush)

    def note(self, line: Line) -> None:
        """A request has been answered."""
        if len(self._lines) < _MOST_NOTED:
            self._lines.append(line)
        else:
            self._unrecorded += 1

    def served(self, source: str, age_seconds: float) -> None:
        """A score has been answered."""
        if len(self._served) < _MOST_NOTED:
            self._served.append((source, age_seconds))

    def flush(self) -> None:
        """Writes down what has been noted."""
        counts: dict[tuple[str, str, int], int] = {}
        sources: dict[str, int] = {}
        out = []
        for line in [self._lines.popleft() for _ in range(len(self._lines))]:
            key = (line.route, line.method, line.status)
            counts[key] = counts.get(key, 0) + 1
            self._seconds.observe(line.ms / 1000, {"route": line.route})
            if line.shed:
                self._shed.inc()
            out.append(self._encode(line))
        for (route, method, status), count in counts.items():
            self._requests.inc(count, {"route": route, "method": method, "status": str(status)})
        for source, age in [self._served.popleft() for _ in range(len(self._served))]:
            sources[source] = sources.get(source, 0) + 1
            self._ages.observe(age, {"source": source})
        for source, count in sources.items():
            self._sources.inc(count, {"source": source})
        self._progress.set(self.in_progress, {"replica": self.replica})
        if self._unrecorded:
            self._lost.inc(self._unrecorded)
            self._unrecorded = 0
        if out:
            sys.stdout.buffer.write(b"\n".join(out) + b"\n")
            sys.stdout.buffer.flush()

    def _run(self) -> None:
        while not self._stop.wait(FLUSH_SECONDS):
            self.flush()


@cache
def telemetry() -> Telemetry:
    """This process's."""
    return Telemetry()


class RequestLog:
    """The layer around a replica's application and Serve's queue in front of it."""

    def __init__(self, app: App) -> None:
        self._app, self._telemetry = app, telemetry()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; Serve's own, such as the proxy's health checks, pass unseen."""
        if scope["type"] != "http" or scope["path"].startswith(_INNER):
            await self._app(scope, receive, send)
            return
        started, telemetry = time.perf_counter(), self._telemetry
        headers = dict(scope["headers"])
        given, route = headers.get(b"traceparent", b"").decode("latin-1"), route_of(scope["path"])
        trace, parent = trace_of(given)
        told = {"http.request.method": scope["method"], "http.route": route}
        status, shed, refusal = 500, False, b""
        if _is_brief(scope):
            scope["headers"] = [*scope["headers"], _UNWATCHED]

        async def answer(message: Message) -> None:
            nonlocal status, shed, refusal
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), (b"traceparent", parent.encode())]}
                # Serve's own refusal is plain text; what the application refuses is a problem already
                shed = status == 503 and (b"content-type", _PROBLEM) not in _pairs(message)
                if shed:
                    refusal = _refusal(scope["path"])
                    others = [pair for pair in _pairs(message) if pair[0] not in (b"content-type", b"content-length")]
                    length = str(len(refusal)).encode()
                    message["headers"] = [*others, (b"content-type", _PROBLEM), (b"content-length", length)]
            elif shed:
                message = {"type": "http.response.body", "body": refusal}
            await send(message)

        telemetry.in_progress += 1
        try:
            with tracing.span(f"{scope['method']} {route}", "server", given, told) as mine:
                trace, parent = (mine.split("-")[1], mine) if mine else (trace, parent)
                TRACE.set(trace)
                await self._app(scope, receive, answer)
                tracing.note("http.response.status_code", status)
        finally:
            telemetry.in_progress -= 1
            ms = round((time.perf_counter() - started) * 1000, 3)
            request = headers.get(b"x-request-id", b"").decode("latin-1")[:64]
            line = Line(time.time(), route, scope["method"], status, ms, trace, request, telemetry.replica, shed)
            telemetry.note(line)


def _is_brief(scope: Scope) -> bool:
    """Whether the answer takes no longer than a client's leaving does: nobody then watches for that, a task less."""
    path = scope["path"]
    return path == "/v1/scores" or (path.startswith("/v1/members/") and path.endswith("/score"))


def _pairs(message: Message) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in message["headers"]]


def layers() -> list[Middleware]:
    """What Ray Serve puts around every replica's server."""
    return [Middleware(RequestLog)]
