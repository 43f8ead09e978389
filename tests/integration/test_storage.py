"""The durable side on a real PostgreSQL: types, schema, partitions, and the one transaction."""

import datetime as dt
import json
import time
import uuid

import numpy as np
import psycopg
import pytest
import sqlalchemy as sa

from engine.domain.batch import PartitionCommit, Rows, TextColumn, TopicCount, TopicIdentity
from engine.domain.events import CLAIM, READING
from engine.domain.records import Column, Record, blob, text, whole
from engine.domain.tables import TABLE, TABLES
from engine.errors import LeaseLostError, StorageError
from engine.storage import schema
from engine.storage.copy import copy_rows
from engine.storage.history import history, stored_events
from engine.storage.migrate import core_url, migrate
from engine.storage.months import ensure_months
from engine.storage.placement import Placement
from engine.storage.queries import Queries
from engine.storage.shards import ShardStore

INSTANT = int(dt.datetime(2024, 5, 17, 11, 22, 33, 444_555, dt.UTC).timestamp()) * 1_000_000 + 444_555
IDENTITIES = {READING.topic: TopicIdentity("cluster", "topic-1")}
EVERY_TYPE = Record(
    "every_type",
    "One column of each SQL type.",
    (
        Column("a_text", "O", "text", "", nullable=True),
        Column("a_bigint", "i8", "bigint", "", nullable=True),
        Column("an_integer", "i8", "integer", "", nullable=True),
        Column("a_smallint", "i8", "smallint", "", nullable=True),
        Column("a_double", "f8", "double precision", "", nullable=True),
        Column("a_boolean", "?", "boolean", "", nullable=True),
        Column("an_instant", "M8[us]", "timestamptz", "", nullable=True),
        Column("a_date", "M8[D]", "date", "", nullable=True),
        Column("texts", "O", "text[]", "", nullable=True),
        Column("a_document", "O", "jsonb", "", nullable=True),
        Column("bytes", "O", "bytea", "", nullable=True),
    ),
)
DAY = dt.date(1969, 12, 31)
ROWS = [
    (
        "Ωmega, \\tab\t'quote'",
        -(2**63),
        2**31 - 1,
        -(2**15),
        -0.1,
        True,
        dt.datetime.fromtimestamp(INSTANT / 1e6, dt.UTC),
        DAY,
        ["a", "", "ü"],
        {"k": [1, None]},
        b"\x00\xff",
    ),
    (None,) * 11,
    (
        "",
        2**63 - 1,
        0,
        0,
        float("inf"),
        False,
        dt.datetime(1970, 1, 1, tzinfo=dt.UTC),
        dt.date(2400, 2, 29),
        [],
        {},
        b"",
    ),
]


def _wire(value: object) -> object:
    if isinstance(value, dt.datetime):
        return round((value - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) / dt.timedelta(microseconds=1))
    if isinstance(value, dt.date):
        return (value - dt.date(1970, 1, 1)).days
    return json.dumps(value).encode() if isinstance(value, dict) else value


def test_copy_brings_back_every_type_and_null(database: str) -> None:
    columns = {name: [_wire(row[i]) for row in ROWS] for i, name in enumerate(EVERY_TYPE.names)}
    with psycopg.connect(database) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE every_type ({', '.join(f'{c.name} {c.sql}' for c in EVERY_TYPE)})")
        copy_rows(cursor, EVERY_TYPE, [columns])
        assert cursor.execute("SELECT * FROM every_type").fetchall() == ROWS


