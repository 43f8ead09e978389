"""What only the database knows of the whole: leases, outbox, runs, champions. Small queries, every few seconds."""

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from engine.domain.model_set import ModelSet
from engine.domain.tables import RUN_STATES
from engine.storage.database import Database
from engine.storage.schema import CORE


@dataclass(frozen=True, slots=True)
class ClusterFigures:
    """Owned partitions, messages in the outbox, runs of the last day by status, champions (None in a new database),
    whether their change is under way, and partitions by the model version of their snapshot."""

    partitions_owned: int
    outbox_waiting: int
    runs: Mapping[str, int]
    champions: ModelSet | None
    promotion_pending: bool
    partitions_scored_by: Mapping[str, int]


class Figures(Database):
    """Asks for the figures. Raises StorageError when PostgreSQL is away."""

    def read(self) -> ClusterFigures:
        """The figures now."""
        leases, outbox, states = (CORE[name] for name in ("partition_leases", "outbox", "member_state"))
        runs, changes = CORE["simulation_runs"], CORE["model_promotions"]
        number = sa.func.count().label("n")
        day = sa.func.now() - sa.text("interval '1 day'")
        counted = self._rows(
            sa.select(
                sa.select(number)
                .select_from(leases)
                .where(leases.c.expires_at > sa.func.now())
                .scalar_subquery()
                .label("owned"),
                sa.select(number).select_from(outbox).scalar_subquery().label("waiting"),
            )
        )[0]
        by_status = self._rows(
            sa.select(runs.c.status, number).where(runs.c.submitted_at > day).group_by(runs.c.status)
        )
        newest = self._rows(sa.select(changes).order_by(changes.c.promotion.desc()).limit(1))
        by_model = self._rows(sa.select(states.c.model_version, number).group_by(states.c.model_version))
        return ClusterFigures(
            int(counted["owned"]),
            int(counted["waiting"]),
            dict.fromkeys(RUN_STATES, 0) | {row["status"]: int(row["n"]) for row in by_status},
            ModelSet.parse(newest[0]["models"]) if newest else None,
            bool(newest) and newest[0]["applied_at"] is None,
            {row["model_version"]: int(row["n"]) for row in by_model},
        )
