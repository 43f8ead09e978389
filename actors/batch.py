"""The batch over the database: every partition's members scored from stored events, through Ray Data."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray.data

from actors.rebuild import rebuilt
from engine.domain.batch import Rows
from engine.domain.model_set import ModelSet
from engine.learning.registry import Scorers
from engine.scoring.health_score import HealthScorer, ScoringRules
from engine.streams.scoring import Marked, score_members
from engine.streams.topics import PARTITIONS

_SCHEMA = pa.schema(
    [
        ("member_id", pa.string()),
        ("as_of", pa.timestamp("us", "UTC")),
        ("score", pa.float64()),
        ("category", pa.string()),
        ("predicted_cost", pa.float64()),
        ("cost_lower_90", pa.float64()),
        ("cost_upper_90", pa.float64()),
        ("news2", pa.int16()),
        ("components", pa.list_(pa.string())),
        ("risk_factors", pa.list_(pa.string())),
        ("factor_dollars", pa.list_(pa.float64())),
        ("factor_values", pa.list_(pa.float64())),
        ("hccs", pa.list_(pa.string())),
        ("interventions", pa.list_(pa.string())),
        ("model_version", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """What to score with: the database, the champions and the rules, and the moment, microseconds since 1970."""

    postgres_url: str
    rules: ScoringRules
    models: ModelSet
    registry: Path
    as_of_us: int


def score_partition(plan: BatchPlan, scorer: HealthScorer, partition: int) -> Rows:
    """Rows of the score history of all the partition's members, as the daily batch of that moment would make them."""
    state = rebuilt(plan.postgres_url, partition)
    slots = np.arange(len(state))
    as_of = np.maximum(state["watermark"][slots], plan.as_of_us)
    ((rows, _),) = score_members(scorer, [Marked(state, slots, slots, as_of, asked=True)])
    return rows


class _Partitions:
    """Scores the partitions of a block."""

    def __init__(self, plan: BatchPlan) -> None:
        self._plan = plan
        self._scorer = Scorers(plan.rules, plan.models, plan.registry)("")

    def __call__(self, block: dict[str, Any]) -> pa.Table:
        found = [score_partition(self._plan, self._scorer, int(partition)) for partition in block["id"]]
        return pa.concat_tables([_arrow(rows) for rows in found])


def _arrow(rows: Rows) -> pa.Table:
    columns = {name: rows.columns[name] for name in _SCHEMA.names}
    plain = {name: c if isinstance(c, np.ndarray) else c.tolist() for name, c in columns.items()}
    arrays = [pa.array(plain[field.name], field.type, from_pandas=True) for field in _SCHEMA]
    return pa.Table.from_arrays(arrays, schema=_SCHEMA)


def score_database(plan: BatchPlan, out: Path, workers: int, progress: Callable[[int], None]) -> int:
    """Scores every member of the database on `workers` actors of this Ray cluster, writes Parquet, counts members.

    The same rows in the same order for any number of workers; `progress` is told the members of each block.
    """
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    scored = ray.data.range(PARTITIONS, override_num_blocks=PARTITIONS).map_batches(
        _Partitions,
        fn_constructor_args=(plan,),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=workers),
    )
    members = 0
    with pq.ParquetWriter(out, _SCHEMA) as writer:
        for block in scored.sort("member_id").iter_batches(batch_format="pyarrow", batch_size=None):
            writer.write_table(block.cast(_SCHEMA))
            members += block.num_rows
            progress(members)
    return members
