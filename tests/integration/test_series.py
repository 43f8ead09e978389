"""How the time series age on PostgreSQL itself: summed up by day, kept for so many months, dropped beside the work."""

import datetime as dt
import threading
from pathlib import Path

import numpy as np
import psycopg
import pytest

from engine.domain.batch import PartitionCommit, Rows, TopicCount, TopicIdentity
from engine.domain.events import KIND_OF_TOPIC, READING
from engine.domain.tables import TABLE
from engine.errors import StorageError
from engine.storage.months import ensure_months
from engine.storage.series import Ages, SeriesKeeper, policies
from engine.storage.shards import ShardStore
from tests.command import vitanexus
from tests.waiting import wait_for

TODAY = dt.date(2026, 5, 20)
KEPT = Ages(readings=24, daily=36, scores=120, audit=120, columnstore_days=60)
IDENTITIES = {topic: TopicIdentity("cluster", f"id-{topic}") for topic in KIND_OF_TOPIC}
_US_PER_DAY = 86_400_000_000


def readings(days: list[tuple[dt.date, float]], first: int) -> Rows:
    """Readings of steps of one member at noon of these days."""
    rows = Rows.of(TABLE["readings"].names)
    for n, (day, value) in enumerate(days, first):
        noon = (day - dt.date(1970, 1, 1)).days * _US_PER_DAY + _US_PER_DAY // 2
        told = dict.fromkeys(column.name for column in READING.added)
        told |= {"event_id": f"e{n}", "source": "test", "member_id": "m", "metric": "steps", "unit": "count"}
        rows.append(**(told | {"time": noon, "value": value, "partition": 5, "kafka_offset": n}))
    return rows


def midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), dt.UTC)


class Writer:
    """A shard's store that commits readings."""

    def __init__(self, url: str) -> None:
        self.store, self.done = ShardStore(url, "shard-0", 30.0), 0
        self.store.reconnect()
        self.store.enter([5])
        assert self.store.acquire([5]) == [5]

    def write(self, *days: tuple[dt.date, float]) -> None:
        rows, first = readings(list(days), self.done), self.done
        self.done += len(days)
        counts = {READING.topic: TopicCount(applied=len(days))}
        seq = self.done
        self.store.commit(
            [PartitionCommit(5, seq, {READING.topic: first + len(days)}, counts, {"readings": rows})], IDENTITIES
        )


@pytest.fixture
def writer(database: str):
    made = Writer(database)
    yield made
    made.store.close()


def asked(url: str, query: str) -> list[tuple]:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


def sums(url: str) -> dict[dt.date, tuple[int, float, float, float]]:
    rows = asked(
        url, "SELECT day, readings, total, lowest, highest FROM readings_daily WHERE member_id = 'm' ORDER BY day"
    )
    return {row[0].astimezone(dt.UTC).date(): tuple(row[1:]) for row in rows}


def test_days_that_have_ended_are_summed_up_and_late_readings_sum_them_up_anew(database: str, writer: Writer) -> None:
    keeper = SeriesKeeper(database, KEPT, TODAY)
    one, two, today = TODAY - dt.timedelta(days=40), TODAY - dt.timedelta(days=1), TODAY
    writer.write((one, 100.0), (one, 300.0), (two, 50.0), (today, 7.0))
    assert [day.date() for day in keeper.due()] == [one, two]  # today is under way
    seen: list[dt.date] = []
    assert keeper.sum_up(seen.append) == 2 and seen == [one, two]
    assert sums(database) == {one: (2, 400.0, 100.0, 300.0), two: (1, 50.0, 50.0, 50.0)}
    assert keeper.due() == [] and keeper.sum_up() == 0
    writer.write((one, 20.0))
    assert keeper.sum_up() == 1
    assert sums(database)[one] == (3, 420.0, 20.0, 300.0)
    assert SeriesKeeper(database, KEPT, TODAY + dt.timedelta(days=1)).sum_up() == 1
    assert sums(database)[today] == (1, 7.0, 7.0, 7.0)


def test_what_is_taken_back_is_in_neither_count_nor_sum(database: str, writer: Writer) -> None:
    one, two = TODAY - dt.timedelta(days=40), TODAY - dt.timedelta(days=30)
    writer.write((one, 100.0), (one, 300.0), (two, 50.0))
    back = readings([(one, 300.0), (two, 50.0)], writer.done)
    back.columns["sign"], back.columns["adjusts"] = [-1, -1], ["e1", "e2"]
    counts = {READING.topic: TopicCount(applied=2)}
    writer.store.commit([PartitionCommit(5, 99, {READING.topic: 5}, counts, {"readings": back})], IDENTITIES)
    assert SeriesKeeper(database, KEPT, TODAY).sum_up() == 2
    assert sums(database) == {one: (1, 100.0, 100.0, 300.0)}


