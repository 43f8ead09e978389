"""`make bench-serving`: POST /v1/scores and GET score of the whole stack, beside the same model behind other servers.

One server at a time, load by wrk (apt package `wrk`) over connections that stay open. Bare uvicorn runs all the while
and is measured beside each, a moment after: these machines are shared, and only the ratio to it says anything. Ours is
measured as `vitanexus up` starts it, at its HAProxy: one replica, with everything the peers have not, bearer tokens,
limits and the audit of reads among it. Writes benchmarks/results/serving-<date>.md.
"""

import contextlib
import datetime as dt
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import psutil
import typer

from benchmarks import machine
from benchmarks.scoring import crowd, days
from benchmarks.serving_peers import PATH, PEERS
from cluster.local_tokens import JWKS_FILE
from cluster.stack import ray_environment, serving_environment
from cluster.stack.process import free_port
from engine.learning import registry
from engine.scoring.health_score import HealthScorer
from engine.scoring.record import HealthRecord, score_record, score_records
from engine.scoring.steps_forecast import DailySeries
from engine.settings import load_rules

RESULTS = Path(__file__).parent / "results"
OURS, BARE = "VitaNexus", next(iter(PEERS))
_CONNECTIONS = (1, 16)
MEMBERS = 300
BULK = 10_000
RECORD = {
    "birth_date": "1961-05-04",
    "sex": "female",
    "care": {"inpatient": {"cost": 18250.0, "count": 1}, "office": {"cost": 2100.5, "count": 9}},
    "conditions": ["diabetes", "hypertension"],
    "general_health": 4,
    "vitals": {"spo2": 97, "heart_rate": 72},
}
_FIRST_SECONDS = 180.0
_JSON = {"content-type": "application/json"}
_REQUESTS_PER_MINUTE = 1_000_000_000
Headers = dict[str, str]


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk saw: requests a second, latencies in milliseconds."""

    rate: float
    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class Compared:
    """A server's loads over 1 and 16 connections, bare uvicorn's a moment after, and the server's MB."""

    loads: list[Load]
    bare: list[Load]
    megabytes: float


def _milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}[unit]


def wrk(url: str, script: str, connections: int, seconds: int) -> Load:
    """One load. Raises RuntimeError where an answer was not 2xx or a connection failed."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        words = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", file.name, url]
        said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(f"{url}: {said}")
    share = {percent: _milliseconds(text) for percent, text in re.findall(r"\s(50|99)%\s+(\S+)", said)}
    return Load(float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1]), share["50"], share["99"])  # type: ignore[index]


def posting(body: object, headers: Headers) -> str:
    """A wrk script that posts the body."""
    return f"wrk.method = 'POST'\nwrk.body = [[{json.dumps(body)}]]\n{_headed(headers)}"


def _headed(headers: Headers) -> str:
    return "".join(f"wrk.headers['{name}'] = '{value}'\n" for name, value in headers.items())


_GETTING = f"""
local i = 0
request = function()
  i = i % {MEMBERS} + 1
  return wrk.format("GET", string.format("/v1/members/M%07d/score", i))
