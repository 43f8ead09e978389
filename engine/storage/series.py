"""How the time series age: days that have ended are summed up, old rows compressed, and those past their time dropped.

With TimescaleDB's own licence its policies do it: this sets them. Otherwise this does it, each time it is asked: the
days whose readings have changed are summed up anew, whole, and a month that is past its time is detached while all
go on working, and dropped.
"""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields

import psycopg
import sqlalchemy as sa
from psycopg import sql
from psycopg.rows import TupleRow

from engine.errors import StorageError
from engine.storage import schema
from engine.storage.migrate import core_url
from engine.storage.months import ensure_months
from engine.storage.turns import Turn

READINGS, DAILY = "readings", "readings_daily"
_LAYOUT = {READINGS: "metric, time DESC", "score_rows": "seq DESC", "audit_events": "occurred_at DESC"}
"""Of the series that TimescaleDB compresses: how the rows of one member are ordered."""
_TABLES = {"readings": READINGS, "daily": DAILY, "scores": "score_rows", "audit": "audit_events"}
_SUM_UP = """
    INSERT INTO readings_daily (day, member_id, metric, readings, total, lowest, highest)
    SELECT %(day)s, member_id, metric, sum(coalesce(sign, 1)), sum(value * coalesce(sign, 1)), min(value), max(value)
    FROM readings WHERE time >= %(day)s AND time < %(day)s + INTERVAL '1 day'
    GROUP BY member_id, metric HAVING sum(coalesce(sign, 1)) > 0
"""
Connection = psycopg.Connection[TupleRow]


@dataclass(frozen=True, slots=True)
class Ages:
    """For how many months rows are kept, by series, 0 for ever; `hold`: nothing is dropped, whatever its age.

    With TimescaleDB rows older than `columnstore_days` are compressed, 0 none.
    """

    readings: int
    daily: int
    scores: int
    audit: int
    columnstore_days: int
    hold: bool = False

    def months(self) -> Mapping[str, int]:
        """Months by table, of those whose rows are dropped at all."""
        kept = {} if self.hold else {f.name: getattr(self, f.name) for f in fields(self) if f.name in _TABLES}
        return {_TABLES[name]: months for name, months in kept.items() if months}


@dataclass(frozen=True, slots=True)
class Month:
    """What a series holds of a month: its first day, rows about, bytes with indexes, and whether its time is past."""

    series: str
    first: dt.date
    rows: int
    size: int
    past: bool


