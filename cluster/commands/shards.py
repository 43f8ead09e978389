"""`vitanexus shards`: which shard holds what, and how to move it."""

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from actors.names import shard_name
from cluster.commands.stack import DEFAULT, Directory
from engine.errors import PlacementError

if TYPE_CHECKING:
    from engine.storage.placement import Placement

shards = typer.Typer(help="Member shards: what each holds; move partitions, drain one, change their number.")
_console = Console(highlight=False)
_ALIVE_SECONDS = 5.0
_POLL_SECONDS = 0.2
Timeout = Annotated[float, typer.Option(min=0, help="seconds to wait; what was set stays set")]


def numbers(text: str) -> list[int]:
    """Partitions as a user writes them, such as 3,8-11. Raises PlacementError naming the part that is none."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()) or (dash and int(last) < int(first)):
            raise PlacementError(f"partitions {text!r}: {part.strip()!r} is neither a number nor a range such as 8-11")
        found |= set(range(int(first), int(last or first) + 1))
    return sorted(found)


def ranges(partitions: tuple[int, ...]) -> str:
    """Rising numbers as short as a user would write them: 0-3,8."""
    runs: list[list[int]] = []
    for partition in partitions:
        if runs and partition == runs[-1][1] + 1:
            runs[-1][1] = partition
        else:
            runs.append([partition, partition])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


@shards.command("list")
def list_shards(directory: Directory = DEFAULT) -> None:
    """Show every shard: whether it lives, its partitions, its leases' expiry, how far behind it is, its members."""
    placement = _placement(directory)
    found = placement.shards()
    moving = placement.misplaced()
    table = Table("shard", "state", "alive", "partitions", "held", "lease expires (UTC)", "behind", "members")
    for one in found:
        alive = one.silent_seconds is not None and one.silent_seconds <= _ALIVE_SECONDS
        silent = "never seen" if one.silent_seconds is None else f"silent {one.silent_seconds:,.0f} s"
        expires = "" if one.lease_expires_at is None else f"{one.lease_expires_at:%H:%M:%S}"
        held = f"{one.held} of {len(one.assigned)}"
        figures = f"{one.behind:,}", f"{one.members:,}"
        table.add_row(one.shard, one.state, "yes" if alive else silent, ranges(one.assigned), held, expires, *figures)
    _console.print(table)
    if moving:
        typer.echo(f"on their way: partitions {ranges(tuple(moving))}")


@shards.command()
def move(
    partitions: Annotated[str, typer.Argument(help="such as 3,8-11")],
    to: Annotated[str, typer.Option("--to", help="the shard that shall have them")],
    timeout: Timeout = 60.0,
    directory: Directory = DEFAULT,
) -> None:
    """Move partitions to a shard, and wait until it has their leases; there they stay until the number changes.

    Example: vitanexus shards move 3,8-11 --to shard-1
    """
    placement, wanted = _placement(directory), numbers(partitions)
    placement.move(wanted, to)
    _wait(placement, wanted, f"to {to}", timeout)
    typer.echo(f"{len(wanted)} partitions at {to}")


@shards.command()
def drain(
    shard: Annotated[str, typer.Argument(help="such as shard-1")],
    timeout: Timeout = 60.0,
    directory: Directory = DEFAULT,
) -> None:
    """Spread a shard's partitions over the others and give it no more, as before its machine is taken away.

    `vitanexus shards scale` with a number that includes it gives it its share again.
    """
    placement = _placement(directory)
    wanted = placement.drain(shard)
    _wait(placement, list(wanted), f"off {shard}", timeout)
    typer.echo(f"{shard} is drained: {len(wanted)} partitions moved")


@shards.command()
def scale(
    number: Annotated[int, typer.Argument(min=1, help="how many shards there shall be")],
    timeout: Timeout = 120.0,
    directory: Directory = DEFAULT,
) -> None:
    """Have NUMBER shards with equal shares of the partitions, and VITANEXUS_SHARDS_STANDBY more that stand by; the next
    `up` goes by the settings.

    Of a cluster it is run in one of its pods, whose environment names the cluster.
    """
    from engine.settings import load_settings

    placement, standby = _placement(directory), load_settings().shards.standby
    cluster = os.environ.get("RAY_CLUSTER_NAME", "")
    names = [shard_name(index, cluster) for index in range(number + standby)]
    placement.want(names, standby)

    def left() -> int:
        found = {one.shard: one for one in placement.shards()}
        settled = [one for one in found.values() if one.shard in names and one.held == len(one.assigned)]
        coming = len(names) - sum(one.state in ("active", "standby") for one in settled)
        return coming + len(found.keys() - set(names)) + (1 if placement.misplaced() else 0)

    _progress(f"{number} shards", left, timeout, lambda: "see `vitanexus shards list`; is the supervisor running?")
    typer.echo(f"{number} shards")


def _placement(directory: Directory) -> "Placement":
    from cluster.bootstrap import connect
    from engine.storage.placement import Placement
    from engine.streams.topics import PARTITIONS

    return Placement(connect(directory, "postgres").postgres, PARTITIONS)


def _wait(placement: "Placement", wanted: list[int], where: str, timeout: float) -> None:
    def left() -> int:
        return len(placement.misplaced().keys() & set(wanted))

    def reason() -> str:
        for partition, (to, owner) in placement.misplaced().items():
            if partition in wanted:
                lease = f"held by {owner}" if owner else "free"
                return f"partition {partition} is assigned to {to}, but its lease is {lease}"
        return "they have just arrived"

    _progress(f"partitions {where}", left, timeout, reason)


def _progress(what: str, left: Callable[[], int], timeout: float, reason: Callable[[], str]) -> None:
    """Shows how much is left until nothing is. Raises PlacementError with the reason when the time is up."""
    deadline = time.monotonic() + timeout
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        total = left()
        task = progress.add_task(what, total=total)
        while (now := left()) > 0:
            total = max(total, now)
            progress.update(task, total=total, completed=total - now)
            if time.monotonic() > deadline:
                raise PlacementError(f"{what}: {now} of {total} not moved within {timeout:g} s; {reason()}")
            time.sleep(_POLL_SECONDS)
        progress.update(task, completed=total)
