"""Current scores in shared memory: a shard writes them, the HTTP replicas on its machine read them without asking.

A board is a file of shared memory, one a shard: a header and slots of a fixed size. A member's slot follows from a hash
of the id, so two members may want the same one; the later takes it. A score comes onto the board when somebody has
asked the shard for it, and from then on every batch that touches the member rewrites or wipes it. What is on the board
is thus what the shard would answer, and what is not is asked of the shard.

The header says until when that holds: a thread of the shard extends it by LIVE_SECONDS at a time, never past the time
for which the shard's lease is certain. A shard that has died, hangs or may have been succeeded is not believed.

Slots change while they are read. Each has a sequence number, odd while it is written, and a checksum: a reader that
finds either wrong looks again, and then asks the shard. Times are CLOCK_MONOTONIC, one clock for all on a machine.
"""

import contextlib
import hashlib
import mmap
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.domain.batch import Rows, TextColumn
from engine.logs import get_logger
from engine.scoring.member_index import MemberIndex
from engine.scoring.told import told_row
from engine.streams.judged import Judged
from engine.streams.topics import PARTITIONS, partition_of

SLOT_BYTES = 2048
LIVE_SECONDS = 1.0
BEAT_SECONDS = 0.2
_MAGIC = b"VNBOARD1"
_HEADER_BYTES = 4096
_HEADER = struct.Struct("<8sqqqQQ")  # magic, holds until, last beat, owner since (ns), partitions' bits, slots
_HOLDS = struct.Struct("<qq")
_HOLDS_AT, _BITS_AT = 8, 32
_SLOT = struct.Struct("<QQII")  # sequence, hash of the member (0 none), length, checksum
_MOST = SLOT_BYTES - _SLOT.size
_LOOK_AGAIN = 3
_SUFFIX = ".board"
_REFRESH_NS = 200_000_000
_encode, _decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder().decode
RowsOf = Callable[[NDArray[np.int64]], Rows]
"""Rows of the score history of some members of a column, by their places in it."""
assert PARTITIONS <= 64


def _hash_of(member_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(member_id.encode(), digest_size=8).digest(), "little") or 1


