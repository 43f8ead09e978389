"""What the endpoints and commands ask the database: SQLAlchemy Core on the record tables."""

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on, insert

from engine.domain.events import DEFAULT_TENANT
from engine.domain.tables import RISK_CATEGORIES
from engine.storage.database import Database
from engine.storage.schema import CORE
from engine.storage.snapshots import dumped

_SCORES, _SETS, _MEMBERS = (CORE[name] for name in ("score_rows", "model_sets", "members"))
_LEASES, _OFFSETS = CORE["partition_leases"], CORE["partition_offsets"]


@dataclass(frozen=True, slots=True)
class Consumed:
    """What became of a topic's events over all partitions."""

    topic: str
    applied: int
    duplicates: int
    dead_letters: int
    pending: int

    @property
    def taken(self) -> int:
        """All that have been read: each is one of these."""
        return self.applied + self.duplicates + self.dead_letters + self.pending


class Queries(Database):
    """What the endpoints and commands ask."""

    def score_history(self, member_id: str, limit: int, before: int | None = None) -> list[dict[str, Any]]:
        """The member's scores, newest first, at most `limit`, only of commits before `before` where it is given.

        With `risk_factors` as people read them.
        """
        # these bring the kernels of scoring, which no other query needs
        from engine.scoring.told import with_factors
        from engine.storage.score_rows import WORDS, Words, expanded

        words = [_SETS.c[name] for name in ("model_version", *WORDS)]
        query = sa.select(_SCORES, *words).join(_SETS, _SETS.c.model_set == _SCORES.c.model_set)
        query = query.where(_SCORES.c.member_id == member_id)
        if before is not None:
            query = query.where(_SCORES.c.seq < before)
        found = []
        for row in self._rows(query.order_by(_SCORES.c.seq.desc()).limit(limit)):
            lists = tuple(tuple(row[name]) for name in WORDS)
            found.append(with_factors(expanded(dict(row), Words(row["model_version"], lists))))
        return found

    def tenant_of(self, member_id: str) -> str | None:
        """Tenant of the member; None for one who has never been enrolled."""
        rows = self._rows(sa.select(_MEMBERS.c.tenant_id).where(_MEMBERS.c.member_id == member_id))
        return str(rows[0]["tenant_id"]) if rows else None

    def cohort(self, cohort_id: str, tenant: str = DEFAULT_TENANT) -> tuple[int, str]:
        """Active members the tenant has in the cohort, and its line of business; (0, "") for an unknown cohort."""
        query = (
            sa.select(sa.func.count().label("members"), sa.func.min(_MEMBERS.c.line_of_business).label("line"))
            .select_from(_MEMBERS)
            .where(_MEMBERS.c.cohort_id == cohort_id, _MEMBERS.c.tenant_id == tenant, _MEMBERS.c.active)
        )
        row = self._rows(query)[0]
        return int(row["members"]), row["line"] or ""

    def cohorts(self) -> list[tuple[str, str, int]]:
        """Cohort, line of business and number of active members, largest first."""
        query = (
            sa.select(_MEMBERS.c.cohort_id, _MEMBERS.c.line_of_business, sa.func.count().label("members"))
            .where(_MEMBERS.c.active)
            .group_by(_MEMBERS.c.cohort_id, _MEMBERS.c.line_of_business)
            .order_by(sa.desc("members"), _MEMBERS.c.cohort_id)
        )
        return [(row["cohort_id"], row["line_of_business"], row["members"]) for row in self._rows(query)]

    def owner(self, partition: int) -> str | None:
        """Name of the shard that holds the partition's lease; None where it is free or has expired."""
        query = sa.select(_LEASES.c.owner).where(_LEASES.c.partition == partition, _LEASES.c.expires_at > sa.func.now())
        rows = self._rows(query)
        return rows[0]["owner"] if rows else None

    def owned_partitions(self) -> int:
        """Number of partitions under an unexpired lease."""
        query = sa.select(sa.func.count().label("n")).select_from(_LEASES).where(_LEASES.c.expires_at > sa.func.now())
        return int(self._rows(query)[0]["n"])

    def consumed(self) -> list[Consumed]:
        """What became of the events, by topic."""
        query = (
            sa.select(_OFFSETS.c.topic, *(sa.func.sum(_OFFSETS.c[n]).label(n) for n in Consumed.__slots__[1:]))
            .group_by(_OFFSETS.c.topic)
            .order_by(_OFFSETS.c.topic)
        )
        return [Consumed(r["topic"], *(int(r[n]) for n in Consumed.__slots__[1:])) for r in self._rows(query)]

    def scored_members(self) -> tuple[int, int]:
        """Members enrolled, and how many of them have a score."""
        query = sa.select(
            sa.select(sa.func.count()).select_from(_MEMBERS).scalar_subquery().label("members"),
            sa.select(sa.func.count(_SCORES.c.member_id.distinct())).scalar_subquery().label("scored"),
        )
        row = self._rows(query)[0]
        return int(row["members"]), int(row["scored"])

    def riskiest_member(self) -> str:
        """The member whose newest score is the highest."""
        newest = (
            sa.select(_SCORES.c.member_id, _SCORES.c.score)
            .distinct(_SCORES.c.member_id)
            .order_by(_SCORES.c.member_id, _SCORES.c.seq.desc())
            .subquery()
        )
        query = sa.select(newest.c.member_id).order_by(newest.c.score.desc(), newest.c.member_id).limit(1)
        return str(self._rows(query)[0]["member_id"])

    def categories(self) -> dict[str, int]:
        """Members by the risk category of their newest score."""
        newest = (
            sa.select(_SCORES.c.member_id, _SCORES.c.category)
            .distinct(_SCORES.c.member_id)
            .order_by(_SCORES.c.member_id, _SCORES.c.seq.desc())
            .subquery()
        )
        query = sa.select(newest.c.category, sa.func.count().label("n")).group_by(newest.c.category)
        return {RISK_CATEGORIES[row["category"]]: int(row["n"]) for row in self._rows(query)}

    def snapshots(self) -> Iterator[bytes]:
        """The partitions' latest snapshots, one after the other."""
        states = CORE["member_state"]
        for row in self._rows(sa.select(states.c.partition).order_by(states.c.partition)):
            one = sa.select(states.c.payload).where(states.c.partition == row["partition"])
            yield dumped(self._rows(one)[0]["payload"])

    def predictions_that_have_come_due(self) -> tuple[list[float], ...]:
        """Actual cost of the 365 days after it, and mean, lower and upper as predicted, of a score of each member.

        It is the member's newest whose 365 days lie before the latest claim: dollars, columns of equal length.
        """
        claims, fills = CORE["claims"], CORE["pharmacy_fills"]
        latest = sa.select(sa.func.max(claims.c.service_date)).scalar_subquery()
        due = (
            sa.select(_SCORES)
            .where(_SCORES.c.predicted_cost.is_not(None), sa.cast(_SCORES.c.as_of, sa.Date) + 365 <= latest)
            .ext(distinct_on(_SCORES.c.member_id))
            .order_by(_SCORES.c.member_id, _SCORES.c.seq.desc())
            .subquery()
        )
        day = sa.cast(due.c.as_of, sa.Date)

        def spent(table: sa.Table, date: sa.Column[Any]) -> sa.ScalarSelect[Any]:
            cents = sa.func.coalesce(table.c.allowed_cents, table.c.paid_cents)
            inside = sa.and_(table.c.member_id == due.c.member_id, date > day, date <= day + 365)
            if "status" in table.c:
                inside = sa.and_(inside, table.c.status.is_distinct_from("denied"))
            return sa.select(sa.func.coalesce(sa.func.sum(cents), 0)).where(inside).scalar_subquery()

        cost = (spent(claims, claims.c.service_date) + spent(fills, fills.c.fill_date)) / 100.0
        names = ("predicted_cost", "cost_lower_90", "cost_upper_90")
        query = sa.select(cost.label("cost"), *(due.c[name] for name in names))
        rows = self._rows(query)
        return tuple([float(row[name]) for row in rows] for name in ("cost", *names))

    def count(self, table: str) -> int:
        """Rows of a table."""
        return int(self._rows(sa.select(sa.func.count().label("n")).select_from(CORE[table]))[0]["n"])

    def dead_letter_reasons(self) -> dict[str, int]:
        """Dead letters by reason."""
        letters = CORE["dead_letters"]
        query = sa.select(letters.c.reason, sa.func.count().label("n")).group_by(letters.c.reason)
        return {row["reason"]: int(row["n"]) for row in self._rows(query)}

    def recommendations(
        self, tenant: str, limit: int, before: tuple[dt.datetime, str] | None = None, one: str = ""
    ) -> list[dict[str, Any]]:
        """The tenant's premium recommendations, newest first, at most `limit`.

        `before` (created_at, recommendation_id) names the last of the page before; `one` asks for that one alone.
        """
        table = CORE["premium_recommendations"]
        query = sa.select(table).where(table.c.tenant_id == tenant)
        if one:
            query = query.where(table.c.recommendation_id == one)
        if before is not None:
            query = query.where(sa.tuple_(table.c.created_at, table.c.recommendation_id) < sa.tuple_(*before))
        ordered = query.order_by(table.c.created_at.desc(), table.c.recommendation_id.desc())
        return [dict(row) for row in self._rows(ordered.limit(limit))]

    def insert(self, table: str, row: Mapping[str, Any]) -> None:
        """Adds one row; a row with the same key stays as it was."""
        self._write(insert(CORE[table]).values(**row).on_conflict_do_nothing())
