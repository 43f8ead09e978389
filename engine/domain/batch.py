"""What one micro-batch does to one partition: the values that the processor makes and storage commits."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import Any, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class TopicCount:
    """What became of a topic's events in a batch. `gaps` are offsets without an event (control records).

    `pending` are events held for members who are not enrolled, less those that were held before and now are applied,
    duplicates or dead letters. Together the five are the offsets the batch went on by.
    """

    applied: int = 0
    duplicates: int = 0
    dead_letters: int = 0
    gaps: int = 0
    pending: int = 0

    @property
    def consumed(self) -> int:
        """Offsets the batch went on by."""
        return self.applied + self.duplicates + self.dead_letters + self.gaps + self.pending

    def __add__(self, other: "TopicCount") -> "TopicCount":
        return TopicCount(
            self.applied + other.applied,
            self.duplicates + other.duplicates,
            self.dead_letters + other.dead_letters,
            self.gaps + other.gaps,
            self.pending + other.pending,
        )


@dataclass(frozen=True, slots=True)
class TopicIdentity:
    """Which log an offset belongs to: the cluster and the topic's id, both new when a log is made anew."""

    cluster_id: str
    topic_id: str


@njit(cache=True, nogil=True)
def _gather(
    data: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64], out: NDArray[np.uint8]
) -> None:
    """Copies the ranges of `data` one after the other."""
    at = 0
    for i in range(len(starts)):
        for k in range(starts[i], starts[i] + lengths[i]):
            out[at] = data[k]
            at += 1


@dataclass(frozen=True, slots=True)
class TextColumn(Sequence[str]):
    """Texts as ranges of one buffer of UTF-8: text i is data[starts[i] : starts[i] + lengths[i]].

    In a column that may be NULL a length of -1 is none.
    """

    data: NDArray[np.uint8]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @classmethod
    def of(cls, texts: Sequence[str | None]) -> "TextColumn":
        """The column of texts that are Python's."""
        encoded = [None if text is None else text.encode() for text in texts]
        lengths = np.fromiter((-1 if text is None else len(text) for text in encoded), np.int64, len(encoded))
        some = np.maximum(lengths, 0)
        return cls(np.frombuffer(b"".join(filter(None, encoded)), np.uint8), np.cumsum(some) - some, lengths)

    @classmethod
    def chosen(cls, options: Sequence[str], which: NDArray[np.integer[Any]]) -> "TextColumn":
        """The column whose text i is options[which[i]]."""
        every = _words(tuple(options))
        return cls(every.data, every.starts[which], every.lengths[which])

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, i: Any) -> Any:
        """One text; no slices."""
        return self.data[self.starts[i] : self.starts[i] + self.lengths[i]].tobytes().decode()

    def cut(self, start: int, stop: int) -> "TextColumn":
        """The texts from `start` up to `stop`, over the same buffer."""
        return TextColumn(self.data, self.starts[start:stop], self.lengths[start:stop])

    def packed(self) -> NDArray[np.uint8]:
        """The texts' bytes one after the other."""
        out = np.empty(int(np.maximum(self.lengths, 0).sum()), np.uint8)
        _gather(self.data, self.starts, self.lengths, out)
        return out

    def distinct(self) -> tuple[list[str], NDArray[np.int64]]:
        """The texts of a column that was `chosen` from a few, and which of them each is."""
        _, first, which = np.unique(self.starts, return_index=True, return_inverse=True)
        return [self[i] for i in first.tolist()], which

    def tolist(self) -> list[str]:
        """The texts as Python's."""
        whole, starts = self.data.tobytes(), self.starts.tolist()
        return [whole[at : at + n].decode() for at, n in zip(starts, self.lengths.tolist(), strict=True)]


@lru_cache(maxsize=64)
def _words(options: tuple[str, ...]) -> TextColumn:
    """The few texts that columns are chosen from again and again."""
    return TextColumn.of(options)


@dataclass(frozen=True, slots=True)
class TextLists(Sequence[list[str]]):
    """A list of texts each row: row i has those of options[which] up to ends[i]."""

    options: tuple[str, ...]
    which: NDArray[np.int64]
    ends: NDArray[np.int64]

    @classmethod
    def of(cls, options: tuple[str, ...], which: NDArray[np.integer[Any]]) -> "TextLists":
        """From which [rows, most]: indices into the options, negative where the row has none."""
        given = which >= 0
        return cls(options, which[given].astype(np.int64), given.sum(axis=1).cumsum())

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, i: Any) -> Any:
        """One list; no slices."""
        return [self.options[k] for k in _row(self.which, self.ends, i).tolist()]

    def cut(self, start: int, stop: int) -> "TextLists":
        """The lists from `start` up to `stop`."""
        which, ends = _cut(self.which, self.ends, start, stop)
        return TextLists(self.options, which, ends)

    def tolist(self) -> list[list[str]]:
        """The lists as Python's."""
        return _lists([self.options[k] for k in self.which.tolist()], self.ends)


@dataclass(frozen=True, slots=True)
class RealLists(Sequence[list[float | None]]):
    """A list of numbers each row: row i has those of `values` up to ends[i]; NaN is not known."""

    values: NDArray[np.float64]
    ends: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, i: Any) -> Any:
        """One list; no slices."""
        return [None if x != x else x for x in _row(self.values, self.ends, i).tolist()]

    def cut(self, start: int, stop: int) -> "RealLists":
        """The lists from `start` up to `stop`."""
        return RealLists(*_cut(self.values, self.ends, start, stop))

    def tolist(self) -> list[list[float | None]]:
        """The lists as Python's."""
        return _lists([None if x != x else x for x in self.values.tolist()], self.ends)


