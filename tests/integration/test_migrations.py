"""Migrations carry over what a database holds: rows written before one read the same after it."""

import datetime as dt
import uuid
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest
import sqlalchemy as sa
from alembic import command

from engine.scoring.risk_factors import RiskFactor
from engine.storage import migrate as migrations
from engine.storage.migrate import core_url, migrate
from engine.storage.outbox import OutboxStore
from engine.storage.queries import Queries
from engine.storage.score_rows import Words, model_set_of
from engine.storage.series import Ages, SeriesKeeper

COLUMNS = "member_id, as_of, score, category, predicted_cost, cost_lower_90, cost_upper_90, news2, components, " + (
    "risk_factors, factor_dollars, factor_values, hccs, interventions, model_version, partition, seq, scored_at"
)


def at(month: int, day: int) -> dt.datetime:
    return dt.datetime(2024, month, day, 23, 59, 59, 999_999, tzinfo=dt.UTC)


ROWS = (
    (
        *("a", at(1, 31), 61.25, "Moderate", 9_000.125, 100.5, 30_000.0, 3, ["base_risk", "news2"]),
        *(["diabetes", "hcc_raf", "steps"], [1234.56, 20.0, -7.89], [1.0, 0.302, None], ["HCC37"], ["dpp", "walk"]),
        *("base 3+v28", 5, 8, at(2, 1)),
    ),
    (
        *("a", at(2, 1), 99.0, "Critical", 9_000.0, 100.5, 30_000.0, 7, ["base_risk", "news2"]),
        *(["news2", "diabetes"], [None, 23_099.7], [7.0, 88_123.7], [], [], "base 3+v28", 5, 9, at(2, 2)),
    ),
    (
        *("b", at(1, 1), None, "Insufficient data", None, None, None, None, []),
        *([], [], [], [], [], "base 2+v28", 6, 1, at(1, 2)),
    ),
)


@pytest.fixture
def before(postgres_server: str) -> Iterator[str]:
    """URL of a database at the first revision."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    url = postgres_server.rpartition("/")[0] + f"/{name}"
    config, engine = migrations._config(), sa.create_engine(core_url(url))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    engine.dispose()
    yield url
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_score_rows_in_words_become_rows_of_numbers_that_say_the_same(before: str) -> None:
    with psycopg.connect(before) as connection:
        for month in (1, 2):
            connection.execute(
                f"CREATE TABLE scores_2024_0{month} PARTITION OF scores "
                f"FOR VALUES FROM ('2024-0{month}-01Z') TO ('2024-0{month + 1}-01Z')"
            )
        with connection.cursor() as cursor:
            cursor.executemany(f"INSERT INTO scores ({COLUMNS}) VALUES ({', '.join(['%s'] * 18)})", ROWS)
    first, newest = migrate(before)
    assert first == "0001" and migrate(before) == (newest, newest)
    queries = Queries(before, pool_size=1)
    newer, older = queries.score_history("a", 5)
    assert (newer["category"], newer["news2"], older["news2"]) == ("Critical", 7, 3)
    told = [(f.code, f.dollars, f.value) for f in newer["risk_factors"]]
    assert told == [("news2", None, 7.0), ("diabetes", 23_099.7, 88_123.7)]
    assert older["risk_factors"][1] == RiskFactor(
        "hcc_raf",
        "Clinical risk (CMS-HCC): HCC37 Diabetes with Chronic Complications",
        "raises",
        20.0,
        0.302,
        "RAF",
    )
    plain = ("as_of", "score", "predicted_cost", "cost_lower_90", "cost_upper_90", "partition", "seq", "scored_at")
    places = [0, 1, 2, 4, 5, 6, 15, 16, 17]
    assert [older[name] for name in ("member_id", *plain)] == [ROWS[0][i] for i in places]
    assert (older["components"], older["interventions"]) == (["base_risk", "news2"], ["dpp", "walk"])
    (unknown,) = queries.score_history("b", 5)
    assert (unknown["score"], unknown["category"], unknown["news2"]) == (None, "Insufficient data", None)
    assert (unknown["components"], unknown["risk_factors"], unknown["model_version"]) == ([], [], "base 2+v28")
    queries.close()
    with psycopg.connect(before) as connection:
        in_words = connection.execute(f"SELECT {COLUMNS} FROM scores ORDER BY member_id, seq").fetchall()
        tables = connection.execute("SELECT relname FROM pg_class WHERE relname LIKE 'scores%'").fetchall()
        months = connection.execute("SELECT count(*) FROM score_rows_2024_01, score_rows_2024_02").fetchone()
    assert in_words == list(ROWS)
    assert (tables, months) == ([("scores",)], (2,))


def test_a_model_set_is_made_once_and_is_another_for_other_words(database: str) -> None:
    words = Words("v1", (("a",), ("f", "g"), (), ("i",)))
    with closing(OutboxStore(database)) as relay, psycopg.connect(database, autocommit=True) as connection:
        assert relay.lead()  # with a lock of its own, which nobody else waits for
        connection.execute("SET lock_timeout = '60s'")
        first = model_set_of(connection, words)
        assert model_set_of(connection, words) == first
        assert model_set_of(connection, Words("v1", (("a",), ("g", "f"), (), ("i",)))) != first
        assert connection.execute("SELECT count(*) FROM model_sets").fetchone() == (2,)


def test_days_of_readings_that_are_stored_are_due_to_be_summed_up(before: str) -> None:
    with psycopg.connect(before) as connection:
        month = "CREATE TABLE readings_2024_01 PARTITION OF readings FOR VALUES FROM ('2024-01-01Z') TO ('2024-02-01Z')"
        connection.execute(month)
        names = "event_id, source, member_id, time, metric, value, unit, partition, kafka_offset"
        for hour in ("2024-01-05 00:00Z", "2024-01-05 23:59Z", "2024-01-07 12:00Z"):
            values = hour, "s", "m", hour, "steps", 2, "count", 3, 1
            connection.execute(f"INSERT INTO readings ({names}) VALUES ({', '.join(['%s'] * 9)})", values)
    migrate(before)
    keeper = SeriesKeeper(before, Ages(0, 0, 0, 0, 0), dt.date(2024, 1, 8))
    assert keeper.sum_up() == 2
    with psycopg.connect(before) as connection:
        found = connection.execute(
            "SELECT day AT TIME ZONE 'UTC', readings, total FROM readings_daily ORDER BY day"
        ).fetchall()
    assert found == [(dt.datetime(2024, 1, 5), 2, 4.0), (dt.datetime(2024, 1, 7), 1, 2.0)]