end
"""


def _wait(url: str, body: object, headers: Headers, process: subprocess.Popen[bytes] | None = None) -> None:
    deadline = time.monotonic() + _FIRST_SECONDS
    while True:
        try:
            asked = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310 - loopback
            with urllib.request.urlopen(asked, timeout=10) as answer:  # noqa: S310
                assert json.loads(answer.read())["category"]
                return
        except OSError as error:
            if time.monotonic() > deadline or (process is not None and process.poll() is not None):
                raise RuntimeError(f"{url} does not answer: {error}") from error
            time.sleep(0.3)


def memory(process: psutil.Process) -> float:
    """MB of a process and all below it, shared pages counted once (PSS)."""
    total = 0
    for each in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            total += each.memory_full_info().pss
    return total / 1e6


@contextlib.contextmanager
def peer(name: str) -> Iterator[tuple[str, object, psutil.Process]]:
    """A peer that answers: its address, the body it takes, its process."""
    port = free_port()
    with tempfile.TemporaryFile() as log:
        words = [sys.executable, "-m", "benchmarks.serving_peers", name, str(port)]
        process = subprocess.Popen(words, stdout=log, stderr=log)
        family = [psutil.Process(process.pid)]
        try:
            body: object = {"request": RECORD} if name == "BentoML" else RECORD
            try:
                _wait(f"http://127.0.0.1:{port}{PATH}", body, _JSON, process)
            except RuntimeError as error:
                log.seek(0)
                raise RuntimeError(f"{name}: {error}; it says: {log.read()[-2000:].decode()}") from error
            family += family[0].children(recursive=True)
            yield f"http://127.0.0.1:{port}", body, family[0]
        finally:
            process.terminate()
            _, alive = psutil.wait_procs(family, timeout=15)
            for each in alive:
                each.kill()
            process.wait()


def token(folder: Path) -> str:
    """A bearer token from a key in `folder`; the stack that starts next asks for such."""
    words = [sys.executable, "-m", "cluster.cli", "token", "--dir", str(folder)]
    said = subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
    os.environ["VITANEXUS_AUTH_JWKS"] = str(folder / JWKS_FILE)
    os.environ["VITANEXUS_LIMITS_REQUESTS_PER_MINUTE"] = str(_REQUESTS_PER_MINUTE)  # counted, and never reached
    return said


@contextlib.contextmanager
def ours(folder: Path) -> Iterator[tuple[str, Headers, psutil.Process]]:
    """The whole stack with a few members: its address, the headers it wants, its process."""
    headers = {"authorization": f"Bearer {token(folder)}", **_JSON}
    ray_environment.prepare(folder)
    serving_environment.prepare(folder)
    from cluster.bootstrap import stack
    from engine.domain.population import Population
    from engine.interop import synthetic
    from engine.settings import load_settings
    from engine.storage.queries import Queries
    from engine.streams.producer import EventProducer

    with stack(folder, load_settings(), typer.echo, jobs=False) as endpoints:
        queries = Queries(endpoints.postgres)
        with EventProducer(endpoints.kafka) as producer:
            sent = producer.send_all(
                synthetic.month(Population.generate(11, MEMBERS), dt.date(2025, 1, 1), days=3, claims=100)
            )
        while sum(row.applied + row.duplicates + row.dead_letters for row in queries.consumed()) < sent:
            time.sleep(0.2)
        queries.close()
        _wait(f"{endpoints.http}{PATH}", RECORD, headers)
        yield endpoints.http, headers, psutil.Process()


def first_reads(base: str, headers: Headers) -> np.ndarray:
    """Milliseconds of each member's first read, by which the score comes onto the board."""
    spent = []
    connection = http.client.HTTPConnection(base.removeprefix("http://"), timeout=30)
    for i in range(1, MEMBERS + 1):
        started = time.perf_counter()
        connection.request("GET", f"/v1/members/M{i:07d}/score", headers=headers)
        answer = connection.getresponse()
        answer.read()
        spent.append((time.perf_counter() - started) * 1000)
        assert answer.status == 200, answer.status
    connection.close()
    return np.array(spent)


def bulk(base: str, headers: Headers) -> float:
    """Records a second of one bulk request."""
    body = "\n".join(json.dumps(RECORD) for _ in range(BULK)).encode()
    headers = headers | {"content-type": "application/x-ndjson"}
    asked = urllib.request.Request(f"{base}{PATH}/bulk", body, headers)  # noqa: S310
    started = time.perf_counter()
    with urllib.request.urlopen(asked, timeout=120) as answer:  # noqa: S310
        lines = answer.read().splitlines()
    spent = time.perf_counter() - started
    assert len(lines) == BULK and all(b'"problem":null' in line for line in lines)
    return BULK / spent


def kernels(runs: int) -> list[tuple[str, str]]:
    """The models alone on one thread."""
    import xgboost

    base, behavior = registry.load_base_risk(), registry.load_behavior()
    features, series = crowd(BULK), days(1)
    trees = xgboost.Booster(model_file=registry.MODELS / registry.BASE_RISK / base.version / "mean.json")
    trees.set_param({"nthread": 1})
    one, day = features[:1], DailySeries(np.array([0, 1]), series.days[:1], series.values[:1])
    scorer = HealthScorer(registry.load_models(), load_rules())
    record = HealthRecord(
        1_735_689_600_000_000, {"age": 61.0, "male": 1.0, "cost_total": 900.0}, {}, {}, {"spo2": 96.0}
    )
    work: dict[str, Callable[[], object]] = {
        "trees of base risk, one row": lambda: base._mean.margins(one),
        "xgboost inplace_predict, one row": lambda: trees.inplace_predict(one),
        f"trees of base risk, {BULK:,} rows": lambda: base._mean.margins(features),
        f"xgboost inplace_predict, {BULK:,} rows": lambda: trees.inplace_predict(features),
        "LSTM, one day's step with its forecast": lambda: behavior.raw(day),
        "whole score of one record with factors": lambda: score_record(scorer, record),
        "whole score of 256 records with factors": lambda: score_records(scorer, [record] * 256),
    }
    return [(name, f"{machine.seconds(call, runs) * 1e6:,.1f} us") for name, call in work.items()]


