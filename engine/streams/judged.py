"""Decoded records of one topic partition: readings as columns, all else as objects, behind one interface."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.domain.batch import Rows, TextColumn
from engine.domain.duplicates import digest
from engine.domain.events import ENROLLMENT, SCORING_COMMAND, EventKind
from engine.errors import InvalidRecordError
from engine.scoring.member_state import PartitionState
from engine.scoring.state_kernels import by_slot
from engine.streams.apply import Touched, apply_events, apply_readings, event_rows, reading_rows
from engine.streams.readings import MEMBER, Readings
from engine.streams.records import RecordBatch
from engine.streams.topics import partition_of


@dataclass(slots=True)
class Judged(ABC):
    """Accepted events in order of their offsets, and the records refused, with offset, reason and payload.

    `strangers` are member, offset and payload of events set aside: their member is not enrolled. `batch` is what the
    log held, `records` how many that were; events that were held before it may go ahead of its own.
    """

    kind: EventKind
    batch: RecordBatch
    refused: list[tuple[int, InvalidRecordError, bytes]]
    strangers: list[tuple[str, int, bytes]] = field(default_factory=list, kw_only=True)

    @property
    def partition(self) -> int:
        """The partition of the log."""
        return self.batch.partition

    @property
    def next_offset(self) -> int:
        """Where the log goes on behind the batch."""
        return self.batch.next_offset

    @property
    def records(self) -> int:
        """How many records the log held."""
        return len(self.batch)

    @abstractmethod
    def __len__(self) -> int:
        """The accepted events."""

    @abstractmethod
    def filter(self, keep: NDArray[np.bool_]) -> None:
        """Keeps the events so marked."""

    @abstractmethod
    def put_before(self, held: "Judged") -> None:
        """Puts the events and refusals of another batch of this kind before these."""

    @abstractmethod
    def members_wanted(self, state: PartitionState) -> set[str]:
        """The members the events speak of who are not enrolled, though they must be before these can be applied."""

    @abstractmethod
    def refuse_misplaced(self, state: PartitionState) -> None:
        """Refuses events in another partition than their member's key puts them; sets aside those of strangers.

        A stranger is who is not enrolled here but would be. An enrolment makes its member known.
        """

    @abstractmethod
    def enrols(self) -> list[str]:
        """The members whom the events enrol."""

    @abstractmethod
    def perhaps_unscored(self) -> list[str]:
        """Members the events speak of, some of whom may get no new score by them."""

    @abstractmethod
    def digests(self) -> NDArray[np.uint64]:
        """The events' names in the duplicate window."""

    @abstractmethod
    def guarded(self) -> list[tuple[str, str, int]]:
        """Source, event id and offset of the events that PostgreSQL knows by name, behind the duplicate window."""

    @abstractmethod
    def apply(self, state: PartitionState, rows: dict[str, Rows], touched: Touched) -> None:
        """Applies the events in order; adds rows of other tables and marks the members to score."""

    @abstractmethod
    def stored(self) -> Rows:
        """The events as rows of their table."""

    def _set_aside(self, member: str, offset: int, payload: bytes) -> None:
        home = partition_of(member)
        if home == self.partition:
            self.strangers.append((member, offset, payload))
        else:
            message = f"member_id is {member!r}: its key belongs to partition {home}"
            self.refused.append((offset, InvalidRecordError("wrong_partition", "member_id", message), payload))


