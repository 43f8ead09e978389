"""Premium: rates from permitted factors, simulated loss ratio and adequacy, and the medical loss ratio rebate.

Sources: 42 USC 300gg(a)(1) and 45 CFR 147.102 (rating factors, at most 3:1 for age of adults and 1.5:1 for tobacco);
the law of the medical loss ratio is in `engine.finance.mlr`; here it is that of one year.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.finance.mlr import STANDARD, credibility_adjustment, deductible_factor
from simulations.batch import Paths
from simulations.errors import SpecError
from simulations.experience import Blend, Experience, blend
from simulations.measures import Measures, measure
from simulations.pool import TOTAL, Pool
from simulations.portfolio import Labels, Portfolio
from simulations.scenario import PremiumTerms
from simulations.tables import CENTS

Floats = NDArray[np.float64]
REGULATED = ("individual", "small_group")
_AGE_LIMIT, _TOBACCO_LIMIT, _ADULT = 3.0, 1.5, 21
_HEALTH_COLUMNS = ("risk_score", "score", "health_score", "predicted_cost", "diagnosis")

# Uniform age curve of 45 CFR 147.102(e) for plan years from 2018 [M: confirm], ages 0-14, 15, .., 64 and over.
_CHILD = (0.833, 0.859, 0.885, 0.913, 0.941, 0.970)
_ADULT_CURVE = (
    1.000, 1.000, 1.000, 1.000, 1.004, 1.024, 1.048, 1.087, 1.119, 1.135, 1.159, 1.183, 1.198, 1.214, 1.222,
    1.230, 1.238, 1.246, 1.262, 1.278, 1.302, 1.325, 1.357, 1.397, 1.444, 1.500, 1.563, 1.635, 1.706, 1.786,
    1.865, 1.952, 2.040, 2.135, 2.230, 2.333, 2.437, 2.548, 2.603, 2.714, 2.810, 2.873, 2.952, 3.000,
)  # fmt: skip
FEDERAL_CURVE: dict[int, float] = (
    dict.fromkeys(range(15), 0.765)
    | {15 + i: factor for i, factor in enumerate(_CHILD)}
    | {21 + i: factor for i, factor in enumerate(_ADULT_CURVE)}
)


def check_terms(terms: PremiumTerms) -> None:
    """Refuses what may not vary a premium in the line of business. Raises SpecError with the citation."""
    for name in ("age", "area", "tier", "tobacco"):
        column = getattr(terms, name)
        if column in _HEALTH_COLUMNS:
            raise SpecError(
                f"premium.{name}", f"column {column!r} is a health factor: 42 USC 300gg(a)(1), 45 CFR 146.121"
            )
    if terms.line_of_business not in REGULATED:
        return
    adult = [factor for age, factor in (terms.age_curve or FEDERAL_CURVE).items() if age >= _ADULT]
    if adult and max(adult) > _AGE_LIMIT * min(adult) * (1 + 1e-12):
        raise SpecError(
            "premium.age_curve",
            f"{max(adult)} to {min(adult)} is above 3:1 for adults: 45 CFR 147.102(a)(1)(iii)",
        )
    if terms.tobacco_factor > _TOBACCO_LIMIT:
        raise SpecError("premium.tobacco_factor", f"{terms.tobacco_factor} is above 1.5: 45 CFR 147.102(a)(1)(iv)")


def _mapped(portfolio: Portfolio, column: str, factors: Mapping[str, float], path: str) -> Floats:
    labels: Labels = portfolio.labels(column, path)
    missing = sorted(set(labels.names) - set(factors))
    if missing:
        raise SpecError(f"{path}_factors", f"no factor for {missing[:5]} of column {column!r}")
    return np.array([factors[name] for name in labels.names])[labels.codes]


def premiums(terms: PremiumTerms, portfolio: Portfolio, exposure: Floats | float) -> Floats:
    """Annual premium of each member [members], dollars: base x age x area x tier x tobacco x member-years."""
    check_terms(terms)
    rate = np.full(portfolio.size, terms.base_rate)
    if terms.age is not None:
        ages = portfolio.number(terms.age, "premium.age")
        curve = terms.age_curve or FEDERAL_CURVE
        at = np.array(sorted(curve))
        values = np.array([curve[age] for age in at])
        rate *= values[np.clip(np.searchsorted(at, np.floor(ages), side="right") - 1, 0, len(at) - 1)]
    if terms.area is not None:
        rate *= _mapped(portfolio, terms.area, terms.area_factors, "premium.area")
    if terms.tier is not None:
        rate *= _mapped(portfolio, terms.tier, terms.tier_factors, "premium.tier")
    if terms.tobacco is not None:
        user = portfolio.number(terms.tobacco, "premium.tobacco")
        if not np.all((user == 0) | (user == 1)):
            row = int(np.flatnonzero((user != 0) & (user != 1))[0])
            raise SpecError(
                "premium.tobacco", f"column {terms.tobacco!r}, row {row + 1}: {user[row]} is neither 0 nor 1"
            )
        rate *= np.where(user == 1, terms.tobacco_factor, 1.0)
    return rate * exposure


@dataclass(frozen=True, slots=True)
class PremiumMeasures:
    """A pool's year: premium and expected net claims in dollars, loss ratio, adequacy and rebate."""

    premium: float
    life_years: float
    expected_claims: float
    loss_ratio: Measures
    adequacy: float  # P(premium covers net claims, expenses, taxes and transfer)
    adequacy_se: float
    credibility: float | None  # added to the MLR; None: not credible, no rebate
    mlr: Measures  # preliminary, before credibility
    rebate: Measures
    rebate_probability: float
    indicated_change: float  # the rate change at which expected claims and expenses are just met
    why_no_ratio: str = ""  # why ratios and the change are not known (NaN)


