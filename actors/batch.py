"""The batch over the database: every partition's members scored from stored events, as Ray tasks."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray

from actors.rebuild import rebuilt
from engine.domain.batch import Rows
from engine.domain.model_set import ModelSet
from engine.learning.registry import Scorers
from engine.scoring.health_score import HealthScorer, ScoringRules
from engine.storage.history import history
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
    with history(plan.postgres_url) as connection:
        state = rebuilt(connection, partition)
    slots = np.arange(len(state))
    as_of = np.maximum(state["watermark"][slots], plan.as_of_us)
    ((rows, _),) = score_members(scorer, [Marked(state, slots, slots, as_of, asked=True)])
    return rows


@lru_cache(maxsize=1)
def _scorer(plan: BatchPlan) -> HealthScorer:
    """Kept by the worker's process from one partition to the next."""
    return Scorers(plan.rules, plan.models, plan.registry)("")


@ray.remote(num_cpus=1, max_retries=-1)
def _scored(plan: BatchPlan, partition: int) -> pa.Table:
    return _arrow(score_partition(plan, _scorer(plan), partition)).sort_by("member_id")


def _arrow(rows: Rows) -> pa.Table:
    columns = {name: rows.columns[name] for name in _SCHEMA.names}
    plain = {name: c if isinstance(c, np.ndarray) else c.tolist() for name, c in columns.items()}
    arrays = [pa.array(plain[field.name], field.type, from_pandas=True) for field in _SCHEMA]
    return pa.Table.from_arrays(arrays, schema=_SCHEMA)


def _in_order(plan: BatchPlan, workers: int) -> Iterator[pa.Table]:
    """The partitions' members, `workers` partitions at a time. One whose worker dies is scored again."""
    shared, ahead = ray.put(plan), deque[ray.ObjectRef]()
    for partition in range(PARTITIONS):
        if len(ahead) == workers:
            yield ray.get(ahead.popleft())
        ahead.append(_scored.remote(shared, partition))
    while ahead:
        yield ray.get(ahead.popleft())


def score_database(plan: BatchPlan, out: Path, workers: int, progress: Callable[[int], None]) -> int:
    """Scores every member of the database on `workers` CPUs of this Ray cluster, writes Parquet, counts members.

    Members are ordered by partition and then by id: the same file for any number of workers. `progress` is told the
    members of each partition.
    """
    members = 0
    with pq.ParquetWriter(out, _SCHEMA) as writer:
        for scored in _in_order(plan, workers):
            writer.write_table(scored)
            members += scored.num_rows
            progress(members)
    return members
