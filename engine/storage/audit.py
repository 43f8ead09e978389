"""Audit events in PostgreSQL, by month."""

import datetime as dt
import threading
from collections.abc import Sequence

import psycopg
from psycopg.rows import TupleRow

from engine.compliance.audit import AuditEvent
from engine.domain.tables import AUDIT_EVENTS
from engine.errors import StorageError
from engine.storage.months import ensure_months

_COLUMNS = tuple(column for column in AUDIT_EVENTS if column.name != "recorded_at")
_US_PER_SECOND = 1_000_000


def _value(name: str) -> str:
    return "to_timestamp(e.occurred_at / 1e6)" if name == "occurred_at" else f"e.{name}"


_INSERT = """
    INSERT INTO audit_events ({names}) SELECT {values} FROM unnest({arrays}) AS e ({names}) ON CONFLICT DO NOTHING
""".format(
    names=", ".join(column.name for column in _COLUMNS),
    values=", ".join(_value(column.name) for column in _COLUMNS),
    arrays=", ".join("%s::bigint[]" if column.name == "occurred_at" else "%s::text[]" for column in _COLUMNS),
)


class PostgresAuditStore:
    """The table `audit_events`, on a connection of its own that threads take in turn. An AuditStore."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._months: set[int] = set()
        self._turn = threading.Lock()
        self._open: psycopg.Connection[TupleRow] | None = None

    def append(self, events: Sequence[AuditEvent]) -> None:
        """Inserts the events in one transaction; see AuditStore."""
        if not events:
            return
        times = [event.occurred_at_us for event in events]
        columns = [
            times if column.name == "occurred_at" else [getattr(event, column.name) for event in events]
            for column in _COLUMNS
        ]
        with self._turn:
            try:
                connection = self._connection()
                months = {_month(time) for time in times} - self._months
                ensure_months(connection, AUDIT_EVENTS.name, sorted(months))
                self._months |= months
                with connection.transaction():
                    connection.execute(_INSERT, columns)
            except psycopg.Error as error:
                self._drop()
                raise StorageError(f"PostgreSQL does not take audit events: {error}") from error

    def close(self) -> None:
        """Closes the connection."""
        with self._turn:
            self._drop()

    def _drop(self) -> None:
        self._months.clear()  # one that was past its time may be gone
        if self._open is not None:
            self._open.close()
            self._open = None

    def _connection(self) -> psycopg.Connection[TupleRow]:
        if self._open is None or self._open.closed:
            self._open = psycopg.connect(self._url, autocommit=True, connect_timeout=3, application_name="audit")
        return self._open


def _month(time_us: int) -> int:
    """Months since 1970-01 of an instant."""
    date = dt.datetime.fromtimestamp(time_us / _US_PER_SECOND, dt.UTC)
    return (date.year - 1970) * 12 + date.month - 1
