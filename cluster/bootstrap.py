"""Reads the settings, and puts the parts together: the only place that does either."""

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from cluster.stack.state import Endpoints, StateDir
from cluster.stack.supervisor import Stack
from engine.errors import StackError
from engine.settings import Settings, load_rules, load_settings

_DEPLOYMENT = "cluster.deployment"


def stack(directory: Path, settings: Settings, say: Callable[[str], None], wanted: Sequence[str] = ()) -> Stack:
    """The local stack of `directory`, as a context. The modules `wanted` afterwards are imported while Ray starts."""

    def deploy(endpoints: Endpoints) -> str:
        return str(import_module(_DEPLOYMENT).deploy(settings, load_rules(), endpoints))

    def undeploy() -> None:
        import_module(_DEPLOYMENT).undeploy(settings)

    return Stack(directory, settings, deploy, undeploy, say, (_DEPLOYMENT, *wanted))


def connect(directory: Path) -> Endpoints:
    """Where PostgreSQL and the broker are: as the settings say, else as the stack running in `directory` says.

    Raises StackError where neither knows.
    """
    settings = load_settings()
    state = StateDir(directory).read()
    running = state.endpoints if state is not None and state.endpoints is not None else Endpoints("", "")
    endpoints = Endpoints(
        settings.postgres.url.get_secret_value() or running.postgres,
        settings.kafka.bootstrap or running.kafka,
        settings.ray.address or running.ray,
        running.http,
    )
    if not endpoints.postgres or not endpoints.kafka:
        raise StackError(
            f"no stack is running in {directory}: start one with `vitanexus up`, or set VITANEXUS_POSTGRES_URL and "
            "VITANEXUS_KAFKA_BOOTSTRAP"
        )
    return endpoints
