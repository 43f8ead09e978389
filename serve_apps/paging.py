"""Opaque cursors: where the following page begins, as a text that only the route which gave it reads."""

import base64
import datetime as dt
from typing import Annotated, Any

import msgspec
from fastapi import Query

from serve_apps.problems import Refusal

_FORM = {"max_length": 512, "pattern": "^[A-Za-z0-9_-]+$"}
Cursor = Annotated[str | None, Query(**_FORM, description="`next_cursor` of the page before; opaque")]
FormerCursor = Annotated[str | None, Query(**_FORM, deprecated=True, description="`cursor` by its former name")]


def cursor_of(kind: str, *place: int | str | dt.datetime) -> str:
    """The cursor of a route's page that ends at `place`."""
    return base64.urlsafe_b64encode(msgspec.json.encode([kind, *place])).decode().rstrip("=")


def place_of(cursor: str | None, kind: str, types: tuple[type, ...]) -> tuple[Any, ...] | None:
    """The place a cursor of this route names, None without a cursor. Raises Refusal 400 for any other text."""
    if cursor is None:
        return None
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        found = msgspec.json.decode(base64.urlsafe_b64decode(padded), type=tuple[(str, *types)])  # type: ignore[valid-type]
    except ValueError as error:
        raise Refusal(400, "cursor is none that this path has given") from error
    if found[0] != kind:
        raise Refusal(400, "cursor is of another path")
    return tuple(found[1:])
