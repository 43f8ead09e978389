"""Experience rating: groups' past claims blended with the manual expectation by Buhlmann-Straub credibility."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulations.credibility import buhlmann_straub
from simulations.errors import SpecError
from simulations.pool import Pool
from simulations.portfolio import Labels

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Experience:
    """Past years of the groups, one row each: group, period, claims in dollars of next year's level, member-years."""

    groups: Labels
    periods: Labels
    claims: Floats
    member_years: Floats


@dataclass(frozen=True, slots=True)
class Blend:
    """A group's expectation: manual and blended cost in dollars a year, observed and blended ratio to manual."""

    manual_cost: float
    observed_ratio: float
    credibility: float
    blended_ratio: float
    blended_cost: float


def blend(pool: Pool, member_years: Floats, experience: Experience) -> dict[str, Blend]:
    """Credibility blend of each group of the pool; member_years [groups] are next year's.

    Ratios are of observed claims to the manual expectation for the same member-years, weights are that expectation.
    Raises SpecError where a group of the pool lacks a period, or a row has no member-years.
    """
    grid_claims, grid_years = _grids(pool.names, experience)
    empty = np.flatnonzero(~((member_years > 0) & (pool.expected_cost > 0)))
    if empty.size:
        name = pool.names[int(empty[0])]
        raise SpecError("premium.experience", f"group {name!r} expects nothing next year: there is no rate to blend")
    manual = pool.expected_cost / member_years
    weights = grid_years * manual[:, None]
    found = buhlmann_straub(grid_claims / weights, weights)
    observed = grid_claims.sum(axis=1) / weights.sum(axis=1)
    return {
        name: Blend(
            float(pool.expected_cost[g]),
            float(observed[g]),
            float(found.factors[g]),
            float(found.premiums[g]),
            float(found.premiums[g] * pool.expected_cost[g]),
        )
        for g, name in enumerate(pool.names)
    }


def _grids(names: tuple[str, ...], experience: Experience) -> tuple[Floats, Floats]:
    place = {name: g for g, name in enumerate(names)}
    unknown = sorted(set(experience.groups.names) - set(place))
    if unknown:
        raise SpecError("premium.experience", f"{unknown[:5]} are no groups of the portfolio; they are {names[:5]}")
    bad = np.flatnonzero(~(experience.member_years > 0))
    if bad.size:
        raise SpecError(
            "premium.experience", f"row {bad[0] + 1}: {experience.member_years[bad[0]]} member-years are not positive"
        )
    rows = np.array([place[name] for name in experience.groups.names])[experience.groups.codes]
    columns = experience.periods.codes
    shape = len(names), len(experience.periods.names)
    claims, years = np.zeros(shape), np.zeros(shape)
    np.add.at(claims, (rows, columns), experience.claims)
    np.add.at(years, (rows, columns), experience.member_years)
    if np.any(years == 0):
        g, j = (int(at[0]) for at in np.nonzero(years == 0))
        raise SpecError(
            "premium.experience", f"group {names[g]!r} has no row for period {experience.periods.names[j]!r}"
        )
    return claims, years
