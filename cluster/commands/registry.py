"""`vitanexus models`: which fitted models score, who approved them, and how to change that."""

import datetime as dt
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cluster.commands.stack import DEFAULT, Directory
from engine.domain.model_set import MODEL_NAMES, ModelSet
from engine.errors import ModelError

models = typer.Typer(help="The life of the fitted models: candidates, champions, retired.", no_args_is_help=True)
_console = Console(highlight=False)
Approver = Annotated[str, typer.Option(help="who approves the change; written to the registry")]
Reason = Annotated[str, typer.Option(help="why; written to the registry")]


@models.command("list")
def list_models(directory: Directory = DEFAULT) -> None:
    """Show every registered model with its stage, approver and digest, and the changes of champion."""
    from cluster.bootstrap import connect
    from engine.storage.models import ModelStore

    store = ModelStore(connect(directory, "postgres").postgres, pool_size=1)
    table = Table("model", "version", "stage", "approver", "since", "digest")
    for row in store.models():
        since = f"{row['staged_at']:%Y-%m-%d %H:%M}"
        table.add_row(row["name"], row["version"], row["stage"], row["approver"] or "", since, row["sha256"][:12])
    _console.print(table)
    table = Table("change", "champions from then on", "approver", "decided (UTC)", "reason")
    for change in store.promotions():
        when = f"{change.decided_at:%Y-%m-%d %H:%M}" + (" pending" if change.pending else "")
        table.add_row(str(change.number), str(change.models).replace("+", " "), change.approver, when, change.reason)
    _console.print(table)


@models.command("register")
def register(directory: Directory = DEFAULT) -> None:
    """Enter the models of the registry folder that are new as candidates. `vitanexus up` does so when it starts."""
    from cluster.bootstrap import connect
    from engine.learning import registry
    from engine.settings import load_settings
    from engine.storage.models import ModelStore

    store = ModelStore(connect(directory, "postgres").postgres, pool_size=1)
    cards = registry.cards(registry.folder(load_settings().models.folder))
    for card in cards:
        store.register(card.name, card.version, card.digest, registry.told(card))
    typer.echo(f"{len(cards)} models registered")


@models.command("promote")
def promote(
    chosen: Annotated[list[str], typer.Argument(help="MODEL=VERSION, such as base_risk=4; several change together")],
    approver: Approver,
    reason: Reason = "promoted",
    directory: Directory = DEFAULT,
) -> None:
    """Make versions the champions: from this point of every partition's log on, members are scored by them.

    The models are loaded first: one that is damaged or does not fit the others changes nothing. Shards score all their
    members anew at the change; a change that was broken off is finished by the next `promote` or `rollback`.
    Example: vitanexus models promote base_risk=4 ensemble=2 --approver "A. Actuary" --reason "trained on 2025"
    """
    from cluster.bootstrap import connect
    from engine.storage.models import ModelStore

    store = ModelStore(connect(directory, "postgres").postgres, pool_size=1)
    wanted = store.champions()
    for word in chosen:
        name, _, version = word.partition("=")
        if not version:
            raise typer.BadParameter(f"{word!r} is not MODEL=VERSION", param_hint="MODEL=VERSION")
        wanted = wanted.changed(name, version)
    _change(directory, wanted, approver, reason)


@models.command("rollback")
def rollback(approver: Approver, reason: Reason = "rolled back", directory: Directory = DEFAULT) -> None:
    """Go back to the champions before the last change.

    Example: vitanexus models rollback --approver "A. Actuary" --reason "predictive ratio 1.2 among new members"
    """
    from cluster.bootstrap import connect
    from engine.storage.models import ModelStore

    changes = ModelStore(connect(directory, "postgres").postgres, pool_size=1).promotions()
    earlier = [change.models for change in changes if change.models != changes[-1].models]
    if not earlier:
        raise ModelError(f"there were no champions before {changes[-1].models if changes else 'the first'}")
    _change(directory, earlier[-1], approver, reason)


def _change(directory: Path, wanted: ModelSet, approver: str, reason: str) -> None:
    from cluster.bootstrap import connect
    from cluster.scoring_commands import change_champions
    from engine.learning import registry
    from engine.settings import load_settings
    from engine.storage.models import ModelStore
    from engine.storage.queries import Queries

    if not approver.strip():
        raise typer.BadParameter("a change of champion needs the name of who approves it", param_hint="--approver")
    endpoints = connect(directory)
    store, queries = ModelStore(endpoints.postgres, pool_size=1), Queries(endpoints.postgres, pool_size=1)
    root = registry.folder(load_settings().models.folder)
    for card in registry.cards(root):
        if wanted.version(card.name) == card.version:
            store.register(card.name, card.version, card.digest, registry.told(card))
    registry.load_models(wanted, root)
    for pending in (change for change in store.promotions() if change.pending):
        typer.echo(f"change {pending.number} was broken off: finishing it first")
        change_champions(endpoints.kafka, queries, store, pending)
    before = store.champions()
    if wanted == before:
        typer.echo(f"already the champions: {wanted}")
        return
    change = store.decide(wanted, approver, reason)
    change_champions(endpoints.kafka, queries, store, change)
    changed = [n for n in MODEL_NAMES if wanted.version(n) != before.version(n)]
    for name in changed:
        typer.echo(f"{name}: {before.version(name)} -> {wanted.version(name)}")
    members = queries.scored_members()[1]
    typer.echo(
        f"change {change.number}: {members:,} members scored anew as of {change.decided_at.astimezone(dt.UTC):%F %T}"
    )
