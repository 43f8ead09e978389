"""What a RayService runs: the applications of serveConfigV2, `shards` and `endpoints`.

Settings come from the environment that the manifests give every pod. Nothing here starts PostgreSQL, Kafka or Ray.
"""

import os
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray.serve import Application

from actors.names import NAMESPACE, RELAY, SUPERVISOR, shard_name
from actors.relay import OutboxRelay
from actors.supervisor import ShardSupervisor
from cluster.bootstrap import connect
from cluster.deployment import board_folder, prepare, shard_plan
from engine import logs
from engine.errors import SettingsError
from engine.learning import registry
from engine.settings import load_rules, load_settings
from engine.storage.placement import Placement
from engine.streams.topics import PARTITIONS
from serve_apps import gateway

SHARD_RESOURCE = "shard"
"""What a node for shards offers, one for each it takes."""
_STATE = Path(".vitanexus")


@serve.deployment(
    name="ShardKeeper",
    num_replicas=1,
    ray_actor_options={"num_cpus": 0},
    health_check_period_s=10,
    max_ongoing_requests=2,
)
class ShardKeeper:
    """Sees to it, with every health check, that relay and supervisor are there; they outlive it, being detached.

    In a cluster that is new it asks for its shards. Where another cluster has the partitions, they move over as its own
    shards come, each with its state and without a break; the other's shards leave once they hold nothing. A shard that
    waits for a node makes the autoscaler add one that offers `shard`.
    """

    def __init__(self) -> None:
        self._settings = load_settings()
        logs.configure(self._settings.log.level)
        self._endpoints = connect(_STATE, "postgres", "kafka")
        self._models = registry.folder(self._settings.models.folder)
        self._initial = prepare(self._endpoints, self._models)
        self._cluster = os.environ.get("RAY_CLUSTER_NAME", "")
        if not _exists(SUPERVISOR):
            placement = Placement(self._endpoints.postgres, PARTITIONS)
            shards = self._settings.shards
            names = [shard_name(index, self._cluster) for index in range(shards.count + shards.standby)]
            placement.want(names, shards.standby)
            placement.close()
        self.check_health()

    def check_health(self) -> None:
        """Starts what is missing. Raises what Ray raises: Serve tries again."""
        level, endpoints = self._settings.log.level, self._endpoints
        OutboxRelay.options(name=RELAY, namespace=NAMESPACE, lifetime="detached", get_if_exists=True).remote(
            endpoints.postgres, endpoints.kafka, level
        )
        ShardSupervisor.options(name=SUPERVISOR, namespace=NAMESPACE, lifetime="detached", get_if_exists=True).remote(
            shard_plan(self._settings, endpoints),
            load_rules(),
            self._initial,
            self._models,
            level,
            self._settings.shards.dead_seconds,
            {SHARD_RESOURCE: 1},
            self._cluster,
        )


def _exists(name: str) -> bool:
    try:
        ray.get_actor(name, namespace=NAMESPACE)
    except ValueError:
        return False
    return True


def shards(arguments: dict[str, Any]) -> Application:
    """The application that keeps the shards; it has no route, and a Serve config has no arguments for it."""
    _none(arguments)
    return ShardKeeper.bind()


def endpoints(arguments: dict[str, Any]) -> Application:
    """The HTTP application; a Serve config has no arguments for it."""
    _none(arguments)
    settings, at = load_settings(), connect(_STATE, "postgres", "kafka")
    return gateway.build(
        gateway.Args(
            postgres_url=at.postgres,
            bootstrap=at.kafka,
            rules=load_rules(),
            models=registry.folder(settings.models.folder),
            jobs_url=at.jobs,
            board_folder=board_folder(at.postgres),
        )
    )


def _none(arguments: dict[str, Any]) -> None:
    if arguments:
        raise SettingsError(f"args {sorted(arguments)}: settings come from the environment, the Serve config has none")
