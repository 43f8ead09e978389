"""The command line as a user calls it."""

import os
import subprocess
import sys

from tests.waiting import SCALE

NO_PROXY = {"no_proxy", "NO_PROXY"}
PROXY = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
"""A company's network names a proxy that serves no local address; here nothing listens at all.

What the parts of a stack say to each other on this machine must not go there (ray-project/ray issue 13090).
"""


def vitanexus(*words: str) -> subprocess.CompletedProcess[str]:
    """Runs the command line to its end, in an environment that names a proxy."""
    kept = {name: value for name, value in os.environ.items() if name not in NO_PROXY}
    return subprocess.run(
        [sys.executable, "-m", "cluster.cli", *words],
        capture_output=True,
        text=True,
        timeout=500 * SCALE,
        check=False,
        env=kept | PROXY,
    )
