"""Which scope a path asks for. What is not listed is for operators only: a new route is shut until it is here."""

from collections.abc import Mapping
from typing import NamedTuple

from serve_apps.access.caller import OPS, PREMIUM_READ, SCORE_READ, SCORE_WRITE, SIMULATION_RUN


class Rule(NamedTuple):
    """What a path asks for. `scope` "" is public. `bulk` admits large bodies.

    `audited` names the resource of requests that handle health data of persons who need not be members; reads of
    members are audited where the member is known.
    """

    scope: str
    bulk: bool = False
    audited: str = ""


_PUBLIC = Rule("")
_OPERATORS = Rule(OPS)
_AREAS: Mapping[str, Rule] = {
    "members": Rule(SCORE_READ),
    "interventions": Rule(SCORE_READ),
    "scores": Rule(SCORE_WRITE, audited="record.score"),
    "premiums": Rule(PREMIUM_READ),
    "simulations": Rule(SIMULATION_RUN, bulk=True),
}
PUBLIC_PATHS = ("/healthz", "/readyz", "/docs", "/docs/oauth2-redirect", "/openapi.json", "/redoc")
_PATHS: Mapping[str, Rule] = {
    **dict.fromkeys(PUBLIC_PATHS, _PUBLIC),
    "/v1/scores/bulk": Rule(SCORE_WRITE, bulk=True, audited="record.scores"),
}


def rule_of(path: str) -> Rule:
    """The rule of a path."""
    known = _PATHS.get(path)
    if known is not None:
        return known
    if path.startswith("/v1/"):
        end = path.find("/", 4)
        return _AREAS.get(path[4:] if end < 0 else path[4:end], _OPERATORS)
    return _OPERATORS