@dataclass(frozen=True, slots=True)
class PremiumResult:
    """Measures by group and in total; the rebate of the total is the sum over groups. `experience` by group, if any."""

    groups: Mapping[str, PremiumMeasures]
    experience: Mapping[str, Blend]


def rebates(claims: Floats, premium: float, life_years: float, terms: PremiumTerms) -> tuple[Floats, Floats]:
    """(preliminary MLR, rebate in dollars) [paths] of one pool whose incurred claims are `claims` [paths].

    MLR = (claims + quality improvement - risk transfer) / (premium - taxes), rounded to three decimals once the
    credibility adjustment is in; rebate = (standard - MLR) x (premium - taxes) where that is positive. Without premium
    there is no ratio (NaN) and no rebate.
    """
    base = premium * (1.0 - terms.tax_ratio)
    if base <= 0:
        return np.full_like(claims, np.nan), np.zeros_like(claims)
    mlr = (claims + terms.quality_improvement_ratio * premium - terms.risk_transfer) / base
    adjustment = _adjustment(life_years, terms)
    if adjustment is None:
        return mlr, np.zeros_like(claims)
    reported = np.round(mlr + adjustment, 3)
    return mlr, np.maximum(float(STANDARD[terms.line_of_business]) - reported, 0.0) * base


def _adjustment(life_years: float, terms: PremiumTerms) -> float | None:
    found = credibility_adjustment(life_years, deductible_factor(terms.average_deductible))
    return None if found is None else float(found)


def finish(
    pool: Pool, portfolio: Portfolio, terms: PremiumTerms, paths: Paths, experience: Experience | None = None
) -> PremiumResult:
    """Premium measures from simulated paths after all covers; rebates are of gross incurred claims by rule."""
    scenario = pool.scenario
    exposure: Floats | float = (
        portfolio.number(scenario.exposure, "exposure") if isinstance(scenario.exposure, str) else scenario.exposure
    )
    charged = premiums(terms, portfolio, exposure)
    codes = pool.exposure.groups
    by_group = np.bincount(codes, charged, minlength=len(pool.names))
    each = np.broadcast_to(np.asarray(exposure, np.float64), (portfolio.size,))
    years: Floats = np.asarray(np.bincount(codes, each, minlength=len(pool.names)), np.float64)
    gross, net = paths.gross / CENTS, (paths.gross - paths.ceded) / CENTS
    levels = scenario.levels
    whole_mlr, whole_rebate = np.zeros(len(gross)), np.zeros(len(gross))
    out: dict[str, PremiumMeasures] = {}
    base = by_group.sum() * (1.0 - terms.tax_ratio)
    for g, name in enumerate(pool.names):
        # the transfer of the line of business is shared by premium
        part = by_group[g] / by_group.sum() if by_group[g] > 0 else 0.0
        share = terms.model_copy(update={"risk_transfer": terms.risk_transfer * part})
        mlr, rebate = rebates(gross[:, g], by_group[g], years[g], share)
        if by_group[g] > 0:
            whole_mlr += mlr * by_group[g] * (1.0 - terms.tax_ratio) / base
        whole_rebate += rebate
        out[name] = _one(net[:, g], by_group[g], years[g], share, mlr, rebate, levels)
    total = _one(net.sum(axis=1), by_group.sum(), years.sum(), terms, whole_mlr, whole_rebate, levels)
    return PremiumResult({TOTAL: total} | out, {} if experience is None else blend(pool, years, experience))


def _one(
    net: Floats,
    premium: float,
    life_years: float,
    terms: PremiumTerms,
    mlr: Floats,
    rebate: Floats,
    levels: tuple[float, ...],
) -> PremiumMeasures:
    loadings = terms.expense_ratio + terms.quality_improvement_ratio + terms.tax_ratio
    left = premium * (1.0 - loadings) + terms.risk_transfer
    covered = float(np.mean(net <= left))
    expected = float(net.mean())
    ratio = net / premium if premium > 0 else np.full_like(net, np.nan)
    return PremiumMeasures(
        float(premium),
        float(life_years),
        expected,
        measure(ratio, levels),
        covered,
        float(np.sqrt(covered * (1 - covered) / len(net))),
        _adjustment(life_years, terms),
        measure(mlr, levels),
        measure(rebate, levels),
        float(np.mean(rebate > 0)),
        (expected - terms.risk_transfer) / (1.0 - loadings) / premium - 1.0 if premium > 0 else np.nan,
        "" if premium > 0 else "no premium is charged, so that there is no ratio",
    )
