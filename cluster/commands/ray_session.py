"""Ray for the length of one command."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cluster.stack import ray_environment


@contextlib.contextmanager
def ray_session(workers: int, address: str) -> Iterator[int]:
    """Connects to the cluster at `address`, or starts Ray here where there is none; yields the number of workers.

    Without workers and address it starts nothing and yields 0: the command works in this process. A cluster's own
    number of CPUs stands in for a number of workers that is not given.
    """
    if not workers and not address:
        yield 0
        return
    with tempfile.TemporaryDirectory(prefix="vitanexus-ray-") as folder:
        ray_environment.prepare(Path(folder), address)  # before anything imports Ray
        import ray

        local = {} if address else {"num_cpus": workers + 1, "include_dashboard": False}
        ray.init(address=address or "local", log_to_driver=False, logging_level="ERROR", **local)
        try:
            yield workers or max(int(ray.cluster_resources().get("CPU", 0)), 1)
        finally:
            ray.shutdown()
