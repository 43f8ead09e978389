"""Backups of an installation: the database by pg_dump, the models as files, and a manifest that both are checked by."""

import datetime as dt
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from cluster.stack.postgres import program
from engine.errors import StorageError

_DUMP, _MODELS, _MANIFEST = "database.dump", "models", "manifest.json"
_NOT_DATA = ("partition_leases",)
"""Tables whose rows say who works now: a copy that starts must not wait for owners of another time."""


def make(url: str, models: Path, out: Path) -> dict[str, Any]:
    """Writes a backup into the new folder `out` and returns its manifest. Everything may work on meanwhile.

    Raises StorageError where the folder exists, the database cannot be read, or is one that pg_dump alone cannot copy.
    """
    if out.exists():
        raise StorageError(f"{out} is there already: a backup has a folder of its own")
    version, timescale = _server(url)
    if timescale:
        raise StorageError(
            "the database has TimescaleDB: back it up with what its server brings, as docs/operations.md says"
        )
    unfinished = out.with_name(out.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True, mode=0o700)
    words = ["pg_dump", "--format=custom", f"--file={unfinished / _DUMP}", "--no-owner", "--no-privileges"]
    _run([*words, *(f"--exclude-table-data={table}" for table in _NOT_DATA)], url)
    shutil.copytree(models, unfinished / _MODELS, ignore=shutil.ignore_patterns("__pycache__"))
    files = {
        str(path.relative_to(unfinished)): _digest(path) for path in sorted(unfinished.rglob("*")) if path.is_file()
    }
    manifest = {
        "made_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "postgres": version,
        "revision": _revision(url),
        "files": files,
    }
    (unfinished / _MANIFEST).write_text(json.dumps(manifest, indent=1))
    unfinished.rename(out)
    return manifest


def restore(folder: Path, url: str, models: Path) -> dict[str, Any]:
    """Loads a backup into an empty database, all or nothing, and its models into the new folder `models`.

    Raises StorageError naming a file that is missing or was changed, a database that holds tables, or a folder that
    exists.
    """
    manifest = verify(folder)
    if models.exists():
        raise StorageError(f"{models} is there already: models are restored into a folder of their own")
    with _connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
    if row is None or row[0]:
        raise StorageError("the database holds tables: a backup is restored into an empty one")
    words = ["pg_restore", "--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges", "--dbname="]
    _run([*words, str(folder / _DUMP)], url)
    shutil.copytree(folder / _MODELS, models)
    return manifest


def verify(folder: Path) -> dict[str, Any]:
    """The manifest of a backup whose files are what it says. Raises StorageError naming the one that is not."""
    try:
        manifest: dict[str, Any] = json.loads((folder / _MANIFEST).read_text())
        files = dict(manifest["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{folder} is no backup: {_MANIFEST}: {error}") from error
    for name, digest in files.items():
        path = folder / name
        if not path.is_file():
            raise StorageError(f"{folder}: {name} is missing")
        if _digest(path) != digest:
            raise StorageError(f"{folder}: {name} is not what was written: its SHA-256 is not the manifest's")
    return manifest


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _connect(url: str) -> psycopg.Connection[Any]:
    try:
        return psycopg.connect(url, connect_timeout=5)
    except psycopg.OperationalError as error:
        raise StorageError(f"PostgreSQL does not answer: {error}") from error


def _server(url: str) -> tuple[str, bool]:
    """The server's version, and whether the database has TimescaleDB."""
    with _connect(url) as connection:
        extension = connection.execute("SELECT 1 FROM pg_extension WHERE extname = 'timescaledb'").fetchone()
        return str(connection.info.parameter_status("server_version")), extension is not None


def _revision(url: str) -> str:
    try:
        with _connect(url) as connection:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except psycopg.errors.UndefinedTable as error:
        raise StorageError("the database has no schema yet: there is nothing to back up") from error
    return "" if row is None else str(row[0])


def _run(words: list[str], url: str) -> None:
    """Runs a program of PostgreSQL on the database. The password goes by the environment, which `ps` does not show."""
    parts = conninfo_to_dict(url)
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE"}
    environment = {**os.environ, **{names[key]: str(value) for key, value in parts.items() if key in names}}
    words = [word + str(parts["dbname"]) if word == "--dbname=" else word for word in words]
    done = subprocess.run([program(words[0]), *words[1:]], env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StorageError(f"{words[0]} ended with code {done.returncode}: {done.stderr.strip()[-2000:]}")
