"""Who a request is from, and what they may do."""

from collections.abc import Mapping, MutableMapping
from typing import Any

import msgspec

from engine.domain.events import DEFAULT_TENANT

SCORE_READ, SCORE_WRITE, PREMIUM_READ, SIMULATION_RUN, OPS = (
    "score:read",
    "score:write",
    "premium:read",
    "simulation:run",
    "ops",
)
SCOPES: Mapping[str, str] = {
    SCORE_READ: "scores, history, factors and what-if of the tenant's members; the catalogue of interventions",
    SCORE_WRITE: "scoring of records that the caller supplies",
    PREMIUM_READ: "premium recommendations for cohorts",
    SIMULATION_RUN: "submitting, watching and cancelling simulations",
    OPS: "metrics, and why a part is not ready",
}
_KEY = "vitanexus.caller"


class Caller(msgspec.Struct, frozen=True):
    """Who is asking: the user or service (`subject`), the application they use, their tenant, and their scopes.

    `purpose` is why members are looked at, for the audit; `expires_at` in seconds since 1970.
    """

    subject: str
    client: str
    tenant: str
    scopes: frozenset[str]
    purpose: str = ""
    token_id: str = ""
    expires_at: float = float("inf")
    request_id: str = ""

    @property
    def user(self) -> str:
        """What a limit counts by: two tenants may use the same names."""
        return f"{self.tenant}/{self.subject}"


LOCAL = Caller("local", "local", DEFAULT_TENANT, frozenset(SCOPES))
"""Everybody, where no authentication is configured and only this machine is served."""


def admit(scope: MutableMapping[str, Any], caller: Caller) -> None:
    """Enters the caller into the request's ASGI scope."""
    scope[_KEY] = caller


def caller_of(scope: Mapping[str, Any]) -> Caller:
    """The caller of an ASGI scope that has passed the gate. Raises KeyError for one that has not: no route is bare."""
    found: Caller = scope[_KEY]
    return found


def may(scope: Mapping[str, Any], right: str) -> bool:
    """Whether the request has passed the gate with this scope; a public path may be asked by nobody in particular."""
    found: Caller | None = scope.get(_KEY)
    return found is not None and right in found.scopes
