"""Ray on this machine: started by the supervisor, bound to loopback, with a token of its own."""

from pathlib import Path

import psutil
import ray

from actors.shard import NAMESPACE
from cluster.stack.process import Recorded
from engine.errors import StackError
from engine.settings import RaySettings

_WATCHED = ("gcs_server", "raylet")


def start(settings: RaySettings) -> tuple[str, list[Recorded]]:
    """Connects to the cluster the settings name, or starts Ray here; returns its address and the processes to watch.

    Ray's daemons end with this process, even when it is killed. Needs the environment of `ray_environment.prepare`.
    """
    try:
        if settings.address:
            ray.init(address=settings.address, namespace=NAMESPACE, log_to_driver=False)
            return settings.address, []
        context = ray.init(
            num_cpus=settings.num_cpus,
            object_store_memory=settings.object_store_mb * 1024 * 1024,
            include_dashboard=False,
            namespace=NAMESPACE,
            log_to_driver=False,
            logging_level="ERROR",
            _node_ip_address="127.0.0.1",
        )
    except (RuntimeError, ConnectionError, ValueError) as error:
        raise StackError(f"Ray did not start: {error}") from error
    log = Path(context["session_dir"]) / "logs"
    children = psutil.Process().children(recursive=True)
    watched = [
        Recorded.of(child.name(), child.pid, log / f"{child.name()}.out")
        for child in children
        if child.name() in _WATCHED
    ]
    return str(context["gcs_address"]), watched


def stop() -> None:
    """Leaves Ray; a local one ends."""
    if ray.is_initialized():
        ray.shutdown()
