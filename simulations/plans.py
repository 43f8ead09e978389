"""The three ways to the same distribution as plans: plain arrays, and `run`, which turns a batch into cents."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import interpolate

from simulations.batch import Batch, Partial
from simulations.kernels.claimants import claimants
from simulations.kernels.collapse import collapse
from simulations.kernels.member import BLOCK, build_alias, members
from simulations.kernels.shocks import fill_rates, fill_shocks
from simulations.threads import in_slices

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Shocks:
    """Common factors: kinds [j] (0 gamma, 1 lognormal), cvs [j], touches [j, categories]; key of the generator."""

    kinds: Integers
    cvs: Floats
    touches: NDArray[np.bool_]
    seed: int
    stream: int

    @property
    def key(self) -> tuple[np.uint64, np.uint64]:
        """Key words of the generator."""
        return np.uint64(self.seed), np.uint64(self.stream)

    @property
    def aligned(self) -> bool:
        """True where every shock touches the same categories, so that only their product matters."""
        return bool(np.all(self.touches == self.touches[:1]))

    def rates(self, first_scenario: int, scenarios: int) -> Floats:
        """Factor on each category's claim rate [scenarios, categories]."""
        draws = np.empty((scenarios, len(self.kinds)))
        fill_shocks(draws, self.kinds, self.cvs, first_scenario, *self.key)
        out = np.empty((scenarios, self.touches.shape[1]))
        fill_rates(out, draws, self.touches)
        return out


class Plan(Protocol):
    """A way to simulate a portfolio."""

    @property
    def groups(self) -> int:
        """Groups of the portfolio."""

    @property
    def cells(self) -> int:
        """What a batch's cells count."""

    @property
    def cells_each(self) -> int:
        """Cells a batch takes at once by default."""

    def run(self, batch: Batch, threads: int = 1) -> Partial:
        """The batch's cents."""


@dataclass(frozen=True, slots=True, eq=False)
class CollapsePlan:
    """Method A. See `kernels.collapse.collapse` for the arrays."""

    shocks: Shocks
    poisson_mean: Floats
    mixed_start: Integers
    mixed_shape: Floats
    mixed_scale: Floats
    above: Floats
    small: Floats
    large: Floats
    ladder: Floats
    ladder_start: Integers
    layer: Integers

    @property
    def groups(self) -> int:
        """Groups of the portfolio."""
        return len(self.poisson_mean)

    @property
    def cells(self) -> int:
        """Groups."""
        return self.groups

    @property
    def cells_each(self) -> int:
        """All at once."""
        return self.groups

    def run(self, batch: Batch, threads: int = 1) -> Partial:
        """The batch's cents."""
        gross = np.zeros((batch.scenarios, batch.cells), np.int64)
        ceded = np.zeros_like(gross)

        def work(offset: int, scenarios: int) -> None:
            rows = slice(offset, offset + scenarios)
            first = batch.first_scenario + offset
            collapse(
                gross[rows], ceded[rows], self.shocks.rates(first, scenarios), self.poisson_mean, self.mixed_start,
                self.mixed_shape, self.mixed_scale, self.above, self.small, self.large, self.ladder,
                self.ladder_start, self.layer, first, batch.first_cell, *self.shocks.key,
            )  # fmt: skip

        in_slices(batch.scenarios, threads, work)
        return Partial(batch, batch.first_cell, gross, ceded)


