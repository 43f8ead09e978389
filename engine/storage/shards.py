"""The durable side of a member shard: leases, recovery, and the one transaction that commits a batch."""

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import psycopg
from psycopg.rows import TupleRow

from engine import tracing
from engine.domain.batch import PartitionCommit, Recovered, Rows, TopicIdentity
from engine.domain.events import READING
from engine.domain.tables import TABLE
from engine.errors import LeaseLostError, StorageError
from engine.storage.copy import copy_rows
from engine.storage.failpoint import failpoint
from engine.storage.months import ensure_months
from engine.storage.score_rows import Words, model_set_of, placed
from engine.storage.snapshots import dumped, stored

OUTBOX_CHANNEL = "vitanexus_outbox"
Columns = Mapping[str, Any]
_US_PER_DAY = 86_400_000_000
_UPSERTS = {
    "members": """
        INSERT INTO members AS m SELECT * FROM batch_members
        ON CONFLICT (member_id) DO UPDATE SET birth_date = excluded.birth_date, sex = excluded.sex,
            region = excluded.region, line_of_business = excluded.line_of_business, policy_id = excluded.policy_id,
            cohort_id = excluded.cohort_id, active = excluded.active, effective_date = excluded.effective_date,
            partition = excluded.partition, tenant_id = excluded.tenant_id, updated_at = now(),
            state = excluded.state, rating_area = excluded.rating_area, plan_id = excluded.plan_id,
            metal = excluded.metal, csr_variant = excluded.csr_variant, subscriber_id = excluded.subscriber_id
    """,
    "policies": """
        INSERT INTO policies SELECT DISTINCT ON (policy_id) * FROM batch_policies ORDER BY policy_id
        ON CONFLICT (policy_id) DO UPDATE SET line_of_business = excluded.line_of_business,
            cohort_id = excluded.cohort_id
    """,
    "providers": """
        INSERT INTO providers AS p SELECT provider_id, min(first_service) FROM batch_providers
        GROUP BY provider_id ORDER BY provider_id
        ON CONFLICT (provider_id) DO UPDATE SET first_service = LEAST(p.first_service, excluded.first_service)
    """,
}

_OWNERS_WITHOUT_A_SESSION = """
    SELECT DISTINCT owner FROM partition_leases WHERE partition = ANY(%(partitions)s) AND NOT EXISTS (
        SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = owner)
"""


