"""Simulation batches as Ray tasks: results arrive in any order, a lost task is run again, and the sum is the same."""

import time
from collections.abc import Iterator

import ray

from actors.metric_list import BATCHES_DONE, BATCHES_RUNNING, BATCHES_WAITING
from actors.metrics import counter, gauge
from engine.domain.scaling import Scaled, Scaling, SimulationCapacity, decide
from simulations.batch import Batch, Partial
from simulations.plans import Plan

_AHEAD = 3
_LOOK_SECONDS = 5.0


@ray.remote(num_cpus=1, max_retries=-1)
def _run(chosen: Plan, batch: Batch) -> tuple[Partial, float]:
    started = time.perf_counter()
    return chosen.run(batch), time.perf_counter() - started


class Workers:
    """How many workers a run asks for: `held` and, where the cluster may grow, as many as its batches want.

    The number is asked for by tasks that wait: for those the autoscaler of the cluster adds nodes.
    """

    def __init__(self, held: int, scaling: Scaling | None = None, capacity: SimulationCapacity | None = None) -> None:
        self._held, self._scaling, self._capacity = held, scaling, capacity
        self._state = Scaled(held)
        self._seconds = self._batches = 0.0

    def took(self, seconds: float) -> None:
        """Learns how long a batch took on its worker."""
        self._seconds += seconds
        self._batches += 1

    def wanted(self, pending: int, now: float) -> int:
        """The number at the moment `now`, with `pending` batches not finished."""
        if self._scaling is None or self._capacity is None or not self._batches:
            return self._held
        load = self._capacity.load(pending, self._seconds / self._batches)
        self._state = decide(self._scaling, self._state, load, now)
        return max(self._held, self._state.units)


class RayRunner:
    """Runs batches on workers of the Ray this process is connected to."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers

    def __call__(self, chosen: Plan, work: list[Batch]) -> Iterator[Partial]:
        """The batches' results as they come. A worker that dies has its batch run again, with the same result."""
        shared = ray.put(chosen)
        waiting = list(reversed(work))
        running: list[ray.ObjectRef] = []
        not_begun, begun, finished = gauge(BATCHES_WAITING), gauge(BATCHES_RUNNING), counter(BATCHES_DONE)
        try:
            while waiting or running:
                ahead = self._workers.wanted(len(waiting) + len(running), time.monotonic()) * _AHEAD
                while waiting and len(running) < ahead:
                    running.append(_run.remote(shared, waiting.pop()))
                not_begun.set(len(waiting))
                begun.set(len(running))
                done, running = ray.wait(running, num_returns=1, timeout=_LOOK_SECONDS)
                for each in done:
                    partial, seconds = ray.get(each)
                    self._workers.took(seconds)
                    yield partial
                    finished.inc()
        finally:
            for task in running:
                ray.cancel(task)
            not_begun.set(0)
            begun.set(0)
