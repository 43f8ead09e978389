"""What a RayService runs, on a Ray of several nodes: the head dies, a node dies under load, a node takes its leave."""

import datetime as dt
import os
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
import yaml

from cluster.kuberay.findings import name_of
from cluster.kuberay.render import documents, render
from cluster.stack import broker, postgres, ray_environment
from cluster.stack.process import free_port
from engine.domain.events import SourceEvent
from engine.domain.population import Population
from engine.interop import synthetic
from engine.storage.migrate import migrate
from engine.streams.producer import EventProducer
from engine.streams.topics import partition_of
from tests.waiting import wait_for

pytestmark = pytest.mark.slow  # three nodes, four shards and two endpoints on one machine: minutes of starting
SHARDS = 4
NAMES = {f"shard-{index}.cluster-a" for index in range(SHARDS)}
ROOM = {"shard": SHARDS, "endpoint": 8}


def serve_config(port: int) -> dict[str, Any]:
    """The Serve config of the manifests, for one machine: a port of the test's own, two endpoints, this code."""
    objects = {name_of(each): each for each in documents(render("production", {}))}
    config = yaml.safe_load(objects["RayService/vitanexus"]["spec"]["serveConfigV2"])
    config |= {"proxy_location": "HeadOnly", "http_options": {"host": "127.0.0.1", "port": port}}
    for application in config["applications"]:
        assert application.pop("runtime_env") == {"working_dir": "local:///app"}
        for deployment in application["deployments"]:
            deployment.get("autoscaling_config", {}).update(min_replicas=2)
    return dict(config)


@dataclass
class Machines:
    """The cluster: its nodes, the HTTP address, the log and the database behind it."""

    cluster: Any
    http: str
    bootstrap: str
    database: str

    def shards_on(self, node: str) -> set[str]:
        """Names of the shards that live on a node."""
        from ray.util.state import list_actors

        found = list_actors(filters=[("node_id", "=", node), ("state", "=", "ALIVE")])
        return {actor.name for actor in found if actor.class_name == "MemberShard"}

    def workers(self) -> list[Any]:
        """The nodes that take shards, the one with most of them first."""
        return sorted(self.cluster.worker_nodes, key=lambda node: -len(self.shards_on(node.node_id)))

    def owners(self) -> dict[int, str]:
        """Who holds each partition, by leases that have not expired."""
        query = "SELECT partition, owner FROM partition_leases WHERE expires_at > now()"
        with psycopg.connect(self.database) as connection:
            return {int(partition): str(owner) for partition, owner in connection.execute(query)}

    def ready(self) -> bool:
        """Whether every part answers."""
        try:
            return httpx2.get(f"{self.http}/readyz", timeout=10).status_code == 200
        except httpx2.TransportError:
            return False

    def whole(self) -> bool:
        """Whether every partition is held, every shard has its share, and every part answers."""
        owners = self.owners()
        return len(owners) == 64 and set(owners.values()) == NAMES and self.ready()

    def send(self, events: list[SourceEvent]) -> None:
        """Produces the events."""
        with EventProducer(self.bootstrap) as producer:
            producer.send_all(events)

    def counted(self) -> tuple[int, int]:
        """Events PostgreSQL has an outcome of, and rows of readings that are there twice."""
        query = """
            SELECT (SELECT coalesce(sum(applied + duplicates + dead_letters), 0) FROM partition_offsets),
                   (SELECT count(*) - count(DISTINCT (partition, kafka_offset)) FROM readings)
        """
        with psycopg.connect(self.database) as connection:
            ((taken, twice),) = connection.execute(query).fetchall()
        return int(taken), int(twice)


@dataclass
class Asked:
    """Answers to requests sent one after the other while something was done."""

    statuses: list[int] = field(default_factory=list)
    sources: set[str] = field(default_factory=set)
    failed: list[str] = field(default_factory=list)


@contextmanager
def asking(machines: Machines, member: str) -> Iterator[Asked]:
    """Asks for the member's score all the while, each time over a connection of its own."""
    seen, done = Asked(), threading.Event()

    def ask() -> None:
        while not done.wait(0.02):
            try:
                answer = httpx2.get(f"{machines.http}/v1/members/{member}/score", timeout=30)
                seen.statuses.append(answer.status_code)
                if answer.status_code == 200:
                    seen.sources.add(answer.json()["answered_by"])
            except httpx2.TransportError as error:
                seen.failed.append(repr(error))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


