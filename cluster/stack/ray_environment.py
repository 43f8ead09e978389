"""The environment Ray reads when it is imported, so it must be set before: a token of its own, no usage reports."""

import os
import secrets
from pathlib import Path

_KEY_FILE = "ray.auth"


def prepare(directory: Path) -> None:
    """Points this process and its children at the token in `directory` (mode 0600), made on first use.

    What the environment sets already stays: a cluster named in the settings has a token of its own.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_SERVE_LOG_TO_STDERR", "0")
    if "RAY_AUTH_MODE" in os.environ:
        return
    directory.mkdir(parents=True, exist_ok=True)
    path = directory.resolve() / _KEY_FILE
    if not path.is_file():
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(32))
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(path)
