"""The commands that start a stack or ask a running one, as a user gives them."""

import re
from pathlib import Path

from engine.learning import registry
from tests.command import vitanexus
from tests.conftest import shared_data
from tests.e2e.conftest import RunningStack
from tests.waiting import wait_for


def test_the_demo_checks_itself(tmp_path: Path) -> None:
    seed = "17"  # one of its readings is of a member who is not enrolled
    done = vitanexus("demo", "--members", "40", "--days", "3", "--seed", seed, "--dir", str(tmp_path / "demo"))
    told = " ".join(done.stdout.split())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "check holds: 2,380 produced" in told and "1 held for members not enrolled" in told
    assert "40 of 40 members scored" in told


def test_real_files_are_replayed_into_the_running_stack(stack: RunningStack) -> None:
    folder = shared_data("tuva_demo_100")

    def consumed() -> int:
        return sum(row.taken for row in stack.queries.consumed())

    before = consumed()
    sent = stack.command("replay", "tuva", str(folder))
    assert sent.returncode == 0, sent.stderr
    count = int(re.search(r"([\d,]+) events sent", sent.stdout)[1].replace(",", ""))
    wait_for(lambda: consumed() == before + count, "the events to be consumed", seen=consumed)
    again = stack.command("replay", "tuva", str(folder))
    assert again.returncode == 0
    wait_for(lambda: consumed() == before + 2 * count, "the events to be consumed again", seen=consumed)
    assert sum(row.duplicates for row in stack.queries.consumed()) >= count * 0.99


def test_members_drift_is_measured_and_champions_are_shown(stack: RunningStack) -> None:
    shown = stack.command("models", "list")
    assert shown.returncode == 0 and "champion" in shown.stdout and "installation" in shown.stdout
    assert stack.command("models", "register").stdout.strip() == f"{len(registry.cards())} models registered"
    refused = stack.command("models", "promote", "base_risk=99", "--approver", "A. Actuary")
    assert refused.returncode == 1 and "no base_risk model 99" in refused.stderr
    refused = stack.command("models", "promote", "base_risk", "--approver", "A. Actuary")
    assert refused.returncode == 2 and "MODEL=VERSION" in refused.stderr
    refused = stack.command("models", "promote", "ensemble=1", "--approver", " ")
    assert refused.returncode == 2 and "--approver" in refused.stderr
    refused = stack.command("models", "rollback", "--approver", "A. Actuary")
    assert refused.returncode == 1 and "no champions before" in refused.stderr
