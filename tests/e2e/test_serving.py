"""The road under the endpoints: what it loads and binds, overload, a replica killed, a rolling update, memory."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.e2e.conftest import RunningStack
from tests.e2e.pressure import Seen, post, press
from tests.waiting import PATIENCE

RECORD = {
    "birth_date": "1961-05-04",
    "sex": "female",
    "as_of": "2026-01-15T08:30:00Z",
    "care": {"inpatient": {"cost": 18250.0, "count": 1}, "office": {"cost": 2100.5, "count": 9}},
    "conditions": ["diabetes", "hypertension"],
    "general_health": 4,
}
BODY = json.dumps(RECORD).encode()
LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")
ASK = post("/v1/scores", BODY)


def named(stack: RunningStack, name: str) -> list[psutil.Process]:
    """Processes of the stack with this in their command line."""
    found = []
    for process in stack.supervisor.children(recursive=True):
        try:
            if name in " ".join(process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def replicas(stack: RunningStack) -> list[psutil.Process]:
    return named(stack, "ServeReplica:vitanexus:Gateway")


def haproxy(stack: RunningStack) -> list[psutil.Process]:
    return [process for process in named(stack, "haproxy") if process.name() == "haproxy"]


@pytest.fixture(scope="module")
def expected(stack: RunningStack) -> Iterator[bytes]:
    """The answer to ASK: every one must be it, to the byte."""
    answer = stack.http.post("/v1/scores", content=BODY, headers={"content-type": "application/json"})
    assert answer.status_code == 200, answer.text
    yield answer.content


def test_a_replica_loads_no_training_library(stack: RunningStack) -> None:
    (replica,) = replicas(stack)
    mapped = Path(f"/proc/{replica.pid}/maps").read_text()
    assert "numba" in mapped
    for library in ("xgboost", "tensorflow", "sklearn"):
        assert f"site-packages/{library}" not in mapped, library


def test_what_takes_requests_listens_on_loopback(stack: RunningStack) -> None:
    assert haproxy(stack), "no HAProxy runs"
    open_to_all: dict[str, list[str]] = {}
    for process in [*haproxy(stack), *replicas(stack), *stack.shards()]:
        for connection in process.net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.ip not in LOOPBACK:
                open_to_all.setdefault(process.name(), []).append(str(connection.laddr.port))
    assert "haproxy" not in open_to_all
    # Ray's own server of every worker, which asks for the cluster's token, is the one that is left
    assert all(len(set(ports)) == 1 for name, ports in open_to_all.items() if "Serve" in name), open_to_all


def test_overload_is_shed_and_passes(stack: RunningStack, expected: bytes, record_property) -> None:
    """Requests that cost the service far more than this test: more come at once than it can answer within the wait."""
    bulk = b"\n".join([BODY] * 1000)
    heavy, kind = post("/v1/scores/bulk", bulk, "application/x-ndjson"), {"content-type": "application/x-ndjson"}
    answer = stack.http.post("/v1/scores/bulk", content=bulk, headers=kind)
    assert answer.status_code == 200, answer.text[:500]
    many = press(stack.endpoints.http, heavy, answer.content, 400, 4.0)
    record_property("overload", f"{many.statuses}, failed {len(many.failed)}, served: {many.quantiles(200)}")
    assert set(many.statuses) == {200, 503} and not many.wrong and not many.failed, (many.statuses, many.failed[:3])
    for headers, body in many.refusals:
        assert headers["retry-after"] == "1" and headers["content-type"] == "application/problem+json"
        assert json.loads(body)["status"] == 503
    after = press(stack.endpoints.http, ASK, expected, 1, 1.0)
    record_property("after overload", f"{after.statuses}, {after.quantiles(200)}")
    assert set(after.statuses) == {200} and not after.failed and not after.wrong


def under_load(stack: RunningStack, expected: bytes, seconds: float, action) -> Seen:
    """What a load saw while something was done to the application."""
    found: list[Seen] = []
    load = threading.Thread(
        target=lambda: found.append(press(stack.endpoints.http, ASK, expected, 8, seconds)), daemon=True
    )
    load.start()
    time.sleep(1.0)
    action()
    load.join()
    return found[0]


def test_a_rolling_update_fails_no_request(stack: RunningStack, expected: bytes, record_property) -> None:
    before = {process.pid for process in replicas(stack)}
    script = """
