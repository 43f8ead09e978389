"""The gate before every route, as plain ASGI: size, caller, limit, scope, audit, headers. In that order.

What it refuses is an RFC 9457 problem. It costs a request tens of microseconds, so it has no layer for each concern.
"""

import re
import uuid
from typing import Any
from urllib.parse import urlsplit

import msgspec
from starlette.exceptions import HTTPException

from engine.errors import AuditError, StorageError
from serve_apps.access.caller import LOCAL, Caller, admit
from serve_apps.access.keys import KeysAwayError
from serve_apps.access.limits import Allowance, RequestLimiter
from serve_apps.access.plan import LOOPBACK
from serve_apps.access.policy import Rule, rule_of
from serve_apps.access.reads import Reads
from serve_apps.access.tokens import PURPOSE, NotYetKnownError, TokenError, TokenVerifier
from serve_apps.asgi import App, Message, Receive, Scope, Send
from serve_apps.deprecation import marks
from serve_apps.problems import Refusal, away, refusal_body

Headers = list[tuple[bytes, bytes]]

_REQUEST_ID = re.compile(rb"[A-Za-z0-9_.:-]{1,128}")
_HARDENED: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
_STRICT_CSP = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
_DOCS_CSP = (
    b"content-security-policy",
    b"default-src 'none'; script-src https://cdn.jsdelivr.net 'unsafe-inline'; worker-src blob:; style-src "
    b"https://cdn.jsdelivr.net https://fonts.googleapis.com 'unsafe-inline'; font-src https://fonts.gstatic.com; "
    b"img-src 'self' data: https://fastapi.tiangolo.com; connect-src 'self'; frame-ancestors 'none'",
)
_DOCS = ("/docs", "/redoc", "/docs/oauth2-redirect")
_NO_STORE = (b"cache-control", b"no-store")
_HSTS = (b"strict-transport-security", b"max-age=63072000; includeSubDomains")
_CHALLENGE = 'Bearer realm="vitanexus"'
_AGAIN = {"Retry-After": "1"}


