"""PostgreSQL as a shard's store sees it: sessions, row locks on leases, unique keys, and COMMIT that may go unanswered.

Obeys what `Store` and `ShardStore` promise; the contract tests hold both to it.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import psycopg

from engine.domain.batch import PartitionCommit, Recovered, TopicIdentity
from engine.domain.events import EVENT_KINDS
from engine.domain.tables import TABLE
from engine.errors import LeaseLostError, StorageError
from tests.simulator.world import Process, World

_KEYED = {kind.table for kind in EVENT_KINDS if TABLE[kind.table].key}
_UPSERTED = ("members", "policies", "providers")


@dataclass
class Lease:
    """A row of partition_leases."""

    owner: str
    token: str
    expires_at: float


@dataclass
class Snapshot:
    """A row of member_state."""

    seq: int
    offsets: dict[str, int]
    payload: bytes
    model_version: str


@dataclass(eq=False)
class Session:
    """A connection on the server's side."""

    owner: str
    open: bool = True
    locks: set[int] = field(default_factory=set)
    committing: Callable[[], None] | None = None

    def terminate(self) -> None:
        """Its transaction is rolled back and its locks are gone."""
        self.open = False
        self.locks.clear()

    def client_died(self) -> None:
        """The client is no more; a COMMIT it had sent is still carried out."""
        if self.committing is None:
            self.terminate()


class FakePostgres:
    """The committed data, and who has which lease rows locked."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.away_until = 0.0
        self.skew = 0.0
        self.hold_commits = False
        self.fenced = True
        self.offsets_in_transaction = True
        self.snapshots_with_offsets = True
        self.sessions: list[Session] = []
        self.leases: dict[int, Lease] = {}
        self.entered: dict[str, str] = {}
        self.assignments: dict[int, str] = {}
        self.offsets: dict[tuple[str, int], dict[str, Any]] = {}
        self.commits: dict[tuple[int, int], tuple[dict[str, int], int | None]] = {}
        self.snapshots: dict[int, Snapshot] = {}
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self._events: dict[tuple[str, str, str], tuple[int, int]] = {}
        self._letters: set[tuple[str, str, int, int]] = set()
        self._tokens = 0

    def new_token(self, owner: str) -> str:
        """A token nobody has."""
        self._tokens += 1
        return f"{owner}-{self._tokens}"

    def now(self) -> float:
        """The server's clock."""
        return self.world.now + self.skew

    def away(self) -> bool:
        """Whether it is down."""
        return self.world.now < self.away_until

    def go_away(self, seconds: float) -> None:
        """Stops at once: every transaction under way is rolled back."""
        self.away_until = self.world.now + seconds
        for session in self.sessions:
            session.committing = None
            session.terminate()

    def connected(self, owner: str) -> bool:
        """Whether the owner has a session."""
        return any(session.open and session.owner == owner for session in self.sessions)

    def locked(self, partitions: Sequence[int], by_other_than: Session) -> bool:
        """Whether another session has one of the rows locked."""
        self.sessions = [session for session in self.sessions if session.open]
        return any(not s.locks.isdisjoint(partitions) for s in self.sessions if s is not by_other_than)

    def known(self, table: str, name: tuple[str, str]) -> tuple[int, int] | None:
        """Partition and offset of the stored event."""
        return self._events.get((table, *name))

    def write(self, batches: Sequence[PartitionCommit], identities: Mapping[str, TopicIdentity]) -> None:
        """The transaction's effects, all of them or, where a key is there already, none."""
        rows = [(table, row) for batch in batches for table, found in batch.rows.items() for row in rows_of(found)]
        self._check_keys(batches, rows)
        for table, row in rows:
            if table in _KEYED:
                self._events[table, row["source"], row["event_id"]] = row["partition"], row["kafka_offset"]
            elif table == "dead_letters":
                self._letters.add(_letter(row))
            if table not in _UPSERTED:
                self.rows.setdefault(table, []).append(row)
        if self.offsets_in_transaction:
            self.write_offsets(batches, identities)
        for batch in batches:
            if batch.snapshot is not None:
                self._write_snapshot(batch)

    def _check_keys(self, batches: Sequence[PartitionCommit], rows: Sequence[tuple[str, dict[str, Any]]]) -> None:
        names = [(table, row["source"], row["event_id"]) for table, row in rows if table in _KEYED]
        letters = [_letter(row) for table, row in rows if table == "dead_letters"]
        numbers = [(batch.partition, batch.seq) for batch in batches]
        for what, keys, present in (
            ("event", names, self._events),
            ("dead letter", letters, self._letters),
            ("commit", numbers, self.commits if self.offsets_in_transaction else {}),
        ):
            twice = [key for key in keys if key in present]
            if twice or len(set(keys)) != len(keys):
                raise psycopg.errors.UniqueViolation(f"{what} {twice[:1] or keys} is there already")

    def write_offsets(self, batches: Sequence[PartitionCommit], identities: Mapping[str, TopicIdentity]) -> None:
        """Offsets, counts and the commits' boundaries."""
        for batch in batches:
            self.commits[batch.partition, batch.seq] = dict(batch.offsets), batch.expired_ms
            for topic, count in batch.counts.items():
                first = {"first_offset": batch.offsets[topic] - count.consumed}
                row = self.offsets.setdefault((topic, batch.partition), first)
                for name in ("applied", "duplicates", "dead_letters", "gaps", "pending"):
                    row[name] = row.get(name, 0) + getattr(count, name)
                row["next_offset"], row["identity"] = batch.offsets[topic], identities[topic]

    def _write_snapshot(self, batch: PartitionCommit) -> None:
        assert batch.snapshot is not None
        offsets = dict(batch.offsets)
        if not self.snapshots_with_offsets and batch.partition in self.snapshots:
            offsets = self.snapshots[batch.partition].offsets
        self.snapshots[batch.partition] = Snapshot(batch.seq, offsets, batch.snapshot, batch.model_version)
        for key in [key for key in self.commits if key[0] == batch.partition and key[1] < batch.seq]:
            del self.commits[key]


