"""The running service against its own OpenAPI document: no 5xx, and no answer the document does not describe."""

import json
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import CHECKS, load_all_checks

from simulations.scenario import parse
from tests.e2e.conftest import RunningStack

load_all_checks()
SUBMIT = "POST /v1/simulations"
NDJSON = "application/x-ndjson"
CHECKED = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "unsupported_method",
    ]
)


@schemathesis.serializer(NDJSON)
def _one_line(context: Any, value: Any) -> bytes:
    """A body of one record."""
    return value if isinstance(value, bytes) else json.dumps(value).encode() + b"\n"


@schemathesis.deserializer(NDJSON)
def _first_line(context: Any, response: Any) -> Any:
    """The answer to the first record: all lines have one form."""
    return json.loads(response.content.split(b"\n")[0])


def _refused(case: Any) -> bool:
    """Whether a scenario cannot be run: those that can would each take the machine; tests/e2e/test_jobs.py has them."""
    try:
        parse(case.body)
    except Exception:  # noqa: BLE001 - whatever is wrong with it, the service has to say so
        return True
    return False


def failures(url: str, headers: dict[str, str], examples: int) -> list[str]:
    """What goes against the document at `url`, operation by operation, on so many generated requests of each."""
    found: list[str] = []
    for result in schemathesis.openapi.from_url(f"{url}/openapi.json").get_all_operations():
        operation = result.ok()
        requests = operation.as_strategy()
        if operation.label == SUBMIT:
            requests = requests.filter(_refused)

        @settings(
            max_examples=examples,
            deadline=None,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
            derandomize=True,
            database=None,
        )
        @given(case=requests)
        def check(case: Any) -> None:
            case.call_and_validate(checks=CHECKED, headers=headers, timeout=30)

        try:
            check()
        except (AssertionError, BaseExceptionGroup) as error:
            found.append(f"{operation.label}: {error}")
    return found


def test_every_answer_is_one_the_document_describes(stack: RunningStack) -> None:
    assert failures(stack.endpoints.http, {}, 30) == []
