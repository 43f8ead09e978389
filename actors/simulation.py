"""Simulation batches as Ray tasks: results arrive in any order, a lost task is run again, and the sum is the same."""

from collections.abc import Iterator

import ray

from simulations.batch import Batch, Partial
from simulations.plans import Plan

_AHEAD = 3


@ray.remote(num_cpus=1, max_retries=-1)
def _run(chosen: Plan, batch: Batch) -> Partial:
    return chosen.run(batch)


class RayRunner:
    """Runs batches on `workers` workers of the Ray this process is connected to."""

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def __call__(self, chosen: Plan, work: list[Batch]) -> Iterator[Partial]:
        """The batches' results as they come. A worker that dies has its batch run again, with the same result."""
        shared = ray.put(chosen)
        waiting = list(reversed(work))
        running: list[ray.ObjectRef] = []
        try:
            while waiting or running:
                while waiting and len(running) < self._workers * _AHEAD:
                    running.append(_run.remote(shared, waiting.pop()))
                done, running = ray.wait(running, num_returns=1)
                yield ray.get(done[0])
        finally:
            for task in running:
                ray.cancel(task)
