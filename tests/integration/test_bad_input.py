"""What a shard makes of input and surroundings that nobody promised: each is told, nothing is lost, nobody falls."""

import json
import os
import re
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from kafka import KafkaProducer, TopicPartition

from engine.domain.events import ENROLLMENT, READING, SourceEvent
from engine.errors import TopicsChangedError
from engine.scoring.health_score import HealthScorer
from engine.streams import topics
from engine.streams.client import admin_client
from engine.streams.producer import EventProducer
from engine.streams.topics import partition_of
from tests.integration.test_shard_faults import events, finish_and_check, produce, reading
from tests.kafka import fresh_topics
from tests.proxy import proxy_to
from tests.shard_process import ShardProcess, log_ends, plan, wait_committed, wait_total
from tests.waiting import wait_for

BIG = 20 << 20


def told(shard: ShardProcess, text: str) -> bool:
    return re.search(text, shard.log.read_text(), re.DOTALL) is not None


@pytest.mark.java
def test_broken_json_and_messages_of_20_mb_are_dead_letters(
    kafka_bootstrap: str, database: str, tmp_path: Path, scorer: HealthScorer
) -> None:
    with admin_client(kafka_bootstrap) as admin:
        from kafka.admin import ConfigResource, ConfigResourceType

        raised = {"max.message.bytes": str(32 << 20)}
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, READING.topic, raised)])
    batch = events(20, 2)
    member = next(event.member_id for event in batch if event.kind is ENROLLMENT)
    home = partition_of(member)
    sound = json.dumps({"v": 1, **reading(member, "b1", 1_709_700_000_000).fields}).encode()
    broken = {
        "malformed_json": [sound[:-9], sound.replace(b"b1", b"\xff"), b"\x00" * 50],
        "wrong_type": [b"[" * 100_000, b'{"v":' * 100_000],
        "out_of_range": [sound.replace(b'"v": 1', b'"v": 3'), sound.replace(b"100.0", b"1e300")],
        "too_large": [b"x" * BIG, sound + b" " * BIG],
        "empty": [None],
    }
    produce(kafka_bootstrap, batch)
    producer = KafkaProducer(bootstrap_servers=kafka_bootstrap, max_request_size=2 * BIG, acks="all")
    for payload in (payload for payloads in broken.values() for payload in payloads):
        producer.send(READING.topic, key=member.encode(), value=payload, partition=home)
        producer.send(READING.topic, value=sound.replace(b"b1", b"after"), partition=home)
    producer.send(READING.topic, value=sound[:-1] + b', "value": 101.0}', partition=home)  # a key given twice
    producer.flush()
    producer.close()
    shard = ShardProcess(plan("shard-0", database, kafka_bootstrap), tmp_path)
    expected = finish_and_check(shard, database, kafka_bootstrap, scorer)
    ours = [
        reason for (topic, partition, _), reason in expected.dead.items() if (topic, partition) == (READING.topic, home)
    ]
    for reason, payloads in broken.items():
        assert ours.count(reason) >= len(payloads), reason
        assert told(shard, f"event='dead letters'.*{reason}="), reason
    with psycopg.connect(database) as connection:
        sizes = connection.execute(
            "SELECT payload_bytes, length(payload) FROM dead_letters WHERE reason = 'too_large' ORDER BY 1"
        ).fetchall()
    assert sizes == [(BIG, 4096), (BIG + len(sound), 4096)]


@pytest.mark.java
def test_a_shard_stops_when_a_topic_gets_more_partitions_and_does_not_start_on_it(
    kafka_bootstrap: str, database: str, tmp_path: Path
) -> None:
    produce(kafka_bootstrap, events(10, 1))
    shard = ShardProcess(plan("shard-0", database, kafka_bootstrap), tmp_path)
    wait_committed(database, log_ends(kafka_bootstrap))
    with admin_client(kafka_bootstrap) as admin:
        admin.create_partitions({READING.topic: topics.PARTITIONS + 1})
    assert shard.wait() != 0
    error = r"TopicsChangedError: topic 'wearable\.readings' has 65 partitions, not 64: members would change owners"
    assert told(shard, error)
    with pytest.raises(TopicsChangedError):
        topics.identities(kafka_bootstrap)
    again = ShardProcess(plan("shard-1", database, kafka_bootstrap), tmp_path)
    assert again.wait() != 0
    assert told(again, error)


@pytest.mark.java
def test_a_shard_does_not_go_on_where_the_log_has_dropped_what_it_has_not_read(
    kafka_bootstrap: str, database: str, tmp_path: Path
) -> None:
    batch = events(10, 2)
    produce(kafka_bootstrap, batch)
    work = plan("shard-0", database, kafka_bootstrap)
    shard = ShardProcess(work, tmp_path)
    ends = log_ends(kafka_bootstrap)
    wait_committed(database, ends)
    assert shard.finish() == 0
    place = next((topic, p) for (topic, p), end in ends.items() if topic == READING.topic and end > 3)
    with EventProducer(kafka_bootstrap) as producer:
        for n in range(5):
            producer.send_bytes(READING.topic, "k", b"%d" % n, place[1])
        producer.flush()
    with admin_client(kafka_bootstrap) as admin:
        admin.delete_records({TopicPartition(*place): ends[place] + 3})
    before = ends[place]
    again = ShardProcess(work, tmp_path)
    assert again.wait() != 0
    assert told(
        again,
        rf"topic wearable.readings partition {place[1]}: we stand at offset {before} but the log begins at "
        rf"{before + 3}: its retention has dropped events; restore them or reset the partition knowingly",
    )
    with psycopg.connect(database) as connection:
        stands = connection.execute(
            "SELECT next_offset FROM partition_offsets WHERE topic = %s AND partition = %s", place
        ).fetchone()
    assert stands == (before,), "nothing was passed over"


