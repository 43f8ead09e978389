"""Access tokens that were revoked before they expired."""

import datetime as dt

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from engine.storage.database import Database
from engine.storage.schema import CORE

_DENIED = CORE["denied_tokens"]


class DeniedTokens(Database):
    """The rows of `denied_tokens`."""

    def deny(self, token_id: str, reason: str, expires_at: dt.datetime) -> None:
        """Revokes a token. The row may go once the token has expired; one that is there stays, for the later moment."""
        row = {"token_id": token_id, "reason": reason, "expires_at": expires_at}
        later = sa.func.greatest(_DENIED.c.expires_at, expires_at)
        self._write(
            insert(_DENIED).values(**row).on_conflict_do_update(index_elements=["token_id"], set_={"expires_at": later})
        )
        self._write(sa.delete(_DENIED).where(_DENIED.c.expires_at < sa.func.now()))

    def current(self) -> frozenset[str]:
        """Identifiers of the revoked tokens that have not expired."""
        query = sa.select(_DENIED.c.token_id).where(_DENIED.c.expires_at >= sa.func.now())
        return frozenset(row["token_id"] for row in self._rows(query))
