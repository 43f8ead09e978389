"""`vitanexus bench scale`: 1,000 to 10,000,000 members over 64 partitions in one process, and what they cost.

Members enrol by events, judged and processed as a shard does it; a share of them wears a device and has a day of
readings. Then: readings a second over all of them, the nightly batch (everybody based and scored anew), snapshots into
PostgreSQL and back from there, and a reserve of as many members by simulation. From the largest size follows a model of
capacity, which is checked against node processes that work side by side.
"""

import gc
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil
import psycopg
import typer
from numpy.typing import NDArray

from benchmarks import machine
from benchmarks.capacity import check, measured
from benchmarks.scale_pool import WORN, Pool, by_partition
from benchmarks.scale_report import Figures, page
from benchmarks.simulation import document, seconds
from cluster.stack import postgres
from engine.storage.migrate import migrate
from simulations.portfolio import synthetic


def measure(members: int, url: str, wearing: float, rows: bool, minutes: float) -> Figures:
    """All figures of one size."""
    figures, pool = Figures(members), Pool(url, rows)
    homes = by_partition(members)
    gc.collect()
    before = psutil.Process().memory_info().rss
    figures.load = pool.enrol(homes)
    for round_ in range(len(WORN)):  # the first of a metric makes its block: the last round is told
        applied, taken = pool.wear(homes, wearing, round_)
    figures.readings = applied / taken
    figures.loaded_bytes, figures.resident = pool.state_bytes(), psutil.Process().memory_info().rss - before
    figures.batch = pool.night()
    if minutes:
        figures.sustained, figures.grown = _sustain(pool, homes, wearing, minutes)
    figures.dump, figures.snapshot_bytes = pool.snapshot()
    figures.restore = pool.restore()
    pool.store.close()
    del pool, homes
    gc.collect()
    figures.reserve = seconds(synthetic(members, 1), document("collapse", 10_000, inpatient_only=False), 1)
    return figures


def _sustain(pool: Pool, homes: Sequence[NDArray[np.int64]], wearing: float, minutes: float) -> tuple[float, int]:
    """Readings a second over so many minutes of work, and the bytes by which the process grew meanwhile."""
    before, until = psutil.Process().memory_info().rss, time.monotonic() + 60 * minutes
    applied, taken, round_ = 0, 0.0, len(WORN)
    while time.monotonic() < until:
        more, spent = pool.wear(homes, wearing, round_)
        applied, taken, round_ = applied + more, taken + spent, round_ + 1
    return applied / taken, psutil.Process().memory_info().rss - before


def run(members: Sequence[int], minutes: float, nodes: Sequence[int], wearing: float, rows: bool, path: Path) -> None:
    """All sizes, the model and its check, written to `path` with the plot beside it."""
    described = machine.describe()
    found: list[Figures] = []
    with tempfile.TemporaryDirectory(prefix="vitanexus-scale-") as folder:
        server, address = postgres.EmbeddedPostgres(Path(folder) / "postgres").start()
        try:
            for size in members:
                found.append(measure(size, _database(address, f"scale_{size}"), wearing, rows, minutes))
                typer.echo(found[-1].row())
            capacity = measured(found[-1], _database(address, "capacity"), wearing)
            checks = [check(capacity, k, _database(address, f"nodes_{k}"), wearing) for k in nodes if k]
        finally:
            postgres.stop(server)
    path.write_text(page(found, capacity, checks, wearing, rows, described, path.with_suffix(".png")))
    typer.echo(path.read_text())


def _database(address: str, name: str) -> str:
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    url = address.removesuffix(postgres.DATABASE) + name
    migrate(url)
    return url
