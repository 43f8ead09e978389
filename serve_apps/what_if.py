"""`POST /v1/members/{id}/what-if`: these changes, this score. Nothing is stored, and nothing of the member changes."""

import datetime as dt
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from engine.domain.claims import conditions_of
from engine.domain.events import CONDITIONS
from engine.scoring.record import HealthRecord
from serve_apps.access.reads import Reads
from serve_apps.members import MemberId
from serve_apps.problems import PROBLEM_RESPONSES
from serve_apps.scoring import Rating, ScoreRequest, ScoreResponse, Utilisation, WearableMonth, response
from serve_apps.threads import in_thread

Score = Callable[[HealthRecord], Awaitable[dict[str, Any]]]
"""The score of a record as plain values."""
Service = Literal["inpatient", "emergency", "outpatient", "office", "pharmacy", "home_health"]


class Changes(BaseModel):
    """What would be otherwise. What is left out stays as it is."""

    model_config = ConfigDict(extra="forbid")
    wearables: dict[str, WearableMonth] = Field(default={}, description="30 days by metric, in its unit")
    vitals: dict[str, float] = Field(default={}, description="vital signs of the last 24 hours by metric, in its unit")
    labs: dict[str, float] = Field(default={}, description="latest results by test, in its unit")
    conditions: dict[str, bool] = Field(
        default={}, description=f"true to add, false to take away with its diagnoses; of: {', '.join(CONDITIONS)}"
    )
    general_health: Rating | None = None
    mental_health: Rating | None = None
    care: dict[Service, Utilisation] = Field(default={}, description="care of the last 12 months by service category")

    @field_validator("wearables", "vitals")
    @classmethod
    def _possible(cls, value: dict[str, Any]) -> dict[str, Any]:
        return ScoreRequest._possible(value)

    @field_validator("labs")
    @classmethod
    def _resulted(cls, value: dict[str, float]) -> dict[str, float]:
        return ScoreRequest._resulted(value)

    @field_validator("conditions")
    @classmethod
    def _known(cls, value: dict[str, bool]) -> dict[str, bool]:
        ScoreRequest._known(list(value))
        return value

    @model_validator(mode="after")
    def _some(self) -> "Changes":
        if not self.model_fields_set:
            raise ValueError(f"names no change: give at least one of {', '.join(type(self).model_fields)}")
        return self

    def of(self, record: HealthRecord) -> HealthRecord:
        """The record with the changes made."""
        features = dict(record.features)
        for service, use in self.care.items():
            features["cost_total"] += use.cost - features[f"cost_{service}"]
            features[f"cost_{service}"], features[f"n_{service}"] = use.cost, use.count
        features |= {code: float(has) for code, has in self.conditions.items()}
        for name in ("general_health", "mental_health"):
            if getattr(self, name) is not None:
                features[name] = getattr(self, name)
        gone = {CONDITIONS.index(code) for code, has in self.conditions.items() if not has}
        return replace(
            record,
            features=features,
            month={**record.month, **{code: month.mean for code, month in self.wearables.items()}},
            days={**record.days, **{code: month.days for code, month in self.wearables.items()}},
            vitals={**record.vitals, **self.vitals},
            labs={**record.labs, **self.labs},
            diagnoses=[code for code in record.diagnoses if not gone & {*conditions_of(code)}],
        )


class Difference(BaseModel):
    """Changed minus baseline; null where either has no score."""

    score: float | None
    predicted_annual_cost: Annotated[float | None, Field(description="USD a year")]


class WhatIf(BaseModel):
    """The score as it is and as it would be, both made of the stored events, without the steps forecast."""

    member_id: str
    baseline: ScoreResponse
    changed: ScoreResponse
    difference: Difference
    basis: str = "What the models predict for such a person; not what the change would cause"


def router(
    record_of: Callable[[str], HealthRecord | None], score: Score, titles: dict[str, str], reads: Reads
) -> APIRouter:
    """The endpoint, given what makes a member a record, what scores one, and what admits reads."""
    routes = APIRouter(prefix="/v1/members", tags=["members"], responses=PROBLEM_RESPONSES)

    @routes.post("/{member_id:path}/what-if")
    async def what_if(member_id: MemberId, changes: Changes, request: Request) -> WhatIf:
        """The member's score with these changes, beside the score without them."""
        await reads.member(request.scope, member_id, "member.what-if")
        record = await in_thread(record_of, member_id)
        if record is None:
            raise HTTPException(404, f"member_id is {member_id!r}: no event of theirs is stored")
        more: dict[str, Any] = {"member_id": member_id, "answered_by": "request", "age_seconds": 0.0}
        more["as_of"] = dt.datetime.fromtimestamp(record.as_of_us / 1e6, dt.UTC)
        baseline = response(await score(record), titles, **more)
        changed = response(await score(changes.of(record)), titles, **more)
        return WhatIf(
            member_id=member_id, baseline=baseline, changed=changed, difference=_difference(baseline, changed)
        )

    return routes


def _difference(baseline: ScoreResponse, changed: ScoreResponse) -> Difference:
    before, after = baseline.predicted_annual_cost, changed.predicted_annual_cost
    if baseline.score is None or changed.score is None or before is None or after is None:
        return Difference(score=None, predicted_annual_cost=None)
    return Difference(score=changed.score - baseline.score, predicted_annual_cost=after.mean - before.mean)
