"""When a partition's state is due to be written whole: rarely enough to be cheap, often enough for a short recovery."""

from dataclasses import dataclass

MOST_REPLAYED = 1_000_000
"""Records of a partition after which it takes a snapshot in any case: a recovery holds them in memory."""

_BYTES_PER_RECORD = 150
_BYTES_PER_COMMIT = 250_000
_BYTES_PER_SNAPSHOT = 1_000_000
_SHARE = 8
"""A snapshot is due once replaying costs `_SHARE` times what writing it does, so that writing takes a ninth of the work
at most. In bytes of snapshot, which are laid out, compressed and written at some 100 MB/s: a record is replayed in
1.5 us, a commit's scoring and book-keeping take 2.5 ms, a snapshot of nobody 10 ms."""


@dataclass(slots=True)
class _Since:
    commits: int
    records: int
    snapshot_bytes: int


class Snapshots:
    """What each partition would replay, beside the size of its last snapshot; `most_commits` bounds the one.

    A partition's replay takes at most `_SHARE` times as long as its snapshot takes to write, and never more than
    `most_commits` commits or about MOST_REPLAYED records.
    """

    def __init__(self, most_commits: int) -> None:
        self._most = most_commits
        self._since: dict[int, _Since] = {}

    def taken(self, partition: int, size: int) -> None:
        """The partition has a snapshot of `size` bytes; 0 where it is new."""
        self._since[partition] = _Since(0, 0, size)

    def add(self, partition: int, records: int) -> None:
        """One more commit of the partition."""
        since = self._since[partition]
        since.commits += 1
        since.records += records

    def behind(self, partition: int) -> bool:
        """True where there are commits after the snapshot."""
        return self._since[partition].commits > 0

    def due(self, partition: int) -> bool:
        """True where the next commit should hold a snapshot."""
        since = self._since[partition]
        replay = since.records * _BYTES_PER_RECORD + since.commits * _BYTES_PER_COMMIT
        write = since.snapshot_bytes + _BYTES_PER_SNAPSHOT
        return since.commits >= self._most or since.records >= MOST_REPLAYED or replay >= _SHARE * write

    def drop(self, partition: int) -> None:
        """Forgets a partition that was given up."""
        del self._since[partition]
