"""ETag and If-None-Match on reads (RFC 9110, 8.8.3 and 13.1.2): who has the newest answer is told so, and no more."""

import hashlib
from collections.abc import Collection
from typing import Any

import msgspec
from fastapi import Request, Response
from pydantic import BaseModel

_PRIVATE = "private, no-cache"
"""The caller may keep the answer but asks each time; nobody between may."""
UNCHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "What If-None-Match names is the newest"}}


def conditional(
    request: Request, answer: BaseModel | msgspec.Struct | dict[str, Any], volatile: Collection[str] = ()
) -> Response:
    """The answer with a weak ETag, or 304 where the request names that tag; see `tagged`."""
    status, headers, body = tagged(answer, request.headers.get("if-none-match", ""), volatile)
    return Response(body, status, headers, media_type="application/json" if body else None)


def tagged(
    answer: BaseModel | msgspec.Struct | dict[str, Any], condition: str, volatile: Collection[str] = ()
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and JSON body of the answer: 200, or 304 without a body where `condition` names its tag.

    The tag is a digest of the answer but for its `volatile` fields, at any depth, which change though what they
    describe does not.
    """
    body = answer.model_dump(mode="json") if isinstance(answer, BaseModel) else msgspec.to_builtins(answer)
    told = msgspec.json.encode(_lasting(body, volatile))
    tag = f'W/"{hashlib.blake2b(told, digest_size=12).hexdigest()}"'
    headers = {"ETag": tag, "Cache-Control": _PRIVATE}
    return (304, headers, b"") if _names(condition, tag) else (200, headers, msgspec.json.encode(body))


def _lasting(value: Any, volatile: Collection[str]) -> Any:
    if not volatile:
        return value
    if isinstance(value, dict):
        return {name: _lasting(each, volatile) for name, each in value.items() if name not in volatile}
    return [_lasting(each, volatile) for each in value] if isinstance(value, list) else value


def _names(condition: str, tag: str) -> bool:
    tags = [each.strip() for each in condition.split(",")]
    return "*" in tags or tag.removeprefix("W/") in [each.removeprefix("W/") for each in tags]
