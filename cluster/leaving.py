"""A Ray node takes its leave before its pod ends: no new work, replicas moved, shards handed over."""

import contextlib
import subprocess
import sys
import time

import ray
from ray.util.state import list_actors

from actors.names import NAMESPACE
from engine.errors import StackError

_SHARD, _REPLICA = "MemberShard", "ServeReplica"
_POLL_SECONDS = 0.5
_DRAIN_SECONDS = 60.0


def leave(seconds: float, node: str = "") -> list[str]:
    """Marks a node (this one where none is named) as leaving, hands its shards over, waits until its replicas are gone.

    1. The node takes nothing new; Serve starts replicas elsewhere before it stops those here.
    2. Each shard here takes its snapshots and gives its leases back, then starts again on another node.
    3. It waits for the replicas, `seconds` in all at most.

    Raises StackError where Ray does not let the node go. Returns the names of the actors that are still here when the
    time is up.
    """
    deadline = time.monotonic() + seconds
    ray.init(address="auto", namespace=NAMESPACE, log_to_driver=False, logging_level="ERROR")
    try:
        node = node or ray.get_runtime_context().get_node_id()
        _drain(node, int(seconds))
        stopping = {name: ray.get_actor(name, namespace=NAMESPACE) for name in _here(node, _SHARD)}
        asked = {name: actor.stop.remote() for name, actor in stopping.items()}
        for name, actor in stopping.items():
            with contextlib.suppress(ray.exceptions.RayError, TimeoutError):
                ray.get(asked[name], timeout=max(deadline - time.monotonic(), 0.1))
            ray.kill(actor, no_restart=False)
        while (left := [*_here(node, _SHARD), *_here(node, _REPLICA)]) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        return left
    finally:
        ray.shutdown()


def _drain(node: str, seconds: int) -> None:
    address = ray.get_runtime_context().gcs_address
    words = [sys.executable, "-m", "ray.scripts.scripts", "drain-node", "--address", address, "--node-id", node]
    words += ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "the pod ends"]
    words += ["--deadline-remaining-seconds", str(seconds)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=_DRAIN_SECONDS, check=False)
    if done.returncode != 0:
        raise StackError(f"Ray does not let node {node} go: {(done.stderr or done.stdout).strip()[-1000:]}")


def _here(node: str, kind: str) -> list[str]:
    """Names of the actors of a kind that live on a node."""
    found = list_actors(filters=[("node_id", "=", node), ("state", "=", "ALIVE")], limit=1000)
    return [actor.name for actor in found if actor.class_name.startswith(kind)]
