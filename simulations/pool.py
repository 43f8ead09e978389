"""A scenario joined to its portfolio: severities, expected counts and covers, everything checked."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from simulations.class_laws import ClassLaws, build_class_laws
from simulations.errors import SpecError
from simulations.kernels.layers import MILLION, UNLIMITED
from simulations.plans import Shocks
from simulations.portfolio import Classes, Exposure, Floats, Portfolio, classes_of
from simulations.scenario import (
    Category,
    ColumnOrNumber,
    EmpiricalSpec,
    GammaSpec,
    LognormalSpec,
    MixtureSpec,
    NegativeBinomialSpec,
    ParetoSpec,
    PoolScenario,
    WeibullSpec,
)
from simulations.severity import Empirical, Gamma, Lognormal, Mixture, Pareto, Severity, Weibull, check_amounts

Losses = Callable[[str, str], Floats]
RESERVE_STREAM = 1
TOTAL = "total"
_ONE_GROUP: tuple[str, ...] = ("all",)


def no_files(file: str, column: str) -> Floats:
    """A reader for scenarios without empirical severities."""
    raise SpecError("severity.file", f"{file!r} ({column}) cannot be read here: no reader of loss files was given")


def severity_of(spec: object, read: Losses) -> Severity:
    """The severity of a scenario's specification; `read(file, column)` gives the losses of an empirical one."""
    match spec:
        case LognormalSpec():
            return Lognormal(spec.mu, spec.sigma)
        case GammaSpec():
            return Gamma(spec.shape, spec.scale)
        case ParetoSpec():
            return Pareto(spec.alpha, spec.theta)
        case WeibullSpec():
            return Weibull(spec.shape, spec.scale)
        case EmpiricalSpec():
            return Empirical(read(spec.file, spec.column))
        case MixtureSpec():
            return Mixture(spec.weights, tuple(severity_of(part, read) for part in spec.parts))
        case _:
            raise SpecError("severity", f"{spec!r} is no severity")


MOST_EXPECTED = 1e13
"""Expected cost of a pool in dollars: what paths sum up stays far below what 64-bit cents hold."""


def cents(dollars: float | None) -> int:
    """Dollars as whole cents; None is no limit."""
    return UNLIMITED if dollars is None else round(dollars * 100)


def _values(portfolio: Portfolio, given: ColumnOrNumber, path: str) -> Floats | float:
    return portfolio.number(given, path) if isinstance(given, str) else given


