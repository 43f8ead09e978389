"""Large files of diagnoses through Ray Data: each block becomes sets of CCs, and sets are united in any order."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, Self

import pyarrow as pa
import ray
import ray.data
from pyarrow import csv

from engine.errors import HccError
from engine.learning.arrow_files import text_columns


class Scorer(Protocol):
    """What takes diagnoses in parts: `HccScorer` and `HhsScorer`."""

    def add(self, diagnoses: pa.Table, /) -> None:
        """Takes diagnoses."""

    def fresh(self) -> Callable[[], Self]:
        """Makes a scorer of the same members that has taken nothing."""

    def taken(self) -> pa.Table:
        """What was taken so far."""

    def absorb(self, taken: pa.Table, /) -> int:
        """Takes what another has taken; in how many members."""


class _Collect:
    """One block of diagnoses to what a scorer takes of it."""

    def __init__(self, fresh: ray.ObjectRef) -> None:
        self._fresh: Callable[[], Scorer] = ray.get(fresh)

    def __call__(self, block: pa.Table) -> pa.Table:
        scorer = self._fresh()
        scorer.add(block)
        return scorer.taken()


def collect(
    scorer: Scorer,
    diagnoses: Path,
    workers: int,
    rows_per_block: int = 2_000_000,
    progress: Callable[[int], None] = lambda rows: None,
) -> None:
    """Adds the diagnoses of a Parquet or CSV file to `scorer`, block by block on `workers` actors of this Ray cluster.

    The same bits for any number of workers and any block size. `progress` is told the members touched by each block.
    """
    try:
        _collect(scorer, diagnoses, workers, rows_per_block, progress)
    except (ray.exceptions.RayError, OSError, ValueError) as error:
        told = (str(error).strip() or repr(error)).splitlines()[-1]
        raise HccError(f"{diagnoses} cannot be read: {told}") from error


def _collect(
    scorer: Scorer, diagnoses: Path, workers: int, rows_per_block: int, progress: Callable[[int], None]
) -> None:
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    if diagnoses.suffix == ".csv":
        names = csv.open_csv(diagnoses).schema.names
        dataset = ray.data.read_csv(str(diagnoses), convert_options=text_columns(names))
    else:
        dataset = ray.data.read_parquet(str(diagnoses))
    blocks = dataset.map_batches(
        _Collect,
        fn_constructor_args=(ray.put(scorer.fresh()),),
        batch_format="pyarrow",
        batch_size=rows_per_block,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=workers),
    )
    for block in blocks.iter_batches(batch_format="pyarrow", batch_size=None):
        progress(scorer.absorb(block))
