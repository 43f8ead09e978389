"""The accepted events as PostgreSQL keeps them, read back as events."""

from collections.abc import Iterator
from typing import Any

import msgspec
import psycopg
from psycopg import sql

from engine.domain.events import EventKind
from engine.errors import StorageError

_CHUNK = 20_000


def stored_events(url: str, kind: EventKind, partition: int, member_id: str | None = None) -> Iterator[list[Any]]:
    """The partition's accepted events of a kind, in the order of its log, in lists of bounded length.

    Only those of one member, where one is named. Codes have the spelling of today, whatever they were stored in.

    An event has the schema's columns as attributes, as a decoded one has: `time` in ms since 1970, dates as
    datetime.date. Raises StorageError where PostgreSQL is away.
    """
    kept = [column for column in kind.schema if column.name != "v"]
    event = msgspec.defstruct("event", [column.name for column in kept])
    spelled = [column for column in kept if column.spelling is not None]
    columns = [
        sql.SQL("(extract(epoch FROM {0}) * 1000)::bigint").format(sql.Identifier(column.name))
        if column.sql == "timestamptz"
        else sql.Identifier(column.name)
        for column in kept
    ]
    only = sql.SQL("" if member_id is None else "AND member_id = %(member)s")
    query = sql.SQL("SELECT {} FROM {} WHERE partition = %(partition)s {} ORDER BY kafka_offset").format(
        sql.SQL(", ").join(columns), sql.Identifier(kind.table), only
    )
    try:
        with psycopg.connect(url, connect_timeout=3) as connection, connection.cursor("history") as cursor:
            cursor.itersize = _CHUNK
            cursor.execute(query, {"partition": partition, "member": member_id})
            while rows := cursor.fetchmany(_CHUNK):
                events = [event(*row) for row in rows]
                for each in events:
                    for column in spelled:
                        setattr(each, column.name, column.spelled(getattr(each, column.name)))
                yield events
    except psycopg.OperationalError as error:
        raise StorageError(f"PostgreSQL does not answer: {error}") from error