@pytest.mark.java
def test_topics_made_anew_are_read_from_their_start_and_members_stay(
    kafka_bootstrap: str, database: str, tmp_path: Path
) -> None:
    batch = events(10, 1)
    members = {event.member_id for event in batch if event.kind is ENROLLMENT}
    produce(kafka_bootstrap, batch)
    work = plan("shard-0", database, kafka_bootstrap)
    shard = ShardProcess(work, tmp_path)
    wait_committed(database, log_ends(kafka_bootstrap))
    assert shard.finish() == 0
    fresh_topics(kafka_bootstrap)
    more = [reading(member, f"anew-{i}", 1_709_700_000_000) for i, member in enumerate(sorted(members))]
    produce(kafka_bootstrap, more)
    shard = ShardProcess(work, tmp_path)

    def arrived() -> int:
        with psycopg.connect(database) as connection:
            query = "SELECT count(*) FROM readings WHERE event_id LIKE 'anew-%'"
            return connection.execute(query).fetchone()[0]

    wait_for(lambda: arrived() == len(members), "the readings of the new log")
    fresh_topics(kafka_bootstrap)
    assert shard.wait() != 0, "the log is another one again, under a running shard"
    assert told(shard, "the topics were made anew under us|has 0 partitions|LogTruncationError"), shard.log.read_text()[
        -1500:
    ]


def test_a_connection_that_is_slow_and_is_cut_changes_nothing(
    embedded_bootstrap: str, database: str, tmp_path: Path, scorer: HealthScorer
) -> None:
    batch = events(40, 3)
    produce(embedded_bootstrap, batch)
    server = urlsplit(database)
    with proxy_to(server.port) as proxy:
        url = database.replace(f":{server.port}/", f":{proxy.port}/")
        shard = ShardProcess(plan("shard-0", url, embedded_bootstrap, poll_records=100), tmp_path)
        for cut in range(6):
            wait_total(database, (cut + 1) * len(batch) // 10)
            proxy.delay = 0.02 * (cut % 3)
            before = proxy.passed
            wait_for(lambda before=before: proxy.passed > before + 5000, "something to pass")
            proxy.cut()
        proxy.refusing = True
        proxy.cut()
        time.sleep(2)
        proxy.refusing, proxy.delay = False, 0.0
        finish_and_check(shard, database, embedded_bootstrap, scorer)
    assert told(shard, "postgres away, trying again")


def test_a_producers_clock_that_is_years_off_spoils_only_its_own_events(
    embedded_bootstrap: str, database: str, tmp_path: Path, scorer: HealthScorer
) -> None:
    batch = events(20, 2)
    member = next(event.member_id for event in batch if event.kind is ENROLLMENT)
    sound = reading(member, "now", 1_709_700_000_000)
    produce(embedded_bootstrap, batch)
    producer = KafkaProducer(bootstrap_servers=embedded_bootstrap, acks="all")
    home = partition_of(member)
    years = 365 * 86_400_000
    for off in (-10, -1, 0):
        event = SourceEvent(READING, sound.fields | {"event_id": f"off-{off}"})
        payload = json.dumps({"v": 1, **event.fields}).encode()
        taken = int(sound.fields["time"]) + off * years  # type: ignore[call-overload]
        producer.send(READING.topic, key=member.encode(), value=payload, partition=home, timestamp_ms=taken)
    producer.flush()
    producer.close()
    shard = ShardProcess(plan("shard-0", database, embedded_bootstrap), tmp_path)
    expected = finish_and_check(shard, database, embedded_bootstrap, scorer)
    assert list(expected.dead.values()).count("future_time") == 2


@pytest.fixture
def small_disk(own_postgres: object, tmp_path_factory: pytest.TempPathFactory) -> object:
    """A tablespace of 8 MB on a file system of its own, for the readings."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    _, url, processes = own_postgres
    folder = Path(processes[0].log).parent / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], check=False).returncode != 0:
        pytest.skip("this system mounts no tmpfs")
    yield url, folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_is_waited_for(
    small_disk: tuple[str, Path], embedded_bootstrap: str, tmp_path: Path, scorer: HealthScorer
) -> None:
    url, folder = small_disk
    with psycopg.connect(url, autocommit=True) as connection:
        owner = connection.execute("SHOW data_directory").fetchone()[0]
        status = Path(owner).stat()
        os.chown(folder, status.st_uid, status.st_gid)
        connection.execute(f"CREATE TABLESPACE small LOCATION '{folder}'")
        connection.execute("ALTER TABLE score_rows SET TABLESPACE small")
        database = urlsplit(url).path[1:]
        connection.execute(f"ALTER DATABASE {database} SET default_tablespace = small")
    batch = events(40, 4)
    before = len(batch) // 5
    produce(embedded_bootstrap, batch[:before])
    shard = ShardProcess(plan("shard-0", url, embedded_bootstrap, poll_records=100), tmp_path)
    wait_total(url, before)
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    produce(embedded_bootstrap, batch[before:])  # only now: no shard may be through before the disk is full
    wait_for(lambda: told(shard, "No space left on device"), "the disk to be full")
    time.sleep(1)
    assert shard.running
    filler.unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)
    finish_and_check(shard, url, embedded_bootstrap, scorer)
