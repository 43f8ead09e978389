"""Puts on Ray what runs there: relay, shards and Serve. Heavy to import, so imported while Ray starts."""

import contextlib
import logging
import shutil
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import ray
from ray import serve
from ray.serve.exceptions import RayServeException
from ray.util import list_named_actors

from actors.names import NAMESPACE, RELAY, SUPERVISOR, is_shard, shard_name
from actors.pace import ShardPlan
from actors.relay import OutboxRelay
from actors.score_board import board_folder
from actors.supervisor import ShardSupervisor, end_actors
from cluster.stack.process import ask_directly, free_port
from cluster.stack.state import Endpoints
from engine.domain.model_set import ModelSet
from engine.errors import StackError
from engine.learning import registry
from engine.logs import get_logger
from engine.scoring.health_score import ScoringRules
from engine.settings import Settings
from engine.storage.migrate import migrate
from engine.storage.models import ModelStore
from engine.storage.placement import Placement
from engine.streams.topics import PARTITIONS, ensure_topics
from serve_apps import gateway
from serve_apps.access.plan import check_reach, plan_of

APPLICATION = "vitanexus"
_READY_SECONDS = 240.0
"""How long a part may take to start: long enough for a laptop that is busy with something else."""
_STOP_SECONDS = 40.0
_NOT_SERVED = (ray.exceptions.RayError, RuntimeError, RayServeException)
"""What Ray raises where there is no Serve to take an application from, or where it goes away just then."""


def shard_plan(settings: Settings, endpoints: Endpoints) -> ShardPlan:
    """What every shard of the settings is given; the supervisor names them, and places the partitions."""
    shards = settings.shards
    return ShardPlan(
        SUPERVISOR,
        (),
        endpoints.postgres,
        endpoints.kafka,
        shards.lease_seconds,
        shards.snapshot_every,
        shards.poll_records,
        shards.poll_ms,
        shards.retry_seconds,
        shards.batch_seconds,
        shards.store_readings,
        shards.catch_up_seconds,
        shards.pending_seconds,
        board_folder=board_folder(endpoints.postgres),
        board_mb=shards.board_mb,
    )


def prepare(endpoints: Endpoints, models: Path) -> ModelSet:
    """Brings the schema up to date, makes the topics, registers the folder's models, and returns the first champions.

    In a new database those are the newest of each model; later ones wait as candidates for `vitanexus models promote`.
    """
    migrate(endpoints.postgres)
    ensure_topics(endpoints.kafka)
    store = ModelStore(endpoints.postgres, pool_size=1)
    for card in registry.cards(models):
        store.register(card.name, card.version, card.digest, registry.told(card))
    if not store.promotions():
        store.applied(
            store.decide(registry.newest(models), "installation", "the newest models when the database was new")
        )
    first = store.promotions()[0].models
    store.close()
    return first


def deploy(settings: Settings, rules: ScoringRules, endpoints: Endpoints, directory: Path) -> str:
    """Starts relay, shards and Serve on the Ray this process is connected to; returns the HTTP address.

    Jobs find their database by the state directory where no setting names it: a password has no place in a job.

    Raises StackError when a shard has not recovered in time, SettingsError where it would be served beyond this machine
    without authentication.
    """
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    check_reach(settings.http.host, plan_of(settings, str(directory.resolve())))
    models = registry.folder(settings.models.folder)
    initial = prepare(endpoints, models)
    level = settings.log.level
    OutboxRelay.options(name=RELAY, namespace=NAMESPACE, lifetime="detached", get_if_exists=True).remote(
        endpoints.postgres, endpoints.kafka, level
    )
    placement = Placement(endpoints.postgres, PARTITIONS)
    standby = settings.shards.standby
    placement.restart([shard_name(index) for index in range(settings.shards.count + standby)], standby)
    placement.close()
    supervisor = ShardSupervisor.options(
        name=SUPERVISOR, namespace=NAMESPACE, lifetime="detached", get_if_exists=True
    ).remote(shard_plan(settings, endpoints), rules, initial, models, level, settings.shards.dead_seconds)
    port = settings.http.port or free_port()
    started("Serve's proxy", lambda: _start_proxy(settings.http.host, port), serve.shutdown)
    started(
        "the HTTP application",
        lambda: run_endpoints(settings, rules, endpoints, directory),
        lambda: serve.delete(APPLICATION),
    )
    try:
        late = ray.get(supervisor.ready.remote(_READY_SECONDS), timeout=_READY_SECONDS + _STOP_SECONDS)
    except (ray.exceptions.RayError, TimeoutError) as error:
        raise StackError(f"the shards' supervisor did not start: {error}; see Ray's logs of this session") from error
    if late:
        raise StackError(
            f"{', '.join(late)} did not recover within {_READY_SECONDS:g} s; see Ray's logs of this session"
        )
    certificate = settings.http.tls_certificate
    address = f"{'https' if certificate else 'http'}://{settings.http.host}:{port}"
    _wait_until_served(address, certificate)
    return address


