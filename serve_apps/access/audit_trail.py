"""The way of an audit event: spool, bounded queue, PostgreSQL. A full queue slows requests; none is dropped."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator

from engine.compliance.audit import AuditEvent, AuditStore
from engine.errors import AuditError, StorageError
from engine.logs import get_logger
from serve_apps.access.spool import Spool

_BATCH = 500
_GATHER_SECONDS = 0.1
"""How long events gather for the next batch: one transaction a read would keep Python's lock from the event loop."""
_RETRY_FIRST, _RETRY_MOST = 0.05, 2.0
_FLUSH_SECONDS = 5.0
_ORPHANS_SECONDS = 30.0


class AuditTrail:
    """Takes events from requests and writes them to `store` in batches, in a thread.

    `record` returns when the event is in the spool and the queue. With `most` events waiting it waits for room, at most
    `wait_seconds`. What cannot be written by the end of the process stays in the spool, and the next process on this
    node writes it.
    """

    def __init__(self, store: AuditStore, spool: Spool, most: int, wait_seconds: float) -> None:
        self._store, self._spool, self._most, self._wait_seconds = store, spool, most, wait_seconds
        self._queue: deque[tuple[int, AuditEvent]] = deque()
        self._arrived, self._room = asyncio.Event(), asyncio.Condition()
        self._log = get_logger(part="audit")
        self._ending = False

    @property
    def waiting(self) -> int:
        """Events that PostgreSQL has not taken yet."""
        return len(self._queue)

    async def record(self, event: AuditEvent) -> None:
        """Takes the event. Raises AuditError where there is no room within `wait_seconds`, or no disk."""
        if len(self._queue) >= self._most:
            await self._wait()
        try:
            segment = self._spool.write(event)
        except OSError as error:
            self._log.error("audit event not spooled", error=str(error))
            raise AuditError("the audit of reads has no room on disk") from error
        self._queue.append((segment, event))
        self._arrived.set()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._wait_seconds), self._room:
                await self._room.wait_for(lambda: len(self._queue) < self._most)
        except TimeoutError as error:
            raise AuditError(f"{len(self._queue)} audit events wait for PostgreSQL") from error

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Writes while the context lasts; at its end writes what is left, for a few seconds."""
        writer = asyncio.create_task(self._write())
        orphans = asyncio.create_task(self._adopt())
        try:
            yield
        finally:
            orphans.cancel()
            self._ending = True
            self._arrived.set()
            with contextlib.suppress(TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(writer, _FLUSH_SECONDS)
            self._spool.close()

    async def _write(self) -> None:
        pause = _RETRY_FIRST
        while self._queue or not self._ending:
            if not self._queue:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            batch = [self._queue[i] for i in range(min(_BATCH, len(self._queue)))]
            try:
                await asyncio.to_thread(self._store.append, [event for _, event in batch])
            except StorageError as error:
                self._log.error("audit events wait", waiting=len(self._queue), error=str(error))
                await asyncio.sleep(pause)
                pause = min(2 * pause, _RETRY_MOST)
                continue
            pause = _RETRY_FIRST
            for _ in batch:
                self._queue.popleft()
            self._spool.stored([segment for segment, _ in batch])
            async with self._room:
                self._room.notify_all()
            if len(self._queue) < _BATCH and not self._ending:
                await asyncio.sleep(_GATHER_SECONDS)

    async def _adopt(self) -> None:
        """Sends what processes that have died left in the spool."""
        while True:
            try:
                sent = await asyncio.to_thread(self._send_orphans)
                if sent:
                    self._log.warning("audit events of an ended process written", events=sent)
            except (StorageError, OSError, ValueError) as error:
                self._log.error("audit events of an ended process wait", error=str(error))
            await asyncio.sleep(_ORPHANS_SECONDS)

    def _send_orphans(self) -> int:
        sent = 0
        for path, events in self._spool.orphans():
            for start in range(0, len(events), _BATCH):
                self._store.append(events[start : start + _BATCH])
            path.unlink()
            sent += len(events)
        return sent