class ShardStore:
    """One connection of one shard. Guarantees: `commit` is atomic, and refused when another owner took a lease.

    Connects with the first `reconnect`. Not safe for concurrent use: a shard's loop is its only user.
    """

    def __init__(self, url: str, owner: str, lease_seconds: float) -> None:
        self._url = url
        self._owner = owner
        self._lease_seconds = lease_seconds
        self._token = str(uuid.uuid4())
        self._months: dict[str, set[int]] = {}
        self._model_sets: dict[Words, int] = {}
        self._daily: bool | None = None
        self._open: psycopg.Connection[TupleRow] | None = None

    @property
    def _connection(self) -> psycopg.Connection[TupleRow]:
        if self._open is None:
            raise StorageError(f"{self._owner} is not connected to PostgreSQL")
        return self._open

    def _connect(self) -> psycopg.Connection[TupleRow]:
        try:
            return psycopg.connect(self._url, autocommit=True, connect_timeout=5, application_name=self._owner)
        except psycopg.OperationalError as error:
            raise StorageError(f"PostgreSQL does not answer {self._owner}: {error}") from error

    def reconnect(self) -> None:
        """The first connection, or a new one in place of a broken one; the token stays, so the leases do."""
        self.close()
        self._open = self._connect()
        self._months.clear()  # one that was past its time may be gone

    def close(self) -> None:
        """Closes the connection; the leases stay until they expire or are released."""
        if self._open is not None:
            self._open.close()

    def enter(self, partitions: Sequence[int]) -> None:
        """Makes this process the one of its name: a former one is fenced, and loses what is not assigned to the name.

        `partitions` is the first placement: those that nobody is assigned yet become this shard's.
        """
        self._end_sessions("application_name = %(owner)s", {"owner": self._owner})
        names = {"owner": self._owner, "token": self._token, "partitions": list(partitions)}
        with self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.execute(
                """
                INSERT INTO partition_assignments (partition, shard)
                SELECT p, %(owner)s FROM unnest(%(partitions)s::smallint[]) AS p ORDER BY p ON CONFLICT DO NOTHING
                """,
                names,
            )
            cursor.execute(
                """
                INSERT INTO shards (shard, state, token, entered_at, seen_at)
                VALUES (%(owner)s, 'active', %(token)s, now(), now())
                ON CONFLICT (shard) DO UPDATE SET token = excluded.token, entered_at = now(), seen_at = now(), held = 0
                """,
                names,
            )
            cursor.execute(
                """
                DELETE FROM partition_leases AS l WHERE owner = %(owner)s AND NOT EXISTS (
                    SELECT FROM partition_assignments AS a WHERE a.partition = l.partition AND a.shard = l.owner)
                """,
                names,
            )

    def assigned(self, held: int, members: int, behind: int) -> list[int]:
        """The partitions that belong to this shard; tells at once that it lives, and what it holds.

        Raises LeaseLostError where another process has entered under its name.
        """
        with self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.execute(
                "UPDATE shards SET seen_at = now(), held = %s, members = %s, behind = %s "
                "WHERE shard = %s AND token = %s",
                (held, members, behind, self._owner, self._token),
            )
            if cursor.rowcount == 0:
                raise LeaseLostError(f"another process has entered as {self._owner}: this one must exit")
            rows = cursor.execute(
                "SELECT partition FROM partition_assignments WHERE shard = %s ORDER BY partition", (self._owner,)
            ).fetchall()
        return [row[0] for row in rows]

    def acquire(self, partitions: Sequence[int]) -> list[int]:
        """Takes the leases that are free, expired, of an owner whose session has ended, or held under this owner's own
        name by a former process.

        Returns the partitions now held. A session ends with its process; an owner that has only lost its connection is
        fenced by the new token, as a former process is. The sessions of
        owners who have lost their claim are ended first: one that froze in mid-transaction keeps its lease rows locked,
        and no timeout of the server reaches a client that is silent inside a COPY. Raises LeaseLostError where another
        process has entered under this name: it must not take from its successor.
        """
        names = {
            "owner": self._owner,
            "token": self._token,
            "ttl": self._lease_seconds,
            "partitions": list(partitions),
        }
        ended = self._connection.execute(_OWNERS_WITHOUT_A_SESSION, names).fetchall()
        names["ended"] = [row[0] for row in ended]
        expired = "SELECT owner FROM partition_leases WHERE partition = ANY(%(partitions)s) AND expires_at < now()"
        self._end_sessions(f"application_name IN ({expired})", names)
        with self._connection.transaction(), self._connection.cursor() as cursor:
            entered = cursor.execute(
                "SELECT FROM shards WHERE shard = %(owner)s AND token = %(token)s FOR SHARE", names
            ).fetchone()
            if entered is None:
                raise LeaseLostError(f"another process has entered as {self._owner}: this one must exit")
            rows = cursor.execute(
                """
                INSERT INTO partition_leases AS l (partition, owner, token, expires_at)
                SELECT p, %(owner)s, %(token)s, now() + make_interval(secs => %(ttl)s)
                FROM unnest(%(partitions)s::smallint[]) AS p ORDER BY p
                ON CONFLICT (partition) DO UPDATE SET owner = excluded.owner, token = excluded.token,
                    expires_at = excluded.expires_at
                WHERE l.owner = excluded.owner OR l.expires_at < now() OR l.owner = ANY(%(ended)s)
                RETURNING partition
                """,
                names,
            ).fetchall()
        return sorted(row[0] for row in rows)

    def _end_sessions(self, which: str, names: Mapping[str, object]) -> None:
        self._connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            f"WHERE datname = current_database() AND pid <> pg_backend_pid() AND {which}",
            names,
        )

    def _hold(self, cursor: psycopg.Cursor[TupleRow], partitions: Sequence[int]) -> None:
        held = cursor.execute(
            "SELECT partition FROM partition_leases WHERE partition = ANY(%s) AND token = %s "
            "ORDER BY partition FOR UPDATE",
            (list(partitions), self._token),
        ).fetchall()
        if len(held) != len(partitions):
            lost = sorted(set(partitions) - {row[0] for row in held})
            raise LeaseLostError(f"{self._owner} no longer holds the lease of partitions {lost}: it must exit")
        cursor.execute(
            "UPDATE partition_leases SET expires_at = now() + make_interval(secs => %s) WHERE partition = ANY(%s)",
            (self._lease_seconds, list(partitions)),
        )

    def renew(self, partitions: Sequence[int]) -> None:
        """Extends the leases of an idle shard. Raises LeaseLostError where another owner has one."""
        with self._connection.transaction(), self._connection.cursor() as cursor:
            self._hold(cursor, partitions)

    def release(self, partitions: Sequence[int]) -> None:
        """Gives the leases back, so that another owner need not wait for their expiry."""
        self._connection.execute(
            "DELETE FROM partition_leases WHERE partition = ANY(%s) AND token = %s", (list(partitions), self._token)
        )

    def recover(self, partition: int) -> Recovered:
        """Where the partition stands: snapshot, the commits after it, and the logs its offsets belong to."""
        state = self._connection.execute(
            "SELECT seq, offsets, payload, model_version FROM member_state WHERE partition = %s", (partition,)
        ).fetchone()
        seq, offsets, payload, model_version = state or (0, {}, None, "")
        commits = self._connection.execute(
            "SELECT offsets, expired_ms FROM partition_commits WHERE partition = %s AND seq > %s ORDER BY seq",
            (partition, seq),
        ).fetchall()
        identities = self._connection.execute(
            "SELECT topic, cluster_id, topic_id FROM partition_offsets WHERE partition = %s", (partition,)
        ).fetchall()
        return Recovered(
            partition,
            seq + len(commits),
            None if payload is None else dumped(payload),
            offsets,
            tuple(row[0] for row in commits),
            tuple(row[1] for row in commits),
            model_version,
            {topic: TopicIdentity(cluster, identity) for topic, cluster, identity in identities},
        )

    def forget_offsets(self, partition: int) -> None:
        """Forgets the offsets and counts of a log that was made anew; the state and its members stay."""
        with self._connection.transaction(), self._connection.cursor() as cursor:
            self._hold(cursor, [partition])
            cursor.execute("DELETE FROM partition_offsets WHERE partition = %s", (partition,))

    def known_events(self, table: str, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], tuple[int, int]]:
        """Of the (source, event_id) keys, those stored in `table`, with the partition and offset they came from."""
        if not keys:
            return {}
        rows = self._connection.execute(
            f"SELECT source, event_id, partition, kafka_offset FROM {TABLE[table].name} "
            "JOIN unnest(%s::text[], %s::text[]) AS k(s, e) ON source = k.s AND event_id = k.e",
            ([key[0] for key in keys], [key[1] for key in keys]),
        ).fetchall()
        return {(source, event_id): (partition, offset) for source, event_id, partition, offset in rows}

    def commit(self, batches: Sequence[PartitionCommit], identities: Mapping[str, TopicIdentity]) -> None:
        """Commits the batches of several partitions in one transaction, in this order:

        1. lock the lease rows under our token; a missing one raises LeaseLostError and nothing is written
        2. upsert members, policies, providers
        3. COPY readings, claims, labs, fills, reports, enrolment changes, scores
        4. COPY dead letters and the outbox; the relay is notified at COMMIT
        5. offsets with counts, cluster and topic id; the commit's boundary
        6. the snapshot where due, which makes the boundaries before it obsolete

        A connection lost during COMMIT leaves the outcome unknown: reconnect, and ask `is_committed`.
        """
        failpoint("before-transaction")
        rows = self._by_table(batch.rows for batch in batches)
        self._ensure_months(rows)
        told = {"db.system.name": "postgresql", "vitanexus.shard": self._owner}
        with (
            tracing.span("postgresql COMMIT of a batch", "client", attributes=told),
            _tried_again_where_a_month_is_gone(),
            self._connection.transaction(),
            self._connection.cursor() as cursor,
        ):
            self._hold(cursor, [batch.partition for batch in batches])
            for table, upsert in _UPSERTS.items():
                if table in rows:
                    _upsert(cursor, table, upsert, rows.pop(table))
            failpoint("before-copy")
            if READING.table in rows and self._sums_up(cursor):
                rows["rollups_due"] = [_days_of(rows[READING.table])]
            outbox = "outbox" in rows
            for table, parts in rows.items():
                copy_rows(cursor, TABLE[table], parts)
            if outbox:
                cursor.execute(f"NOTIFY {OUTBOX_CHANNEL}")
            _write_offsets(cursor, batches, identities)
            for batch in batches:
                if batch.snapshot is not None:
                    _write_snapshot(cursor, batch, batch.snapshot)
            failpoint("before-commit")
        failpoint("after-commit")

    def is_committed(self, batch: PartitionCommit) -> bool:
        """True where the commit of this batch has taken place: the answer to a connection lost during COMMIT.

        The server may still be at that COMMIT, so the answer waits for the lease row, which the transaction has locked.
        Raises LeaseLostError where another owner took the lease since: a commit of this number would be theirs.
        """
        with self._connection.transaction(), self._connection.cursor() as cursor:
            self._hold(cursor, [batch.partition])
            row = cursor.execute(
                """
                SELECT greatest((SELECT max(seq) FROM partition_commits WHERE partition = %(p)s),
                                (SELECT seq FROM member_state WHERE partition = %(p)s))
                """,
                {"p": batch.partition},
            ).fetchone()
        return row is not None and row[0] is not None and row[0] >= batch.seq

    def _sums_up(self, cursor: psycopg.Cursor[TupleRow]) -> bool:
        """True where the days of readings must be told to who sums them up; a continuous aggregate knows them."""
        if self._daily is None:
            kind = cursor.execute("SELECT relkind FROM pg_class WHERE oid = 'readings_daily'::regclass").fetchone()
            self._daily = kind is not None and kind[0] != "v"
        return self._daily

    def _model_set(self, words: Words) -> int:
        if words not in self._model_sets:
            self._model_sets[words] = model_set_of(self._connection, words)
        return self._model_sets[words]

    def _by_table(self, batches: Iterable[Mapping[str, Rows]]) -> dict[str, list[Columns]]:
        """The columns of each table's rows, a part a partition; tables without rows are left out."""
        found: dict[str, list[Columns]] = {}
        for batch in batches:
            for made_for, rows in batch.items():
                if len(rows):
                    table, columns = placed(made_for, rows.columns, self._model_set)
                    found.setdefault(table, []).append(columns)
        return found

    def _ensure_months(self, rows: Mapping[str, Sequence[Columns]]) -> None:
        for table, parts in rows.items():
            time = TABLE[table].time
            if not time:
                continue
            needed: set[int] = set()
            for columns in parts:
                instants = np.asarray(columns[time], "i8").view("M8[us]")
                needed |= set(np.unique(instants.astype("M8[M]").astype(int)).tolist())
            missing = needed - self._months.setdefault(table, set())
            ensure_months(self._connection, table, sorted(missing))
            self._months[table] |= missing


