"""Bulk scoring: each line answered as the record alone would be, refusals in their places, limits, schema."""

import json
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from engine.settings import load_rules
from serve_apps import bulk, problems, scoring
from serve_apps.bulk import MOST_RECORDS, BulkLine
from serve_apps.scores import Scores
from tests.unit.serve_apps.test_hot import RECORD, Loaded

NDJSON = {"content-type": "application/x-ndjson"}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    scores, titles = Scores(Loaded()), {entry.code: entry.title for entry in load_rules().catalogue}
    app = FastAPI()
    problems.install(app)
    app.include_router(scoring.router(scores, titles))
    app.include_router(bulk.router(scores, titles))
    with TestClient(app) as made:
        yield made


def asked(client: TestClient, lines: list[bytes]) -> list[dict]:
    answer = client.post("/v1/scores/bulk", content=b"\n".join(lines) + b"\n", headers=NDJSON)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    return [json.loads(line) for line in answer.text.splitlines()]


def test_every_line_is_answered_as_its_record_alone(client: TestClient) -> None:
    bodies = [RECORD | {"birth_date": f"{1930 + i % 80}-03-0{1 + i % 9}", "observed_days": i} for i in range(300)]
    bodies[7] |= {"sex": "unknown"}
    bodies[200] |= {"general_health": "4"}  # left to the schema, which takes it
    bodies[299] |= {"vitals": {"heart_rate": 900}}
    lines = [json.dumps(body).encode() for body in bodies]
    lines[11] = b'{"sex": '
    found = asked(client, lines)
    assert [line["index"] for line in found] == list(range(300))
    for i, line in enumerate(found):
        BulkLine.model_validate(line)
        alone = client.post("/v1/scores", content=lines[i], headers={"content-type": "application/json"})
        if alone.status_code == 200:
            assert line["score"] == alone.json() and line["problem"] is None
        else:
            assert i in (7, 11, 299)
            problem = alone.json()
            assert line["score"] is None and line["problem"]["status"] == problem["status"]
            if i != 11:
                assert line["problem"]["errors"] == problem["errors"] and line["problem"]["detail"] == problem["detail"]


def test_a_body_of_nothing_or_too_much_is_refused_as_a_whole(client: TestClient) -> None:
    line = json.dumps(RECORD).encode()
    for body, count in ((b"", 0), (b"\n \n", 0), (b"\n".join([line] * (MOST_RECORDS + 1)), MOST_RECORDS + 1)):
        answer = client.post("/v1/scores/bulk", content=body, headers=NDJSON)
        assert answer.status_code == 422 and f"has {count} records" in answer.json()["detail"]
        assert answer.headers["content-type"] == "application/problem+json"


def test_the_schema_names_the_lines_both_ways(client: TestClient) -> None:
    said = client.get("/openapi.json").json()["paths"]["/v1/scores/bulk"]["post"]
    assert said["requestBody"]["content"] == {
        "application/x-ndjson": {"schema": {"$ref": "#/components/schemas/ScoreRequest"}}
    }
    assert said["responses"]["200"]["content"] == {
        "application/x-ndjson": {"schema": {"$ref": "#/components/schemas/BulkLine", "type": "object"}}
    }
