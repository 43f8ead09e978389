"""`make bench`: starts a stack of its own, measures streaming and serving, writes a table to benchmarks/results/.

Figures are ratios to a peer or a floor measured in the same run: these machines are shared and noisy.
"""

import datetime as dt
import tempfile
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from benchmarks import http_load, machine, stream
from cluster.stack import ray_environment, serving_environment

RESULTS = Path(__file__).parent / "results"


def run(
    members: Annotated[int, typer.Option(help="members a run")] = 1000,
    days: Annotated[int, typer.Option(help="days of 10 readings a member a day")] = 10,
    runs: Annotated[int, typer.Option(help="runs, of which the median counts")] = 3,
    seconds: Annotated[float, typer.Option(help="seconds of each HTTP load")] = 5.0,
    out: Annotated[Path | None, typer.Option(help="file to write; benchmarks/results/<date>.md if left out")] = None,
) -> None:
    """Measure events into PostgreSQL and GET score, and write the table."""
    described = machine.describe()
    with tempfile.TemporaryDirectory(prefix="vitanexus-bench-") as folder:
        ray_environment.prepare(Path(folder))
        serving_environment.prepare(Path(folder))
        from cluster.bootstrap import stack
        from cluster.memory import PeakMemory
        from engine.settings import load_settings
        from engine.storage.queries import Queries

        with PeakMemory() as memory, stack(Path(folder), load_settings(), typer.echo) as endpoints:
            queries = Queries(endpoints.postgres)
            rows = [
                (w, f"{v:,.2f}" if v < 100 else f"{v:,.0f}", n)
                for w, v, n in stream.measure(endpoints, queries, members, days, runs)
            ]
            rows += _http(endpoints.http, members, runs, seconds)
            queries.close()
    rows.append(
        ("peak memory of all processes", f"{memory.peak_bytes / 1e9:.2f} GB", f"{members * runs:,} members held")
    )
    path = out or RESULTS / f"{dt.date.today().isoformat()}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_page(rows, described))
    typer.echo(path.read_text())
    typer.echo(f"written to {path}")


def _http(base: str, members: int, runs: int, seconds: float) -> list[tuple[str, str, str]]:
    scores = [f"/v1/members/b0-M{i:07d}/score" for i in range(1, members + 1)]
    rows = []
    for connections in (1, 16):
        floor = [http_load.load(base, ["/healthz"], connections, seconds) for _ in range(runs)]
        asked = [http_load.load(base, scores, connections, seconds) for _ in range(runs)]
        rate, bare = median(x.rate for x in asked), median(x.rate for x in floor)
        rows.append(
            (
                f"GET score, {connections} connection{'s' if connections > 1 else ''}",
                f"{rate:,.0f} requests/s",
                f"p50 {median(x.p50_ms for x in asked):.1f} ms, p99 {median(x.p99_ms for x in asked):.1f} ms; "
                f"{rate / bare:.2f} of GET /healthz ({bare:,.0f}/s)",
            )
        )
    return rows


def _page(rows: list[tuple[str, str, str]], described: dict[str, str]) -> str:
    lines = ["# Benchmark", "", "| what | figure | note |", "|---|---|---|"]
    lines += [f"| {what} | {figure} | {note} |" for what, figure, note in rows]
    lines += ["", "| machine | |", "|---|---|", *(f"| {name} | {value} |" for name, value in described.items())]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    typer.run(run)
