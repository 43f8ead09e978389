"""Ray on this machine: started by the supervisor, bound to loopback, with a token of its own."""

import contextlib
from collections.abc import Collection
from pathlib import Path

import psutil
import ray

from actors.names import NAMESPACE
from cluster.stack.process import Recorded
from engine.errors import StackError
from engine.settings import RaySettings

_WORKER = "ray::IDLE"
_PARTING_SECONDS = 3.0


def start(settings: RaySettings, spared: Collection[int]) -> tuple[str, list[Recorded]]:
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
    daemons = [child for child in _family(spared) if not child.name().startswith(_WORKER)]
    return str(context["gcs_address"]), [Recorded.of(child.name(), child.pid, log) for child in daemons]


def _family(spared: Collection[int]) -> list[psutil.Process]:
    """The processes below this one, but for those of `spared` children."""
    direct = [child for child in psutil.Process().children() if child.pid not in spared]
    return [*direct, *(process for child in direct for process in child.children(recursive=True))]


def stop(spared: Collection[int]) -> None:
    """Leaves Ray; a local one ends, with agents and workers that outlive its daemons. `spared` are other children."""
    if not ray.is_initialized():
        return
    family = _family(spared)
    ray.shutdown()
    _, alive = psutil.wait_procs(family, timeout=_PARTING_SECONDS)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
