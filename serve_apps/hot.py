"""The quick lane for the routes that are asked most: an ASGI layer that answers what it can and leaves the rest.

`POST /v1/scores` where `score_codec` decodes the JSON body; `GET /v1/members/{id}/score` where the member's score is on
the board. Anything else, and so every refusal of a body, goes on to the route that FastAPI serves, which gives the same
answers to the same requests: the lane changes how long an answer takes, no more.
"""

from collections.abc import Mapping

from serve_apps import score_codec
from serve_apps.access.reads import Reads
from serve_apps.asgi import App, Message, Receive, Scope, Send
from serve_apps.conditional import tagged
from serve_apps.live_scores import LiveScores
from serve_apps.members import VOLATILE
from serve_apps.scores import Scores

PATH = "/v1/scores"
_JSON = b"application/json"
_MEMBERS, _SCORE = "/v1/members/", "/score"
Headers = list[tuple[bytes, bytes]]


class HotLane:
    """The lane before `app`, which answers the same routes for what the lane leaves."""

    def __init__(self, app: App, scores: Scores, live: LiveScores, reads: Reads, titles: Mapping[str, str]) -> None:
        self._app, self._scores, self._live, self._reads, self._titles = app, scores, live, reads, titles

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the application's lifespan."""
        if scope["type"] == "http":
            path, method = scope["path"], scope["method"]
            if method == "POST" and path == PATH and _is_json(scope):
                await self._post(scope, receive, send)
                return
            if method == "GET" and path.startswith(_MEMBERS) and path.endswith(_SCORE):
                await self._get(path[len(_MEMBERS) : -len(_SCORE)], scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _post(self, scope: Scope, receive: Receive, send: Send) -> None:
        messages = [await receive()]
        while messages[-1]["type"] == "http.request" and messages[-1].get("more_body", False):
            messages.append(await receive())
        if messages[-1]["type"] != "http.request":  # the client has gone
            return
        body = messages[0].get("body", b"") if len(messages) == 1 else b"".join(m.get("body", b"") for m in messages)
        decoded = score_codec.decode(body)
        if decoded is None:
            await self._app(scope, _again(body, receive), send)
            return
        record, as_of = decoded
        answer = score_codec.answer(await self._scores.score(record), self._titles, as_of)
        await _send(send, 200, [], score_codec.encode(answer))

    async def _get(self, member_id: str, scope: Scope, receive: Receive, send: Send) -> None:
        shown = self._live.shown(member_id)
        if shown is None:
            await self._app(scope, receive, send)
            return
        await self._reads.member(scope, member_id, "member.score")
        answer = score_codec.live_answer(shown, self._titles)
        status, headers, body = tagged(answer, _header(scope, b"if-none-match").decode("latin-1"), VOLATILE)
        await _send(send, status, [(name.lower().encode(), value.encode()) for name, value in headers.items()], body)


async def _send(send: Send, status: int, headers: Headers, body: bytes) -> None:
    if body:
        headers = [*headers, (b"content-type", _JSON), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _is_json(scope: Scope) -> bool:
    return _header(scope, b"content-type").partition(b";")[0].strip() == _JSON


def _header(scope: Scope, wanted: bytes) -> bytes:
    for name, value in scope["headers"]:
        if name == wanted:
            return bytes(value)
    return b""


def _again(body: bytes, receive: Receive) -> Receive:
    """A receive that gives the whole body first, and then what comes."""
    first = True

    async def replayed() -> Message:
        nonlocal first
        if first:
            first = False
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return replayed