def _letter(row: Mapping[str, Any]) -> tuple[str, str, int, int]:
    return row["cluster_id"], row["topic"], row["partition"], row["kafka_offset"]


def rows_of(rows: Any) -> list[dict[str, Any]]:
    """The rows as PostgreSQL would give them back: None for NULL."""
    names = list(rows.columns)
    columns = [_values(rows.columns[name]) for name in names]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _values(column: Any) -> list[Any]:
    found = column if isinstance(column, list) else column.tolist()
    real = isinstance(column, np.ndarray) and column.dtype.kind == "f"
    return [None if value != value else value for value in found] if real else found


class FakeStore:
    """`Store` on a fake PostgreSQL. `process` is whose connection it is."""

    def __init__(self, server: FakePostgres, process: Process, owner: str, lease_seconds: float) -> None:
        self._server, self._world, self._process = server, server.world, process
        self._owner, self._lease_seconds = owner, lease_seconds
        self.token = server.new_token(owner)
        self._session: Session | None = None
        self._user = ""
        self.before_commit = False

    # connection

    def reconnect(self) -> None:
        """The first connection, or a new one in place of a broken one; the token stays, so the leases do."""
        self.close()
        self._world.port(self._process, "store.reconnect")
        if self._server.away():
            raise StorageError(f"PostgreSQL does not answer {self._owner}")
        self._session = Session(self._owner)
        self._server.sessions.append(self._session)
        self._process.sessions.append(self._session)

    def close(self) -> None:
        """Closes the connection; the leases stay until they expire or are released."""
        self._world.alive(self._process)
        if self._session is not None:
            self._session.client_died()
            self._session = None

    def _call(self, what: str) -> Session:
        """A statement reaches the server, or the connection is lost."""
        assert not self._user, f"{what} while {self._user} is under way: a connection has one user at a time"
        self._world.port(self._process, f"store.{what}")
        return self._connected(what)

    def _connected(self, what: str) -> Session:
        if self._session is None:
            raise StorageError(f"{self._owner} is not connected to PostgreSQL")
        if self._session.open and self._world.chance(self._world.faults.lost):
            self._world.count("lost")
            self._world.tell(self._process.name, f"loses its connection at {what}")
            self._session.client_died()
            self._session.open = False
        if not self._session.open:
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        return self._session

    def _await_locks(self, session: Session, partitions: Sequence[int], what: str) -> None:
        if self._server.locked(partitions, session):
            self._world.wait(lambda: not session.open or not self._server.locked(partitions, session))
        self._connected(what)

    # leases

    def enter(self, partitions: Sequence[int]) -> None:
        """Makes this process the one of its name; `partitions` become its own where nobody is assigned them yet."""
        session, server = self._call("enter"), self._server
        self._end_sessions(session, {self._owner})
        for partition in partitions:
            server.assignments.setdefault(partition, self._owner)
        server.entered[self._owner] = self.token
        owned = [p for p, row in server.leases.items() if row.owner == self._owner]
        for partition in owned:
            if server.assignments.get(partition) != self._owner:
                del server.leases[partition]

    def assigned(self, held: int, members: int, behind: int) -> list[int]:
        """The partitions that belong to this shard. Raises LeaseLostError where another has entered under its name."""
        self._call("assigned")
        self._check_entered()
        return sorted(p for p, owner in self._server.assignments.items() if owner == self._owner)

    def _check_entered(self) -> None:
        if self._server.entered.get(self._owner) != self.token and self._server.fenced:
            raise LeaseLostError(f"another process has entered as {self._owner}: this one must exit")

    def _end_sessions(self, own: Session, owners: set[str]) -> None:
        for other in self._server.sessions:
            if other is not own and other.owner in owners:
                if other.committing is not None:  # a backend ends after the statement it is in
                    other.committing()
                other.terminate()

    def acquire(self, partitions: Sequence[int]) -> list[int]:
        """Takes the leases that can be had: of nobody, expired, of an owner without a session, or of its own name."""
        session, server = self._call("acquire"), self._server
        at_stake = [server.leases[p] for p in partitions if p in server.leases]
        ended = {row.owner for row in at_stake if not server.connected(row.owner)}
        self._end_sessions(session, {row.owner for row in at_stake if row.expires_at < server.now()})
        self._await_locks(session, partitions, "acquire")
        self._check_entered()
        taken = []
        for partition in sorted(partitions):
            row = server.leases.get(partition)
            free = row is None or row.owner == self._owner or row.expires_at < server.now()
            if free or row.owner in ended:
                server.leases[partition] = Lease(self._owner, self.token, server.now() + self._lease_seconds)
                taken.append(partition)
        self._world.tell(self._process.name, f"takes {taken} of {sorted(partitions)}")
        return taken

    def _hold(self, session: Session, partitions: Sequence[int]) -> None:
        self._await_locks(session, partitions, "lock of leases")
        leases = self._server.leases
        lost = [p for p in partitions if p not in leases or leases[p].token != self.token]
        if lost and self._server.fenced:
            raise LeaseLostError(f"{self._owner} no longer holds the lease of partitions {lost}: it must exit")
        session.locks |= set(partitions)

    def _extend(self, partitions: Sequence[int]) -> None:
        for partition in partitions:
            if partition in self._server.leases:
                self._server.leases[partition].expires_at = self._server.now() + self._lease_seconds

    def renew(self, partitions: Sequence[int]) -> None:
        """Extends the leases. Raises LeaseLostError where another owner has one."""
        session = self._call("renew")
        self._hold(session, partitions)
        self._extend(partitions)
        session.locks.clear()

    def release(self, partitions: Sequence[int]) -> None:
        """Gives the leases back."""
        self._call("release")
        leases = self._server.leases
        for partition in [p for p in partitions if p in leases and leases[p].token == self.token]:
            del leases[partition]

    # reading

    def recover(self, partition: int) -> Recovered:
        """Where the partition stands."""
        self._call("recover")
        server = self._server
        state = server.snapshots.get(partition)
        seq = 0 if state is None else state.seq
        numbered = sorted((n, commit) for (p, n), commit in server.commits.items() if p == partition and n > seq)
        commits = [commit for _, commit in numbered]
        identities = {topic: row["identity"] for (topic, p), row in server.offsets.items() if p == partition}
        return Recovered(
            partition,
            seq + len(commits),
            None if state is None else state.payload,
            {} if state is None else dict(state.offsets),
            tuple(dict(offsets) for offsets, _ in commits),
            tuple(expired_ms for _, expired_ms in commits),
            "" if state is None else state.model_version,
            identities,
        )

    def forget_offsets(self, partition: int) -> None:
        """Forgets the offsets and counts of a log that was made anew."""
        session = self._call("forget_offsets")
        self._hold(session, [partition])
        for key in [key for key in self._server.offsets if key[1] == partition]:
            del self._server.offsets[key]
        session.locks.clear()

    def known_events(self, table: str, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], tuple[int, int]]:
        """Of the keys, those stored, with partition and offset."""
        if not keys:
            return {}
        self._call("known_events")
        found = {key: self._server.known(table, key) for key in keys}
        return {key: place for key, place in found.items() if place is not None}

    def is_committed(self, batch: PartitionCommit) -> bool:
        """The answer to a connection lost during COMMIT."""
        session = self._call("is_committed")
        self._hold(session, [batch.partition])
        session.locks.clear()
        state = self._server.snapshots.get(batch.partition)
        stored = [seq for partition, seq in self._server.commits if partition == batch.partition]
        return max([0 if state is None else state.seq, *stored]) >= batch.seq

    # writing

    def commit(self, batches: Sequence[PartitionCommit], identities: Mapping[str, TopicIdentity]) -> None:
        """One transaction, or nothing. Raises LeaseLostError."""
        session = self._call("commit")
        self._user = "commit"
        try:
            partitions = [batch.partition for batch in batches]
            self._hold(session, partitions)
            self._world.port(self._process, "copy")
            self._connected("copy")
            if self._world.chance(self._world.faults.slow):
                self._world.sleep(self._world.random.uniform(0.1, 4.0))
            self._world.port(self._process, "COMMIT")
            self.before_commit = True
            if self._server.hold_commits:
                self._world.wait(lambda: not self._server.hold_commits)
            self._connected("COMMIT")
            self._finish(session, batches, identities)
            if not self._server.offsets_in_transaction:
                self._world.port(self._process, "offsets of their own")
                self._connected("offsets of their own")
                self._server.write_offsets(batches, identities)
        finally:
            self._user = ""
            if session.committing is None:
                session.locks.clear()
        self._world.port(self._process, "after COMMIT")

    def _finish(
        self, session: Session, batches: Sequence[PartitionCommit], identities: Mapping[str, TopicIdentity]
    ) -> None:
        """COMMIT: carried out and answered, carried out without an answer, or carried out after the client gave up."""

        def carry_out() -> None:
            session.committing = None
            if session.open:
                self._server.write(batches, identities)
                self._extend([batch.partition for batch in batches])
                session.locks.clear()

        def unheard() -> None:
            with suppress(psycopg.errors.UniqueViolation):  # nobody is there to be told
                carry_out()

        world, lost = self._world, self._world.chance(self._world.faults.lost)
        told = ", ".join(f"{b.partition}:{b.seq}{'*' if b.snapshot is not None else ''}" for b in batches)
        if not lost:
            carry_out()
            world.tell(self._process.name, f"commits {told}")
            return
        world.count("unanswered")
        if world.chance(0.5):
            carry_out()
            world.tell(self._process.name, f"commits {told} and gets no answer")
            session.terminate()
        else:
            session.committing = unheard
            seconds = world.random.uniform(0.0, 3.0)
            world.tell(self._process.name, f"gets no answer to COMMIT {told}, carried out in {seconds:.1f} s")
            self._session = None
            world.spawn("late COMMIT", lambda: _late(world, session, seconds))
        raise psycopg.OperationalError("server closed the connection unexpectedly")


def _late(world: World, session: Session, seconds: float) -> None:
    world.sleep(seconds)
    if session.committing is not None:
        world.tell("postgres", f"carries out the COMMIT of {session.owner}")
        session.committing()
    session.terminate()
