"""Reads the settings, and puts the parts together: the only place that does either."""

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.stack.state import Endpoints, StateDir
from engine.errors import StackError
from engine.settings import Settings, load_rules, load_settings

if TYPE_CHECKING:
    from cluster.stack.supervisor import Stack

_DEPLOYMENT = "cluster.deployment"
_VARIABLES = {
    "postgres": "VITANEXUS_POSTGRES_URL",
    "kafka": "VITANEXUS_KAFKA_BOOTSTRAP",
    "ray": "VITANEXUS_RAY_ADDRESS",
    "jobs": "VITANEXUS_RAY_JOBS_URL",
}


def stack(
    directory: Path, settings: Settings, say: Callable[[str], None], wanted: Sequence[str] = (), jobs: bool = True
) -> "Stack":
    """The local stack of `directory`, as a context. The modules `wanted` afterwards are imported while Ray starts.

    `jobs`: whether it takes Ray Jobs.
    """

    from cluster.stack.supervisor import Stack  # brings Ray, which those who only connect do without

    def deploy(endpoints: Endpoints) -> str:
        return str(import_module(_DEPLOYMENT).deploy(settings, load_rules(), endpoints, directory))

    def undeploy() -> None:
        state = StateDir(directory).read()
        postgres = state.endpoints.postgres if state is not None and state.endpoints is not None else ""
        import_module(_DEPLOYMENT).undeploy(postgres)

    return Stack(directory, settings, deploy, undeploy, say, (_DEPLOYMENT, *wanted), jobs)


def where(directory: Path) -> Endpoints:
    """Where the parts are: as the settings say, else as the stack running in `directory` says; "" for what is not."""
    settings = load_settings()
    state = StateDir(directory).read()
    running = state.endpoints if state is not None and state.endpoints is not None else Endpoints("", "")
    return Endpoints(
        settings.postgres.url.get_secret_value() or running.postgres,
        settings.kafka.bootstrap or running.kafka,
        settings.ray.address or running.ray,
        running.http,
        settings.ray.jobs_url or running.jobs,
    )


def connect(directory: Path, *needed: str) -> Endpoints:
    """Where the parts are, as `where` says.

    `needed` names the endpoints without which it raises StackError: PostgreSQL and Kafka where none is named.
    """
    endpoints = where(directory)
    missing = [_VARIABLES[name] for name in needed or ("postgres", "kafka") if not getattr(endpoints, name)]
    if missing:
        raise StackError(
            f"no stack is running in {directory}: start one with `vitanexus up`, or set {' and '.join(missing)}"
        )
    return endpoints
