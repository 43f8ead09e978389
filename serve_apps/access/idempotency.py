"""Idempotency-Key on writes: a repeat gets the first answer, another request under the same key is refused.

After draft-ietf-httpapi-idempotency-key-header: 400 for a malformed key, 422 for a key that named another request, 409
while the first is under way. Answers of 500 and above are not kept.
"""

import hashlib
import re
import time

from engine.storage.idempotency import Earlier, IdempotencyKeys, KeyedWrite
from serve_apps.access.caller import caller_of
from serve_apps.asgi import App, Message, Receive, Scope, Send
from serve_apps.problems import Refusal
from serve_apps.threads import in_thread

_HEADER = b"idempotency-key"
_KEY = re.compile(rb'"?([A-Za-z0-9_.:-]{1,128})"?')
_KEPT_HEADERS = (b"content-type", b"location")
_PURGE_SECONDS = 3600.0


class Idempotency:
    """Wraps the application. Only POST requests to `paths` are writes; others may carry the header without effect."""

    def __init__(self, app: App, keys: IdempotencyKeys, paths: tuple[str, ...]) -> None:
        self._app, self._keys, self._paths = app, keys, paths
        self._purged = time.monotonic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] not in self._paths:
            await self._app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == _HEADER), None)
        if given is None:
            await self._app(scope, receive, send)
            return
        key = _KEY.fullmatch(given)
        if key is None:
            raise Refusal(400, "Idempotency-Key is not 1 to 128 letters, digits, '.', '_', ':' and '-'")
        body = await _whole(receive)
        caller = caller_of(scope)
        digest = hashlib.sha256(body).digest()
        write = KeyedWrite(caller.tenant, caller.subject, key[1].decode(), scope["path"], digest)
        earlier = await in_thread(self._keys.begin, write)
        if earlier is not None:
            await _again(earlier, write.idempotency_key, send)
            return
        await self._first(write, scope, body, send)
        if time.monotonic() - self._purged > _PURGE_SECONDS:
            self._purged = time.monotonic()
            await in_thread(self._keys.purge)

    async def _first(self, write: KeyedWrite, scope: Scope, body: bytes, send: Send) -> None:
        """Does the write, keeps its answer, and only then gives it: who has seen an answer can have it again."""
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def keep(message: Message) -> None:
            sent.append(message)

        kept = False
        try:
            await self._app(scope, receive, keep)
            status = sent[0]["status"]
            if status < 500:
                headers = {n.decode(): v.decode("latin-1") for n, v in sent[0]["headers"] if n in _KEPT_HEADERS}
                answer = b"".join(message.get("body", b"") for message in sent[1:])
                await in_thread(self._keys.finish, write, status, headers, answer)
                kept = True
        finally:
            if not kept:
                await in_thread(self._keys.give_back, write)
        for message in sent:
            await send(message)


async def _whole(receive: Receive) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(400, "the request broke off")
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


async def _again(earlier: Earlier, key: str, send: Send) -> None:
    if not earlier.same:
        raise Refusal(422, f"Idempotency-Key {key!r} was used for another request: choose a new one")
    if earlier.status is None:
        raise Refusal(409, f"the request with Idempotency-Key {key!r} is under way", {"Retry-After": "1"})
    headers = [(name.encode(), value.encode("latin-1")) for name, value in earlier.headers.items()]
    headers += [(b"content-length", str(len(earlier.body)).encode()), (b"idempotency-replayed", b"true")]
    await send({"type": "http.response.start", "status": earlier.status, "headers": headers})
    await send({"type": "http.response.body", "body": earlier.body})
