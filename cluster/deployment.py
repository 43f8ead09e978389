"""Puts on Ray what runs there: relay, shards and Serve. Heavy to import, so imported while Ray starts."""

import contextlib
import logging
from pathlib import Path

import ray
from ray import serve
from ray.actor import ActorHandle

from actors.names import NAMESPACE, RELAY, shard_name
from actors.relay import OutboxRelay
from actors.shard import MemberShard, partitions_of
from actors.shard_loop import ShardPlan
from cluster.stack.process import free_port
from cluster.stack.state import Endpoints
from engine.domain.model_set import ModelSet
from engine.errors import StackError
from engine.learning import registry
from engine.scoring.health_score import ScoringRules
from engine.settings import Settings
from engine.storage.migrate import migrate
from engine.storage.models import ModelStore
from engine.streams.topics import PARTITIONS, ensure_topics
from serve_apps import gateway

APPLICATION = "vitanexus"
_READY_SECONDS = 90.0
_STOP_SECONDS = 40.0


def plans(settings: Settings, endpoints: Endpoints) -> list[ShardPlan]:
    """The shards of the settings, with their partitions dealt out in turn."""
    count = settings.shards.count
    return [
        ShardPlan(
            shard_name(index),
            partitions_of(index, count, PARTITIONS),
            endpoints.postgres,
            endpoints.kafka,
            settings.shards.lease_seconds,
            settings.shards.snapshot_every,
            settings.shards.poll_records,
            settings.shards.poll_ms,
            settings.shards.retry_seconds,
            settings.shards.batch_seconds,
            settings.shards.store_readings,
        )
        for index in range(count)
    ]


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

    Raises StackError when a shard has not recovered in time.
    """
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    models = registry.folder(settings.models.folder)
    initial = prepare(endpoints, models)
    level = settings.log.level
    OutboxRelay.options(name=RELAY, namespace=NAMESPACE, lifetime="detached", get_if_exists=True).remote(
        endpoints.postgres, endpoints.kafka, level
    )
    shards = [
        MemberShard.options(name=plan.name, namespace=NAMESPACE, lifetime="detached", get_if_exists=True).remote(
            plan, rules, initial, models, level
        )
        for plan in plans(settings, endpoints)
    ]
    port = settings.http.port or free_port()
    serve.start(proxy_location="HeadOnly", http_options={"host": settings.http.host, "port": port})
    serve.run(
        gateway.build(
            gateway.Args(
                postgres_url=endpoints.postgres,
                bootstrap=endpoints.kafka,
                rules=rules,
                models=models,
                jobs_url=endpoints.jobs,
                state_directory=str(directory.resolve()),
            )
        ),
        name=APPLICATION,
        route_prefix="/",
    )
    try:
        ready = ray.get([shard.ready.remote(_READY_SECONDS) for shard in shards], timeout=_READY_SECONDS)
    except (ray.exceptions.RayError, TimeoutError) as error:
        raise StackError(f"a shard did not start: {error}; see Ray's logs of this session") from error
    if not all(ready):
        late = [plan.name for plan, done in zip(plans(settings, endpoints), ready, strict=True) if not done]
        raise StackError(
            f"{', '.join(late)} did not recover within {_READY_SECONDS:g} s; see Ray's logs of this session"
        )
    return f"http://{settings.http.host}:{port}"


def undeploy(settings: Settings) -> None:
    """Stops the application and the shards, which take their snapshots and give their leases back, then the relay."""
    if not ray.is_initialized():
        return
    shards = [_stopping(shard_name(index)) for index in range(settings.shards.count)]
    with contextlib.suppress(ray.exceptions.RayError, RuntimeError):
        serve.delete(APPLICATION)
    for stopping in [*shards, _stopping(RELAY)]:
        if stopping is not None:
            actor, stopped = stopping
            with contextlib.suppress(ray.exceptions.RayError, TimeoutError):
                ray.get(stopped, timeout=_STOP_SECONDS)
            ray.kill(actor)


def _stopping(name: str) -> tuple[ActorHandle, ray.ObjectRef] | None:
    """The actor, asked to stop, and the answer to wait for; None where it is gone."""
    try:
        actor = ray.get_actor(name, namespace=NAMESPACE)
    except ValueError:
        return None
    return actor, actor.stop.remote()
