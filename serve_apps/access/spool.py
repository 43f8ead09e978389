"""Audit events on disk until PostgreSQL has them, so that a process that dies takes none with it.

Written before the answer is given, into the page cache: an event survives the death of the process, not that of the
machine. A segment is a file of JSON lines that only its owner can read; its lock tells a living owner from a dead one.
"""

import contextlib
import fcntl
import os
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from engine.compliance.audit import AuditEvent
from engine.logs import get_logger

_SEGMENT_BYTES = 4 << 20
_PATTERN = "audit-*.jsonl"
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(AuditEvent).decode


@dataclass(slots=True)
class _Segment:
    path: Path
    descriptor: int
    size: int = 0
    waiting: int = 0


class Spool:
    """The segments of one process in `folder`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._segments: dict[int, _Segment] = {}
        self._current = 0
        self._log = get_logger(part="audit")
        self._begin()

    def _begin(self) -> None:
        while True:
            path = self._folder / f"audit-{os.getpid()}-{uuid.uuid4().hex}.jsonl"
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                break
            os.close(descriptor)  # another process took it for an orphan before it was locked
        self._current += 1
        self._segments[self._current] = _Segment(path, descriptor)

    def write(self, event: AuditEvent) -> int:
        """Writes the event and returns its segment. Raises OSError where the disk does not take it."""
        segment = self._segments[self._current]
        line = _encode(event) + b"\n"
        written = os.write(segment.descriptor, line)
        if written != len(line):
            os.ftruncate(segment.descriptor, segment.size)
            raise OSError(f"{segment.path} took {written} of {len(line)} bytes")
        segment.size += len(line)
        segment.waiting += 1
        number = self._current
        if segment.size > _SEGMENT_BYTES:
            self._begin()
        return number

    def stored(self, numbers: Sequence[int]) -> None:
        """Events of these segments are stored for good; a segment none of whose events wait is emptied."""
        for number in numbers:
            self._segments[number].waiting -= 1
        for number in {*numbers}:
            segment = self._segments[number]
            if segment.waiting:
                continue
            if number == self._current:
                os.ftruncate(segment.descriptor, 0)
                segment.size = 0
            else:
                self._end(number)

    def _end(self, number: int) -> None:
        segment = self._segments.pop(number)
        segment.path.unlink()
        os.close(segment.descriptor)

    def close(self) -> None:
        """Gives up the segments; one with events stays for the next process to send."""
        for number, segment in list(self._segments.items()):
            if segment.waiting:
                self._log.warning("audit events left in spool", path=str(segment.path), events=segment.waiting)
                os.close(segment.descriptor)
                del self._segments[number]
            else:
                self._end(number)

    def orphans(self) -> Iterator[tuple[Path, list[AuditEvent]]]:
        """Segments whose process has ended, with their events; `remove` each once its events are stored.

        A last line that was cut by the death of its writer belongs to a request that was never answered.
        """
        own = {segment.path for segment in self._segments.values()}
        for path in sorted(self._folder.glob(_PATTERN)):
            if path in own:
                continue
            with contextlib.suppress(BlockingIOError, FileNotFoundError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                events = [_decode(line) for line in file.read().split(b"\n")[:-1]]
                yield path, events
