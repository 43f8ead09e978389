"""Large files of diagnoses through Ray Data: each block becomes sets of CCs, and sets are united in any order."""

import json
import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import ray
import ray.data

from engine.errors import HccError
from engine.learning.arrow_files import text_columns
from engine.scoring.hcc.members import Members
from engine.scoring.hcc.reading import Refusal
from engine.scoring.hcc.score import HccScorer


class _Collect:
    """One block of diagnoses to the CC sets of the members in it, with what has to be refused as JSON."""

    def __init__(self, model: str, payment_year: int, members: ray.ObjectRef, mce: bool) -> None:
        self._made = model, payment_year, ray.get(members), mce

    def __call__(self, block: pa.Table) -> pa.Table:
        model, payment_year, members, mce = self._made
        scorer = HccScorer(model, payment_year, members, mce, report=True)
        scorer.add(block)
        rows, ccs = scorer.partial()
        told = json.dumps(
            {
                "refused": [asdict(refusal) for refusal in scorer.refused],
                "rows": scorer.left_out(),
                "unmapped": scorer.unmapped().to_pydict(),
            }
        )
        n = len(rows)
        return pa.table(
            {
                "row": pa.array(np.append(rows, -1)),
                "low": pa.array(np.append(ccs[:, 0], np.uint64(0))),
                "high": pa.array(np.append(ccs[:, 1], np.uint64(0))),
                "told": pa.array([None] * n + [told], pa.string()),
            }
        )


def collect(
    scorer: HccScorer,
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
    scorer: HccScorer, diagnoses: Path, workers: int, rows_per_block: int, progress: Callable[[int], None]
) -> None:
    members: Members = scorer.members
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    columns = ["member_id", "icd10"]
    if diagnoses.suffix == ".csv":
        dataset = ray.data.read_csv(str(diagnoses), convert_options=text_columns(columns)).select_columns(columns)
    else:
        dataset = ray.data.read_parquet(str(diagnoses)).select_columns(columns)
    sets = dataset.map_batches(
        _Collect,
        fn_constructor_args=(scorer.model_name, scorer.payment_year, ray.put(members), scorer.mce),
        batch_format="pyarrow",
        batch_size=rows_per_block,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=workers),
    )
    for block in sets.iter_batches(batch_format="pyarrow", batch_size=None):
        row = np.asarray(block["row"])
        ccs = np.stack([np.asarray(block["low"]), np.asarray(block["high"])], axis=1)
        for told in block["told"].drop_null().to_pylist():
            notes = json.loads(told)
            scorer.refuse([Refusal(**refusal) for refusal in notes["refused"]], notes["rows"])
            scorer.note_unmapped(
                pa.table(notes["unmapped"], schema=pa.schema({"member_id": "string", "icd10": "string"}))
            )
        held = row >= 0
        scorer.absorb(row[held], ccs[held])
        progress(int(held.sum()))