class Gate:
    """Admits requests to `app`. Without a verifier everybody on this machine is admitted, and nobody else.

    `bodies` are the largest body in bytes, of ordinary and of bulk paths; `tls` says that callers come by TLS.
    """

    def __init__(
        self,
        app: App,
        verifier: TokenVerifier | None,
        limiter: RequestLimiter,
        reads: Reads,
        bodies: tuple[int, int],
        tls: bool = False,
    ) -> None:
        self._app, self._verifier, self._limiter, self._reads, self._bodies = app, verifier, limiter, reads, bodies
        self._always = [*_HARDENED, _HSTS] if tls else _HARDENED

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})  # no route of ours speaks it

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        more: Headers = []
        started = False

        async def answer(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message = {**message, "headers": _hardened(scope, message.get("headers", ()), [*self._always, *more])}
            await send(message)

        try:
            rule = rule_of(scope["path"])
            headers = dict(scope["headers"])
            most = self._bodies[rule.bulk]
            _check_length(headers.get(b"content-length"), most)
            await self._admit(scope, rule, headers, more)
            if rule.audited and scope["method"] == "POST":
                await self._reads.supplied(scope, rule.audited)
            await self._app(scope, _bounded(receive, most), answer)
        except (HTTPException, AuditError, StorageError) as error:
            if started:
                raise
            refused = error if isinstance(error, HTTPException) else Refusal(503, away(error), _AGAIN)
            await _refuse(scope, refused, answer)

    async def _admit(self, scope: Scope, rule: Rule, headers: dict[bytes, bytes], more: Headers) -> None:
        authorization = headers.get(b"authorization")
        if not rule.scope and authorization is None:
            if self._verifier is None and _from_here(headers):
                admit(scope, LOCAL)
            return
        try:
            caller = await self._caller(scope, headers, authorization)
        except Refusal as refused:
            if refused.status_code == 401:  # guesses count against the address they come from
                await self._count(f"address/{(scope.get('client') or ('?',))[0]}", more)
            raise
        if self._verifier is not None:  # without authentication there are no users to keep apart
            await self._count(caller.user, more)
        if rule.scope and rule.scope not in caller.scopes:
            challenge = f'{_CHALLENGE}, error="insufficient_scope", scope="{rule.scope}"'
            raise Refusal(403, f"the token lacks the scope {rule.scope!r}", {"WWW-Authenticate": challenge})
        admit(scope, caller)

    async def _caller(self, scope: Scope, headers: dict[bytes, bytes], authorization: bytes | None) -> Caller:
        if self._verifier is None:
            caller = _local(headers)
        elif authorization is None:
            raise Refusal(401, "a bearer token is needed", {"WWW-Authenticate": _CHALLENGE})
        else:
            kind, _, token = authorization.partition(b" ")
            if kind.lower() != b"bearer":
                raise Refusal(401, "only bearer tokens are taken", {"WWW-Authenticate": _CHALLENGE})
            try:
                caller = await self._verifier.caller(token.strip())
            except TokenError as error:
                challenge = f'{_CHALLENGE}, error="invalid_token", error_description="{error}"'
                raise Refusal(401, str(error), {"WWW-Authenticate": challenge}) from error
            except (KeysAwayError, NotYetKnownError) as error:
                raise Refusal(503, str(error), _AGAIN) from error
        return msgspec.structs.replace(caller, purpose=_purpose(caller, headers), request_id=_request_id(headers))

    async def _count(self, key: str, more: Headers) -> None:
        allowance = await self._limiter.admit(key)
        more += _told(self._limiter.policy, allowance)
        if not allowance.admitted:
            raise Refusal(
                429, f"more than {self._limiter.per_minute} requests in a minute", {"Retry-After": str(allowance.reset)}
            )


def _check_length(length: bytes | None, most: int) -> None:
    if length is None:
        return
    if not length.isdigit():
        raise Refusal(400, "Content-Length is not a number")
    if int(length) > most:
        raise _too_large(most)


def _too_large(most: int) -> Refusal:
    return Refusal(413, f"the body has more than {most} bytes")


def _bounded(receive: Receive, most: int) -> Receive:
    """A `receive` that refuses a body which grows beyond `most`, whatever length it was announced with."""
    size = 0

    async def bounded() -> Message:
        nonlocal size
        message = await receive()
        if message["type"] == "http.request":
            size += len(message.get("body", b""))
            if size > most:
                raise _too_large(most)
        return message

    return bounded


def _local(headers: dict[bytes, bytes]) -> Caller:
    """The caller where nothing authenticates: a name other than loopback's came by a web page that rebinds its own."""
    if not _from_here(headers):
        raise Refusal(403, "without authentication only loopback is served, by its own name (VITANEXUS_AUTH_JWKS)")
    return LOCAL


def _from_here(headers: dict[bytes, bytes]) -> bool:
    """Whether the request names this machine as its host."""
    try:
        return urlsplit(f"//{headers.get(b'host', b'').decode('latin-1')}").hostname in LOOPBACK
    except ValueError:
        return False


def _purpose(caller: Caller, headers: dict[bytes, bytes]) -> str:
    """Why, as the token says; only where it says nothing, as the request says."""
    stated = headers.get(b"x-purpose-of-use", b"").decode("latin-1")
    if stated and not PURPOSE.fullmatch(stated):
        raise Refusal(400, "X-Purpose-Of-Use is not a code of at most 64 letters, digits, '.', '_', ':' and '-'")
    return caller.purpose or stated


def _request_id(headers: dict[bytes, bytes]) -> str:
    given = headers.get(b"x-request-id", b"")
    return given.decode() if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def _told(policy: bytes, allowance: Allowance) -> Headers:
    limit = f'"user";r={allowance.remaining};t={allowance.reset}'.encode()
    return [(b"ratelimit-policy", policy), (b"ratelimit", limit)]


def _hardened(scope: Scope, given: Any, more: Headers) -> Headers:
    """The answer's headers with those every answer has; what the route has set itself stays."""
    headers: Headers = [*given, *more, *marks(scope)]
    names = {name for name, _ in given}
    if b"cache-control" not in names:
        headers.append(_NO_STORE)
    headers.append(_DOCS_CSP if scope["path"] in _DOCS else _STRICT_CSP)
    return headers


async def _refuse(scope: Scope, refused: HTTPException, send: Send) -> None:
    body = refusal_body(refused.status_code, str(refused.detail), scope["path"])
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in (refused.headers or {}).items()]
    headers += [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": refused.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": body})
