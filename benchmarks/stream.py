"""Events a second from Kafka into PostgreSQL, beside what the reader alone and COPY alone reach in the same run."""

import datetime as dt
import itertools
import time
from statistics import median

import numpy as np
import psycopg

from cluster.stack.state import Endpoints
from engine.domain.events import KIND_OF_TOPIC, READING, SourceEvent
from engine.domain.population import Population
from engine.domain.tables import TABLE
from engine.interop import synthetic
from engine.storage.copy import copy_rows
from engine.storage.queries import Queries
from engine.streams.producer import EventProducer
from engine.streams.reader import KafkaReader
from engine.streams.topics import PARTITIONS

_COPY_ROWS = 100_000


def measure(endpoints: Endpoints, queries: Queries, members: int, days: int, runs: int) -> list[tuple[str, float, str]]:
    """Rows of (what, events or rows a second, note). Each run sends a month's `days` of new events."""
    produced, into_postgres, reader = [], [], []
    for run in range(runs):
        month = synthetic.month(Population.generate(run + 1, members), dt.date(2025, 1, 1), days=days, claims=members)
        events = [_own(event, run) for event in month]
        before = _committed(queries)
        started = time.perf_counter()
        with EventProducer(endpoints.kafka) as producer:
            producer.send_all(events)
            produced.append(len(events) / (time.perf_counter() - started))
        while _committed(queries) - before < len(events):
            time.sleep(0.05)
        into_postgres.append(len(events) / (time.perf_counter() - started))
        reader.append(_read_alone(endpoints.kafka, _committed(queries)))
    copies = [_copy_alone(endpoints.postgres) for _ in range(runs)]
    end_to_end = median(into_postgres)
    return [
        ("events/s, producer to committed scores", end_to_end, f"median of {runs}, producer on the same cores"),
        ("events/s, producer alone", median(produced), "kafka-python, acknowledged, shards consuming meanwhile"),
        ("events/s, reader alone", median(reader), "kafka-python poll of what was sent, nothing done with it"),
        ("rows/s, COPY of readings alone", median(copies), "our binary COPY, one connection, indexes as in service"),
        ("ratio to the reader alone", end_to_end / median(reader), ""),
    ]


def _own(event: SourceEvent, run: int) -> SourceEvent:
    own = {name: f"b{run}-{event.fields[name]}" for name in ("member_id", "event_id")}
    return SourceEvent(event.kind, {**event.fields, **own})


def _committed(queries: Queries) -> int:
    return sum(row.taken for row in queries.consumed())


def _read_alone(bootstrap: str, expected: int) -> float:
    """Records a second of a plain poll over everything in the log, which holds `expected` events."""
    reader = KafkaReader(bootstrap, "benchmark")
    places = list(itertools.product(KIND_OF_TOPIC, range(PARTITIONS)))
    reader.assign(dict.fromkeys(places, 0))
    started = time.perf_counter()
    records = 0
    while records < expected:
        records += sum(len(batch) for batch in reader.poll(20_000, 500))
    seconds = time.perf_counter() - started
    reader.close()
    return records / seconds


def _copy_alone(url: str) -> float:
    times = np.datetime64("2025-01-01", "us") + np.arange(_COPY_ROWS)
    columns = {
        **{name: [f"c{i % 1000}" for i in range(_COPY_ROWS)] for name in ("event_id", "source", "member_id")},
        "time": times,
        "metric": ["steps"] * _COPY_ROWS,
        "value": np.ones(_COPY_ROWS),
        "unit": ["count"] * _COPY_ROWS,
        "partition": np.zeros(_COPY_ROWS, np.int64),
        "kafka_offset": np.arange(_COPY_ROWS),
    }
    with psycopg.connect(url) as connection:
        started = time.perf_counter()
        with connection.cursor() as cursor:
            copy_rows(cursor, TABLE[READING.table], [columns])
        seconds = time.perf_counter() - started
        connection.rollback()
    return _COPY_ROWS / seconds
