"""Dead letters sent again: whole payloads, to the right partition, once, with the counts exact throughout."""

import json
from pathlib import Path

import psycopg
from kafka import TopicPartition

from cluster.dead_letters import replay
from engine.domain.events import ENROLLMENT, READING, SourceEvent
from engine.storage.dead_letters import DeadLetters
from engine.streams.client import admin_client
from engine.streams.producer import EventProducer
from engine.streams.topics import PARTITIONS, partition_of
from tests.integration.test_shard_faults import AS_OF_MS, events, produce, reading
from tests.oracle import read_log
from tests.shard_process import ShardProcess, log_ends, plan, wait_committed

LATE = "late-member"
NO_JSON = b"\xff{"


def late_enrolment() -> SourceEvent:
    example = next(event for event in events() if event.kind is ENROLLMENT)
    return SourceEvent(ENROLLMENT, example.fields | {"member_id": LATE, "event_id": f"enrol-{LATE}"})


def test_what_was_refused_is_applied_once_its_cause_is_put_right(
    embedded_bootstrap: str, database: str, tmp_path: Path
) -> None:
    home = partition_of(LATE)
    sound = [{"v": 1, **reading(LATE, f"r{n}", AS_OF_MS - 1000 * n).fields} for n in range(3)]
    wrong = {"v": 1, **reading(LATE, "wrong", AS_OF_MS, unit="furlong").fields}
    produce(embedded_bootstrap, events())
    with EventProducer(embedded_bootstrap) as producer:
        producer.send_bytes(READING.topic, LATE, json.dumps(sound[0]).encode(), home)
        producer.send_bytes(READING.topic, LATE, json.dumps(sound[1]).encode() + b" " * 6000, home)
        producer.send_bytes(READING.topic, LATE, json.dumps(sound[2]).encode(), (home + 1) % PARTITIONS)
        producer.send_bytes(READING.topic, LATE, json.dumps(wrong).encode(), home)
        producer.send_bytes(READING.topic, LATE, NO_JSON, home)
        producer.flush()
    shard = ShardProcess(plan("shard-0", database, embedded_bootstrap, pending_seconds=0.0), tmp_path)
    wait_committed(database, log_ends(embedded_bootstrap))
    store = DeadLetters(database, pool_size=1)
    ours = [letter for letter in store.find() if LATE.encode() in letter.payload or letter.payload == NO_JSON]
    assert sorted((letter.reason, letter.whole) for letter in ours) == [
        ("malformed_json", True),
        ("unknown_member", False),
        ("unknown_member", True),
        ("unknown_unit", True),
        ("wrong_partition", True),
    ]
    assert store.find("unknown_member", topic="lab.results") == []

    produce(embedded_bootstrap, [late_enrolment()])
    assert replay(embedded_bootstrap, store, ours) == []
    wait_committed(database, log_ends(embedded_bootstrap))
    waiting = [letter for letter in store.find() if LATE.encode() in letter.payload or letter.payload == NO_JSON]
    assert sorted(letter.reason for letter in waiting) == ["malformed_json", "unknown_unit"]
    assert {letter.kafka_offset for letter in waiting}.isdisjoint(letter.kafka_offset for letter in ours)
    replay(embedded_bootstrap, store, [letter for letter in ours if letter.reason == "unknown_member"])

    wait_committed(database, log_ends(embedded_bootstrap))
    assert shard.finish() == 0
    with psycopg.connect(database) as connection:
        stored = connection.execute("SELECT event_id FROM readings WHERE member_id = %s ORDER BY 1", (LATE,)).fetchall()
        counted = connection.execute(
            "SELECT sum(applied + duplicates + dead_letters + gaps), sum(gaps) FROM partition_offsets"
        ).fetchone()
    assert stored == [("r0",), ("r1",), ("r2",)]
    assert counted == (len(read_log(embedded_bootstrap)), 0)


def test_a_letter_whose_rest_the_log_has_dropped_is_named_and_stays(
    kafka_bootstrap: str, database: str, tmp_path: Path
) -> None:
    home = partition_of(LATE)
    payload = json.dumps({"v": 1, **reading(LATE, "r", AS_OF_MS).fields}).encode() + b" " * 6000
    with EventProducer(kafka_bootstrap) as producer:
        producer.send_bytes(READING.topic, LATE, payload, home)
        producer.flush()
    shard = ShardProcess(plan("shard-0", database, kafka_bootstrap, pending_seconds=0.0), tmp_path)
    wait_committed(database, log_ends(kafka_bootstrap))
    assert shard.finish() == 0
    with admin_client(kafka_bootstrap) as admin:
        admin.delete_records({TopicPartition(READING.topic, home): 1})
    store = DeadLetters(database, pool_size=1)
    letters = store.find()
    assert [letter.payload_bytes for letter in letters] == [len(payload)]
    assert replay(kafka_bootstrap, store, letters) == letters
    assert store.find() == letters