@pytest.fixture(scope="module")
def machines(postgres_server: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """A head without resources, whose memory is in Redis, and two nodes that take shards and endpoints."""
    name, folder = f"service_{uuid.uuid4().hex}", tmp_path_factory.mktemp("service")
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    database = postgres_server.removesuffix(postgres.DATABASE) + name
    migrate(database)
    running, bootstrap = broker.start(folder / "broker")
    before = dict(os.environ)
    os.environ.update(
        VITANEXUS_POSTGRES_URL=database,
        VITANEXUS_KAFKA_BOOTSTRAP=bootstrap,
        VITANEXUS_SHARDS_COUNT=str(SHARDS),
        VITANEXUS_AUDIT_FOLDER=str(folder / "audit"),
        VITANEXUS_LIMITS_REQUESTS_PER_MINUTE="1000000",
        RAY_CLUSTER_NAME="cluster-a",
        RAY_REDIS_ADDRESS=redis_url.removeprefix("redis://"),
        PYTHONPATH=str(Path(__file__).resolve().parents[2]),
    )
    with tempfile.TemporaryDirectory(prefix="vn-", ignore_cleanup_errors=True) as session:
        ray_environment.prepare(Path(session))
        import ray
        from ray import serve
        from ray.cluster_utils import Cluster
        from ray.dashboard.modules.serve.sdk import ServeSubmissionClient

        # a session folder of its own: other Rays of this machine look for one to join in the usual place
        head = {"num_cpus": 0, "dashboard_port": free_port(), "include_dashboard": True, "temp_dir": session}
        made = Cluster(initialize_head=True, head_node_args=head | {"gcs_server_port": free_port()})
        try:
            for _ in range(2):
                made.add_node(num_cpus=0, resources=ROOM)
            os.environ["RAY_ADDRESS"] = made.address  # as the operator sets it in every pod
            ray.init(made.address, namespace="vitanexus", log_to_driver=False, logging_level="ERROR")
            port = free_port()
            ServeSubmissionClient(f"http://{made.webui_url}").deploy_applications(serve_config(port))
            found = Machines(made, f"http://127.0.0.1:{port}", bootstrap, database)
            wait_for(found.whole, "every shard to have its share", 300)
            yield found
        finally:
            if ray.is_initialized():
                serve.shutdown()
            ray.shutdown()
            made.shutdown()
            broker.stop(running)
            os.environ.clear()
            os.environ.update(before)


def month(seed: int) -> list[SourceEvent]:
    return list(synthetic.month(Population.generate(seed, 60), dt.date(2025, seed, 1), days=6, claims=100))


def rehearse(machines: Machines, seed: int, action: Callable[[], None], shards: set[str] = NAMES) -> Asked:
    """Does it while events flow and the score of a member of one of the shards is asked for; what was answered.

    Afterwards every event is counted once.
    """
    sent, (before, _) = month(seed), machines.counted()
    machines.send(sent[: len(sent) // 3])
    wait_for(lambda: machines.counted()[0] > before, "the first events")
    owners = machines.owners()
    member = next(event.member_id for event in sent if owners[partition_of(event.member_id)] in shards)
    wait_for(lambda: httpx2.get(f"{machines.http}/v1/members/{member}/score").status_code == 200, "a first score")
    with asking(machines, member) as seen:
        machines.send(sent[len(sent) // 3 : 2 * len(sent) // 3])
        action()
        machines.send(sent[2 * len(sent) // 3 :])
        wait_for(lambda: machines.counted()[0] >= before + len(sent), "every event")
    assert machines.counted() == (before + len(sent), 0)
    assert seen.statuses
    return seen


def test_the_head_dies_and_what_it_knew_is_in_redis(machines: Machines) -> None:
    """Shards and endpoints go on without it, and are the same processes when it is back."""
    import ray

    def pids() -> dict[str, int]:
        return {name: ray.get(ray.get_actor(name).pid.remote(), timeout=60) for name in NAMES}

    before, head = pids(), machines.cluster.head_node

    def kill() -> None:
        head.kill_gcs_server()
        time.sleep(3)  # how long there is no head
        head.start_gcs_server()

    seen = rehearse(machines, 1, kill)
    assert set(seen.statuses) == {200} and not seen.failed
    wait_for(machines.whole, "every part to answer again")
    assert pids() == before


def test_a_node_that_dies_under_load_loses_nothing(machines: Machines, record_property: Any) -> None:
    """Its shards come back on the other node; meanwhile scores come from PostgreSQL, and none is wrong."""
    dying, staying = machines.workers()
    lost = machines.shards_on(dying.node_id)
    assert lost
    spent: list[float] = []

    def kill() -> None:
        begun = time.monotonic()
        machines.cluster.remove_node(dying, allow_graceful=False)
        wait_for(lambda: machines.shards_on(staying.node_id) == NAMES, "the shards on the other node", 180)
        wait_for(machines.whole, "full service", 180)
        spent.append(time.monotonic() - begun)

    seen = rehearse(machines, 2, kill, lost)
    record_property("full service again after", f"{spent[0]:.1f} s; answers {len(seen.statuses)}, {seen.failed}")
    # a request under way in the replica that died has no answer or 500; no other is refused, and none is wrong
    wrong = [status for status in seen.statuses if status != 200]
    assert len(wrong) + len(seen.failed) <= 2, (wrong, seen.failed)
    assert "postgres" in seen.sources
    machines.cluster.add_node(num_cpus=0, resources=ROOM)


def test_a_node_that_leaves_hands_its_shards_over_and_fails_no_request(machines: Machines) -> None:
    machines.cluster.wait_for_nodes()
    leaving, staying = machines.workers()
    assert machines.shards_on(leaving.node_id)

    def leave() -> None:
        words = [sys.executable, "-m", "cluster.cli", "cluster", "leave", "--node", leaving.node_id, "--seconds", "60"]
        left = subprocess.run(words, capture_output=True, text=True, timeout=150, check=False)
        assert "nothing of ours is left" in left.stdout, left.stderr + left.stdout
        wait_for(lambda: machines.shards_on(staying.node_id) == NAMES, "the shards on the other node")
        wait_for(machines.whole, "full service")

    seen = rehearse(machines, 3, leave)
    assert set(seen.statuses) == {200} and not seen.failed
    assert not machines.shards_on(leaving.node_id)
