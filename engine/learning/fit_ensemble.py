"""Fits the ensemble's weights: hazards of death beside base risk, on NHANES; what a short history hides, on MEPS."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.learning import fit_physiology
from engine.learning.fit import without_care
from engine.learning.meps import MepsYear
from engine.learning.nhanes import NhanesSample, StepsSample
from engine.scoring.base_risk import BaseRiskModel
from engine.scoring.ensemble import Weights, context
from engine.scoring.features import BASE_FEATURES, FEATURE_INDEX
from engine.scoring.physiology import AGE, INDEX

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
KNOTS = (2000.0, 4000.0, 6000.0, 8000.0, 10_000.0, 14_000.0)
"""Steps a day; the curve is a straight line between them."""
REFERENCE = 8000.0
"""Steps at which the curve crosses zero: near the median of adults of the accelerometer file."""
RIDGE = 1.0
FOLDS = 5
STEPS_HORIZON = 60.0


@dataclass(frozen=True, slots=True)
class Followed:
    """Persons whose death is known or not: columns of the hazard model, months followed, whether they died."""

    columns: Floats
    months: Floats
    died: Flags

    def hazards(self, rows: Flags, kept: int) -> Floats:
        """Coefficients of the first `kept` columns, fitted on the rows, in the columns' own units."""
        x = self.columns[rows, :kept]
        centre, spread = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-9)
        return np.asarray(
            fit_physiology.penalised_cox((x - centre) / spread, self.months[rows], self.died[rows], RIDGE) / spread
        )

    def gain(self, kept: int, horizon: float) -> dict[str, float]:
        """AUC of death within the horizon, out of fold: of the first `kept` columns, and of all."""
        fold = np.random.Generator(np.random.Philox(7)).integers(0, FOLDS, len(self.months))
        found = np.empty((len(self.months), 2))
        for k in range(FOLDS):
            for j, width in enumerate((kept, self.columns.shape[1])):
                found[fold == k, j] = self.columns[fold == k, :width] @ self.hazards(fold != k, width)
        dead = self.died & (self.months <= horizon)
        whole = dead | (self.months >= horizon)
        alone, stacked = (round(fit_physiology.auc(dead[whole], found[whole, j]), 4) for j in range(2))
        return {"persons": int(whole.sum()), "deaths": int(dead[whole].sum()), "base": alone, "stacked": stacked}


def steps_basis(steps: Floats) -> Floats:
    """Hat functions [n, KNOTS] without that of the reference: coefficients are log hazards at the knots against it."""
    hats = np.column_stack([np.interp(steps, KNOTS, row) for row in np.eye(len(KNOTS))])
    return np.delete(hats, KNOTS.index(REFERENCE), axis=1)


def fit_steps(base: BaseRiskModel, sample: StepsSample) -> tuple[tuple[float, ...], dict[str, Any]]:
    """Log hazards at the KNOTS beside base risk, never rising with steps, and the figures of the fit."""
    known = _context(base, sample.features)
    followed = Followed(np.hstack([known, steps_basis(sample.steps)]), sample.months, sample.died)
    raw = np.insert(
        followed.hazards(np.ones(len(sample.months), bool), followed.columns.shape[1])[known.shape[1] :],
        KNOTS.index(REFERENCE),
        0.0,
    )
    curve = np.minimum.accumulate(raw)
    curve -= curve[KNOTS.index(REFERENCE)]
    return tuple(curve.round(4).tolist()), followed.gain(known.shape[1], STEPS_HORIZON) | {
        "log_hazard_before_levelling": [round(v, 4) for v in raw.tolist()]
    }


def fit_physiology_weight(
    base: BaseRiskModel, sample: NhanesSample, unseen: Floats
) -> tuple[float, tuple[float, ...], dict[str, Any]]:
    """Weight of the physiology hazard beside base risk, what base risk leads to expect of it, and the figures.

    `unseen` [n] are log hazards from physiology models that have not seen the person.
    """
    rows = sample.followed & ~np.isnan(unseen)
    features = np.full((int(rows.sum()), len(BASE_FEATURES)), np.nan, np.float32)
    for code, measure in (("age", AGE), ("male", INDEX["male"]), ("general_health", INDEX["health"])):
        features[:, FEATURE_INDEX[code]] = sample.features[rows, measure]
    intercept_and_known = _context(base, features, constant=True)
    expected = np.linalg.lstsq(intercept_and_known, unseen[rows], rcond=None)[0]
    beyond = unseen[rows] - intercept_and_known @ expected
    months = np.minimum(sample.months[rows], fit_physiology.HORIZON)
    died = sample.died[rows] & (sample.months[rows] <= fit_physiology.HORIZON)
    followed = Followed(np.hstack([intercept_and_known[:, 1:], beyond[:, None]]), months, died)
    width = followed.columns.shape[1]
    weight = float(followed.hazards(np.ones(len(months), bool), width)[-1])
    return weight, tuple(expected.tolist()), followed.gain(width - 1, fit_physiology.TEN_YEARS)


def history_sd(base: BaseRiskModel, year: MepsYear) -> float:
    """Standard deviation of log predicted cost that the year's care decides: with it against without it."""
    known, unknown = (base.predict(features).mean for features in (year.features, without_care(year.features)))
    return float(np.std(np.log(known) - np.log(unknown)))


def fit(
    base: BaseRiskModel, adults: NhanesSample, walkers: StepsSample, year: MepsYear
) -> tuple[Weights, dict[str, Any]]:
    """The weights and the figures that say what each component adds."""
    curve, steps = fit_steps(base, walkers)
    weight, expected, physiology = fit_physiology_weight(base, adults, fit_physiology.cross_validated(adults))
    hidden = history_sd(base, year)
    figures = {"auc_ten_years_physiology": physiology, "auc_five_years_steps": steps}
    return Weights(weight, expected, KNOTS, curve, hidden), figures


def _context(base: BaseRiskModel, features: NDArray[np.float32], constant: bool = False) -> Floats:
    age, male = (features[:, FEATURE_INDEX[code]].astype(np.float64) for code in ("age", "male"))
    columns: Floats = context(age, male, base.predict(features).mean)
    return columns if constant else columns[:, 1:]