class SeriesKeeper:
    """The time series of the database at `url`. Raises StorageError where PostgreSQL is away."""

    def __init__(self, url: str, ages: Ages, today: dt.date) -> None:
        self._url, self.ages, self._today = url, ages, today

    def cutoff(self, series: str) -> dt.date | None:
        """The first day that is kept, the first of a month; None where all are."""
        months = self.ages.months().get(series)
        if months is None:
            return None
        first = self._today.year * 12 + self._today.month - 1 - months
        return dt.date(first // 12, first % 12 + 1, 1)

    def by_policy(self) -> bool:
        """True where TimescaleDB's policies do the work."""
        engine = sa.create_engine(core_url(self._url), poolclass=sa.NullPool)
        try:
            with engine.connect() as connection:
                return schema.has_policies(connection)
        except sa.exc.OperationalError as error:
            raise StorageError(f"PostgreSQL does not answer: {error.orig}") from error
        finally:
            engine.dispose()

    def months(self) -> list[Month]:
        """The months of every plain series, oldest first."""
        found = []
        with self._connected() as connection:
            for series in _TABLES.values():
                cutoff = self.cutoff(series)
                for name, _ in _partitions(connection, series):
                    first = _first_day(series, name)
                    rows, size = connection.execute(
                        "SELECT greatest(reltuples, 0)::bigint, pg_total_relation_size(oid) FROM pg_class "
                        "WHERE oid = to_regclass(%s)",
                        (name,),
                    ).fetchone() or (0, 0)
                    found.append(Month(series, first, rows, size, cutoff is not None and first < cutoff))
        return sorted(found, key=lambda month: (month.series, month.first))

    def due(self) -> list[dt.datetime]:
        """Days that have ended and are to be summed up, oldest first."""
        with self._connected() as connection:
            return self._due(connection)

    def _due(self, connection: Connection) -> list[dt.datetime]:
        rows = connection.execute(
            "SELECT DISTINCT day FROM rollups_due WHERE series = %s AND day < %s ORDER BY day",
            (READINGS, _midnight(self._today)),
        ).fetchall()
        return [row[0] for row in rows]

    def sum_up(self, told: Callable[[dt.date], None] = lambda _: None) -> int:
        """Sums up each day that is due, a transaction a day; returns how many. `told` gets each day that is done.

        A day of which readings are no longer kept keeps the sums it has.
        """
        cutoff, done = self.cutoff(READINGS), 0
        with self._connected() as connection:
            for day in self._due(connection):
                kept = cutoff is None or day.date() >= cutoff
                if kept:
                    ensure_months(connection, DAILY, [day.year * 12 + day.month - 1 - 1970 * 12])
                with connection.transaction():
                    connection.execute("SELECT pg_advisory_xact_lock(%s)", (Turn.ROLLUP.value,))
                    # first: a commit that comes behind this leaves its own row, and the day is summed up once more
                    connection.execute("DELETE FROM rollups_due WHERE series = %s AND day = %s", (READINGS, day))
                    if kept:
                        connection.execute("DELETE FROM readings_daily WHERE day = %s", (day,))
                        connection.execute(_SUM_UP, {"day": day})
                done += kept
                told(day.date())
        return done

    def drop(self) -> list[str]:
        """Drops what is past its time, a month at a time, and returns the names of what is gone."""
        gone: list[str] = []
        with self._connected() as connection:
            for series in self.ages.months():
                cutoff = self.cutoff(series)
                assert cutoff is not None
                if _is_hypertable(connection, series):
                    rows = connection.execute(
                        "SELECT drop_chunks(%s::regclass, older_than => %s::timestamptz)", (series, _midnight(cutoff))
                    )
                    gone += [str(row[0]) for row in rows.fetchall()]
                else:
                    gone += _drop_months(connection, series, cutoff)
        return gone

    def set_policies(self) -> list[str]:
        """Puts TimescaleDB's policies at these ages; returns the statements that did.

        The first time what is stored already is summed up, however old, which takes as long as reading it once.
        """
        with self._connected() as connection:
            enabled = connection.execute(
                "SELECT hypertable_name FROM timescaledb_information.hypertables WHERE compression_enabled"
            ).fetchall()
            done = tuple(f"ALTER TABLE {name} " for (name,) in enabled)
            run = [statement for statement in policies(self.ages) if not statement.startswith(done)]
            if connection.execute(f"SELECT FROM {DAILY} LIMIT 1".encode()).fetchone() is None:
                run.insert(0, f"CALL refresh_continuous_aggregate('{DAILY}', NULL, now() - INTERVAL '1 hour')")
            for statement in run:
                connection.execute(statement.encode())
        return run

    def _connected(self) -> Connection:
        try:
            connection = psycopg.connect(self._url, autocommit=True, connect_timeout=5)
        except psycopg.OperationalError as error:
            raise StorageError(f"PostgreSQL does not answer: {error}") from error
        # a day is one of UTC, with 24 hours, whatever zone the server stands in
        connection.execute("SET TIME ZONE 'UTC'")
        return connection


def policies(ages: Ages) -> Sequence[str]:
    """The statements that set TimescaleDB's policies; those that were set before are replaced."""
    months, found = ages.months(), []
    for series, order in _LAYOUT.items():
        segment = "" if series == "audit_events" else "timescaledb.segmentby = 'member_id', "
        found.append(
            f"ALTER TABLE {series} SET (timescaledb.enable_columnstore, {segment}timescaledb.orderby = '{order}')"
        )
        found.append(f"CALL remove_columnstore_policy('{series}', if_exists => true)")
        if ages.columnstore_days:
            after = f"INTERVAL '{ages.columnstore_days} days'"
            found.append(f"CALL add_columnstore_policy('{series}', after => {after})")
    # what is refreshed is younger than what is dropped: a refresh of dropped readings would empty their days
    start = f"INTERVAL '{months[READINGS] - 1} months'" if months.get(READINGS, 0) > 1 else "NULL"
    found.append(f"SELECT remove_continuous_aggregate_policy('{DAILY}', if_exists => true)")
    found.append(
        f"SELECT add_continuous_aggregate_policy('{DAILY}', start_offset => {start}, "
        "end_offset => INTERVAL '1 hour', schedule_interval => INTERVAL '1 hour')"
    )
    for series in _TABLES.values():
        found.append(f"SELECT remove_retention_policy('{series}', if_exists => true)")
        if series in months:
            found.append(f"SELECT add_retention_policy('{series}', drop_after => INTERVAL '{months[series]} months')")
    return found


def _partitions(connection: Connection, series: str) -> list[tuple[str, bool | None]]:
    """The monthly tables of a series, and whether each is being detached; None for one that is detached already."""
    return connection.execute(
        """
        SELECT c.relname, i.inhdetachpending FROM pg_class AS c
        LEFT JOIN pg_inherits AS i ON i.inhrelid = c.oid AND i.inhparent = to_regclass(%(series)s)
        WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace
            AND c.relname ~ ('^' || %(series)s || '_[0-9]{4}_[0-9]{2}$')
        ORDER BY c.relname
        """,
        {"series": series},
    ).fetchall()


def _drop_months(connection: Connection, series: str, cutoff: dt.date) -> list[str]:
    gone = []
    for name, attached in _partitions(connection, series):
        if _first_day(series, name) >= cutoff:
            continue
        connection.execute("SELECT pg_advisory_lock(%s)", (Turn.ROLLUP.value,))
        try:
            if attached is not None:
                # one that was interrupted half-way is finished: it is no longer read, but still there
                how = "FINALIZE" if attached else "CONCURRENTLY"
                connection.execute(
                    sql.SQL("ALTER TABLE {} DETACH PARTITION {} {}").format(
                        sql.Identifier(series), sql.Identifier(name), sql.SQL(how)
                    )
                )
            connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(name)))
        finally:
            connection.execute("SELECT pg_advisory_unlock(%s)", (Turn.ROLLUP.value,))
        gone.append(name)
    return gone


def _first_day(series: str, name: str) -> dt.date:
    year, month = name.removeprefix(f"{series}_").split("_")
    return dt.date(int(year), int(month), 1)


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), dt.UTC)


def _is_hypertable(connection: Connection, series: str) -> bool:
    kind = connection.execute("SELECT relkind FROM pg_class WHERE oid = to_regclass(%s)", (series,)).fetchone()
    return kind is not None and kind[0] != "p"
