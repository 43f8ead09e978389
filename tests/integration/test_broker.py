"""What only a real broker shows: a log that outlives its process, topics with an identity, fetches of big records."""

import json
import signal
import time
from pathlib import Path

import pytest
from kafka import KafkaProducer, TopicPartition

from engine.domain.events import ENROLLMENT, READING
from engine.errors import StreamError
from engine.scoring.health_score import HealthScorer
from engine.streams import topics
from engine.streams.client import admin_client
from engine.streams.producer import EventProducer
from engine.streams.reader import KafkaReader, check_held
from tests.integration.test_shard_faults import events, finish_and_check, produce
from tests.kafka import KafkaBroker
from tests.oracle import read_log
from tests.shard_process import ShardProcess, plan, wait_total
from tests.waiting import PATIENCE

pytestmark = pytest.mark.java


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_a_shard_goes_on_after_the_broker_was_away(
    ending: signal.Signals,
    kafka_bootstrap: str,
    kafka_broker: KafkaBroker,
    database: str,
    tmp_path: Path,
    scorer: HealthScorer,
) -> None:
    """Half a minute: a broker that was killed looks through 640 logs before it answers again."""
    batch = events()
    enrolments = [event for event in batch if event.kind is ENROLLMENT]
    others = [event for event in batch if event.kind is not ENROLLMENT]
    produce(kafka_bootstrap, enrolments + others[: len(others) // 2])
    shard = ShardProcess(plan("shard-0", database, kafka_bootstrap, poll_records=100), tmp_path)
    wait_total(database, len(batch) // 4)
    kafka_broker.stop(ending)
    time.sleep(3)
    assert shard.running
    kafka_broker.start()
    produce(kafka_bootstrap, others[len(others) // 2 :])
    finish_and_check(shard, database, kafka_bootstrap, scorer)


def test_topics_keep_their_identity_over_a_restart_and_lose_it_when_made_anew(
    kafka_bootstrap: str, kafka_broker: KafkaBroker
) -> None:
    before = topics.identities(kafka_bootstrap)
    assert len({identity.topic_id for identity in before.values()}) == len(before)
    kafka_broker.stop()
    kafka_broker.start()
    assert topics.identities(kafka_bootstrap) == before
    with admin_client(kafka_bootstrap) as admin:
        admin.delete_topics([READING.topic])
    _until_made(kafka_bootstrap)
    after = topics.identities(kafka_bootstrap)
    assert [name for name in before if after[name] != before[name]] == [READING.topic]


def _until_made(bootstrap: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        with admin_client(bootstrap) as admin:
            gone = READING.topic not in admin.list_topics()
        if gone:
            break
        assert time.monotonic() < deadline
        time.sleep(0.1)
    topics.ensure_topics(bootstrap)


def test_ensure_topics_makes_them_once_and_refuses_another_number_of_partitions(kafka_bootstrap: str) -> None:
    before = topics.identities(kafka_bootstrap)
    topics.ensure_topics(kafka_bootstrap)
    assert topics.identities(kafka_bootstrap) == before
    with admin_client(kafka_bootstrap) as admin:
        admin.create_partitions({READING.topic: topics.PARTITIONS + 1})
        deadline = time.monotonic() + PATIENCE
        while len(admin.describe_topics([READING.topic])[0]["partitions"]) == topics.PARTITIONS:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    with pytest.raises(StreamError, match=r"'wearable\.readings' has 65 partitions, not 64"):
        topics.ensure_topics(kafka_bootstrap)


def test_the_reader_takes_a_record_larger_than_its_fetch(kafka_bootstrap: str) -> None:
    sizes = [10, 9 << 20, 20, 5 << 20, 30]
    with EventProducer(kafka_bootstrap) as producer:
        for size in sizes:
            producer.send_bytes(READING.topic, "k", b"x" * size, 3)
        producer.flush()
    reader = KafkaReader(kafka_bootstrap, "test")
    try:
        reader.assign({(READING.topic, 3): 1})
        values, deadline = [], time.monotonic() + PATIENCE
        while len(values) < 4:
            assert time.monotonic() < deadline
            values += [batch.value(i) for batch in reader.poll(100, 200) for i in range(len(batch))]
        assert [len(value) for value in values] == sizes[1:]
    finally:
        reader.close()


def test_only_what_was_committed_is_read_and_markers_are_gaps(kafka_bootstrap: str) -> None:
    producer = KafkaProducer(bootstrap_servers=kafka_bootstrap, transactional_id="test", acks="all")
    producer.init_transactions()
    for name, ending in (("kept", "commit"), ("dropped", "abort"), ("last", "commit"), ("gone", "abort")):
        producer.begin_transaction()
        for i in range(3):
            producer.send(READING.topic, value=f"{name}-{i}".encode(), partition=3)
        producer.flush()
        getattr(producer, f"{ending}_transaction")()
    producer.close()
    reader, place = KafkaReader(kafka_bootstrap, "test"), (READING.topic, 3)
    try:
        end = reader.end_offsets([place])[place]
        assert end == 16, "12 records and 4 markers"
        reader.assign({place: 1})  # in the middle of the first batch
        found, position, deadline = [], 1, time.monotonic() + PATIENCE
        while position < end:
            assert time.monotonic() < deadline
            for batch in reader.poll(100, 200):
                found += [(int(batch.offsets[i]), batch.value(i)) for i in range(len(batch))]
                position = batch.next_offset
    finally:
        reader.close()
    assert found == [(1, b"kept-1"), (2, b"kept-2"), (8, b"last-0"), (9, b"last-1"), (10, b"last-2")]


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_compressed_batches_and_null_values_are_read(codec: str, kafka_bootstrap: str) -> None:
    values = [b"x" * 3_000_000, None, b"y", *(b"z%d" % i for i in range(200))]
    producer = KafkaProducer(
        bootstrap_servers=kafka_bootstrap, compression_type=codec, linger_ms=50, max_request_size=8 << 20
    )
    for value in values:
        producer.send(READING.topic, key=b"member" if value is None else None, value=value, partition=3)
    producer.flush()
    producer.close()
    reader = KafkaReader(kafka_bootstrap, "test")
    try:
        reader.assign({(READING.topic, 3): 0})
        found, deadline = [], time.monotonic() + PATIENCE
        while len(found) < len(values):
            assert time.monotonic() < deadline
            found += [batch.value(i) for batch in reader.poll(50, 200) for i in range(len(batch))]
    finally:
        reader.close()
    assert found == values


def test_a_log_that_dropped_what_we_have_not_read_is_an_error(kafka_bootstrap: str) -> None:
    with EventProducer(kafka_bootstrap) as producer:
        for n in range(10):
            producer.send_bytes(READING.topic, "k", json.dumps(n).encode(), 3)
        producer.flush()
    place = (READING.topic, 3)
    with admin_client(kafka_bootstrap) as admin:
        admin.delete_records({TopicPartition(*place): 6})
    reader = KafkaReader(kafka_bootstrap, "test")
    try:
        starts = reader.begin_offsets([place])
        assert starts == {place: 6}
        check_held(starts, {place: 6})
        with pytest.raises(StreamError, match="we stand at offset 5 but the log begins at 6"):
            check_held(starts, {place: 5})
        reader.assign({place: 5})
        with pytest.raises(StreamError, match="cannot read"):
            for _ in range(50):
                reader.poll(100, 200)
    finally:
        reader.close()
    assert [record.offset for record in read_log(kafka_bootstrap, (READING.topic,))] == [6, 7, 8, 9]