def run(
    seconds: Annotated[int, typer.Option(help="seconds of each load")] = 5,
    runs: Annotated[int, typer.Option(help="runs of each kernel, of which the median counts")] = 200,
    out: Annotated[Path | None, typer.Option(help="file; benchmarks/results/serving-<date>.md where left out")] = None,
) -> None:
    """Measure, and write the table."""
    if shutil.which("wrk") is None:
        raise typer.BadParameter("the load tool wrk is missing: apt install wrk")
    described = machine.describe()
    with peer(BARE) as (bare, bare_body, bare_process):

        def beside() -> list[Load]:
            return [wrk(bare + PATH, posting(bare_body, _JSON), c, seconds) for c in _CONNECTIONS]

        def compared(base: str, body: object, process: psutil.Process, headers: Headers = _JSON) -> Compared:
            loads = [wrk(base + PATH, posting(body, headers), c, seconds) for c in _CONNECTIONS]
            return Compared(loads, beside(), memory(process))

        found = {BARE: compared(bare, bare_body, bare_process)}
        for name in PEERS:
            if name != BARE:
                with peer(name) as (base, body, process):
                    found[name] = compared(base, body, process)
        with (
            tempfile.TemporaryDirectory(prefix="vitanexus-bench-") as folder,
            ours(Path(folder)) as (base, headers, whole),
        ):
            # this process is the stack's parent, and the bare server's
            others = memory(bare_process)
            mine = compared(base, RECORD, whole, headers)
            found[OURS] = Compared(mine.loads, mine.bare, mine.megabytes - others)
            getting = _headed(headers) + _GETTING
            firsts = first_reads(base, headers)
            reads = [wrk(base, getting, c, seconds) for c in _CONNECTIONS]
            floor = [wrk(f"{base}/healthz", "", c, seconds) for c in _CONNECTIONS]
            bulked = bulk(base, headers)
    page = out or RESULTS / f"serving-{dt.date.today().isoformat()}.md"
    page.write_text(_page(found, reads, firsts, floor, bulked, kernels(runs), described))
    typer.echo(page.read_text())


def _page(
    found: dict[str, Compared],
    reads: list[Load],
    firsts: np.ndarray,
    floor: list[Load],
    bulked: float,
    alone: list[tuple[str, str]],
    described: dict[str, str],
) -> str:
    lines = ["# Serving", "", "## POST /v1/scores", ""]
    lines += [
        "| server | c=1 requests/s | p50 / p99 ms | of bare beside (ms) "
        "| c=16 requests/s | p50 / p99 ms | of bare beside (ms) | MB (PSS) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, each in found.items():
        cells = [
            f"{load.rate:,.0f} | {load.p50:.2f} / {load.p99:.2f} "
            f"| {load.rate / bare.rate:.2f} of {bare.rate:,.0f} ({bare.p50:.2f} / {bare.p99:.2f})"
            for load, bare in zip(each.loads, each.bare, strict=True)
        ]
        lines.append(f"| {name} | {' | '.join(cells)} | {each.megabytes:,.0f} |")
    lines += [
        "",
        f"{OURS} is the whole stack: PostgreSQL, broker, Ray, two shards, HAProxy, one replica; tokens, limits, audit.",
        "",
    ]
    lines += ["## Other requests", "", "| request | c=1 requests/s | p50 / p99 ms | c=16 requests/s | p50 / p99 ms |"]
    lines += ["|---|---|---|---|---|"]
    for name, (one, many) in (("GET /v1/members/{id}/score", reads), ("GET /healthz", floor)):
        lines.append(
            f"| {name} | {one.rate:,.0f} | {one.p50:.2f} / {one.p99:.2f} | {many.rate:,.0f} "
            f"| {many.p50:.2f} / {many.p99:.2f} |"
        )
    first, slowest = np.quantile(firsts, [0.5, 0.99])
    lines += ["", "GET score is of members read before: what their shard has put on the board in shared memory."]
    lines += [f"A member's first read asks PostgreSQL for the tenant and the shard for the score: p50 {first:.1f} ms,"]
    lines += [f"p99 {slowest:.1f} ms over one connection."]
    lines += ["", f"POST /v1/scores/bulk, {BULK:,} records: {bulked:,.0f} records/s.", "", "## Models alone", ""]
    lines += ["| what | one thread |", "|---|---|", *(f"| {name} | {figure} |" for name, figure in alone), ""]
    lines += ["| machine | |", "|---|---|", *(f"| {name} | {value} |" for name, value in described.items())]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    typer.run(run)
