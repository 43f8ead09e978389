"""The issuer's public keys: a JWK set (RFC 7517) from an https address or a file, kept fresh, asked for sparingly."""

import asyncio
import time
import urllib.request
from collections.abc import Mapping
from http.client import HTTPMessage
from pathlib import Path
from typing import IO, Any

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa

from engine.logs import get_logger

FEWEST_SECONDS = 10.0
"""Time between two readings of the set, however many tokens name keys it does not have."""
_MOST_BYTES = 1 << 20
_FETCH_SECONDS = 5.0
_LEAST_RSA_BITS = 2048
_ALGORITHMS = {("RSA", None): "RS256", ("EC", "P-256"): "ES256"}


class KeysAwayError(Exception):
    """No key set has been read yet, so no token can be judged."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Keys come from the address that was configured and from no other."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None


def read_source(source: str) -> bytes:
    """The JWK set as bytes. Raises OSError where it cannot be had."""
    if not source.startswith(("https://", "http://")):
        return Path(source).read_bytes()
    opener = urllib.request.build_opener(_NoRedirect)
    with opener.open(source, timeout=_FETCH_SECONDS) as answer:
        content: bytes = answer.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise OSError(f"{source} has more than {_MOST_BYTES} bytes")
    return content


def usable_keys(content: bytes) -> tuple[dict[str, jwt.PyJWK], list[str]]:
    """Signature keys by `kid`, each bound to the one algorithm its kind allows, and why others were left out.

    RSA of at least 2048 bits signs RS256, P-256 signs ES256; symmetric keys have no place in a public set. Raises
    ValueError where the content is no JWK set.
    """
    try:
        entries = msgspec.json.decode(content, type=dict[str, Any])["keys"]
        entries = msgspec.convert(entries, list[dict[str, Any]])
    except (msgspec.DecodeError, KeyError) as error:
        raise ValueError(f"not a JWK set: {error}") from error
    keys: dict[str, jwt.PyJWK] = {}
    refused: list[str] = []
    for entry in entries:
        kid = entry.get("kid")
        try:
            key = _usable(entry)
        except (ValueError, jwt.PyJWTError) as error:
            refused.append(f"kid {kid!r}: {error}")
            continue
        if kid in keys:
            raise ValueError(f"two keys have the kid {kid!r}")
        keys[kid] = key
    return keys, refused


def _usable(entry: Mapping[str, Any]) -> jwt.PyJWK:
    if not isinstance(entry.get("kid"), str) or not entry["kid"]:
        raise ValueError("a key without a kid cannot be named by a token")
    if entry.get("use", "sig") != "sig" or "verify" not in entry.get("key_ops", ["verify"]):
        raise ValueError("not a key for signatures")
    algorithm = _ALGORITHMS.get((entry.get("kty"), entry.get("crv")))
    if algorithm is None or entry.get("alg", algorithm) != algorithm:
        raise ValueError("neither RS256 nor ES256")
    key = jwt.PyJWK({k: v for k, v in entry.items() if k not in ("d", "p", "q")}, algorithm)
    if isinstance(key.key, rsa.RSAPublicKey) and key.key.key_size < _LEAST_RSA_BITS:
        raise ValueError(f"an RSA key of {key.key.key_size} bits; at least {_LEAST_RSA_BITS} are asked for")
    return key


class KeySet:
    """The keys of `source`, read anew every `lifetime` seconds, and when a token names one that is not there.

    The latter at most once in FEWEST_SECONDS. While the source is away the last set goes on; a key that has left the
    set is refused from the next reading on. `version` grows with each change of the set.
    """

    def __init__(self, source: str, lifetime: float, fewest: float = FEWEST_SECONDS) -> None:
        self._source, self._lifetime, self._fewest = source, lifetime, fewest
        self._keys: dict[str, jwt.PyJWK] = {}
        self._content = b""
        self._asked = float("-inf")
        self._reading = asyncio.Lock()
        self._log = get_logger(part="keys")
        self.version = 0

    async def key(self, kid: str) -> jwt.PyJWK | None:
        """The key of that name, or None. Raises KeysAwayError while no set has ever been read."""
        if kid not in self._keys:
            await self.refresh(self._fewest)
        if not self._keys:
            raise KeysAwayError(f"the keys of the token issuer cannot be read from {self._source}")
        return self._keys.get(kid)

    async def refresh(self, older_than: float = 0.0) -> None:
        """Reads the set anew where the last reading lies more than `older_than` seconds back."""
        async with self._reading:
            if time.monotonic() - self._asked < older_than:
                return
            self._asked = time.monotonic()
            try:
                content = await asyncio.to_thread(read_source, self._source)
                keys, refused = usable_keys(content)
                if not keys:
                    raise ValueError("it holds no key for RS256 or ES256")
            except (OSError, ValueError) as error:
                self._log.error("keys not read", source=self._source, error=str(error), known=len(self._keys))
                return
        if content != self._content:
            self._keys, self._content = keys, content
            self.version += 1
            self._log.info("keys read", source=self._source, keys=sorted(keys), refused=refused)

    async def keep_fresh(self) -> None:
        """Refreshes for ever; sooner while there is no set."""
        while True:
            await self.refresh(self._fewest)
            await asyncio.sleep(self._lifetime if self._keys else self._fewest)
