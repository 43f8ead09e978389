"""Ray on this machine: started by the supervisor, bound to loopback, with a token of its own."""

import contextlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
import ray
from ray._private import parameter

from actors.names import NAMESPACE
from cluster.stack.process import Recorded, free_port
from engine.errors import StackError
from engine.settings import RaySettings

_WORKER, _WORKER_FILE = "ray::", "default_worker.py"
_AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""Titles that daemons give themselves as they start: one that is seen late is a daemon all the same."""
_PARTING_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class RunningRay:
    """Ray's address, the address that takes Ray Jobs ("" for none), and the processes to watch."""

    address: str
    jobs: str
    processes: list[Recorded]


def start(settings: RaySettings, dashboard: bool, spared: Collection[int]) -> RunningRay:
    """Connects to the cluster the settings name, or starts Ray here, with its dashboard where jobs are wanted.

    Ray's daemons end with this process, even when it is killed. Needs the environment of `ray_environment.prepare`.
    """
    try:
        if settings.address:
            ray.init(address=settings.address, namespace=NAMESPACE, log_to_driver=False)
            return RunningRay(settings.address, settings.jobs_url, [])
        with _agent_port_of_its_own():
            context = ray.init(
                address="local",  # never another cluster that runs on this machine
                num_cpus=settings.num_cpus,
                object_store_memory=settings.object_store_mb * 1024 * 1024,
                include_dashboard=dashboard,
                dashboard_host="127.0.0.1",
                dashboard_port=free_port() if dashboard else None,
                namespace=NAMESPACE,
                log_to_driver=False,
                logging_level="ERROR",
                _node_ip_address="127.0.0.1",
            )
    except (RuntimeError, ConnectionError, ValueError) as error:
        raise StackError(f"Ray did not start: {error}") from error
    log = Path(context["session_dir"]) / "logs"
    daemons = [child for child in _family(spared) if not _is_worker(child)]
    jobs = settings.jobs_url or (f"http://{context.dashboard_url}" if dashboard else "")
    watched = [Recorded.of(child.name(), child.pid, log) for child in daemons]
    return RunningRay(str(context["gcs_address"]), jobs, watched)


@contextlib.contextmanager
def _agent_port_of_its_own() -> Iterator[None]:
    """Has the dashboard's agent take any free port: `ray start` can be told so, `ray.init` cannot.

    Otherwise each Ray of a machine wants 52365, and all but the first take no jobs ("No available agent").
    """
    usual = parameter.RayParams
    parameter.RayParams = partial(usual, dashboard_agent_listen_port=0)  # type: ignore[misc, assignment]
    try:
        yield
    finally:
        parameter.RayParams = usual  # type: ignore[misc]


def _is_worker(process: psutil.Process) -> bool:
    """Whether actors may come to live in it: by its title, or by its command line before it has set the title."""
    try:
        words = process.cmdline()
        if words and words[0] in _AGENTS:
            return False
        return process.name().startswith(_WORKER) or any(word.endswith(_WORKER_FILE) for word in words)
    except psutil.NoSuchProcess:
        return True


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
