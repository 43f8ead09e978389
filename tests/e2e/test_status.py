"""`vitanexus status` on a running stack: the figures that Prometheus would have, and those of the database."""

import json
from typing import Any

from tests.e2e.conftest import RunningStack
from tests.waiting import wait_for


def figures(stack: RunningStack) -> dict[str, Any]:
    done = stack.command("status", "--json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_status_tells_parts_shards_and_champions(stack: RunningStack) -> None:
    # metrics come by the minute's fraction: Ray's agents collect them every few seconds
    wait_for(lambda: figures(stack)["shards"]["partitions_owned"] == 64, "the owned partitions to be told")
    found = figures(stack)
    assert found["shards"]["outbox_waiting"] == 0
    assert found["models"]["promotion_pending"] is False
    assert set(found["models"]["champions"]) == {"base_risk", "physiology", "behavior", "ensemble"}
    assert sum(found["serving"]["replicas"].values()) >= 1
    told = stack.command("status")
    assert told.returncode == 0, told.stderr
    assert "postgres" in told.stdout and "partitions owned" in told.stdout and "64" in told.stdout
