"""Reads of a member's data: only of the caller's own tenant, and every one with its audit event."""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Literal

from engine.compliance.audit import ALLOWED, DENIED, UNSTATED, AuditEvent, new_event_id
from engine.errors import StorageError
from serve_apps.access.audit_trail import AuditTrail
from serve_apps.access.caller import Caller, caller_of
from serve_apps.problems import Refusal
from serve_apps.threads import in_thread

TENANT_SECONDS = 30.0
"""How long a replica goes on with the tenant it has seen of a member who moves to another."""
_REMEMBERED = 200_000


class Reads:
    """Admits reads of members. `tenant_of` asks PostgreSQL for a member's tenant, None for nobody's."""

    def __init__(self, trail: AuditTrail, tenant_of: Callable[[str], str | None]) -> None:
        self._trail, self._tenant_of = trail, tenant_of
        self._tenants: OrderedDict[str, tuple[float, str]] = OrderedDict()

    async def member(self, scope: Mapping[str, Any], member_id: str, resource: str) -> None:
        """Admits the read of `resource`, such as member.score, and records it.

        Raises Refusal 404 for a member of another tenant, in the words for a member who does not exist, and
        AuditError where the record cannot be made.
        """
        caller = caller_of(scope)
        tenant = await self._tenant(member_id)
        if tenant is None:
            raise no_member(member_id)
        if tenant != caller.tenant:
            await self._trail.record(_event(caller, resource, member_id, DENIED))
            raise no_member(member_id)
        await self._trail.record(_event(caller, resource, member_id, ALLOWED))

    async def supplied(self, scope: Mapping[str, Any], resource: str) -> None:
        """Records the use of health data that the caller supplies."""
        await self._trail.record(_event(caller_of(scope), resource, None, ALLOWED))

    async def _tenant(self, member_id: str) -> str | None:
        known = self._tenants.get(member_id)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        try:
            tenant = await in_thread(self._tenant_of, member_id)
        except StorageError:
            if known is None:
                raise
            return known[1]  # members move seldom; an outage is no reason to stop answering for those who are known
        if tenant is None:
            self._tenants.pop(member_id, None)
        else:
            self._tenants[member_id] = (time.monotonic() + TENANT_SECONDS, tenant)
            self._tenants.move_to_end(member_id)
            if len(self._tenants) > _REMEMBERED:
                self._tenants.popitem(last=False)
        return tenant


def no_member(member_id: str) -> Refusal:
    """The answer for a member who is not there, or not the caller's to see."""
    return Refusal(404, f"member_id is {member_id!r}: no such member")


def _event(caller: Caller, resource: str, member_id: str | None, outcome: Literal["allowed", "denied"]) -> AuditEvent:
    return AuditEvent(
        event_id=new_event_id(),
        occurred_at_us=time.time_ns() // 1000,
        actor=caller.subject,
        client=caller.client,
        tenant_id=caller.tenant,
        action="read",
        resource=resource,
        member_id=member_id,
        purpose=caller.purpose or UNSTATED,
        outcome=outcome,
        request_id=caller.request_id,
    )
