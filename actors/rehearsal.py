"""What a shard does for the first time, done beforehand: kernels are loaded, and compiled where they never were."""

import datetime as dt
import itertools
import json

from engine.domain.events import KIND_OF_TOPIC
from engine.domain.population import Population
from engine.domain.tables import TABLE
from engine.interop.synthetic import month
from engine.scoring.member_state import PartitionState
from engine.storage.copy import encode
from engine.storage.score_rows import placed
from engine.streams.judge import judge
from engine.streams.processor import Processor, Scorers
from engine.streams.records import RecordBatch
from engine.streams.topics import partition_of

_START = dt.date(2024, 1, 1)


def rehearse(scorers: Scorers) -> None:
    """A few days of a few made-up members through a processor; what it makes goes nowhere."""
    events = list(month(Population.generate(1, 8, _START), _START, days=3, claims=20))
    processor = Processor(scorers, lambda table, keys: {}, pending_seconds=0.0)
    for partition, ours in itertools.groupby(
        sorted(events, key=lambda event: partition_of(event.member_id)), lambda event: partition_of(event.member_id)
    ):
        processor.states[partition] = PartitionState(partition)
        by_topic: dict[str, list[bytes]] = {topic: [] for topic in KIND_OF_TOPIC}
        for event in ours:
            by_topic[event.kind.topic].append(json.dumps({"v": 1, **event.fields}).encode())
        judged = []
        for topic, values in by_topic.items():
            times = [int(dt.datetime(2024, 2, 1, tzinfo=dt.UTC).timestamp() * 1000)] * len(values)
            judged.append(judge(RecordBatch.of(topic, partition, range(len(values)), times, values, len(values))))
        for commit in processor.process(judged, {(topic, partition): 0 for topic in KIND_OF_TOPIC}, "warm"):
            for table, rows in commit.rows.items():
                if len(rows):
                    kept, columns = placed(table, rows.columns, lambda words: 1)
                    b"".join(encode(TABLE[kept], [columns]))
        PartitionState.load(processor.states[partition].dump())
