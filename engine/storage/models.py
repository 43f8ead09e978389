"""The life of the fitted models: registered as candidates, promoted to champions by a person, retired by the next."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from engine.domain.model_set import MODEL_NAMES, ModelSet
from engine.errors import ModelError
from engine.storage.database import Database
from engine.storage.schema import CORE

_REGISTRY, _PROMOTIONS = CORE["model_registry"], CORE["model_promotions"]


@dataclass(frozen=True, slots=True)
class Promotion:
    """A change of champion. `pending` until every partition has applied it."""

    number: int
    models: ModelSet
    approver: str
    reason: str
    decided_at: Any
    applied_at: Any

    @property
    def pending(self) -> bool:
        """Whether some partition may not have applied it."""
        return self.applied_at is None


class ModelStore(Database):
    """The rows of `model_registry` and `model_promotions`."""

    def register(self, name: str, version: str, sha256: str, card: Mapping[str, Any]) -> None:
        """Enters a fitted model as a candidate; one that is there stays as it is.

        Raises ModelError where the version is there with another digest: what has made scores is never replaced.
        """
        row = {"name": name, "version": version, "sha256": sha256, "card": dict(card), "stage": "candidate"}
        self._write(insert(_REGISTRY).values(**row).on_conflict_do_nothing())
        known = self._rows(
            sa.select(_REGISTRY.c.sha256).where(_REGISTRY.c.name == name, _REGISTRY.c.version == version)
        )[0]["sha256"]
        if known != sha256:
            raise ModelError(
                f"{name} {version} is registered with digest {known[:12]}, its files have {sha256[:12]}: "
                "a model that was fitted anew needs a version of its own"
            )

    def models(self) -> list[dict[str, Any]]:
        """All registered models, oldest first."""
        return [
            dict(row) for row in self._rows(sa.select(_REGISTRY).order_by(_REGISTRY.c.name, _REGISTRY.c.registered_at))
        ]

    def promotions(self) -> list[Promotion]:
        """All changes of champion, oldest first."""
        rows = self._rows(sa.select(_PROMOTIONS).order_by(_PROMOTIONS.c.promotion))
        return [
            Promotion(
                r["promotion"],
                ModelSet.parse(r["models"]),
                r["approver"],
                r["reason"],
                r["decided_at"],
                r["applied_at"],
            )
            for r in rows
        ]

    def champions(self) -> ModelSet:
        """The champions. Raises ModelError in a database that has none yet."""
        changes = self.promotions()
        if not changes:
            raise ModelError("the database has no champions yet: `vitanexus up` enters the first")
        return changes[-1].models

    def decide(self, models: ModelSet, approver: str, reason: str) -> Promotion:
        """Makes the models champions and those they follow retired, and enters the change as pending.

        Raises ModelError for a model that is not registered.
        """
        missing = [f"{n} {models.version(n)}" for n in MODEL_NAMES if not self._registered(n, models.version(n))]
        if missing:
            raise ModelError(f"not registered: {', '.join(missing)}; see `vitanexus models list`")
        with self._engine.begin() as connection:
            connection.execute(sa.text("LOCK TABLE model_promotions IN EXCLUSIVE MODE"))
            for name in MODEL_NAMES:
                other = sa.and_(_REGISTRY.c.name == name, _REGISTRY.c.version != models.version(name))
                this = sa.and_(_REGISTRY.c.name == name, _REGISTRY.c.version == models.version(name))
                now = sa.func.clock_timestamp()
                connection.execute(
                    sa.update(_REGISTRY)
                    .where(other, _REGISTRY.c.stage == "champion")
                    .values(stage="retired", approver=approver, staged_at=now)
                )
                connection.execute(
                    sa.update(_REGISTRY)
                    .where(this, _REGISTRY.c.stage != "champion")
                    .values(stage="champion", approver=approver, staged_at=now)
                )
            connection.execute(insert(_PROMOTIONS).values(models=str(models), approver=approver, reason=reason))
        return self.promotions()[-1]

    def applied(self, promotion: Promotion) -> None:
        """Marks a change as applied by every partition."""
        self._write(
            sa.update(_PROMOTIONS)
            .where(_PROMOTIONS.c.promotion == promotion.number)
            .values(applied_at=sa.func.clock_timestamp())
        )

    def _registered(self, name: str, version: str) -> bool:
        query = sa.select(sa.literal(1)).where(_REGISTRY.c.name == name, _REGISTRY.c.version == version)
        return bool(self._rows(query))
