"""`vitanexus bench`: what the engine costs at size, on this machine."""

from pathlib import Path
from typing import Annotated

import typer

bench = typer.Typer(
    help="Benchmarks an operator runs; the others are `make bench`, `bench-streaming`, `bench-serving`."
)


@bench.callback()
def _group() -> None:
    """Benchmarks an operator runs."""


@bench.command()
def scale(
    members: Annotated[
        list[int] | None, typer.Option(min=1, help="a size, given again for more; 1,000 and 100,000")
    ] = None,
    minutes: Annotated[float, typer.Option(min=0, help="minutes of readings at each size beside the rest")] = 0.0,
    node: Annotated[list[int] | None, typer.Option(min=0, help="processes the model is checked with; 1, 2, 3")] = None,
    wearing: Annotated[float, typer.Option(min=0, max=1, help="share of members who wear a device")] = 0.3,
    rows: Annotated[bool, typer.Option(help="commit members' and scores' rows too")] = False,
    out: Annotated[Path, typer.Option(help="page to write, with a plot beside it")] = Path("scale.md"),
) -> None:
    """Load members, score, snapshot, restore and reserve at each size; write cost against size, and the capacity model.

    Starts a PostgreSQL of its own and ends it. 10,000,000 members take 16 GB, half an hour; --node 0 checks no model.

    Example: vitanexus bench scale --members 1000 --members 100000
    """
    from benchmarks.scale import run

    run(members or [1_000, 100_000], minutes, node or [1, 2, 3], wearing, rows, out)