@contextmanager
def _tried_again_where_a_month_is_gone() -> Iterator[None]:
    """A month that `vitanexus series keep` dropped since it was made is made anew, for a reading that comes so late."""
    try:
        yield
    except psycopg.errors.CheckViolation as error:
        if not str(error).startswith("no partition of relation"):
            raise
        raise StorageError(str(error).strip()) from error


def _days_of(readings: Sequence[Columns]) -> Columns:
    """The days of these readings, as rows of `rollups_due`."""
    days = [np.asarray(columns["time"], np.int64) // _US_PER_DAY for columns in readings]
    first = min(int(column.min()) for column in days)
    some = np.zeros(max(int(column.max()) for column in days) - first + 1, np.bool_)
    for column in days:
        some[column - first] = True
    found = np.flatnonzero(some) + first
    return {"series": [READING.table] * len(found), "day": found * _US_PER_DAY}


def _upsert(cursor: psycopg.Cursor[TupleRow], table: str, upsert: str, parts: Sequence[Columns]) -> None:
    cursor.execute(f"CREATE TEMPORARY TABLE batch_{table} (LIKE {table} INCLUDING DEFAULTS) ON COMMIT DROP")
    copy_rows(cursor, TABLE[table], parts, f"batch_{table}")
    cursor.execute(upsert)


def _write_offsets(
    cursor: psycopg.Cursor[TupleRow], batches: Sequence[PartitionCommit], identities: Mapping[str, TopicIdentity]
) -> None:
    rows = []
    for batch in batches:
        for topic, count in batch.counts.items():
            identity = identities[topic]
            rows.append(
                (
                    *(topic, batch.partition, batch.offsets[topic] - count.consumed, batch.offsets[topic]),
                    *(count.applied, count.duplicates, count.dead_letters, count.gaps, count.pending),
                    *(identity.cluster_id, identity.topic_id),
                )
            )
    # one statement for all partitions, for each costs as much as a partition's rows
    cursor.execute(
        """
        INSERT INTO partition_offsets AS o (topic, partition, first_offset, next_offset, applied, duplicates,
            dead_letters, gaps, pending, cluster_id, topic_id)
        SELECT * FROM unnest(%s::text[], %s::smallint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[],
            %s::bigint[], %s::bigint[], %s::bigint[], %s::text[], %s::text[])
        ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset,
            applied = o.applied + excluded.applied, duplicates = o.duplicates + excluded.duplicates,
            dead_letters = o.dead_letters + excluded.dead_letters, gaps = o.gaps + excluded.gaps,
            pending = o.pending + excluded.pending,
            cluster_id = excluded.cluster_id, topic_id = excluded.topic_id, updated_at = now()
        """,
        list(map(list, zip(*rows, strict=True))) or [[]] * 11,
    )
    commits = [(batch.partition, batch.seq, json.dumps(batch.offsets), batch.expired_ms) for batch in batches]
    cursor.execute(
        """
        INSERT INTO partition_commits (partition, seq, offsets, expired_ms)
        SELECT p, s, o::jsonb, e FROM unnest(%s::smallint[], %s::bigint[], %s::text[], %s::bigint[]) AS c (p, s, o, e)
        """,
        list(map(list, zip(*commits, strict=True))),
    )


def _write_snapshot(cursor: psycopg.Cursor[TupleRow], batch: PartitionCommit, snapshot: bytes) -> None:
    watermark = None if batch.watermark_us is None else batch.watermark_us / 1e6
    cursor.execute(
        """
        INSERT INTO member_state (partition, seq, offsets, watermark, model_version, members, payload)
        VALUES (%s, %s, %s, to_timestamp(%s), %s, %s, %b)
        ON CONFLICT (partition) DO UPDATE SET seq = excluded.seq, offsets = excluded.offsets,
            watermark = excluded.watermark, model_version = excluded.model_version, members = excluded.members,
            payload = excluded.payload, taken_at = now()
        """,
        (
            *(batch.partition, batch.seq, json.dumps(batch.offsets), watermark),
            *(batch.model_version, batch.members, stored(snapshot)),
        ),
    )
    cursor.execute("DELETE FROM partition_commits WHERE partition = %s AND seq < %s", (batch.partition, batch.seq))
