"""Routes that will go: RFC 9745 Deprecation, RFC 8594 Sunset, and a Link to what replaces them. Policy: docs/api.md."""

import datetime as dt
from email.utils import format_datetime
from typing import Any

from fastapi import Depends, Request

NOTICE = dt.timedelta(days=180)
"""A deprecated route answers for at least this long."""
_KEY = "vitanexus.deprecation"


def deprecated(since: dt.date, sunset: dt.date, replacement: str) -> dict[str, Any]:
    """Keyword arguments that mark a route: `@routes.get("/old", **deprecated(...))`.

    From `since` it is deprecated, from `sunset` it may be gone; `replacement` is the path that takes its place.
    Raises ValueError where `sunset` leaves less than NOTICE.
    """
    if sunset - since < NOTICE:
        raise ValueError(f"sunset is {sunset}: a route answers for {NOTICE.days} days after {since}")
    headers = [
        (b"deprecation", f"@{int(_instant(since).timestamp())}".encode()),
        (b"sunset", format_datetime(_instant(sunset), usegmt=True).encode()),
        (b"link", f'<{replacement}>; rel="successor-version", </docs>; rel="deprecation"'.encode()),
    ]

    def mark(request: Request) -> None:
        request.scope[_KEY] = headers

    return {"deprecated": True, "dependencies": [Depends(mark)]}


def marks(scope: Any) -> list[tuple[bytes, bytes]]:
    """The headers of a request's scope, once its route has marked it."""
    found: list[tuple[bytes, bytes]] = scope.get(_KEY, [])
    return found


def _instant(date: dt.date) -> dt.datetime:
    return dt.datetime.combine(date, dt.time(), dt.UTC)