class ScoreBoard:
    """The shard's side. Every method but `beat` is called under the lock that guards the shard's state."""

    def __init__(self, folder: Path, name: str, partitions: Sequence[int], megabytes: int) -> None:
        """Raises OSError where there is no such room in shared memory."""
        folder.mkdir(mode=0o700, exist_ok=True)
        self._path = folder / f"{name}{_SUFFIX}"
        fresh = self._path.with_suffix(f".{os.getpid()}")
        self._slots = max(megabytes * 2**20 // SLOT_BYTES, 1)
        size = _HEADER_BYTES + self._slots * SLOT_BYTES
        with os.fdopen(os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, size)  # a write beyond what there is would kill the process
            self._map = mmap.mmap(file.fileno(), size)
        self._owned = frozenset(partitions)
        self._again: set[str] = set()
        self._closed = False
        self._shown = MemberIndex()
        self._map[: _HEADER.size] = _HEADER.pack(_MAGIC, 0, 0, time.monotonic_ns(), _bits(self._owned), self._slots)
        fresh.replace(self._path)

    def beat(self, owned_until: float) -> None:
        """Says that the board holds, for LIVE_SECONDS or until the lease ends (seconds of the monotonic clock)."""
        if self._closed:
            return
        now = time.monotonic_ns()
        self._holds_until(min(now + int(LIVE_SECONDS * 1e9), int(owned_until * 1e9)), now)

    def own(self, partitions: frozenset[int]) -> None:
        """The board speaks of these partitions from now on, and no longer of those that were given up."""
        gone, self._owned = self._owned - partitions, partitions
        self._map[_BITS_AT : _BITS_AT + 8] = _bits(partitions).to_bytes(8, "little")
        if gone:  # they may come back, with other scores
            self._wipe_all()

    def put(self, member_id: str, row: Mapping[str, object]) -> None:
        """The member's current score, a row of the score history. One too long for a slot stays off the board."""
        if len(self._shown) > 2 * self._slots:
            self._wipe_all()
        self._shown.add(TextColumn.of([member_id]))
        key = _hash_of(member_id)
        payload = _encode(row)
        at = self._at(key)
        sequence, *_ = _SLOT.unpack_from(self._map, at)
        if len(payload) > _MOST:
            self._wipe(at, sequence)
            return
        self._mark(at, sequence + 1, 0, 0, 0)
        self._map[at + _SLOT.size : at + _SLOT.size + len(payload)] = payload
        self._mark(at, sequence + 2, key, len(payload), zlib.crc32(payload))

    def batch(self, judged: Sequence[Judged], scored: Iterable[tuple[TextColumn, RowsOf]]) -> None:
        """What a batch changed: new scores of members on the board; members it touched without a new score go.

        `scored` are by partition the members whose score was made anew, and what makes the rows of some of them.
        """
        for part in judged:
            for member_id in part.perhaps_unscored():
                at = self._holds(member_id)
                if at is not None:
                    self._wipe(at, _SLOT.unpack_from(self._map, at)[0])
                    self._again.add(member_id)
        for members, rows_of in scored if len(self._shown) else ():
            asked = {i: members[i] for i in np.flatnonzero(self._shown.find(members) >= 0).tolist()}
            shown = [i for i, member in asked.items() if member in self._again or self._holds(member) is not None]
            if shown:
                columns = rows_of(np.array(shown)).columns
                for k, i in enumerate(shown):
                    self.put(asked[i], told_row(columns, k))
        self._again.clear()

    def close(self) -> None:
        """Takes the board away."""
        self._closed = True
        self._holds_until(0, 0)
        self._path.unlink(missing_ok=True)

    def _holds_until(self, until: int, beat: int) -> None:
        # never pack_into: it clears the bytes before it fills them, and a reader would see them so
        self._map[_HOLDS_AT : _HOLDS_AT + _HOLDS.size] = _HOLDS.pack(until, beat)

    def _mark(self, at: int, sequence: int, key: int, length: int, checksum: int) -> None:
        self._map[at : at + _SLOT.size] = _SLOT.pack(sequence, key, length, checksum)

    def _at(self, key: int) -> int:
        return _HEADER_BYTES + key % self._slots * SLOT_BYTES

    def _holds(self, member_id: str) -> int | None:
        key = _hash_of(member_id)
        at = self._at(key)
        return at if _SLOT.unpack_from(self._map, at)[1] == key else None

    def _wipe_all(self) -> None:
        """Takes every score off the board; whoever wants one asks for it again."""
        self._shown = MemberIndex()
        self._map[_HEADER_BYTES:] = bytes(len(self._map) - _HEADER_BYTES)

    def _wipe(self, at: int, sequence: int) -> None:
        self._mark(at, sequence + 2, 0, 0, 0)


def board_folder(postgres_url: str) -> str:
    """Where the boards of scores of a database lie: in shared memory; "" on a system without it."""
    shared = Path("/dev/shm")  # noqa: S108 - a folder of our own below it, shut to others
    name = hashlib.sha256(postgres_url.encode()).hexdigest()[:12]
    return str(shared / f"vitanexus-{name}") if shared.is_dir() else ""


def open_board(folder: str, name: str, partitions: Sequence[int], megabytes: int) -> ScoreBoard | None:
    """The shard's board; None, and a line in the log, where it has no room: every read then asks the shard."""
    if not folder or not megabytes:
        return None
    try:
        return ScoreBoard(Path(folder), name, partitions, megabytes)
    except OSError as error:
        get_logger(shard=name).warning("no board of scores: reads ask the shard", folder=folder, error=str(error))
        return None


class BoardReader:
    """A replica's side: the boards of a folder, found again when one is replaced or falls silent."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder) if folder else None
        self._boards: dict[Path, tuple[int, mmap.mmap]] = {}
        self._of: dict[int, mmap.mmap] = {}
        self._looked = 0

    def read(self, member_id: str) -> tuple[dict[str, Any], float] | None:
        """The member's current score and how many seconds ago the shard last said that it holds.

        None where it is not on a board that holds: the shard is to be asked.
        """
        now, partition = time.monotonic_ns(), partition_of(member_id)
        board = self._of.get(partition)
        if board is None or not _holds(board, now, partition):
            if self._folder is None or now - self._looked < _REFRESH_NS:
                return None
            self._look(now)
            board = self._of.get(partition)
            if board is None:
                return None
        slots, key = _HEADER.unpack_from(board, 0)[5], _hash_of(member_id)
        at = _HEADER_BYTES + key % slots * SLOT_BYTES
        for _ in range(_LOOK_AGAIN):
            sequence, held, length, checksum = _SLOT.unpack_from(board, at)
            payload = board[at + _SLOT.size : at + _SLOT.size + min(length, _MOST)]
            if sequence % 2 or _SLOT.unpack_from(board, at) != (sequence, held, length, checksum):
                continue
            if held and not length:  # its head half written: of nothing the checksum is right
                continue
            if held != key or zlib.crc32(payload) != checksum:
                return None
            row: dict[str, Any] = _decode(payload)
            beat = _HEADER.unpack_from(board, 0)[2]
            # still the owner's after the row was read, and of this member and not of one with the same hash
            return (
                (row, round(max(now - beat, 0) / 1e9, 3))
                if row["member_id"] == member_id and _holds(board, now, partition)
                else None
            )
        return None

    def close(self) -> None:
        """Lets go of the boards."""
        self._of.clear()
        for _, board in self._boards.values():
            board.close()
        self._boards.clear()

    def _look(self, now: int) -> None:
        """Opens boards that are new, and finds the newest owner of each partition among those that hold."""
        assert self._folder is not None
        self._looked = now
        self._of.clear()
        found = sorted(self._folder.glob(f"*{_SUFFIX}")) if self._folder.is_dir() else []
        for path in set(self._boards) - set(found):
            self._boards.pop(path)[1].close()
        for path in found:
            with contextlib.suppress(OSError, ValueError):  # gone in this moment, or not whole
                self._open(path)
        owners: dict[int, int] = {}
        for _, board in self._boards.values():
            _, until, _, since, bits, _ = _HEADER.unpack_from(board, 0)
            for partition in range(PARTITIONS) if until > now else ():
                if bits >> partition & 1 and since > owners.get(partition, -1):
                    owners[partition], self._of[partition] = since, board

    def _open(self, path: Path) -> None:
        with path.open("rb") as file:
            inode = os.fstat(file.fileno()).st_ino
            known = self._boards.get(path)
            if known is not None and known[0] == inode:
                return
            board = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            if _HEADER.unpack_from(board, 0)[0] != _MAGIC:
                board.close()
                raise ValueError(f"{path} is no board of scores")
            if known is not None:
                known[1].close()
            self._boards[path] = (inode, board)


def _bits(partitions: Iterable[int]) -> int:
    return sum(1 << partition for partition in partitions)


def _holds(board: mmap.mmap, now: int, partition: int) -> bool:
    _, until, _, _, bits, _ = _HEADER.unpack_from(board, 0)
    return bool(until > now and bits >> partition & 1)