@dataclass(slots=True)
class JudgedReadings(Judged):
    """Readings as columns, with their members' `slots` once these were asked for."""

    readings: Readings
    slots: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.readings)

    def filter(self, keep: NDArray[np.bool_]) -> None:
        """Keeps the readings so marked."""
        self.readings, self.slots = self.readings.kept(keep), self.slots[keep]

    def put_before(self, held: Judged) -> None:
        """Puts other readings before these."""
        assert isinstance(held, JudgedReadings)
        self.readings, self.refused = held.readings.followed_by(self.readings), held.refused + self.refused

    def members_wanted(self, state: PartitionState) -> set[str]:
        """Members of readings who are not enrolled."""
        members = self.readings.text(MEMBER)
        self.slots = state.slots_of(members)
        return {members[i] for i in np.flatnonzero(self.slots < 0).tolist()}

    def refuse_misplaced(self, state: PartitionState) -> None:
        """As the parent says. Slots that were found before are looked up again where one was missing."""
        members = self.readings.text(MEMBER)
        if len(self.slots) != len(members) or (self.slots < 0).any():
            self.slots = state.slots_of(members)
        unknown = self.slots < 0
        for i in np.flatnonzero(unknown).tolist():
            self._set_aside(members[i], int(self.readings.offsets[i]), self.readings.payload(i))
        self.filter(~unknown)

    def enrols(self) -> list[str]:
        """Nobody."""
        return []

    def perhaps_unscored(self) -> list[str]:
        """Nobody: a reading makes a new score."""
        return []

    def digests(self) -> NDArray[np.uint64]:
        """The readings' names in the duplicate window."""
        return self.readings.digests

    def guarded(self) -> list[tuple[str, str, int]]:
        """None: readings have no unique key in PostgreSQL."""
        return []

    def apply(self, state: PartitionState, rows: dict[str, Rows], touched: Touched) -> None:
        """Applies the readings in order, and marks their members."""
        apply_readings(state, self.readings, self.slots, touched)

    def stored(self) -> Rows:
        """The readings as rows of their table, member by member, so that an index by member grows in few places."""
        return reading_rows(self.partition, self.readings.taken(by_slot(self.slots)))


@dataclass(slots=True)
class JudgedEvents(Judged):
    """Events of any other kind as decoded objects, with the offset and payload of each."""

    offsets: list[int] = field(default_factory=list)
    events: list[Any] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.events)

    def filter(self, keep: NDArray[np.bool_]) -> None:
        """Keeps the events so marked."""
        kept = np.flatnonzero(keep).tolist()
        self.offsets = [self.offsets[i] for i in kept]
        self.events = [self.events[i] for i in kept]
        self.payloads = [self.payloads[i] for i in kept]

    def put_before(self, held: Judged) -> None:
        """Puts other events before these."""
        assert isinstance(held, JudgedEvents)
        self.offsets, self.events = held.offsets + self.offsets, held.events + self.events
        self.payloads, self.refused = held.payloads + self.payloads, held.refused + self.refused

    def members_wanted(self, state: PartitionState) -> set[str]:
        """Members of the events who are not enrolled; a command speaks of none."""
        if self.kind is SCORING_COMMAND:
            return set()
        names = [event.member_id for event in self.events]
        return {names[i] for i in np.flatnonzero(~self._known(state)).tolist()}

    def refuse_misplaced(self, state: PartitionState) -> None:
        """As the parent says; a command belongs to the partition it lies in."""
        if self.kind is SCORING_COMMAND:
            return
        keep = self._known(state)
        for i in np.flatnonzero(~keep).tolist():
            member = self.events[i].member_id
            if self.kind is ENROLLMENT and partition_of(member) == self.partition:
                keep[i] = True
            else:
                self._set_aside(member, self.offsets[i], self.payloads[i])
        if not keep.all():
            self.filter(keep)

    def _known(self, state: PartitionState) -> NDArray[np.bool_]:
        return np.asarray(state.slots_of(TextColumn.of([event.member_id for event in self.events])) >= 0)

    def enrols(self) -> list[str]:
        """The members of enrolments."""
        return [event.member_id for event in self.events] if self.kind is ENROLLMENT else []

    def perhaps_unscored(self) -> list[str]:
        """The members of all events: a late report changes no score."""
        return [event.member_id for event in self.events]

    def digests(self) -> NDArray[np.uint64]:
        """The events' names in the duplicate window."""
        names = (digest(event.source, event.event_id) for event in self.events)
        return np.fromiter(names, np.uint64, len(self.events))

    def guarded(self) -> list[tuple[str, str, int]]:
        """Source, event id and offset of every event that has a table."""
        if not self.kind.table:
            return []
        pairs: Sequence[tuple[Any, int]] = list(zip(self.events, self.offsets, strict=True))
        return [(event.source, event.event_id, offset) for event, offset in pairs]

    def apply(self, state: PartitionState, rows: dict[str, Rows], touched: Touched) -> None:
        """Applies the events in order; adds rows of other tables and marks the members to score."""
        apply_events(state, self.kind, self.events, rows, touched)

    def stored(self) -> Rows:
        """The events as rows of their table."""
        return event_rows(self.kind, self.partition, self.events, self.offsets)
