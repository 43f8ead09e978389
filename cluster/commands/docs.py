"""`vitanexus docs`: what derives from record tables, catalogues, features, metrics and model cards."""

from pathlib import Path
from typing import Annotated

import typer

ROOT = Path(__file__).resolve().parents[2]


def docs(check: Annotated[bool, typer.Option("--check", help="only say whether they are up to date")] = False) -> None:
    """Write the pages of docs/, dashboards and alert rules from the code's declarations and the model cards."""
    from cluster.documents import pages

    found = pages()
    stale = [name for name, page in found.items() if not _same(ROOT / name, page)]
    if check and stale:
        typer.secho(f"{', '.join(stale)} is not what the declarations say: run `vitanexus docs`", err=True)
        raise typer.Exit(1)
    for name in stale:
        (ROOT / name).write_text(found[name])
    typer.echo("up to date" if not stale else f"written: {', '.join(stale)}")


def _same(path: Path, page: str) -> bool:
    return path.is_file() and path.read_text() == page
