"""The answers to writes that carried an Idempotency-Key, for a day."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from engine.storage.database import Database
from engine.storage.schema import CORE

KEPT = dt.timedelta(hours=24)
ABANDONED = dt.timedelta(minutes=2)
"""A write that has no answer by then died on its way; the next request with its key does it."""
_KEYS = CORE["idempotency_keys"]


@dataclass(frozen=True, slots=True)
class KeyedWrite:
    """A write and the key its caller gave it."""

    tenant_id: str
    subject: str
    idempotency_key: str
    path: str
    request_digest: bytes


@dataclass(frozen=True, slots=True)
class Earlier:
    """The write that used the key first. `status` is None while it is under way."""

    same: bool
    status: int | None
    headers: Mapping[str, str]
    body: bytes


class IdempotencyKeys(Database):
    """The rows of `idempotency_keys`."""

    def begin(self, write: KeyedWrite) -> Earlier | None:
        """Takes the key for this write: None where it is new, else what used it first.

        A key that is older than KEPT, or was left without an answer for ABANDONED by the same request, is new.
        """
        now = sa.func.clock_timestamp()
        row = {name: getattr(write, name) for name in KeyedWrite.__slots__}
        fresh = {**row, "begun_at": now, "status": None, "headers": None, "body": None}
        same = sa.and_(_KEYS.c.path == write.path, _KEYS.c.request_digest == write.request_digest)
        abandoned = sa.and_(_KEYS.c.status.is_(None), _KEYS.c.begun_at < now - ABANDONED, same)
        taken = (
            insert(_KEYS)
            .values(**row)
            .on_conflict_do_update(
                index_elements=list(_KEYS.primary_key),
                set_=fresh,
                where=sa.or_(_KEYS.c.begun_at < now - KEPT, abandoned),
            )
        )
        if self._write(taken):
            return None
        found = self._rows(sa.select(_KEYS).where(*_named(write)))
        if not found:  # its write failed meanwhile and gave the key back
            return self.begin(write)
        row = dict(found[0])
        return Earlier(
            row["path"] == write.path and bytes(row["request_digest"]) == write.request_digest,
            row["status"],
            row["headers"] or {},
            bytes(row["body"] or b""),
        )

    def finish(self, write: KeyedWrite, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Keeps the answer."""
        values: dict[str, Any] = {"status": status, "headers": dict(headers), "body": body}
        self._write(sa.update(_KEYS).where(*_named(write)).values(**values))

    def give_back(self, write: KeyedWrite) -> None:
        """Forgets a write that failed for a reason of ours, so that it can be tried again."""
        self._write(sa.delete(_KEYS).where(*_named(write), _KEYS.c.status.is_(None)))

    def purge(self) -> None:
        """Removes keys older than KEPT."""
        self._write(sa.delete(_KEYS).where(_KEYS.c.begun_at < sa.func.clock_timestamp() - KEPT))


def _named(write: KeyedWrite) -> tuple[sa.ColumnElement[bool], ...]:
    return tuple(_KEYS.c[name] == getattr(write, name) for name in ("tenant_id", "subject", "idempotency_key"))
