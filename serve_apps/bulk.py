"""`POST /v1/scores/bulk`: up to 10,000 records as NDJSON, answered line by line, scored together in slices."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field, ValidationError

from engine.scoring.record import HealthRecord
from serve_apps import score_codec
from serve_apps.problems import PROBLEM_RESPONSES, FieldProblem, Problem, document, field_problems
from serve_apps.score_codec import Answer
from serve_apps.scores import Scores
from serve_apps.scoring import ScoreRequest, ScoreResponse

MOST_RECORDS = 10_000
SLICE = 128
"""Records scored in one go: some 3 ms, after which other requests have their turn."""
PATH = "/v1/scores/bulk"
MEDIA_TYPE = "application/x-ndjson"


class BulkLine(BaseModel):
    """One line of the answer: of the record of that number, from 0, either its score or why it has none."""

    index: int = Field(ge=0)
    score: ScoreResponse | None = None
    problem: Problem | None = None


class _Scored(msgspec.Struct):
    index: int
    score: Answer
    problem: None = None


class Ndjson(StreamingResponse):
    """A stream of JSON documents, one a line."""

    media_type = MEDIA_TYPE


def _parsed(line: bytes) -> ScoreRequest | Problem:
    """What the schema says of a line that the quick decoder leaves to it."""
    try:
        return ScoreRequest.model_validate(json.loads(line))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        return document(
            400, f"body: JSON decode error: {error}", PATH, [FieldProblem(field="body", message=str(error))]
        )
    except ValidationError as error:
        errors = field_problems(error.errors())
        return document(422, "; ".join(f"{e.field}: {e.message}" for e in errors), PATH, errors)


def _slice(lines: Sequence[bytes], first: int, scores: Scores, titles: Mapping[str, str]) -> bytes:
    """The answers to some lines, in order."""
    out: list[bytes] = [b""] * len(lines)
    kept, records = [], list[HealthRecord]()
    for i, line in enumerate(lines):
        decoded = score_codec.decode(line)
        if decoded is None:
            found = _parsed(line)
            if isinstance(found, Problem):
                out[i] = json.dumps({"index": first + i, "score": None, "problem": found.model_dump()}).encode()
                continue
            assert found.as_of is not None
            decoded = found.record(), found.as_of
        kept.append((i, decoded[1]))
        records.append(decoded[0])
    for (i, as_of), score in zip(kept, scores.score_all(records) if records else (), strict=True):
        out[i] = score_codec.encode(_Scored(first + i, score_codec.answer(score, titles, as_of)))
    return b"\n".join(out) + b"\n"


def router(scores: Scores, titles: Mapping[str, str]) -> APIRouter:
    """The endpoint, given what scores and the titles of the interventions by code."""
    routes = APIRouter(prefix="/v1", tags=["scores"], responses=PROBLEM_RESPONSES)
    schema = {"$ref": "#/components/schemas/ScoreRequest"}
    body = {"required": True, "content": {MEDIA_TYPE: {"schema": schema}}}

    line = {"$ref": "#/components/schemas/BulkLine", "type": "object"}
    answered: dict[int | str, dict[str, Any]] = {200: {"model": BulkLine, "content": {MEDIA_TYPE: {"schema": line}}}}

    @routes.post("/scores/bulk", response_class=Ndjson, responses=answered, openapi_extra={"requestBody": body})
    async def score_records(request: Request) -> Ndjson:
        """Scores records, one JSON document a line, at most 10,000; nothing is stored.

        Answers one line a record, in their order: `score`, or `problem` for a record that is refused. The others are
        scored all the same. A body that is no such list is refused as a whole.
        """
        lines = [line for line in (await request.body()).split(b"\n") if line.strip()]
        if not 0 < len(lines) <= MOST_RECORDS:
            raise HTTPException(422, f"body has {len(lines)} records: 1 to {MOST_RECORDS:,} lines of JSON are taken")

        async def answers() -> AsyncIterator[bytes]:
            for first in range(0, len(lines), SLICE):
                yield _slice(lines[first : first + SLICE], first, scores, titles)
                await asyncio.sleep(0)

        return Ndjson(answers())

    return routes