def test_copy_takes_columns_in_parts(database: str) -> None:
    record = Record("parts", "", (whole("n", ""), blob("details", ""), text("kind", "")))
    columns = {
        "n": np.arange(3),
        "details": TextColumn(np.frombuffer(b"\x00\xffab", np.uint8), np.array([2, 0, 4]), np.array([2, 2, 0])),
        "kind": TextColumn.chosen(("low", "hoch ü"), np.array([1, 0, 1])),
    }
    with psycopg.connect(database) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE parts ({', '.join(f'{c.name} {c.sql}' for c in record)})")
        copy_rows(cursor, record, [columns, columns])
        rows = cursor.execute("SELECT * FROM parts").fetchall()
    assert rows == 2 * list(zip(range(3), [b"ab", b"\x00\xff", b""], ["hoch ü", "low", "hoch ü"], strict=True))


def test_copy_takes_numpy_columns_and_refuses_unequal_ones(database: str) -> None:
    names = ("a_bigint", "a_double", "an_instant", "a_boolean")
    record = Record("numbers", "", tuple(EVERY_TYPE[name] for name in names))
    columns = {
        "a_bigint": np.arange(3),
        "a_double": np.array([1.5, np.nan, -2.0]),
        "an_instant": np.array([INSTANT, 0, 0], "M8[us]"),
        "a_boolean": np.array([True, False, True]),
    }
    columns["an_instant"][2] = np.datetime64("NaT")
    with psycopg.connect(database) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE numbers ({', '.join(f'{c.name} {c.sql}' for c in record)})")
        copy_rows(cursor, record, [columns])
        rows = cursor.execute("SELECT * FROM numbers").fetchall()
        with pytest.raises(ValueError, match="table numbers: column a_double has 2 values, not 3"):
            copy_rows(cursor, record, [columns | {"a_double": np.zeros(2)}])
    assert [row[:2] for row in rows] == [(0, 1.5), (1, None), (2, -2.0)]
    assert rows[0][2] == ROWS[0][6] and rows[2][2] is None


def test_the_migrated_schema_is_that_of_the_record_tables(database: str) -> None:
    with psycopg.connect(database) as connection:
        found = connection.execute(
            "SELECT table_name, column_name, is_nullable FROM information_schema.columns "
            "WHERE table_schema = 'public' ORDER BY table_name, ordinal_position"
        ).fetchall()
        timed = connection.execute("SELECT partrelid::regclass::text FROM pg_partitioned_table").fetchall()
        brin = connection.execute(
            "SELECT tablename FROM pg_indexes WHERE indexdef LIKE '%%USING brin%%' AND tablename = ANY(%s)",
            ([record.name for record in TABLES],),
        ).fetchall()
    ours = {record.name for record in TABLES}
    wanted = sorted((r.name, i, c.name, c.nullable) for r in TABLES for i, c in enumerate(r))
    assert [(t, c, n == "YES") for t, c, n in found if t in ours] == [(t, c, n) for t, _, c, n in wanted]
    series = {record.name for record in TABLES if record.time}
    assert {name for (name,) in timed} == {name for (name,) in brin} == series
    assert migrate(database)[0] == migrate(database)[1]


