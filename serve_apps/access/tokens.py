"""Bearer tokens: JWTs (RFC 7519, 9068) signed by the issuer's keys, judged once and remembered until they expire."""

import asyncio
import hashlib
import re
import time
from collections.abc import Callable
from typing import Any

import jwt

from engine.domain.events import DEFAULT_TENANT
from engine.errors import StorageError
from engine.logs import get_logger
from serve_apps.access.caller import SCOPES, Caller
from serve_apps.access.keys import KeySet

MOST_BYTES = 8192
"""Longest token; a header of a proxy may be no longer."""
PURPOSE = re.compile(r"[A-Za-z][A-Za-z0-9_.:-]{0,63}")
_NAME = re.compile(r"[\x21-\x7e]{1,128}")
_REMEMBERED = 10_000
_REQUIRED = ["exp", "iss", "aud", "sub", "jti"]
_TYPES = (None, "JWT", "at+jwt", "application/at+jwt")


class TokenError(Exception):
    """The token is refused. The message says why, and nothing of what it holds."""


class NotYetKnownError(Exception):
    """Whether the token was revoked cannot be told yet."""


class DenyList:
    """Identifiers (`jti`) of revoked tokens, read anew every `seconds`. While PostgreSQL is away the last list holds.

    Until it has been read once no token is accepted: what was revoked before a restart stays revoked.
    """

    def __init__(self, read: Callable[[], frozenset[str]], seconds: float) -> None:
        self._read, self._seconds = read, seconds
        self._denied: frozenset[str] | None = None
        self._log = get_logger(part="denylist")

    def __contains__(self, token_id: str) -> bool:
        if self._denied is None:
            raise NotYetKnownError("the list of revoked tokens has not been read yet")
        return token_id in self._denied

    async def refresh(self) -> None:
        """Reads the list."""
        try:
            self._denied = await asyncio.to_thread(self._read)
        except StorageError as error:
            self._log.warning("revoked tokens not read", error=str(error), known=self._denied is not None)

    async def keep_fresh(self) -> None:
        """Refreshes for ever."""
        while True:
            await self.refresh()
            await asyncio.sleep(self._seconds if self._denied is not None else min(self._seconds, 1.0))


class TokenVerifier:
    """Judges tokens of one issuer for one audience."""

    def __init__(self, keys: KeySet, denied: DenyList, issuer: str, audience: str, leeway_seconds: float) -> None:
        self._keys, self._denied = keys, denied
        self._issuer, self._audience, self._leeway = issuer, audience, leeway_seconds
        self._known: dict[bytes, Caller] = {}
        self._version = keys.version

    async def caller(self, token: bytes) -> Caller:
        """Who the token speaks for. Raises TokenError where it is refused, NotYetKnownError, KeysAwayError."""
        digest = hashlib.blake2b(token, digest_size=32).digest()
        if self._version != self._keys.version:
            self._known.clear()
            self._version = self._keys.version
        found = self._known.get(digest)
        if found is None:
            found = await self._judged(token)
            if len(self._known) >= _REMEMBERED:
                del self._known[next(iter(self._known))]  # the oldest
            self._known[digest] = found
        elif found.expires_at + self._leeway <= time.time():
            del self._known[digest]
            raise TokenError("the token has expired")
        if found.token_id in self._denied:
            raise TokenError("the token was revoked")
        return found

    async def _judged(self, token: bytes) -> Caller:
        if len(token) > MOST_BYTES:
            raise TokenError(f"the token has more than {MOST_BYTES} bytes")
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, UnicodeDecodeError) as error:
            raise TokenError("not a JSON web token") from error
        kid = header.get("kid")
        if not isinstance(kid, str) or not _NAME.fullmatch(kid):
            raise TokenError("the token names no key (kid)")
        if "crit" in header or header.get("b64", True) is not True:
            raise TokenError("the token asks for extensions that are not understood (crit)")
        if header.get("typ") not in _TYPES:
            raise TokenError("the token is of another type (typ)")
        key = await self._keys.key(kid)
        if key is None:
            raise TokenError("the token names a key that the issuer does not have (kid)")
        try:
            # the key decides the algorithm, so that a token cannot choose one
            claims = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                audience=self._audience,
                issuer=self._issuer,
                leeway=self._leeway,
                options={"require": _REQUIRED},
            )
        except jwt.PyJWTError as error:
            raise TokenError(_refusal(error)) from error
        return _caller(claims)


def _refusal(error: jwt.PyJWTError) -> str:
    reasons: list[tuple[type[jwt.PyJWTError], str]] = [
        (jwt.ExpiredSignatureError, "the token has expired"),
        (jwt.ImmatureSignatureError, "the token is not valid yet"),
        (jwt.InvalidAudienceError, "the token is for another audience"),
        (jwt.InvalidIssuerError, "the token is of another issuer"),
        (jwt.InvalidAlgorithmError, "the token is not signed by its key's algorithm"),
        (jwt.InvalidSignatureError, "the token's signature is not the issuer's"),
        (jwt.MissingRequiredClaimError, f"the token lacks a claim of {', '.join(_REQUIRED)}"),
    ]
    return next((reason for kind, reason in reasons if isinstance(error, kind)), "the token is malformed")


def _caller(claims: dict[str, Any]) -> Caller:
    names = {name: claims.get(name) for name in ("sub", "jti")}
    names["tenant"] = claims.get("tenant", DEFAULT_TENANT)
    names["client_id"] = claims.get("client_id", claims.get("azp", claims["sub"]))
    for name, value in names.items():
        if not isinstance(value, str) or not _NAME.fullmatch(value):
            raise TokenError(f"the token's {name} is not a name of 1 to 128 visible ASCII characters")
    purpose = claims.get("purpose", "")
    if purpose and not (isinstance(purpose, str) and PURPOSE.fullmatch(purpose)):
        raise TokenError("the token's purpose is not a code")
    granted = claims.get("scope", "")
    if not isinstance(granted, str):
        raise TokenError("the token's scope is not a text")
    return Caller(
        subject=str(names["sub"]),
        client=str(names["client_id"]),
        tenant=str(names["tenant"]),
        scopes=frozenset(granted.split()) & SCOPES.keys(),
        purpose=purpose,
        token_id=str(names["jti"]),
        expires_at=float(claims["exp"]),
    )