def _row(values: NDArray[Any], ends: NDArray[np.int64], i: int) -> NDArray[Any]:
    i = range(len(ends))[i]
    return values[ends[i - 1] if i else 0 : ends[i]]


def _cut(
    values: NDArray[Any], ends: NDArray[np.int64], start: int, stop: int
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The values of lists from `start` up to `stop`, and where each of these ends."""
    before, last = (int(ends[i - 1]) if i else 0 for i in (start, stop))
    return values[before:last], ends[start:stop] - before


def _lists(items: list[Any], ends: NDArray[np.int64]) -> list[list[Any]]:
    stops = ends.tolist()
    return [items[start:stop] for start, stop in zip([0, *stops], stops, strict=False)]


def joined(columns: Sequence[Any]) -> Any:
    """Columns of one kind, one after the other: arrays, texts, lists of texts or of numbers, or Python's lists."""
    first = columns[0]
    if len(columns) == 1:
        return first
    if not all(type(column) is type(first) for column in columns):
        return [value for column in columns for value in (column if isinstance(column, list) else column.tolist())]
    if isinstance(first, list):
        return list(chain.from_iterable(columns))
    if isinstance(first, TextColumn):
        lengths = np.concatenate([column.lengths for column in columns])
        if all(column.data is first.data for column in columns):
            return TextColumn(first.data, np.concatenate([column.starts for column in columns]), lengths)
        some = np.maximum(lengths, 0)
        return TextColumn(np.concatenate([column.packed() for column in columns]), some.cumsum() - some, lengths)
    if isinstance(first, TextLists):
        options: tuple[str, ...] = first.options
        which = [first.which]
        for column in columns[1:]:
            if column.options != first.options:  # of other models
                which.append(column.which + len(options))
                options += column.options
            else:
                which.append(column.which)
        return TextLists(options, np.concatenate(which), _ends(columns))
    if isinstance(first, RealLists):
        return RealLists(np.concatenate([column.values for column in columns]), _ends(columns))
    return np.concatenate(columns)


def _ends(columns: Sequence[TextLists | RealLists]) -> NDArray[np.int64]:
    ends, before = [], 0
    for column in columns:
        ends.append(column.ends + before)
        before = int(ends[-1][-1]) if len(column) else before
    return np.concatenate(ends)


def grouped(parts: Sequence[Part], sizes: Sequence[int], most: int) -> Iterator[list[Part]]:
    """The parts in order, neighbours together while their sizes make no more than `most`; a larger part is alone."""
    group: list[Part] = []
    total = 0
    for part, size in zip(parts, sizes, strict=True):
        if group and total + size > most:
            yield group
            group, total = [], 0
        group.append(part)
        total += size
    if group:
        yield group


@dataclass(slots=True)
class Rows:
    """Rows for one table, as columns: lists that grow by appending, or whole arrays."""

    columns: dict[str, Any]

    @classmethod
    def of(cls, names: tuple[str, ...]) -> "Rows":
        """Empty columns of these names."""
        return cls({name: [] for name in names})

    def append(self, **values: object) -> None:
        """One row; every column must be given."""
        for name, column in self.columns.items():
            column.append(values[name])

    def extend(self, other: "Rows") -> None:
        """All rows of `other`, which has the same columns."""
        for name, column in self.columns.items():
            column.extend(other.columns[name])

    def cut(self, start: int, stop: int) -> "Rows":
        """The rows from `start` up to `stop`, of columns that are whole arrays."""
        return Rows(
            {n: c[start:stop] if isinstance(c, np.ndarray) else c.cut(start, stop) for n, c in self.columns.items()}
        )

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))


@dataclass(slots=True)
class PartitionCommit:
    """Everything one transaction writes for one partition.

    `rows` are rows by table name, `offsets` the next offset of every topic after the batch, `snapshot` the encoded
    state when it is due. `seq` numbers the partition's commits without gaps. Pending events taken until `expired_ms`
    became dead letters, which a replay must repeat whatever its settings; None where nothing was pending. `late`
    counts readings that were older than the latest of their member and metric, `scored` are the slots of the members
    scored, with a row or without.
    """

    partition: int
    seq: int
    offsets: dict[str, int]
    counts: dict[str, TopicCount]
    rows: dict[str, Rows] = field(default_factory=dict)
    snapshot: bytes | None = None
    watermark_us: int | None = None
    members: int = 0
    model_version: str = ""
    expired_ms: int | None = None
    late: int = 0
    scored: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))


@dataclass(frozen=True, slots=True)
class Recovered:
    """Where a partition stands in storage.

    `snapshot` and `snapshot_offsets` are what to load and where it stands (None and {} for a new partition);
    `commits` the boundaries to replay after it, in order, and `expired_ms` the pending time of each; `model_version`
    that of the snapshot.
    """

    partition: int
    seq: int
    snapshot: bytes | None
    snapshot_offsets: Mapping[str, int]
    commits: tuple[Mapping[str, int], ...]
    expired_ms: tuple[int | None, ...]
    model_version: str
    identities: Mapping[str, TopicIdentity]
