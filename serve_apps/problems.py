"""Problem responses after RFC 9457: one shape for everything an endpoint refuses."""

import json
import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from engine.errors import AuditError, JobError, StorageError, StreamError
from engine.finance.premium import PremiumError
from engine.logs import get_logger
from simulations.errors import SpecError


class FieldProblem(BaseModel):
    """One field that was refused."""

    field: str = Field(description="path of the field in the request")
    message: str
    value: Any = Field(default=None, description="what was sent")


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str
    errors: list[FieldProblem] = []
    citation: str | None = Field(default=None, description="the law that forbids it, where one does")


class Refusal(HTTPException):
    """A request that is refused, wherever on its way: status, why, and headers of the answer."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, detail, headers)


def refusal_body(status: int, detail: str, path: str) -> bytes:
    """The problem document of a refusal made before any route."""
    return document(status, detail, path).model_dump_json().encode()


PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    code: {"model": Problem, "content": {"application/problem+json": {}}}
    for code in (400, 401, 403, 404, 413, 422, 429, 503)
}


CONFLICT: dict[int | str, dict[str, Any]] = {409: {"model": Problem, "content": {"application/problem+json": {}}}}
"""What a path answers besides where a request does not fit what another has done."""


def document(
    status: int, detail: str, path: str, errors: Sequence[FieldProblem] = (), citation: str | None = None
) -> Problem:
    """The problem as a document; its title is the status's phrase."""
    title = HTTPStatus(status).phrase
    return Problem(title=title, status=status, detail=detail, instance=path, errors=list(errors), citation=citation)


def problem(
    request: Request,
    status: int,
    detail: str,
    errors: Sequence[FieldProblem] = (),
    headers: Mapping[str, str] | None = None,
    citation: str | None = None,
) -> Response:
    """The response."""
    body = document(status, detail, request.url.path, errors, citation)
    # escaped, for what was sent may hold text that has no encoding, and the refusal names it
    return Response(json.dumps(body.model_dump()), status, headers, media_type="application/problem+json")


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | bool | None) else repr(value)[:200]


def field_problems(found: Sequence[Any]) -> list[FieldProblem]:
    """What Pydantic found, as fields that were refused."""
    return [
        FieldProblem(
            field=".".join(str(part) for part in e["loc"] if part != "body") or "body",
            message=e["msg"],
            value=_plain(e.get("input")),
        )
        for e in found
    ]


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    errors = field_problems(found)
    malformed = any(e["type"] == "json_invalid" for e in found)
    detail = "; ".join(f"{e.field}: {e.message}" for e in errors)
    return problem(request, 400 if malformed else 422, detail, errors)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, PremiumError)
    errors = [FieldProblem(field=error.field, message=str(error))]
    return problem(request, 422, str(error), errors, citation=error.citation or None)


def _unsimulated(request: Request, error: Exception) -> Response:
    assert isinstance(error, SpecError)
    return problem(request, 422, str(error), [FieldProblem(field=error.path, message=str(error))])


def away(error: Exception) -> str:
    """Which part is away, for the caller; addresses and the words of drivers are for the log."""
    get_logger(part="gateway").error("request failed", error=str(error))
    return str(error).partition(":")[0]


def _away(request: Request, error: Exception) -> Response:
    return problem(request, 503, away(error), headers={"Retry-After": "1"})


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problem(request, error.status_code, str(error.detail), headers=error.headers)


def _unforeseen(request: Request, error: Exception) -> Response:
    """What nobody foresaw: the log has it, the caller learns nothing of the inside."""
    return problem(request, 500, "the request failed for a reason of ours; the log has it")


def install(app: FastAPI) -> None:
    """Makes every refusal of the application a problem response."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(PremiumError, _refused)
    app.add_exception_handler(SpecError, _unsimulated)
    app.add_exception_handler(Exception, _unforeseen)
    app.add_exception_handler(JobError, _away)
    app.add_exception_handler(StorageError, _away)
    app.add_exception_handler(AuditError, _away)
    app.add_exception_handler(StreamError, _away)