import sys
from pathlib import Path
import ray
from cluster.deployment import run_endpoints
from cluster.stack.state import StateDir
from engine.settings import load_rules, load_settings
directory = Path(sys.argv[1])
endpoints = StateDir(directory).read().endpoints
ray.init(address=endpoints.ray, namespace="vitanexus", log_to_driver=False, logging_level="ERROR")
run_endpoints(load_settings(), load_rules(), endpoints, directory)
"""
    environment = os.environ | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(stack.directory / "ray.auth"),
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    }

    def redeploy() -> None:
        words = [sys.executable, "-c", script, str(stack.directory)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=240, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        deadline = time.monotonic() + PATIENCE
        while {process.pid for process in replicas(stack)} & before:
            assert time.monotonic() < deadline, "the old replica stays"
            time.sleep(0.2)

    stop = threading.Event()
    seen: list[Seen] = []

    def load() -> None:
        while not stop.is_set():
            seen.append(press(stack.endpoints.http, ASK, expected, 8, 2.0))

    thread = threading.Thread(target=load, daemon=True)
    thread.start()
    try:
        redeploy()
    finally:
        stop.set()
        thread.join()
    answered = sum(each.count(200) for each in seen)
    record_property("rolling update", f"{answered} answered, failed {sum(len(each.failed) for each in seen)}")
    assert answered > 100 and not any(each.wrong for each in seen)
    assert not [each.failed for each in seen if each.failed]
    assert all(set(each.statuses) == {200} for each in seen)


def test_a_killed_replica_is_replaced_and_no_answer_is_wrong(
    stack: RunningStack, expected: bytes, record_property
) -> None:
    (victim,) = replicas(stack)
    seen = under_load(stack, expected, 6.0, lambda: victim.send_signal(signal.SIGKILL))
    record_property("killed", f"{seen.statuses}, without an answer {len(seen.failed)}")
    assert seen.count(200) > 0 and not seen.wrong
    deadline = time.monotonic() + PATIENCE
    while True:
        after = press(stack.endpoints.http, ASK, expected, 1, 0.5)
        if set(after.statuses) == {200} and not after.failed:
            break
        assert time.monotonic() < deadline, (after.statuses, after.failed[:3])
    assert victim.pid not in {process.pid for process in replicas(stack)}


def _memory(stack: RunningStack) -> dict[str, int]:
    parts = {
        "replica": replicas(stack),
        "haproxy": haproxy(stack),
        "controller": named(stack, "ServeController"),
        "manager": named(stack, "HAProxyManager"),
    }
    assert all(parts.values()), parts
    return {name: sum(process.memory_info().rss for process in found) for name, found in parts.items()}


def _soak(stack: RunningStack, expected: bytes, rounds: int, seconds: float, record_property) -> None:
    press(stack.endpoints.http, ASK, expected, 16, seconds)  # pools, caches and buffers fill
    before, answered = _memory(stack), 0
    for _ in range(rounds):
        seen = press(stack.endpoints.http, ASK, expected, 16, seconds)
        assert set(seen.statuses) == {200} and not seen.wrong and not seen.failed
        answered += seen.count(200)
    after = _memory(stack)
    grown = {name: (after[name] - before[name]) / 1e6 for name in before}
    record_property("grown", f"{answered} answered, MB {grown}")
    assert all(more < 8 for more in grown.values()), (answered, grown)


def test_memory_stays_flat(stack: RunningStack, expected: bytes, record_property) -> None:
    _soak(stack, expected, 2, 5.0, record_property)


@pytest.mark.slow
def test_memory_stays_flat_for_minutes(stack: RunningStack, expected: bytes, record_property) -> None:
    _soak(stack, expected, 20, 30.0, record_property)


def test_the_access_log_names_no_member_and_the_metrics_count(stack: RunningStack) -> None:
    assert stack.http.get("/v1/members/M7654321/score").status_code == 404
    answer = stack.http.get("/v1/members/M7654321/score", headers={"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"})
    assert answer.headers["traceparent"].startswith(f"00-{'ab' * 16}-")
    (replica,) = replicas(stack)
    deadline, said = time.monotonic() + PATIENCE, ""
    while '"trace_id":"' + "ab" * 16 not in said:
        assert time.monotonic() < deadline, "the request is not in the access log"
        time.sleep(0.2)
        said = "".join(Path(found.path).read_text() for found in replica.open_files() if found.path.endswith(".out"))
    assert '"route":"/v1/members/{id}/score"' in said and "M7654321" not in said
    session = Path(f"/proc/{replica.pid}/fd/1").readlink().parent
    served = [path for path in session.rglob("*") if path.is_file() and "Gateway" in path.name]
    assert not [path for path in served if "M7654321" in path.read_text(errors="replace")]
