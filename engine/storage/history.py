"""The accepted events as PostgreSQL keeps them, read back as events."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import msgspec
import psycopg
from psycopg import sql

from engine.domain.events import EventKind
from engine.errors import StorageError

_CHUNK = 20_000


@contextmanager
def history(url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection that reads the events of one moment, however many questions are asked.

    Raises StorageError where PostgreSQL is away, be it in between.
    """
    try:
        with psycopg.connect(url, connect_timeout=3) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            yield connection
    except psycopg.OperationalError as error:
        raise StorageError(f"PostgreSQL does not answer: {error}") from error


def stored_events(
    connection: psycopg.Connection[Any], kind: EventKind, partition: int, member_id: str | None = None
) -> Iterator[list[Any]]:
    """The partition's accepted events of a kind, in the order of its log, in lists of bounded length.

    Only those of one member, where one is named. Codes have the spelling of today, whatever they were stored in.

    An event has the schema's columns as attributes, as a decoded one has: `time` in ms since 1970, dates as
    datetime.date. `connection` is one of `history`.
    """
    event, columns = _layout(kind)
    spelled = [column for column in kind.schema if column.spelling is not None]
    only = sql.SQL("" if member_id is None else "AND member_id = %(member)s")
    query = sql.SQL("SELECT {} FROM {} WHERE partition = %(partition)s {} ORDER BY kafka_offset").format(
        columns, sql.Identifier(kind.table), only
    )
    with connection.cursor("history") as cursor:
        cursor.itersize = _CHUNK
        cursor.execute(query, {"partition": partition, "member": member_id})
        while rows := cursor.fetchmany(_CHUNK):
            events = [event(*row) for row in rows]
            for each in events:
                for column in spelled:
                    setattr(each, column.name, column.spelled(getattr(each, column.name)))
            yield events


@cache
def _layout(kind: EventKind) -> tuple[type[msgspec.Struct], sql.Composed]:
    """The type of the kind's events, and the columns its attributes are read from."""
    kept = [column for column in kind.schema if column.name != "v"]
    columns = [
        sql.SQL("(extract(epoch FROM {0}) * 1000)::bigint").format(sql.Identifier(column.name))
        if column.sql == "timestamptz"
        else sql.Identifier(column.name)
        for column in kept
    ]
    return msgspec.defstruct("event", [column.name for column in kept]), sql.SQL(", ").join(columns)