def test_days_are_those_of_utc_wherever_the_server_stands(database: str, writer: Writer) -> None:
    """In New York the first of a month begins in the month before, and 9 March 2025 has 23 hours."""
    first, short = dt.date(2026, 5, 1), dt.date(2025, 3, 9)
    with psycopg.connect(database, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE {name} SET timezone = 'America/New_York'")
    writer.write((first, 1.0), (short, 2.0))
    late = readings([(short, 3.0)], writer.done)
    late.columns["time"][0] += _US_PER_DAY // 2 - 1  # the last moment of the day
    counts = {READING.topic: TopicCount(applied=1)}
    writer.store.commit([PartitionCommit(5, 99, {READING.topic: 3}, counts, {"readings": late})], IDENTITIES)
    assert SeriesKeeper(database, KEPT, TODAY).sum_up() == 2
    assert sums(database) == {short: (2, 5.0, 2.0, 3.0), first: (1, 1.0, 1.0, 1.0)}


def test_every_day_of_a_batch_is_due_and_a_commit_that_fails_makes_none(database: str, writer: Writer) -> None:
    days = [TODAY - dt.timedelta(days=int(back)) for back in np.random.default_rng(1).integers(1, 90, 60)]
    writer.write(*((day, 1.0) for day in days))
    keeper = SeriesKeeper(database, KEPT, TODAY)
    assert [day.date() for day in keeper.due()] == sorted(set(days))
    keeper.sum_up()
    bad = readings([(TODAY - dt.timedelta(days=3), 1.0)], writer.done)
    bad.columns["member_id"][0] = None
    with pytest.raises(psycopg.errors.NotNullViolation):
        writer.store.commit([PartitionCommit(5, 999, {READING.topic: 0}, {}, {"readings": bad})], IDENTITIES)
    assert keeper.due() == []


def test_a_commit_while_a_day_is_summed_up_leaves_it_due(database: str, writer: Writer) -> None:
    """The day's mark goes first: what is committed behind that is summed up by the next run and never forgotten."""
    day = TODAY - dt.timedelta(days=2)
    writer.write((day, 1.0))
    keeper = SeriesKeeper(database, KEPT, TODAY)
    with psycopg.connect(database) as held:
        ensure_months(held, "readings_daily", [(day.year - 1970) * 12 + day.month - 1])
        held.commit()
        # the same key, not committed: the summing has read what there is, and waits to write it
        held.execute("INSERT INTO readings_daily VALUES (%s, 'm', 'steps', 0, 0, 0, 0)", (midnight(day),))
        running = threading.Thread(target=keeper.sum_up)
        running.start()
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        wait_for(lambda: asked(database, waiting) == [(1,)], "the summing to wait")
        writer.write((day, 2.0))
        held.rollback()
    running.join()
    assert sums(database)[day] == (1, 1.0, 1.0, 1.0)
    assert keeper.sum_up() == 1
    assert sums(database)[day] == (2, 3.0, 1.0, 2.0) and keeper.due() == []


def test_months_past_their_time_are_dropped_and_their_sums_stay(database: str, writer: Writer) -> None:
    old, edge, new = dt.date(2024, 3, 31), dt.date(2024, 5, 1), dt.date(2026, 5, 1)
    writer.write((old, 1.0), (dt.date(2024, 4, 30), 2.0), (edge, 3.0), (new, 4.0))
    SeriesKeeper(database, KEPT, dt.date(2026, 3, 2)).sum_up()
    keeper = SeriesKeeper(database, KEPT, TODAY)
    assert keeper.cutoff("readings") == edge and keeper.cutoff("readings_daily") == dt.date(2023, 5, 1)
    held = {(m.series, m.first): m.past for m in keeper.months()}
    assert held["readings", dt.date(2024, 3, 1)] and held["readings", dt.date(2024, 4, 1)]
    assert not held["readings", edge] and not held["readings_daily", dt.date(2024, 3, 1)]
    assert SeriesKeeper(database, KEPT, TODAY).drop() == ["readings_2024_03", "readings_2024_04"]
    assert asked(database, "SELECT value FROM readings ORDER BY value") == [(3.0,), (4.0,)]
    assert set(sums(database)) == {old, dt.date(2024, 4, 30), edge}
    assert keeper.drop() == []


def test_a_hold_and_ages_of_nought_keep_everything(database: str, writer: Writer) -> None:
    writer.write((dt.date(2001, 3, 31), 1.0))
    for ages in (Ages(1, 1, 1, 1, 0, hold=True), Ages(0, 0, 0, 0, 0)):
        keeper = SeriesKeeper(database, ages, TODAY)
        assert keeper.drop() == [] and keeper.cutoff("readings") is None
        assert not any(month.past for month in keeper.months())


def test_a_reading_of_a_month_that_was_dropped_is_stored_and_its_days_sums_are_not_lost(
    database: str, writer: Writer
) -> None:
    """The shard has made the month and forgets it once PostgreSQL says that it is gone; the sums of the day stay."""
    day = dt.date(2024, 3, 31)
    writer.write((day, 1.0), (day, 2.0))
    keeper = SeriesKeeper(database, KEPT, TODAY)
    SeriesKeeper(database, KEPT, dt.date(2026, 3, 2)).sum_up()
    assert keeper.drop() == ["readings_2024_03"]
    with pytest.raises(StorageError, match="no partition of relation"):
        writer.write((day, 5.0))
    writer.store.reconnect()  # as the shard does before it tries again
    writer.done -= 1
    writer.write((day, 5.0))
    assert asked(database, "SELECT value FROM readings") == [(5.0,)]
    assert keeper.sum_up() == 0 and sums(database)[day] == (2, 3.0, 1.0, 2.0) and keeper.due() == []
    assert keeper.drop() == ["readings_2024_03"]


@pytest.mark.parametrize("stopped", ["detaching", "detached"])
def test_a_drop_that_was_interrupted_is_finished(database: str, writer: Writer, stopped: str) -> None:
    writer.write((dt.date(2024, 3, 31), 1.0), (TODAY, 2.0))
    with psycopg.connect(database, autocommit=True) as reader, psycopg.connect(database, autocommit=True) as dropper:
        if stopped == "detaching":
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM readings")  # the detaching waits for it, and is broken off
            dropper.execute("SET statement_timeout = 500")
            with pytest.raises(psycopg.errors.QueryCanceled):
                dropper.execute("ALTER TABLE readings DETACH PARTITION readings_2024_03 CONCURRENTLY")
            reader.execute("ROLLBACK")
        else:
            dropper.execute("ALTER TABLE readings DETACH PARTITION readings_2024_03 CONCURRENTLY")
    assert SeriesKeeper(database, KEPT, TODAY).drop() == ["readings_2024_03"]
    assert asked(database, "SELECT to_regclass('readings_2024_03')") == [(None,)]
    assert asked(database, "SELECT value FROM readings") == [(2.0,)]


def test_months_are_dropped_beside_a_shard_that_commits(database: str, writer: Writer) -> None:
    months = [dt.date(2023, month, 1) for month in range(1, 13)]
    writer.write(*((day, 1.0) for day in months))
    gone: list[str] = []
    dropping = threading.Thread(target=lambda: gone.extend(SeriesKeeper(database, KEPT, TODAY).drop()))
    dropping.start()
    written = 0
    while dropping.is_alive() or written < 20:
        writer.write((TODAY, 1.0))
        written += 1
    dropping.join()
    assert gone == [f"readings_2023_{month:02d}" for month in range(1, 13)]
    assert asked(database, "SELECT count(*) FROM readings") == [(written,)]


def test_the_command_says_what_it_would_do_and_does_it(
    database: str, writer: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    today = dt.datetime.now(dt.UTC).date()
    day = today - dt.timedelta(days=2)
    writer.write((dt.date(2012, 2, 3), 1.0), (day, 2.0))
    monkeypatch.setenv("VITANEXUS_POSTGRES_URL", database)
    where = ("--dir", str(tmp_path))
    check = vitanexus("series", "keep", "--check", *where).stdout
    assert "would sum up 2 days of readings and drop 1 months: readings 2012-02" in check
    assert "past its time" in vitanexus("series", "list", *where).stdout
    done = vitanexus("series", "keep", *where).stdout
    assert "1 days of readings summed up, 1 months dropped: readings_2012_02" in done
    assert sums(database) == {day: (1, 2.0, 2.0, 2.0)}
    monkeypatch.setenv("VITANEXUS_SERIES_READINGS_MONTHS", "-1")
    refused = vitanexus("series", "keep", *where)
    assert "VITANEXUS_SERIES_READINGS_MONTHS is '-1'" in refused.stderr + refused.stdout


def test_policies_of_timescale_refresh_only_what_is_kept() -> None:
    told = "\n".join(policies(KEPT))
    assert "add_continuous_aggregate_policy('readings_daily', start_offset => INTERVAL '23 months'" in told
    assert "add_retention_policy('readings', drop_after => INTERVAL '24 months')" in told
    assert "add_columnstore_policy('score_rows', after => INTERVAL '60 days')" in told
    held = "\n".join(policies(Ages(24, 36, 120, 120, 0, hold=True)))
    assert "add_retention_policy" not in held and "add_columnstore_policy" not in held
    assert "remove_retention_policy('readings', if_exists => true)" in held


def test_a_database_without_the_extension_has_no_policies(database: str) -> None:
    assert not SeriesKeeper(database, KEPT, TODAY).by_policy()
    with psycopg.connect(database) as connection:
        ensure_months(connection, "readings_daily", [600])