def test_with_the_timescaledb_extension_time_series_become_hypertables(
    postgres_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extension is not in the embedded server: its two functions stand in, and record what they are asked."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    url = postgres_server.rpartition("/")[0] + f"/{name}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE asked (series text, dimension text)")
        connection.execute(
            "CREATE FUNCTION by_range(col text, span interval) RETURNS text LANGUAGE sql AS 'SELECT col || span::text'"
        )
        connection.execute(
            "CREATE FUNCTION create_hypertable(t regclass, dim text) RETURNS void LANGUAGE sql "
            "AS 'INSERT INTO asked VALUES (t::text, dim)'"
        )
    monkeypatch.setattr(schema, "has_timescale", lambda _: True)
    engine = sa.create_engine(core_url(url))
    with engine.begin() as made:
        schema.apply(made, schema.baseline())
    engine.dispose()
    with psycopg.connect(url) as connection:
        asked = dict(connection.execute("SELECT series, dimension FROM asked").fetchall())
        partitioned = connection.execute("SELECT count(*) FROM pg_partitioned_table").fetchone()
        ensure_months(connection, "readings", [600])
        months = connection.execute("SELECT count(*) FROM pg_inherits").fetchone()
    assert asked == {record.name: f"{record.time}1 mon" for record in TABLES if record.time}
    assert partitioned == months == (0,)


def readings(count: int, first: int = 0, instant: int = INSTANT) -> Rows:
    names = TABLE["readings"].names
    rows = Rows.of(names)
    for n in range(first, first + count):
        given = {"event_id": f"e{n}", "source": "test", "member_id": "m", "metric": "steps", "unit": "count"}
        rows.append(
            **(dict.fromkeys(names) | given | {"time": instant, "value": 1.0, "partition": 5, "kafka_offset": n})
        )
    return rows


def commit_of(seq: int, first: int, count: int, **other: object) -> PartitionCommit:
    done = first + count
    counts = {READING.topic: TopicCount(applied=count)}
    return PartitionCommit(5, seq, {READING.topic: done}, counts, {"readings": readings(count, first)}, **other)


@pytest.fixture
def store(database: str):
    made = ShardStore(database, "shard-0", 5.0)
    made.reconnect()
    made.enter([5])
    assert made.acquire([5]) == [5]
    yield made
    made.close()


def _value(url: str, query: str) -> object:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchone()[0]


def test_a_commit_writes_rows_offsets_and_boundary_and_its_month(store: ShardStore, database: str) -> None:
    store.commit([commit_of(1, 0, 3)], IDENTITIES)
    store.commit([commit_of(2, 3, 2, snapshot=b"state", members=1)], IDENTITIES)
    assert _value(database, "SELECT count(*) FROM readings_2024_05") == 5
    with psycopg.connect(database) as connection:
        row = connection.execute("SELECT first_offset, next_offset, applied FROM partition_offsets").fetchone()
    assert row == (0, 5, 5)
    recovered = store.recover(5)
    assert (recovered.seq, recovered.snapshot, recovered.identities) == (2, b"state", IDENTITIES)
    assert recovered.snapshot_offsets == {READING.topic: 5}


def test_commits_after_the_snapshot_are_replayed_in_order(store: ShardStore) -> None:
    store.commit([commit_of(1, 0, 3, snapshot=b"state")], IDENTITIES)
    store.commit([commit_of(2, 3, 2)], IDENTITIES)
    store.commit([commit_of(3, 5, 1)], IDENTITIES)
    recovered = store.recover(5)
    assert recovered.seq == 3 and recovered.snapshot_offsets == {READING.topic: 3}
    assert recovered.commits == ({READING.topic: 5}, {READING.topic: 6})
    assert store.is_committed(commit_of(3, 5, 1)) and not store.is_committed(commit_of(4, 6, 1))


def test_a_commit_that_fails_writes_nothing(store: ShardStore, database: str) -> None:
    bad = commit_of(1, 0, 3)
    bad.rows["readings"].columns["member_id"][1] = None
    with pytest.raises(psycopg.errors.NotNullViolation):
        store.commit([bad], IDENTITIES)
    assert _value(database, "SELECT count(*) FROM readings") == 0
    assert _value(database, "SELECT count(*) FROM partition_offsets") == 0
    assert not store.is_committed(bad)
    store.commit([commit_of(1, 0, 3)], IDENTITIES)
    assert _value(database, "SELECT count(*) FROM readings") == 3


def test_the_same_commit_twice_is_refused(store: ShardStore, database: str) -> None:
    store.commit([commit_of(1, 0, 3)], IDENTITIES)
    with pytest.raises(psycopg.errors.UniqueViolation):
        store.commit([commit_of(1, 0, 3)], IDENTITIES)
    assert _value(database, "SELECT applied FROM partition_offsets") == 3


def test_another_owner_waits_for_the_expiry_and_then_fences(store: ShardStore, database: str) -> None:
    other = ShardStore(database, "shard-1", 0.5)
    other.reconnect()
    other.enter([])
    assert other.acquire([5]) == []
    short = ShardStore(database, "shard-2", 0.3)
    short.reconnect()
    short.enter([6])
    assert short.acquire([6]) == [6]
    time.sleep(0.5)
    assert other.acquire([6]) == [6]
    short.reconnect()
    with pytest.raises(LeaseLostError, match=r"shard-2 no longer holds the lease of partitions \[6\]"):
        short.renew([6])
    store.release([5])
    assert other.acquire([5]) == [5]
    with pytest.raises(LeaseLostError):
        store.commit([commit_of(1, 0, 3)], IDENTITIES)
    assert _value(database, "SELECT count(*) FROM readings") == 0
    other.close()
    short.close()


def test_whoever_enters_under_a_name_fences_the_process_before(store: ShardStore, database: str) -> None:
    other = ShardStore(database, "shard-1", 5.0)
    other.reconnect()
    other.enter([5, 6])
    assert other.assigned(0, 0, 0) == [6], "5 was taken already"
    assert store.assigned(1, 10, 100) == [5]
    successor = ShardStore(database, "shard-0", 5.0)
    successor.reconnect()
    successor.enter([])
    assert successor.assigned(0, 0, 0) == [5]
    store.reconnect()
    for late in (lambda: store.assigned(1, 10, 100), lambda: store.acquire([7])):
        with pytest.raises(LeaseLostError, match="another process has entered as shard-0"):
            late()
    assert _value(database, "SELECT count(*) FROM partition_leases WHERE partition = 7") == 0
    assert successor.acquire([5]) == [5]
    other.close()
    successor.close()


def test_who_enters_gives_back_what_is_not_his_any_more(store: ShardStore, database: str) -> None:
    placement = Placement(database, 64)
    placement.want(["shard-0", "shard-1"])
    placement.settle(["shard-1"], [])
    placement.move([5], "shard-1")
    assert placement.misplaced()[5] == ("shard-1", "shard-0")
    again = ShardStore(database, "shard-0", 5.0)
    again.reconnect()
    again.enter([])
    assert placement.misplaced()[5] == ("shard-1", "")
    again.close()
    placement.close()


def test_known_events_tells_partition_and_offset(store: ShardStore, database: str) -> None:
    with psycopg.connect(database) as connection, connection.cursor() as cursor:
        names = TABLE["lab_results"].names
        given = {"event_id": "e", "source": "lab", "member_id": "m", "test": "hba1c", "value": 6.1, "unit": "%"}
        row = {name: [given.get(name)] for name in names} | {"time": [INSTANT], "partition": [5], "kafka_offset": [17]}
        copy_rows(cursor, TABLE["lab_results"], [row])
    assert store.known_events("lab_results", [("lab", "e"), ("lab", "f")]) == {("lab", "e"): (5, 17)}


def test_events_stored_in_an_older_spelling_are_read_in_todays(database: str) -> None:
    """A state built from them must be that of a shard that has just decoded them."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO claims (event_id, source, member_id, time, claim_id, line, claim_type, service_date, "
            "diagnoses, bill_type, revenue_center, paid_cents, partition, kafka_offset) VALUES ('e', 's', 'm', "
            "'2018-08-01', 'c', 1, 'institutional', '2018-08-01', ARRAY['e11.9', 'I252'], '0131', '450', 100, 3, 7)"
        )
    with history(database) as connection:
        ((claim,),) = stored_events(connection, CLAIM, 3)
    assert claim.diagnoses == ["E119", "I252"]
    assert (claim.bill_type, claim.revenue_center, claim.procedure) == ("131", "0450", None)


def test_queries_name_the_database_that_is_away() -> None:
    queries = Queries("postgresql://postgres:none@127.0.0.1:1/none")
    with pytest.raises(StorageError, match="PostgreSQL does not answer"):
        queries.tenant_of("m")
    queries.close()
