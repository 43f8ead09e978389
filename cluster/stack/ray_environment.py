"""The environment Ray reads when it is imported, so it must be set before: a token of its own, no usage reports.

A cluster that is started here has a token of its own, whatever the environment says of some other cluster; a cluster
that is named in the settings has the environment's.
"""

import os
import secrets
from pathlib import Path

_KEY_FILE = "ray.auth"


def prepare(directory: Path, address: str = "") -> None:
    """Points this process and its children at the token in `directory` (mode 0600), made on first use.

    With the `address` of a cluster that runs already, the environment's token stays, and `directory` forgets its own.
    """
    _quiet()
    path = directory.resolve() / _KEY_FILE
    if address:
        path.unlink(missing_ok=True)
        return
    if not path.is_file():
        directory.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(32))
    _use(path)


def join(directory: Path) -> None:
    """Points this process at the token of the cluster of the stack in `directory`, where that stack started one."""
    _quiet()
    path = directory.resolve() / _KEY_FILE
    if path.is_file():
        _use(path)


def _quiet() -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_SERVE_LOG_TO_STDERR", "0")


def _use(path: Path) -> None:
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(path)
    os.environ.pop("RAY_AUTH_TOKEN", None)  # it would go before the file