@dataclass(frozen=True, eq=False)
class Pool:
    """What every method works from. `layer` [categories, 2]: per-claim deductible (-1 for none) and limit, cents."""

    scenario: PoolScenario
    laws: list[Severity]
    dispersion: Floats
    exposure: Exposure
    shocks: Shocks
    layer: NDArray[np.int64]
    risk_score: Floats | None
    relativity: Floats | float

    @property
    def specific(self) -> tuple[int, int, int]:
        """Attachment (-1 for none), limit, share in parts per million."""
        cover = self.scenario.cover.specific
        if cover is None:
            return -1, UNLIMITED, 0
        return cents(cover.attachment), cents(cover.limit), round(cover.coinsurance * MILLION)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the groups."""
        return self.exposure.names

    @cached_property
    def classes(self) -> Classes | None:
        """Members with equal expected counts, or None where there are too many kinds."""
        return classes_of(self.exposure)

    @cached_property
    def class_laws(self) -> ClassLaws | None:
        """The law of a member of each class under specific cover, where it can be had (see `build_class_laws`)."""
        if self.classes is None or self.specific[0] <= 0 or np.any(self.layer[:, 0] >= 0):
            return None
        return build_class_laws(self.laws, self.dispersion, self.classes.means, self.shocks, self.specific[0])

    @cached_property
    def group_means(self) -> Floats:
        """Expected claims [groups, categories]."""
        if self.classes is not None:
            return np.asarray(self.classes.counts @ self.classes.means)
        return self.exposure.by_group()

    @cached_property
    def expected_cost(self) -> Floats:
        """Expected gross cost [groups], dollars."""
        return np.asarray(self.group_means @ np.array([law.moment(1) for law in self.laws]))

    @cached_property
    def formula_reserve(self) -> float:
        """Sum over members of risk score x expected cost x safety factor, dollars.

        The expected cost is that of the categories' rates before the scenario's relativity, which would count the
        member's risk twice.
        """
        score = np.ones(len(self.exposure.groups)) if self.risk_score is None else self.risk_score
        means = np.array([law.moment(1) for law in self.laws])
        base = np.broadcast_to(self.relativity, score.shape)
        weighted = self.exposure.means @ np.divide(score, base, out=np.zeros_like(score), where=base > 0)
        return float(weighted @ means) * self.scenario.safety_factor


def _category_means(category: Category, i: int, portfolio: Portfolio, base: Floats | float) -> Floats | float:
    path = f"categories.{i}.frequency.rate"
    return _values(portfolio, category.frequency.rate, path) * base * ((1.0 + category.trend) * category.season)


def join(scenario: PoolScenario, portfolio: Portfolio, read: Losses = no_files) -> Pool:
    """Resolves a scenario's columns and laws against a portfolio. Raises SpecError naming field, column and row."""
    if portfolio.size == 0:
        raise SpecError("portfolio", f"{portfolio.source} has no members")
    exposure = _values(portfolio, scenario.exposure, "exposure")
    relativity = _values(portfolio, scenario.relativity, "relativity")
    base = exposure * relativity
    means = np.empty((len(scenario.categories), portfolio.size))
    for i, category in enumerate(scenario.categories):
        means[i] = _category_means(category, i, portfolio, base)
    if scenario.group_by is None:
        groups, names = np.zeros(portfolio.size, np.int32), _ONE_GROUP
    else:
        labels = portfolio.labels(scenario.group_by, "group_by")
        if TOTAL in labels.names:
            raise SpecError(
                "group_by", f"column {scenario.group_by!r} has a group named {TOTAL!r}, which names the pool"
            )
        groups, names = labels.codes, labels.names
    laws: list[Severity] = []
    for i, category in enumerate(scenario.categories):
        try:
            laws.append(severity_of(category.severity, read))
            check_amounts(laws[-1])
        except SpecError as error:
            raise SpecError(f"categories.{i}.{error.path}", str(error).removeprefix(f"{error.path}: ")) from error
    dispersion = np.array(
        [c.frequency.dispersion if isinstance(c.frequency, NegativeBinomialSpec) else 0.0 for c in scenario.categories]
    )
    layer = np.array(
        [
            (cents(c.per_claim.deductible), cents(c.per_claim.limit)) if c.per_claim else (-1, UNLIMITED)
            for c in scenario.categories
        ],
        np.int64,
    )
    position = {category.name: i for i, category in enumerate(scenario.categories)}
    touches = np.zeros((len(scenario.shocks), len(position)), bool)
    for j, shock in enumerate(scenario.shocks):
        touches[j, [position[name] for name in shock.categories]] = True
    shocks = Shocks(
        np.array([0 if shock.distribution == "gamma" else 1 for shock in scenario.shocks], np.int64),
        np.array([shock.cv for shock in scenario.shocks], float),
        touches,
        scenario.seed,
        RESERVE_STREAM,
    )
    expected = float(np.array([law.moment(1) for law in laws]) @ means.sum(axis=1))
    if not expected <= MOST_EXPECTED:
        raise SpecError(
            "categories", f"{expected:.3g} dollars of claims expected: more than {MOST_EXPECTED:.0e} is taken"
        )
    score = portfolio.number("risk_score", "portfolio") if "risk_score" in portfolio.columns else None
    return Pool(scenario, laws, dispersion, Exposure(means, groups, names), shocks, layer, score, relativity)
