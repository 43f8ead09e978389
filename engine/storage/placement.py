"""Where the partitions belong and which shards there are, as operators and the supervisor set it."""

import datetime as dt
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from engine.domain.placement import balance, decide, in_order, spread
from engine.domain.tables import SHARD_STATES
from engine.errors import PlacementError, StorageError
from engine.storage.database import Database
from engine.storage.schema import CORE

_ASSIGNED, _LEASES, _SHARDS = CORE["partition_assignments"], CORE["partition_leases"], CORE["shards"]

_YOUNG_SECONDS = 10.0
"""Within which shards have found a server again that was away."""
_WORKS_FIRST = ("active", "joining", "drained", "leaving", "standby")
_IDLE = ("standby", "drained", "leaving")


@dataclass(frozen=True, slots=True)
class ShardStatus:
    """A shard: `silent_seconds` since it was heard of (None: never), what it is assigned, what it has leases of.

    `connected`: its session is there, or the server is too young to tell.
    `held`, `members` and `behind` (records in the log behind its last batches) are as it said itself.
    """

    shard: str
    state: str
    silent_seconds: float | None
    connected: bool
    assigned: tuple[int, ...]
    leased: tuple[int, ...]
    lease_expires_at: dt.datetime | None
    held: int
    members: int
    behind: int


