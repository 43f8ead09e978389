"""A small pool of connections for reads and for single rows, with one error where PostgreSQL is away."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from engine.errors import StorageError
from engine.storage import migrate


class Database:
    """Runs statements on the record tables. Raises StorageError when PostgreSQL is away."""

    def __init__(self, url: str, pool_size: int = 4) -> None:
        self._engine = sa.create_engine(
            migrate.core_url(url), pool_size=pool_size, pool_pre_ping=True, connect_args={"connect_timeout": 3}
        )

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
            with self._engine.connect() as connection:
                return connection.execute(query).mappings().all()
        except sa.exc.OperationalError as error:
            raise StorageError(f"PostgreSQL does not answer: {error.orig}") from error

    def _write(self, *statements: sa.Insert | sa.Update) -> bool:
        """Runs the statements in one transaction up to the first that touches no row; True where there is none."""
        try:
            with self._engine.begin() as connection:
                return all(connection.execute(statement).rowcount for statement in statements)
        except sa.exc.OperationalError as error:
            raise StorageError(f"PostgreSQL does not answer: {error.orig}") from error