def _start_proxy(host: str, port: int) -> None:
    serve.start(proxy_location="HeadOnly", http_options={"host": host, "port": port})


def started(part: str, start: Callable[[], None], clear: Callable[[], None]) -> None:
    """Starts a part of Serve; clears up and tries once more where Ray says that it did not start.

    Raises StackError after the second time: which part, after how long, why, and where its log is.
    """
    begun = time.monotonic()
    for last in (False, True):
        try:
            start()
            return
        except (ray.exceptions.RayError, RuntimeError, TimeoutError) as error:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            if last:
                raise StackError(
                    f"{part} did not start, twice, after {time.monotonic() - begun:.0f} s: {reason}; "
                    f"its log is in {_serve_logs()}"
                ) from error
            get_logger(part="stack").warning(f"{part} did not start, trying once more", error=reason)
            with contextlib.suppress(*_NOT_SERVED):
                clear()


def _serve_logs() -> Path:
    """Where Serve's controller, proxies and replicas on this machine log."""
    node = ray._private.worker.global_worker.node  # Ray tells the folder of its session nowhere else
    return Path(node.get_session_dir_path() if node is not None else "/tmp/ray/session_latest") / "logs" / "serve"  # noqa: S108 - Ray's own


def run_endpoints(settings: Settings, rules: ScoringRules, endpoints: Endpoints, directory: Path) -> None:
    """Runs the HTTP application on the Serve that is up; where it runs already, replaces its replicas one by one."""
    state = str(directory.resolve())
    args = gateway.Args(
        postgres_url=endpoints.postgres,
        bootstrap=endpoints.kafka,
        rules=rules,
        models=registry.folder(settings.models.folder),
        jobs_url=endpoints.jobs,
        state_directory=state,
        access=plan_of(settings, state),
        board_folder=board_folder(endpoints.postgres),
        log_level=settings.log.level,
    )
    serve.run(gateway.build(args), name=APPLICATION, route_prefix="/")


def _wait_until_served(address: str, certificate: str) -> None:
    """Waits until requests reach a replica: the proxy hears of it a moment after `serve.run` has returned."""
    trusted = ssl.create_default_context(cafile=certificate) if certificate else None
    if trusted is not None:
        trusted.check_hostname = False  # the certificate is for the public name, and this is the address behind it
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        try:
            ask_directly(f"{address}/healthz", 5, trusted)
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise StackError(f"{address} does not answer within {_READY_SECONDS:g} s: {error}") from error
        time.sleep(0.1)


def undeploy(postgres_url: str) -> None:
    """Stops the supervisor, the application, the shards, which take snapshots and give their leases back, the relay."""
    if not ray.is_initialized():
        return
    end_actors([SUPERVISOR], _STOP_SECONDS)
    with contextlib.suppress(*_NOT_SERVED):
        serve.delete(APPLICATION)
    end_actors([*filter(is_shard, list_named_actors()), RELAY], _STOP_SECONDS)
    if postgres_url and board_folder(postgres_url):
        shutil.rmtree(board_folder(postgres_url), ignore_errors=True)  # a killed shard leaves its board
