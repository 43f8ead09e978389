"""IBNR: point estimates of every method, analytic errors, and the bootstrap distribution of unpaid claims."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulations.batch import Batch, Partial
from simulations.errors import SpecError
from simulations.kernels.triangles import GAMMA_PROCESS, NO_PROCESS, POISSON_PROCESS, bootstrap
from simulations.measures import Convergence, Measures, convergence, measure
from simulations.scenario import IbnrScenario
from simulations.tables import CENTS
from simulations.threads import in_slices
from simulations.triangles import (
    ChainLadder,
    Mack,
    OverDispersedPoisson,
    Triangle,
    bornhuetter_ferguson,
    cape_cod,
    chain_ladder,
    mack,
    merz_wuthrich,
    over_dispersed_poisson,
)

Floats = NDArray[np.float64]
IBNR_STREAM = 2
_EXACT = 1e-12
PROCESSES = {"none": NO_PROCESS, "gamma": GAMMA_PROCESS, "over_dispersed_poisson": POISSON_PROCESS}


@dataclass(frozen=True, slots=True, eq=False)
class BootstrapPlan:
    """A bootstrap as a plan: groups are origins. See `kernels.triangles.bootstrap` for the arrays."""

    fitted: Floats
    residuals: Floats
    phi: float
    process: int
    seed: int

    @property
    def groups(self) -> int:
        """Origins."""
        return len(self.fitted)

    @property
    def cells(self) -> int:
        """One: a resample is not cut."""
        return 1

    @property
    def cells_each(self) -> int:
        """One."""
        return 1

    def sample(self, first: int, scenarios: int, threads: int = 1) -> Floats:
        """Reserves [scenarios, origins]."""
        out = np.empty((scenarios, self.groups))
        in_slices(scenarios, threads, lambda at, size: self._fill(out[at : at + size], first + at))
        return out

    def _fill(self, out: Floats, first: int) -> None:
        key = np.uint64(self.seed), np.uint64(IBNR_STREAM)
        bootstrap(out, self.fitted, self.residuals, self.phi, self.process, first, *key)

    def run(self, batch: Batch, threads: int = 1) -> Partial:
        """The batch's reserves in cents."""
        reserves = np.rint(self.sample(batch.first_scenario, batch.scenarios, threads) * CENTS).astype(np.int64)
        return Partial(batch, 0, reserves, np.zeros_like(reserves))


def bootstrap_plan(fit: OverDispersedPoisson, process: str, seed: int) -> BootstrapPlan:
    """Residuals scaled by sqrt(observations / degrees of freedom), so that they have the dispersion phi.

    A triangle that the model fits exactly has no dispersion, and no process error.
    """
    known = np.isfinite(fit.residuals)
    residuals = fit.residuals[known] * np.sqrt(known.sum() / fit.degrees)
    exact = fit.phi <= _EXACT * float(np.abs(fit.fitted).max())
    return BootstrapPlan(fit.fitted, residuals, fit.phi, NO_PROCESS if exact else PROCESSES[process], seed)


@dataclass(frozen=True, slots=True, eq=False)
class IbnrResult:
    """Unpaid claims: reserves [origins] by method, errors, the bootstrap's measures by origin and in total."""

    triangle: Triangle
    ladder: ChainLadder
    reserves: Mapping[str, Floats]
    cape_cod_ratio: float | None
    mack: Mack | None
    one_year: Mack | None
    odp: OverDispersedPoisson
    measures: Mapping[str, Measures]
    convergence: tuple[Convergence, ...]
    total: Floats  # [paths] dollars


def estimate(
    scenario: IbnrScenario, triangle: Triangle, exposure: Floats | None
) -> tuple[dict[str, Floats], float | None]:
    """Reserves by method. Bornhuetter-Ferguson needs exposure and an a-priori ratio, Cape Cod exposure alone."""
    reserves = {"chain_ladder": chain_ladder(triangle).reserve}
    ratio = None
    if exposure is not None:
        if len(exposure) != triangle.size:
            raise SpecError("exposure", f"{len(exposure)} exposures for {triangle.size} origins")
        ratio, reserves["cape_cod"] = cape_cod(triangle, exposure)
        if scenario.apriori_ratio is not None:
            reserves["bornhuetter_ferguson"] = bornhuetter_ferguson(triangle, scenario.apriori_ratio * exposure)
    elif scenario.apriori_ratio is not None:
        raise SpecError("apriori_ratio", "needs an exposure column in the triangle file (exposure: NAME)")
    return reserves, ratio


def _analytic(triangle: Triangle) -> tuple[Mack | None, Mack | None]:
    """Mack's and Merz-Wuthrich's errors; None where a cumulative amount is 0 or below (their models need more)."""
    if np.any(triangle.cumulative[triangle.known] <= 0):
        return None, None
    return mack(triangle), merz_wuthrich(triangle)


def finish(scenario: IbnrScenario, triangle: Triangle, exposure: Floats | None, cents: NDArray[np.int64]) -> IbnrResult:
    """The result from bootstrap reserves [paths, origins] in cents."""
    reserves, ratio = estimate(scenario, triangle, exposure)
    sample = cents / CENTS
    total = sample.sum(axis=1)
    measures = {"total": measure(total, scenario.levels)}
    for i, origin in enumerate(triangle.origins):
        if i > 0:
            measures[origin] = measure(sample[:, i], scenario.levels)
    errors, one_year = _analytic(triangle)
    return IbnrResult(
        triangle,
        chain_ladder(triangle),
        reserves,
        ratio,
        errors,
        one_year,
        over_dispersed_poisson(triangle),
        measures,
        convergence(total, scenario.levels),
        total,
    )
