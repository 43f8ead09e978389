"""The quick way in and out of the hot routes: bytes to a record and a score to bytes, without FastAPI or Pydantic.

The Pydantic models of `serve_apps.scoring` are the schema. What is decoded here is a part of what they take, with the
same values; what is not decoded is not refused but left to them, and so are the words of every refusal.
"""

import dataclasses
import datetime as dt
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from engine.domain.events import CONDITIONS, LINES_OF_BUSINESS, METALS
from engine.domain.metrics import LAB_INDEX, LAB_TESTS, METRIC_INDEX, METRICS
from engine.scoring.record import HealthRecord, RecordScore
from engine.scoring.risk_factors import RiskFactor
from serve_apps.records import (
    DIAGNOSIS,
    FIRST_BIRTH,
    FUTURE,
    MOST_COST,
    MOST_COUNT,
    MOST_DIAGNOSES,
    MOST_DRUGS,
    MOST_OBSERVED,
    NDC,
    SERVICES,
    record_of,
)

_TIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)\Z"
"""The usual way to write a time; others are left to the schema, which rounds and guesses in ways of its own."""
Cost = Annotated[float, Meta(ge=0, le=MOST_COST)]
Count = Annotated[int, Meta(ge=0, le=MOST_COUNT)]
Rating = Annotated[int, Meta(ge=1, le=5)]
_RANGES = {metric.code: (metric.low, metric.high) for metric in METRICS}
_LAB_RANGES = {test.code: (test.low, test.high) for test in LAB_TESTS}
assert set(_RANGES) == set(METRIC_INDEX) and set(_LAB_RANGES) == set(LAB_INDEX)


class _Utilisation(Struct, forbid_unknown_fields=True):
    cost: Cost = 0.0
    count: Count = 0


class _Month(Struct, forbid_unknown_fields=True):
    mean: float
    days: Annotated[int, Meta(ge=1, le=30)]


class Record(Struct, forbid_unknown_fields=True):
    """A ScoreRequest as it comes."""

    birth_date: dt.date
    sex: Literal["female", "male"]
    as_of: Annotated[str, Meta(pattern=_TIME)] | None = None
    care: dict[Literal[SERVICES], _Utilisation] = {}
    other_cost: Cost = 0.0
    diagnoses: Annotated[list[str], Meta(max_length=MOST_DIAGNOSES)] = []
    conditions: list[Literal[CONDITIONS]] = []
    general_health: Rating | None = None
    mental_health: Rating | None = None
    wearables: dict[str, _Month] = {}
    vitals: dict[str, float] = {}
    labs: dict[str, float] = {}
    observed_days: Annotated[int, Meta(ge=0, le=MOST_OBSERVED)] = 365
    line_of_business: Literal[LINES_OF_BUSINESS] | None = None
    metal: Literal[METALS] | None = None
    drugs: Annotated[list[str], Meta(max_length=MOST_DRUGS)] = []


class Answer(Struct):
    """A ScoreResponse as it goes; field by field the same."""

    member_id: str | None
    score: float | None
    category: str
    predicted_annual_cost: "Cost90 | None"
    news2: int | None
    risk_factors: list[RiskFactor] | list[dict[str, Any]]
    interventions: list["Named"]
    components: list[str]
    model_version: str
    as_of: dt.datetime
    answered_by: str
    age_seconds: float


class Cost90(Struct):
    """A PredictedCost."""

    mean: float
    lower_90: float
    upper_90: float


class Named(Struct):
    """A Recommended."""

    code: str
    title: str


_SCORE = [each.name for each in dataclasses.fields(RecordScore)]
_decoder = msgspec.json.Decoder(Record)
encode = msgspec.json.Encoder().encode


def decode(body: bytes | bytearray | memoryview) -> tuple[HealthRecord, dt.datetime] | None:
    """The record of a body, and its as-of time; None where the body is left to the Pydantic models."""
    try:
        found = _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return _checked(found)


def _checked(found: Record) -> tuple[HealthRecord, dt.datetime] | None:
    now = dt.datetime.now(dt.UTC)
    try:
        as_of = now if found.as_of is None else dt.datetime.fromisoformat(found.as_of)
    except ValueError:
        return None
    if as_of > now + FUTURE or not FIRST_BIRTH <= found.birth_date <= as_of.date():
        return None
    if not all(map(DIAGNOSIS.fullmatch, found.diagnoses)) or not all(map(NDC.fullmatch, found.drugs)):
        return None
    if not _within(_LAB_RANGES, found.labs) or not _within(_RANGES, found.vitals):
        return None
    if not _within(_RANGES, {code: month.mean for code, month in found.wearables.items()}):
        return None
    return record_of(found, as_of), as_of


def _within(ranges: Mapping[str, tuple[float, float]], values: Mapping[str, float]) -> bool:
    for code, value in values.items():
        known = ranges.get(code)
        if known is None or not known[0] <= value <= known[1]:
            return False
    return True


def answer(score: RecordScore, titles: Mapping[str, str], as_of: dt.datetime) -> Answer:
    """The answer for a scored record."""
    return _answer({name: getattr(score, name) for name in _SCORE}, titles, None, as_of, "request", 0.0)


def live_answer(row: Mapping[str, Any], titles: Mapping[str, str]) -> Answer:
    """The answer for a row of the score history as a shard has it, `as_of` in microseconds, with `age_seconds`."""
    as_of = dt.datetime.fromtimestamp(row["as_of"] / 1e6, dt.UTC)
    return _answer(row, titles, row["member_id"], as_of, "shard", row["age_seconds"])


def stored_answer(row: Mapping[str, Any], titles: Mapping[str, str]) -> Answer:
    """The answer for a row of the score history as PostgreSQL has it; its age counts from `scored_at`."""
    age = (dt.datetime.now(dt.UTC) - row["scored_at"]).total_seconds()
    return _answer(row, titles, row["member_id"], row["as_of"], "postgres", max(age, 0.0))


def _answer(
    row: Mapping[str, Any],
    titles: Mapping[str, str],
    member_id: str | None,
    as_of: dt.datetime,
    answered_by: str,
    age_seconds: float,
) -> Answer:
    cost = None
    if row["predicted_cost"] is not None:
        cost = Cost90(row["predicted_cost"], float(row["cost_lower_90"] or 0.0), float(row["cost_upper_90"] or 0.0))
    return Answer(
        member_id,
        row["score"],
        row["category"],
        cost,
        row["news2"],
        row["risk_factors"],
        [Named(code, titles.get(code, code)) for code in row["interventions"]],
        row["components"],
        row["model_version"],
        as_of,
        answered_by,
        age_seconds,
    )


def plain(score: RecordScore) -> dict[str, Any]:
    """The score as plain values, as `serve_apps.scoring.response` takes them."""
    values: dict[str, Any] = msgspec.to_builtins(score)
    return values