class Placement(Database):
    """The rows of `shards` and `partition_assignments`. Whoever sets them takes turns: each setter locks the latter.

    A change takes effect when the shards look, about every second; `misplaced` says what has not moved yet.
    """

    def __init__(self, url: str, partitions: int, pool_size: int = 1) -> None:
        super().__init__(url, pool_size)
        self._partitions = partitions

    def shards(self) -> list[ShardStatus]:
        """All shards, in order."""
        silent = sa.func.extract("epoch", sa.func.clock_timestamp() - _SHARDS.c.seen_at).label("silent")
        rows = {row["shard"]: row for row in self._rows(sa.select(_SHARDS, silent))}
        assigned, leased = defaultdict(list), defaultdict(list)
        connected = self._connected(list(rows))
        for row in self._rows(sa.select(_ASSIGNED).order_by(_ASSIGNED.c.partition)):
            assigned[row["shard"]].append(row["partition"])
        for row in self._rows(sa.select(_LEASES).order_by(_LEASES.c.partition)):
            leased[row["owner"]].append(row)
        return [
            ShardStatus(
                name,
                rows[name]["state"],
                None if rows[name]["silent"] is None else float(rows[name]["silent"]),
                name in connected,
                tuple(assigned[name]),
                tuple(row["partition"] for row in leased[name]),
                min((row["expires_at"] for row in leased[name]), default=None),
                *(rows[name][column] for column in ("held", "members", "behind")),
            )
            for name in in_order(list(rows))
        ]

    def _connected(self, names: list[str]) -> set[str]:
        """Of these shards, those with a session. All, while a server that has just started is still being found."""
        told = sa.text(
            "SELECT application_name AS name FROM pg_stat_activity WHERE datname = current_database() UNION "
            "SELECT unnest(CAST(:names AS text[])) FROM pg_postmaster_start_time() AS begun "
            "WHERE begun > clock_timestamp() - make_interval(secs => :young)"
        ).columns(sa.Column("name", sa.Text))
        query = sa.select(told.subquery())
        bound = query.params(names=names, young=_YOUNG_SECONDS)
        return {row["name"] for row in self._rows(bound)}

    def misplaced(self) -> dict[int, tuple[str, str]]:
        """Partitions whose lease is not where they are assigned: the shard of the assignment, and the lease's or ""."""
        owner = sa.func.coalesce(_LEASES.c.owner, "").label("owner")
        query = (
            sa.select(_ASSIGNED.c.partition, _ASSIGNED.c.shard, owner)
            .outerjoin(_LEASES, _LEASES.c.partition == _ASSIGNED.c.partition)
            .where(_ASSIGNED.c.shard != owner)
            .order_by(_ASSIGNED.c.partition)
        )
        return {row["partition"]: (row["shard"], row["owner"]) for row in self._rows(query)}

    def want(self, shards: Sequence[str], standby: int = 0) -> None:
        """Wants exactly these shards, so many of them to stand by: new and drained ones will join, the others leave
        once they hold nothing. Those that work go on working.

        Raises PlacementError for none that works, and for more than there are partitions.
        """
        working = len(shards) - standby
        if not 1 <= working <= self._partitions:
            raise PlacementError(f"{working} shards cannot share {self._partitions} partitions")
        with self._setting() as connection:
            states = self._states(connection)
            ranked = sorted(in_order(shards), key=lambda name: _WORKS_FIRST.index(states.get(name, "drained")))
            for place, name in enumerate(ranked):
                wanted, others = ("joining", _IDLE) if place < working else ("standby", SHARD_STATES)
                row = insert(_SHARDS).values(shard=name, state=wanted)
                again = _SHARDS.c.state.in_(others)
                connection.execute(
                    row.on_conflict_do_update(index_elements=["shard"], set_={"state": wanted}, where=again)
                )
            connection.execute(sa.update(_SHARDS).where(_SHARDS.c.shard.not_in(shards)).values(state="leaving"))

    def restart(self, shards: Sequence[str], standby: int = 0) -> None:
        """Wants exactly these shards, so many of them to stand by, where none runs yet: the partitions are placed at
        once. They stay as they were where they are on shards that work already.
        """
        self.want(shards, standby)
        with self._setting() as connection:
            current, states = self._current(connection), self._states(connection)
            working = [name for name in shards if states[name] != "standby"]
            same = set(current.values()) <= set(working) and len(current) == self._partitions
            self._place(connection, current if same else balance(current, working, self._partitions))
            connection.execute(sa.update(_SHARDS).where(_SHARDS.c.shard.in_(working)).values(state="active"))

    def settle(self, alive: Collection[str], dead: Collection[str], gone: Collection[str] = ()) -> None:
        """The supervisor's turn: joins the shards that have come, and moves what lies on none or on a dead one.

        What lay on one that is `gone` goes to one that stands by, where there is any.
        """
        with self._setting() as connection:
            states = self._states(connection)
            current = self._current(connection)
            changed, placed = decide(states, current, alive, dead, self._partitions, gone)
            for name, state in changed.items():
                connection.execute(sa.update(_SHARDS).where(_SHARDS.c.shard == name).values(state=state))
            if placed != current:
                self._place(connection, placed)

    def move(self, partitions: Collection[int], shard: str) -> None:
        """Assigns the partitions to the shard. Raises PlacementError naming what is wrong."""
        unknown = sorted(p for p in partitions if not 0 <= p < self._partitions)
        if unknown:
            raise PlacementError(f"partition {unknown[0]} does not exist: they are 0 to {self._partitions - 1}")
        with self._setting() as connection:
            self._check(connection, shard, "active")
            self._place(connection, self._current(connection) | dict.fromkeys(partitions, shard))

    def drain(self, shard: str) -> tuple[int, ...]:
        """Spreads the shard's partitions over the other active ones and gives it no more; returns them."""
        with self._setting() as connection:
            self._check(connection, shard, "active", "joining", "drained")
            states, current = self._states(connection), self._current(connection)
            others = [name for name, state in states.items() if state == "active" and name != shard]
            if not others:
                raise PlacementError(f"{shard} is the only active shard: nothing can take its partitions")
            connection.execute(sa.update(_SHARDS).where(_SHARDS.c.shard == shard).values(state="drained"))
            self._place(connection, spread(current, others, self._partitions))
        return tuple(partition for partition, name in current.items() if name == shard)

    def forget(self, shard: str) -> bool:
        """Forgets a leaving shard that has neither partitions nor leases; False where it has."""
        empty = sa.and_(
            ~sa.exists().where(_ASSIGNED.c.shard == _SHARDS.c.shard),
            ~sa.exists().where(_LEASES.c.owner == _SHARDS.c.shard),
        )
        with self._setting() as connection:
            gone = sa.delete(_SHARDS).where(_SHARDS.c.shard == shard, _SHARDS.c.state == "leaving", empty)
            return bool(connection.execute(gone).rowcount)

    @contextmanager
    def _setting(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                connection.execute(sa.text("LOCK TABLE partition_assignments IN SHARE ROW EXCLUSIVE MODE"))
                yield connection
        except sa.exc.OperationalError as error:
            raise StorageError(f"PostgreSQL does not answer: {error.orig}") from error

    def _states(self, connection: sa.Connection) -> dict[str, str]:
        return {row.shard: row.state for row in connection.execute(sa.select(_SHARDS.c.shard, _SHARDS.c.state))}

    def _check(self, connection: sa.Connection, shard: str, *states: str) -> None:
        found = self._states(connection)
        if shard not in found:
            raise PlacementError(f"{shard!r} is not a shard: there are {', '.join(in_order(list(found))) or 'none'}")
        if found[shard] not in states:
            raise PlacementError(f"{shard} is {found[shard]}, not {' or '.join(states)}: it takes no partitions")

    def _current(self, connection: sa.Connection) -> dict[int, str]:
        rows = connection.execute(sa.select(_ASSIGNED.c.partition, _ASSIGNED.c.shard).order_by(_ASSIGNED.c.partition))
        return {row.partition: row.shard for row in rows}

    def _place(self, connection: sa.Connection, placed: dict[int, str]) -> None:
        rows: list[dict[str, Any]] = [{"partition": p, "shard": name} for p, name in placed.items()]
        row = insert(_ASSIGNED)
        moved = row.on_conflict_do_update(
            index_elements=["partition"],
            set_={"shard": row.excluded.shard, "since": sa.func.now()},
            where=_ASSIGNED.c.shard != row.excluded.shard,
        )
        if rows:
            connection.execute(moved, rows)
