"""`vitanexus backup`: database and models, made and restored."""

from pathlib import Path
from typing import Annotated

import typer

from cluster.commands.stack import DEFAULT, Directory

backup = typer.Typer(help="Backups of database and models.", no_args_is_help=True)


@backup.command()
def make(
    out: Annotated[Path, typer.Option(help="new folder to write to")],
    directory: Directory = DEFAULT,
) -> None:
    """Back up the database, consistent to a moment, and the models folder, while everything works on.

    Example: vitanexus backup make --out backups/2026-11-24
    """
    from cluster.backup import make as made
    from cluster.bootstrap import connect
    from engine.learning.registry import folder
    from engine.settings import load_settings

    manifest = made(connect(directory, "postgres").postgres, folder(load_settings().models.folder), out)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    typer.echo(f"{out}: {len(manifest['files'])} files, {size / 1e6:,.1f} MB, schema {manifest['revision']}")


@backup.command()
def restore(
    folder: Annotated[Path, typer.Argument(help="a backup, as `backup make` wrote it")],
    models: Annotated[Path, typer.Option(help="new folder for its models; VITANEXUS_MODELS_FOLDER then names it")],
    directory: Directory = DEFAULT,
) -> None:
    """Restore a backup into the empty database that VITANEXUS_POSTGRES_URL names; all of it or nothing.

    Example: vitanexus backup restore backups/2026-11-24 --models models
    """
    from cluster.backup import restore as restored
    from cluster.bootstrap import connect

    manifest = restored(folder, connect(directory, "postgres").postgres, models)
    typer.echo(f"restored as of {manifest['made_at']}, schema {manifest['revision']}; models in {models}")


@backup.command()
def verify(folder: Annotated[Path, typer.Argument(help="a backup")]) -> None:
    """Say whether a backup's files are what was written."""
    from cluster.backup import verify as verified

    typer.echo(f"{folder}: {len(verified(folder)['files'])} files as written")
