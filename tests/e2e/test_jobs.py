"""Simulations submitted to Ray Jobs, over HTTP and by command: the same result as here, and every way to end."""

import json
import time
import uuid
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from engine.storage.runs import Runs
from tests.command import vitanexus
from tests.e2e.conftest import RunningStack
from tests.waiting import PATIENCE

TRIANGLE = [[100_000, 150_000, 160_000], [110_000, 170_000], [120_000]]
IBNR = {"kind": "ibnr", "seed": 7, "paths": 5000, "triangle": TRIANGLE}
RESERVE: dict[str, Any] = {
    "kind": "reserve",
    "seed": 7,
    "paths": 2000,
    "portfolio": "members.csv",
    "categories": [
        {
            "name": "inpatient",
            "frequency": {"distribution": "poisson", "rate": "rate"},
            "severity": {"distribution": "gamma", "shape": 2.0, "scale": 4000.0},
        }
    ],
}
LONG = RESERVE | {
    "portfolio": {"synthetic": {"members": 200_000, "seed": 1}},
    "paths": 200_000,
    "method": "member",
    "cover": {"specific": {"attachment": 50_000}},
}
LONG["categories"] = [RESERVE["categories"][0] | {"frequency": {"distribution": "poisson", "rate": "ip_rate"}}]


def until(stack: RunningStack, run: str, *states: str) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE
    while True:
        row = stack.http.get(f"/v1/simulations/{run}").json()
        if row["status"] in states:
            return dict(row)
        assert row["status"] in ("queued", "running"), row
        assert time.monotonic() < deadline, row
        time.sleep(0.2)


def submitted(stack: RunningStack, document: dict[str, Any]) -> str:
    answer = stack.http.post("/v1/simulations", json=document)
    assert answer.status_code == 202, answer.text
    run = answer.json()["run_id"]
    assert answer.headers["location"] == f"/v1/simulations/{run}"
    return str(run)


def test_a_triangle_over_http_gives_what_the_command_gives(stack: RunningStack, tmp_path: Path) -> None:
    run = submitted(stack, IBNR)
    row = until(stack, run, "succeeded")
    assert row["progress"]["done"] == row["progress"]["of"] > 0
    assert row["submitted_at"] <= row["started_at"] <= row["finished_at"]
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(IBNR))
    here = vitanexus("simulate", str(tmp_path / "s.yaml"), "--out", str(tmp_path / "out"))
    assert here.returncode == 0, here.stderr
    local = json.loads((tmp_path / "out" / "result.json").read_text())
    assert stack.http.get(f"/v1/simulations/{run}/results").json() == local | {"run": run}
    assert stack.queries.count("simulation_results") >= 1 + 2 * len(local["groups"]["total"]["unpaid"]["quantiles"])
    assert run in [listed["run_id"] for listed in stack.http.get("/v1/simulations").json()["runs"]]


def test_a_job_joins_the_cluster_of_its_own_stack(stack: RunningStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray tells a job the address of some cluster of the machine: where two stacks run, often of the other."""
    run, runs = uuid.uuid4().hex, Runs(stack.endpoints.postgres, pool_size=1)
    runs.queue(run, IBNR, "test")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")  # and the token of another, in the user's home
    done = stack.command("jobs", "run", run)
    assert done.returncode == 0, done.stderr
    assert runs.summary(run)["status"] == "succeeded"
    runs.close()


def test_a_submitted_scenario_takes_its_files_along(stack: RunningStack, tmp_path: Path) -> None:
    (tmp_path / "members.csv").write_text("rate\n" + "0.1\n" * 3000)
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(RESERVE))
    out = tmp_path / "out"
    sent = stack.command("jobs", "submit", str(tmp_path / "s.yaml"), "--paths", "4000", "--out", str(out))
    assert sent.returncode == 0, sent.stderr
    run = sent.stdout.strip()
    until(stack, run, "succeeded")
    assert (out / "report.html").is_file() and json.loads((out / "result.json").read_text())["paths"] == 4000
    shown = stack.command("jobs", "show", run)
    assert "succeeded" in shown.stdout and "exact twin: pass" in shown.stdout
    assert "16 of 16 batches" in stack.command("jobs", "logs", run).stdout
    listed = stack.command("jobs", "list").stdout
    assert run in listed and "4,000" in listed
    late = stack.command("jobs", "cancel", run)
    assert late.returncode == 1 and "has succeeded already" in late.stderr


def test_a_cancelled_run_stops_and_stays_cancelled(stack: RunningStack) -> None:
    run = submitted(stack, LONG)
    until(stack, run, "running")
    assert stack.http.get(f"/v1/simulations/{run}/results").status_code == 409
    assert stack.command("jobs", "cancel", run).returncode == 0
    _wait_gone(stack, run)
    assert until(stack, run, "cancelled")["finished_at"] is not None
    assert stack.http.delete(f"/v1/simulations/{run}").status_code == 409


def _driver(stack: RunningStack, run: str) -> list[psutil.Process]:
    found = []
    for process in stack.supervisor.children(recursive=True):
        try:
            words = process.cmdline()
        except psutil.NoSuchProcess:
            continue
        if run in words and "cluster.cli" in words:
            found.append(process)
    return found


def _wait_gone(stack: RunningStack, run: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while _driver(stack, run):
        assert time.monotonic() < deadline, "the job goes on"
        time.sleep(0.2)


def test_a_job_that_is_killed_is_seen_as_failed(stack: RunningStack) -> None:
    run = submitted(stack, LONG)
    until(stack, run, "running")
    for process in _driver(stack, run):
        process.kill()
    row = until(stack, run, "failed")
    assert "the job died" in row["error"]
    shown = stack.command("jobs", "show", run)
    assert shown.returncode == 0 and "failed" in shown.stdout


def test_a_run_that_cannot_be_simulated_says_why(stack: RunningStack) -> None:
    run = submitted(stack, RESERVE | {"portfolio": {"view": "no_such_view"}})
    row = until(stack, run, "failed")
    assert "portfolio.view" in row["error"] and "no_such_view" in row["error"]
    refused = stack.http.get(f"/v1/simulations/{run}/results")
    assert refused.status_code == 409 and "no_such_view" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("document", "field"),
    [
        (RESERVE, "portfolio"),
        (IBNR | {"paths": 3}, "paths"),
        (IBNR | {"path": 3}, "path"),
        (IBNR | {"triangle": [[1, 2], [3, 4]]}, "scenario"),
        ({"kind": "lottery"}, "kind"),
    ],
)
def test_an_impossible_scenario_is_refused_by_field(stack: RunningStack, document: dict[str, Any], field: str) -> None:
    before = stack.queries.count("simulation_runs")
    answer = stack.http.post("/v1/simulations", json=document)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert stack.queries.count("simulation_runs") == before


def test_an_unknown_run_is_a_problem(stack: RunningStack) -> None:
    assert stack.http.get(f"/v1/simulations/{'0' * 32}").status_code == 404
    assert stack.http.get(f"/v1/simulations/{'0' * 32}/results").status_code == 404
    assert stack.http.get("/v1/simulations/x").status_code == 422
    told = stack.command("jobs", "show", "0" * 32)
    assert told.returncode == 1 and "is not known" in told.stderr
