"""Load on an endpoint: connections that send one request after the other, and what became of each."""

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_ANSWER_SECONDS = 30.0
_PAUSE_SECONDS = 0.02


@dataclass
class Seen:
    """Answers by status with their latencies, requests without an answer, headers and bodies of what was refused."""

    latencies: dict[int, list[float]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    wrong: list[bytes] = field(default_factory=list)
    refusals: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    def count(self, status: int) -> int:
        return len(self.latencies.get(status, ()))

    def quantiles(self, status: int) -> str:
        """Median and 99th percentile of the latencies of answers with this status, in words."""
        ordered = sorted(self.latencies.get(status, [float("nan")]))
        median, late = (ordered[int(share * (len(ordered) - 1))] * 1000 for share in (0.5, 0.99))
        return f"p50 {median:.0f} ms, p99 {late:.0f} ms"

    @property
    def statuses(self) -> dict[int, int]:
        return {status: len(spent) for status, spent in self.latencies.items()}


def post(path: str, body: bytes, kind: str = "application/json") -> bytes:
    """The bytes of a request over a connection that stays open."""
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def _answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
    body = b""
    if headers.get("transfer-encoding") == "chunked":
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
    else:
        body = await reader.readexactly(int(headers["content-length"]))
    return int(lines[0].split()[1]), headers, body


async def _send(address: tuple[str, int], request: bytes, expected: bytes, until: float, seen: Seen) -> None:
    while time.monotonic() < until:
        writer = None
        try:
            reader, writer = await asyncio.open_connection(*address)
            while time.monotonic() < until:
                started = time.perf_counter()
                writer.write(request)
                status, headers, body = await asyncio.wait_for(_answer(reader), _ANSWER_SECONDS)
                seen.latencies.setdefault(status, []).append(time.perf_counter() - started)
                if status == 200 and body != expected:
                    seen.wrong.append(body)
                if status != 200:
                    seen.refusals.append((headers, body))
                if headers.get("connection") == "close":  # as the server asks; the next request has a new one
                    break
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            seen.failed.append(repr(error))
            await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            if writer is not None:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()


def press(base: str, request: bytes, expected: bytes, connections: int, seconds: float) -> Seen:
    """Presses for so long; an answer 200 that is not the expected bytes is wrong."""
    seen, where = Seen(), urlsplit(base)
    address, until = (where.hostname or "", where.port or 0), time.monotonic() + seconds

    async def run() -> None:
        await asyncio.gather(*(_send(address, request, expected, until, seen) for _ in range(connections)))

    asyncio.run(run())
    return seen
