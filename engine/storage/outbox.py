"""The durable side of the outbox relay: waits for rows, hands them out in order, deletes what was published."""

from dataclasses import dataclass

import psycopg
from psycopg.rows import TupleRow

from engine.errors import StorageError
from engine.storage.shards import OUTBOX_CHANNEL
from engine.storage.turns import Turn


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """One row of the outbox. That of `scores.updated` holds the messages of a batch, see `score_messages`."""

    id: int
    topic: str
    key: str
    payload: bytes


class OutboxStore:
    """One connection of the relay. Of several relays one works at a time: the one that holds the advisory lock.

    Guarantees: messages come in order of id, and stay until `delete`. Raises StorageError when PostgreSQL is away.
    """

    def __init__(self, url: str) -> None:
        try:
            self._connection: psycopg.Connection[TupleRow] = psycopg.connect(
                url, autocommit=True, connect_timeout=5, application_name="outbox-relay"
            )
            self._connection.execute(f"LISTEN {OUTBOX_CHANNEL}")
        except psycopg.OperationalError as error:
            raise StorageError(f"PostgreSQL does not answer the outbox relay: {error}") from error

    def lead(self) -> bool:
        """True where this relay is the one to work."""
        try:
            row = self._connection.execute("SELECT pg_try_advisory_lock(%s)", (Turn.RELAY.value,)).fetchone()
        except psycopg.OperationalError as error:
            raise StorageError(f"PostgreSQL does not answer the outbox relay: {error}") from error
        return bool(row and row[0])

    def wait(self, seconds: float) -> None:
        """Returns when rows were added, or after `seconds`."""
        try:
            for _ in self._connection.notifies(timeout=seconds, stop_after=1):
                pass
        except psycopg.OperationalError as error:
            raise StorageError(f"PostgreSQL has gone away from the outbox relay: {error}") from error

    def take(self, limit: int) -> list[OutboxMessage]:
        """The oldest messages, at most `limit`. They stay in the outbox."""
        try:
            rows = self._connection.execute(
                "SELECT id, topic, message_key, payload FROM outbox ORDER BY id LIMIT %s", (limit,)
            ).fetchall()
        except psycopg.OperationalError as error:
            raise StorageError(f"PostgreSQL has gone away from the outbox relay: {error}") from error
        return [OutboxMessage(*row) for row in rows]

    def delete(self, messages: list[OutboxMessage]) -> None:
        """Removes messages that the broker has acknowledged."""
        try:
            self._connection.execute("DELETE FROM outbox WHERE id = ANY(%s)", ([message.id for message in messages],))
        except psycopg.OperationalError as error:
            raise StorageError(f"PostgreSQL has gone away from the outbox relay: {error}") from error

    def close(self) -> None:
        """Closes the connection, which gives the lock back."""
        self._connection.close()
