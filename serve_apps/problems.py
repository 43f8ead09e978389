"""Problem responses after RFC 9457: one shape for everything an endpoint refuses."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from engine.errors import JobError, StorageError, StreamError
from engine.finance.premium import PremiumError
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


PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    code: {"model": Problem, "content": {"application/problem+json": {}}} for code in (400, 404, 422, 503)
}


def problem(request: Request, status: int, detail: str, errors: Sequence[FieldProblem] = ()) -> JSONResponse:
    """The response; its title is the status's phrase."""
    body = Problem(
        title=HTTPStatus(status).phrase, status=status, detail=detail, instance=request.url.path, errors=list(errors)
    )
    return JSONResponse(body.model_dump(mode="json"), status, media_type="application/problem+json")


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else repr(value)[:200]


def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    errors = [
        FieldProblem(
            field=".".join(str(part) for part in e["loc"] if part != "body") or "body",
            message=e["msg"],
            value=_plain(e.get("input")),
        )
        for e in found
    ]
    malformed = any(e["type"] == "json_invalid" for e in found)
    detail = "; ".join(f"{e.field}: {e.message}" for e in errors)
    return problem(request, 400 if malformed else 422, detail, errors)


def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, PremiumError)
    return problem(request, 422, str(error), [FieldProblem(field=error.field, message=str(error))])


def _unsimulated(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, SpecError)
    return problem(request, 422, str(error), [FieldProblem(field=error.path, message=str(error))])


def _away(request: Request, error: Exception) -> JSONResponse:
    return problem(request, 503, str(error))


def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return problem(request, error.status_code, str(error.detail))


def install(app: FastAPI) -> None:
    """Makes every refusal of the application a problem response."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(PremiumError, _refused)
    app.add_exception_handler(SpecError, _unsimulated)
    app.add_exception_handler(JobError, _away)
    app.add_exception_handler(StorageError, _away)
    app.add_exception_handler(StreamError, _away)
