"""The monthly partitions of the time series, made when the first row of a month comes."""

from collections.abc import Iterable

import psycopg
from psycopg import sql

from engine.storage.turns import Turn


def ensure_months(connection: psycopg.Connection[tuple[object, ...]], table: str, months: Iterable[int]) -> None:
    """Creates the monthly partitions of a plain time series; months count from 1970-01. No effect on a hypertable.

    Runs in transactions of its own before the data's: creating a partition locks the parent, and two shards that
    hold rows of it would wait for each other. An advisory lock makes concurrent callers take turns.
    """
    for month in months:
        year, rest = divmod(month, 12)
        following_year, following_rest = divmod(month + 1, 12)
        name = f"{table}_{1970 + year:04d}_{rest + 1:02d}"
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (Turn.MONTHS.value,))
            partitioned = connection.execute(
                "SELECT 1 FROM pg_partitioned_table WHERE partrelid = to_regclass(%s)", (table,)
            ).fetchone()
            if partitioned is None:
                return
            connection.execute(
                sql.SQL("CREATE TABLE IF NOT EXISTS {} PARTITION OF {} FOR VALUES FROM ({}) TO ({})").format(
                    sql.Identifier(name),
                    sql.Identifier(table),
                    sql.Literal(f"{1970 + year:04d}-{rest + 1:02d}-01 00:00:00+00"),
                    sql.Literal(f"{1970 + following_year:04d}-{following_rest + 1:02d}-01 00:00:00+00"),
                )
            )
