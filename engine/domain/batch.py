"""What one micro-batch does to one partition: the values that the processor makes and storage commits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class TopicCount:
    """What became of a topic's events in a batch. `gaps` are offsets without an event (control records)."""

    applied: int = 0
    duplicates: int = 0
    dead_letters: int = 0
    gaps: int = 0

    def __add__(self, other: "TopicCount") -> "TopicCount":
        return TopicCount(
            self.applied + other.applied,
            self.duplicates + other.duplicates,
            self.dead_letters + other.dead_letters,
            self.gaps + other.gaps,
        )


@dataclass(frozen=True, slots=True)
class TopicIdentity:
    """Which log an offset belongs to: the cluster and the topic's id, both new when a log is made anew."""

    cluster_id: str
    topic_id: str


@dataclass(frozen=True, slots=True)
class TextColumn(Sequence[str]):
    """Texts as ranges of one buffer of UTF-8: text i is data[starts[i] : starts[i] + lengths[i]]."""

    data: NDArray[np.uint8]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, i: Any) -> Any:
        """One text; no slices."""
        return self.data[self.starts[i] : self.starts[i] + self.lengths[i]].tobytes().decode()


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

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))


@dataclass(slots=True)
class PartitionCommit:
    """Everything one transaction writes for one partition.

    `rows` are rows by table name, `offsets` the next offset of every topic after the batch, `snapshot` the encoded
    state when it is due. `seq` numbers the partition's commits without gaps.
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


@dataclass(frozen=True, slots=True)
class Recovered:
    """Where a partition stands in storage.

    `snapshot` and `snapshot_offsets` are what to load and where it stands (None and {} for a new partition);
    `commits` the boundaries to replay after it, in order; `model_version` that of the snapshot.
    """

    partition: int
    seq: int
    snapshot: bytes | None
    snapshot_offsets: Mapping[str, int]
    commits: tuple[Mapping[str, int], ...]
    model_version: str
    identities: Mapping[str, TopicIdentity]
