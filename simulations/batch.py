"""What a job is cut into: a range of scenarios by a range of cells. Any cut gives the same bits."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Cents = NDArray[np.int64]


@dataclass(frozen=True, slots=True, order=True)
class Batch:
    """Scenarios first_scenario.. by cells first_cell.. (groups for A and B, member blocks for C)."""

    first_scenario: int
    scenarios: int
    first_cell: int
    cells: int

    @property
    def name(self) -> str:
        """A stable name for checkpoints."""
        return f"s{self.first_scenario}+{self.scenarios}-c{self.first_cell}+{self.cells}"


@dataclass(frozen=True, slots=True, eq=False)
class Partial:
    """What a batch adds: gross and ceded cents [scenarios, groups], for groups first_group.."""

    batch: Batch
    first_group: int
    gross: Cents
    ceded: Cents


@dataclass(frozen=True, slots=True, eq=False)
class Paths:
    """Cents by scenario and group [paths, groups]: gross, and ceded to per-claim and specific cover."""

    gross: Cents
    ceded: Cents

    @classmethod
    def zeros(cls, paths: int, groups: int) -> "Paths":
        """Room for a job's results."""
        return cls(np.zeros((paths, groups), np.int64), np.zeros((paths, groups), np.int64))

    def add(self, partial: Partial) -> None:
        """Merges a batch: integer addition, so the order of batches is of no account."""
        rows = slice(partial.batch.first_scenario, partial.batch.first_scenario + partial.batch.scenarios)
        columns = slice(partial.first_group, partial.first_group + partial.gross.shape[1])
        self.gross[rows, columns] += partial.gross
        self.ceded[rows, columns] += partial.ceded


def cut(paths: int, cells: int, scenarios_each: int, cells_each: int) -> list[Batch]:
    """The batches of a job, in a fixed order."""
    return [
        Batch(s, min(scenarios_each, paths - s), c, min(cells_each, cells - c))
        for s in range(0, paths, scenarios_each)
        for c in range(0, cells, cells_each)
    ]
