"""Batches over Ray: any number of workers, a worker killed, a job interrupted and resumed: the same bits."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from cluster.simulation.job import Checkpointed
from engine.domain.scaling import Scaling, SimulationCapacity
from simulations.batch import Batch, Partial, Paths
from simulations.choose import plan
from simulations.plans import Plan
from simulations.reserve import batches, here
from tests.unit.simulations.test_pool import pool
from tests.waiting import wait_for

PATHS = 2000


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR", address="local")
    yield
    ray.shutdown()


def chosen() -> tuple[Plan, list[Batch]]:
    some = pool(method="collapse", paths=PATHS)
    made = plan(some, "collapse")
    return made, batches(some, made, 50)


def gather(results: Any, groups: int) -> np.ndarray:
    paths = Paths.zeros(PATHS, groups)
    for partial in results:
        paths.add(partial)
    return paths.gross


@pytest.fixture(scope="module")
def alone() -> np.ndarray:
    made, work = chosen()
    return gather(here(1)(made, work), made.groups)


@pytest.mark.usefixtures("ray_here")
@pytest.mark.parametrize("workers", [1, 2, 7])
def test_the_number_of_workers_does_not_change_a_bit(workers: int, alone: np.ndarray) -> None:
    from actors.simulation import RayRunner, Workers

    made, work = chosen()
    np.testing.assert_array_equal(gather(RayRunner(Workers(workers))(made, work), made.groups), alone)


@pytest.mark.usefixtures("ray_here")
def test_batches_that_wait_ask_for_workers_and_do_not_change_a_bit(alone: np.ndarray) -> None:
    from actors.simulation import RayRunner, Workers

    asked: list[int] = []

    class Watched(Workers):
        def wanted(self, pending: int, now: float) -> int:
            asked.append(super().wanted(pending, now))
            return asked[-1]

    scaling = Scaling(1, 8, 0.1, 0.0, 0.0, 0.0, 4.0)
    made, work = chosen()
    workers = Watched(1, scaling, SimulationCapacity(finish_seconds=1e-6))
    np.testing.assert_array_equal(gather(RayRunner(workers)(made, work), made.groups), alone)
    assert asked[0] == 1 and max(asked) == 8 and asked[-1] < 8


def a_worker() -> psutil.Process:
    """A worker of this Ray, one at work where there is one; on a busy machine it may take a while to start."""

    def workers() -> list[psutil.Process]:
        family = psutil.Process(os.getpid()).children(recursive=True)
        names = ("ray::_run", "ray::IDLE")
        return [process for name in names for process in family if process.name().startswith(name)]

    found: list[psutil.Process] = []

    def some() -> bool:
        found[:] = workers()
        return bool(found)

    wait_for(some, "a worker of Ray")
    return found[0]


@pytest.mark.usefixtures("ray_here")
def test_a_killed_workers_batch_is_run_again(alone: np.ndarray) -> None:
    from actors.simulation import RayRunner, Workers

    made, work = chosen()
    killed = []

    def killing() -> Iterator[Partial]:
        for i, partial in enumerate(RayRunner(Workers(2))(made, work)):
            if i in (3, 20):
                victim = a_worker()
                victim.kill()
                killed.append(victim.pid)
            yield partial

    np.testing.assert_array_equal(gather(killing(), made.groups), alone)
    assert len(killed) == 2


def test_an_interrupted_job_goes_on_from_its_checkpoint(tmp_path: Path, alone: np.ndarray) -> None:
    made, work = chosen()
    ran: list[Batch] = []

    def dying(chosen_plan: Plan, todo: list[Batch]) -> Iterator[Partial]:
        for i, partial in enumerate(here(1)(chosen_plan, todo)):
            if i == 11:
                raise KeyboardInterrupt
            yield partial

    def counting(chosen_plan: Plan, todo: list[Batch]) -> Iterator[Partial]:
        ran.extend(todo)
        return iter(here(1)(chosen_plan, todo))

    with pytest.raises(KeyboardInterrupt):
        gather(Checkpointed(dying, tmp_path, {"seed": 3}, lambda *_: None, {})(made, work), made.groups)
    again = Checkpointed(counting, tmp_path, {"seed": 3}, lambda *_: None, {})
    np.testing.assert_array_equal(gather(again(made, work), made.groups), alone)
    assert again.resumed == 11 and len(ran) == len(work) - 11
    other = Checkpointed(counting, tmp_path, {"seed": 4}, lambda *_: None, {})
    list(other(made, work))
    assert other.resumed == 0