@dataclass(frozen=True, slots=True, eq=False)
class ClaimantsPlan:
    """Method B. Class laws at nodes of the common shock factor z; `shocked` is a category the factor touches (or -1).

    counts [groups, classes]; log_odds [nodes, classes]: logit of P(cost > attachment); cumulants [nodes, classes, 4] of
    a member's cost (cents) below it; tables [nodes, classes, ROWS, 2]; specific (attachment, limit, ppm) in cents.
    """

    shocks: Shocks
    shocked: int
    nodes: Floats
    counts: Integers
    log_odds: Floats
    cumulants: Floats
    tables: Floats
    specific: tuple[int, int, int]

    @property
    def groups(self) -> int:
        """Groups of the portfolio."""
        return len(self.counts)

    @property
    def cells(self) -> int:
        """Groups."""
        return self.groups

    @property
    def cells_each(self) -> int:
        """All at once."""
        return self.groups

    def at(self, z: Floats) -> tuple[Floats, Floats, Integers, Floats]:
        """(probability, cumulants, node, weight) of scenarios with shock factor z: cubic splines between the nodes."""
        if len(self.nodes) == 1:
            one = np.zeros(len(z), np.int64)
            odds, cumulants = self.log_odds[one], self.cumulants[one]
            return 1.0 / (1.0 + np.exp(-odds)), np.ascontiguousarray(cumulants), one, np.zeros(len(z))
        inside = np.clip(z, self.nodes[0], self.nodes[-1])
        odds = interpolate.CubicSpline(self.nodes, self.log_odds)(inside)
        cumulants = interpolate.CubicSpline(self.nodes, self.cumulants)(inside)
        node = np.clip(np.searchsorted(self.nodes, inside, side="right") - 1, 0, len(self.nodes) - 2)
        weight = (inside - self.nodes[node]) / (self.nodes[node + 1] - self.nodes[node])
        return 1.0 / (1.0 + np.exp(-odds)), np.ascontiguousarray(cumulants), node.astype(np.int64), weight

    def run(self, batch: Batch, threads: int = 1) -> Partial:
        """The batch's cents."""
        gross = np.zeros((batch.scenarios, batch.cells), np.int64)
        ceded = np.zeros_like(gross)

        def work(offset: int, scenarios: int) -> None:
            rows = slice(offset, offset + scenarios)
            first = batch.first_scenario + offset
            rates = self.shocks.rates(first, scenarios)
            z = rates[:, self.shocked] if self.shocked >= 0 else np.ones(scenarios)
            probability, cumulants, node, weight = self.at(z)
            claimants(
                gross[rows], ceded[rows], self.counts, probability, cumulants, node, weight, self.tables,
                *self.specific, first, batch.first_cell, *self.shocks.key,
            )  # fmt: skip

        in_slices(batch.scenarios, threads, work)
        return Partial(batch, batch.first_cell, gross, ceded)


@dataclass(frozen=True, slots=True, eq=False)
class MemberPlan:
    """Method C. means [categories, members] in order of group; block_start [blocks + 1] and block_group [blocks] cut
    the members into blocks of one group and at most `BLOCK` members. The rest: see `kernels.member.members`.
    """

    shocks: Shocks
    group_count: int
    means: Floats
    block_start: Integers
    block_group: Integers
    dispersion: Floats
    tables: Floats
    layer: Integers
    specific: tuple[int, int, int]

    @property
    def groups(self) -> int:
        """Groups of the portfolio."""
        return self.group_count

    @property
    def cells(self) -> int:
        """Blocks of members."""
        return len(self.block_group)

    @property
    def cells_each(self) -> int:
        """A million members."""
        return 256

    def run(self, batch: Batch, threads: int = 1) -> Partial:
        """The batch's cents, a block of members at a time: its alias tables serve all the batch's scenarios."""
        first_group = int(self.block_group[batch.first_cell])
        last_group = int(self.block_group[batch.first_cell + batch.cells - 1])
        gross = np.zeros((last_group - first_group + 1, batch.scenarios), np.int64)
        ceded = np.zeros_like(gross)
        rates = self.shocks.rates(batch.first_scenario, batch.scenarios)

        def work(block: int) -> tuple[int, Integers, Integers]:
            block_gross, block_ceded = np.zeros(batch.scenarios, np.int64), np.zeros(batch.scenarios, np.int64)
            self._block(block_gross, block_ceded, rates, block, batch.first_scenario)
            return int(self.block_group[block]) - first_group, block_gross, block_ceded

        with ThreadPoolExecutor(threads) as pool:
            blocks = range(batch.first_cell, batch.first_cell + batch.cells)
            for row, block_gross, block_ceded in pool.map(work, blocks):
                gross[row] += block_gross
                ceded[row] += block_ceded
        return Partial(batch, first_group, np.ascontiguousarray(gross.T), np.ascontiguousarray(ceded.T))

    def _block(self, gross: Integers, ceded: Integers, rates: Floats, block: int, first_scenario: int) -> None:
        means = np.ascontiguousarray(self.means[:, self.block_start[block] : self.block_start[block + 1]])
        totals = means.sum(axis=1)
        thresholds = np.zeros((len(means), BLOCK), np.uint32)
        aliases = np.zeros((len(means), BLOCK), np.uint16)
        for q, total in enumerate(totals):
            if total > 0:
                build_alias(means[q], thresholds[q], aliases[q], total)
        members(
            gross, ceded, rates, means, totals, thresholds, aliases, self.dispersion, self.tables, self.layer,
            *self.specific, first_scenario, block, *self.shocks.key,
        )  # fmt: skip
