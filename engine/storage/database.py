"""A small pool of connections for reads and for single rows, with one error where PostgreSQL is away."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from engine import tracing
from engine.errors import StorageError
from engine.storage import migrate


class Database:
    """Runs statements on the record tables. Raises StorageError when PostgreSQL is away."""

    def __init__(self, url: str, pool_size: int = 4) -> None:
        self._engine = sa.create_engine(
            migrate.core_url(url), pool_size=pool_size, pool_pre_ping=True, connect_args={"connect_timeout": 3}
        )
        self._reading = self._engine.execution_options(isolation_level="AUTOCOMMIT")  # a query is its own snapshot

    def close(self) -> None:
        """Closes all connections."""
        self._engine.dispose()

    def is_ready(self) -> bool:
        """True where the database answers and stands at the newest revision."""
        try:
            with self._engine.connect() as connection:
                return migrate.is_current(connection)
        except sa.exc.OperationalError as error:
            raise StorageError(f"PostgreSQL does not answer: {error.orig}") from error

    def _rows(self, query: sa.Select[*tuple[Any, ...]]) -> Sequence[sa.RowMapping]:
        try:
            with _traced(query), self._reading.connect() as connection:
                return connection.execute(query).mappings().all()
        except sa.exc.OperationalError as error:
            raise StorageError(f"PostgreSQL does not answer: {error.orig}") from error

    def _write(self, *statements: sa.Insert | sa.Update | sa.Delete) -> bool:
        """Runs the statements in one transaction up to the first that touches no row; True where there is none."""
        if not statements:
            return True
        try:
            with _traced(*statements), self._engine.begin() as connection:
                counted = connection.execution_options(preserve_rowcount=True)  # an INSERT's too
                return all(counted.execute(statement).rowcount for statement in statements)
        except sa.exc.OperationalError as error:
            raise StorageError(f"PostgreSQL does not answer: {error.orig}") from error


@contextmanager
def _traced(*statements: sa.Executable) -> Iterator[None]:
    """A span of the statements, which stand in it with places for their values."""
    operation = type(statements[0]).__name__.upper()
    with tracing.span(f"postgresql {operation}", "client", attributes={"db.system.name": "postgresql"}) as told:
        if told:
            tracing.note("db.query.text", "; ".join(dict.fromkeys(map(str, statements))))
        yield
