"""The shards of the running stack: listed, moved, drained, scaled, killed, and looked after by their supervisor."""

import contextlib
import re
from collections.abc import Iterator

import psutil
import pytest

from engine.storage.placement import Placement, ShardStatus
from engine.streams.topics import PARTITIONS
from tests.e2e.conftest import RunningStack
from tests.waiting import wait_for


@pytest.fixture
def placement(stack: RunningStack) -> Iterator[Placement]:
    made = Placement(stack.endpoints.postgres, PARTITIONS)
    yield made
    made.close()


def by_name(placement: Placement) -> dict[str, ShardStatus]:
    return {status.shard: status for status in placement.shards()}


def settled(placement: Placement, *names: str) -> bool:
    found = by_name(placement)
    return (
        set(found) == set(names)
        and not placement.misplaced()
        and all(s.state == "active" and s.held == len(s.assigned) for s in found.values())
    )


def test_partitions_are_moved_drained_and_scaled_by_command(stack: RunningStack, placement: Placement) -> None:
    listed = stack.command("shards", "list")
    assert listed.returncode == 0, listed.stderr
    assert re.search(r"shard-0.*active.*yes.*32 of 32", listed.stdout), listed.stdout
    moved = stack.command("shards", "move", "0-3,9", "--to", "shard-1")
    assert moved.returncode == 0 and "5 partitions at shard-1" in moved.stdout, moved.stderr
    assert {0, 1, 2, 3, 9} <= set(by_name(placement)["shard-1"].leased)
    drained = stack.command("shards", "drain", "shard-0")
    assert drained.returncode == 0 and "shard-0 is drained" in drained.stdout, drained.stderr
    assert by_name(placement)["shard-0"].leased == ()
    assert by_name(placement)["shard-0"].state == "drained"
    alone = stack.command("shards", "drain", "shard-1")
    assert alone.returncode == 1 and "only active shard" in alone.stderr
    scaled = stack.command("shards", "scale", "3")
    assert scaled.returncode == 0, scaled.stderr
    assert settled(placement, "shard-0", "shard-1", "shard-2")
    assert {len(s.leased) for s in placement.shards()} == {21, 22}
    assert stack.http.get("/readyz").status_code == 200
    back = stack.command("shards", "scale", "2")
    assert back.returncode == 0, back.stderr
    assert settled(placement, "shard-0", "shard-1")
    assert {len(s.leased) for s in placement.shards()} == {32}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("move", "64", "--to", "shard-1"), "partition 64 does not exist"),
        (("move", "3-x", "--to", "shard-1"), "'3-x' is neither a number nor a range"),
        (("move", "3", "--to", "shard-9"), "'shard-9' is not a shard: there are shard-0, shard-1"),
        (("drain", "shard-9"), "'shard-9' is not a shard"),
        (("scale", "65"), "65 shards cannot share 64 partitions"),
    ],
)
def test_what_cannot_be_moved_is_named(stack: RunningStack, words: tuple[str, ...], told: str) -> None:
    done = stack.command("shards", *words)
    assert done.returncode == 1
    assert told in done.stderr and "Traceback" not in done.stderr


def test_a_killed_supervisor_and_a_killed_shard_come_back(stack: RunningStack, placement: Placement) -> None:
    before = stack.actors("ShardSupervisor")
    assert len(before) == 1
    before[0].kill()
    stack.shards()[0].kill()
    wait_for(
        lambda: any(process.pid != before[0].pid for process in stack.actors("ShardSupervisor")),
        "the supervisor's next process",
    )
    wait_for(lambda: settled(placement, "shard-0", "shard-1"), "the shards")


def test_a_shard_that_leaves_and_one_that_comes(stack: RunningStack, placement: Placement) -> None:
    """The supervisor ends the actor of a shard that is not wanted, and makes one anew that Ray knows nothing of."""
    placement.want(["shard-0"])
    wait_for(lambda: settled(placement, "shard-0"), "shard-1 to leave")
    wait_for(lambda: len(stack.shards()) == 1, "its process to end")
    placement.want(["shard-0", "shard-1"])
    wait_for(lambda: settled(placement, "shard-0", "shard-1"), "shard-1 to come back")
    assert {len(status.leased) for status in placement.shards()} == {32}


def test_a_shard_that_stays_silent_loses_its_partitions_and_gets_its_share_when_it_is_back(
    stack: RunningStack, placement: Placement
) -> None:
    """Frozen, as on a machine that hangs: Ray sees a process that lives, the supervisor a shard that says nothing."""
    frozen = stack.shards()[0]
    frozen.suspend()
    try:
        wait_for(
            lambda: sorted(len(s.leased) for s in placement.shards()) == [0, 64], "the other shard to take all", 180
        )
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):  # the supervisor has had it ended, be it before or after that
            frozen.resume()
    wait_for(lambda: settled(placement, "shard-0", "shard-1"), "both to share again")
    assert {len(status.leased) for status in placement.shards()} == {32}
