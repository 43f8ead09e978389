"""The outbox relay on real parts: order, a broker that goes and comes back, and how soon an alert arrives."""

import json
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import psycopg
import pytest

from actors.relay import RelayLoop
from benchmarks.alert_latency import measure
from engine.domain.batch import TextColumn
from engine.streams.score_messages import pack
from engine.streams.topics import CARE_ALERTS, SCORES_UPDATED, partition_of
from tests.kafka import KafkaBroker
from tests.oracle import read_log
from tests.waiting import wait_for


def put(url: str, first: int, count: int, topic: str = CARE_ALERTS) -> None:
    """Messages numbered from `first` into the outbox, keyed by ten members in turn."""
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO outbox (topic, message_key, payload) VALUES (%s, %s, %s)",
            [(topic, f"member-{n % 10}", json.dumps({"n": n})) for n in range(first, first + count)],
        )
        cursor.execute("NOTIFY vitanexus_outbox")


def waiting(url: str) -> int:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT count(*) FROM outbox").fetchone()[0]


@contextmanager
def relay(url: str, bootstrap: str) -> Iterator[RelayLoop]:
    loop = RelayLoop(url, bootstrap)
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        yield loop
    finally:
        loop.stop()
        thread.join(150)
        assert not thread.is_alive()


def published(bootstrap: str) -> dict[int, list[int]]:
    """The numbers in each partition of care.alerts, in the order of the log."""
    numbers = defaultdict(list)
    for record in read_log(bootstrap, (CARE_ALERTS,)):
        numbers[record.partition].append(json.loads(record.payload)["n"])
    return numbers


def test_messages_of_a_member_keep_their_order(embedded_bootstrap: str, database: str) -> None:
    with relay(database, embedded_bootstrap) as loop:
        for start in range(0, 12_000, 3_000):
            put(database, start, 3_000)
        wait_for(lambda: waiting(database) == 0, "the outbox to be empty")
    assert loop.published == 12_000
    numbers = published(embedded_bootstrap)
    assert sorted(n for part in numbers.values() for n in part) == list(range(12_000))
    for partition, part in numbers.items():
        assert part == sorted(part)
        assert all(partition_of(f"member-{n % 10}") == partition for n in part)


def test_the_scores_of_a_batch_go_out_one_by_one(embedded_bootstrap: str, database: str) -> None:
    members = [f"member-{n}" for n in range(300)]
    reals = np.arange(300.0)
    reals[7] = np.nan
    columns = {
        "member_id": TextColumn.of(members),
        "as_of": np.arange(300) * 1_000_000,
        "category": TextColumn.chosen(("Low", "Insufficient data"), np.isnan(reals).astype(int)),
        **{name: reals + i for i, name in enumerate(("score", "predicted_cost", "cost_lower_90", "cost_upper_90"))},
        "model_version": ["models-1"],
        "seq": [41],
    }
    with relay(database, embedded_bootstrap) as loop:
        with psycopg.connect(database) as connection:
            insert = "INSERT INTO outbox (topic, message_key, payload) VALUES (%s, '', %s)"
            connection.execute(insert, (SCORES_UPDATED, pack(columns)))
            connection.execute("NOTIFY vitanexus_outbox")
        wait_for(lambda: waiting(database) == 0, "the outbox to be empty")
    assert loop.published == 300
    log = read_log(embedded_bootstrap, (SCORES_UPDATED,))
    found = {message["member_id"]: (message, record) for record in log for message in [json.loads(record.payload)]}
    assert found.keys() == set(members)
    assert all(partition_of(member) == record.partition for member, (_, record) in found.items())
    assert found["member-8"][0] == {
        "v": 1,
        "as_of": 8000,
        "member_id": "member-8",
        "score": 8.0,
        "category": "Low",
        "predicted_cost": 9.0,
        "cost_lower_90": 10.0,
        "cost_upper_90": 11.0,
        "model_version": "models-1",
        "seq": 41,
    }
    assert (found["member-7"][0]["score"], found["member-7"][0]["category"]) == (None, "Insufficient data")


def test_of_two_relays_one_works_and_the_other_takes_over(embedded_bootstrap: str, database: str) -> None:
    with relay(database, embedded_bootstrap) as first:
        put(database, 0, 100)
        wait_for(lambda: waiting(database) == 0, "the outbox to be empty")
        with relay(database, embedded_bootstrap) as second:
            put(database, 100, 100)
            wait_for(lambda: waiting(database) == 0, "the outbox to be empty")
            assert (first.published, second.published) == (200, 0)
            first.stop()
            put(database, 200, 100)
            wait_for(lambda: waiting(database) == 0, "the outbox to be empty")
            assert first.published + second.published == 300
    assert sorted(n for part in published(embedded_bootstrap).values() for n in part) == list(range(300))


@pytest.mark.java
def test_nothing_is_lost_while_the_broker_is_away(
    kafka_bootstrap: str, kafka_broker: KafkaBroker, database: str
) -> None:
    with relay(database, kafka_bootstrap):
        put(database, 0, 500)
        wait_for(lambda: waiting(database) == 0, "the outbox to be empty")
        kafka_broker.stop()
        put(database, 500, 500)
        assert waiting(database) == 500
        kafka_broker.start()
        wait_for(lambda: waiting(database) == 0, "the outbox to be empty")
    numbers = published(kafka_bootstrap)
    assert {n for part in numbers.values() for n in part} == set(range(1000))
    for part in numbers.values():
        first_times = list(dict.fromkeys(part))
        assert first_times == sorted(first_times), "a message was first published after a later one"


def test_a_reading_that_makes_a_member_critical_reaches_the_care_team(
    embedded_bootstrap: str, database: str, record_property: Callable[[str, object], None]
) -> None:
    measured = measure(100, 10, database, embedded_bootstrap)
    record_property("alert_latency", json.dumps(measured))
    assert measured["alerts"] == 100
    alerts = [json.loads(record.payload) for record in read_log(embedded_bootstrap, (CARE_ALERTS,))]
    critical = [alert for alert in alerts if alert["category"] == "Critical"]
    assert {alert["previous_category"] for alert in critical} == {"High"}
    assert len({alert["alert_id"] for alert in alerts}) == len(alerts)
    assert all(any(factor["code"] == "news2" for factor in alert["risk_factors"]) for alert in critical)
