"""The audit of reads: 45 CFR 164.312(b) asks for a record of activity in systems that hold health information."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

ALLOWED: Literal["allowed"] = "allowed"
DENIED: Literal["denied"] = "denied"
UNSTATED = "unstated"
"""The purpose of a read for which neither token nor request named one."""


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One look at a member's health data, or one that was denied. `occurred_at_us` in microseconds since 1970.

    `member_id` is None for a record that the caller supplied. `event_id` names the event once and for all.
    """

    event_id: str
    occurred_at_us: int
    actor: str
    client: str
    tenant_id: str
    action: str
    resource: str
    member_id: str | None
    purpose: str
    outcome: Literal["allowed", "denied"]
    request_id: str


def new_event_id() -> str:
    """An identifier for a new event."""
    return uuid.uuid4().hex


class AuditStore(Protocol):
    """Where audit events are kept for good."""

    def append(self, events: Sequence[AuditEvent]) -> None:
        """Keeps the events. Durable when it returns, all or none; events that are there already stay as they are.

        Raises StorageError where it cannot: the caller keeps the events and asks again.
        """
        ...
