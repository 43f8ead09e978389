"""Fits and evaluates the physiology model: penalised Cox, then Cox-boosted trees on what it leaves."""

from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray

from engine.learning.nhanes import NhanesSample
from engine.scoring.physiology import (
    AGE,
    INDEX,
    MEASURES,
    Calibration,
    PhysiologyModel,
    cleaned,
    design,
    scaling_of,
)
from engine.scoring.trees import trees_of

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
HORIZON = 240.0
"""Months of follow-up that are used: hazards of 20 years lie nearer to those of ten than 27 do."""
TEN_YEARS = 120.0
RIDGE = 100.0
FORGOTTEN = 0.25
"""Share of the values hidden in a second copy of the training rows, so that trees do not read a gap as a sign."""
KNOTS = 1001
ROUNDS = 150
PARAMS: dict[str, Any] = {
    "objective": "survival:cox",
    "max_depth": 3,
    "eta": 0.04,
    "subsample": 0.5,
    "colsample_bytree": 0.4,
    "min_child_weight": 10,
    "reg_lambda": 10,
    "num_parallel_tree": 4,
    "seed": 19_880_101,
    "nthread": 1,
}
FOLDS = 5


def fit(version: str, sample: NhanesSample) -> tuple[PhysiologyModel, xgboost.Booster]:
    """The model of all followed adults of the sample, and its trees."""
    sample = sample.rows(sample.followed)
    clean, months = cleaned(sample.features), np.minimum(sample.months, HORIZON)
    died = sample.died & (sample.months <= HORIZON)
    scaling = scaling_of(clean)
    columns = design(clean, scaling)
    centre, spread = columns.mean(axis=0), np.maximum(columns.std(axis=0), 1e-9)
    beta = penalised_cox((columns - centre) / spread, months, died, RIDGE) / spread
    offset = float(centre @ beta)
    trees = _trees(clean, columns @ beta - offset, months, died)
    evaluated = trees_of(trees.save_raw("json"))
    started = PhysiologyModel(version, evaluated, Calibration(scaling, tuple(beta.tolist()), offset, 1.0, (0.0, 1.0)))
    hazards = started.log_hazard(sample.features)
    known = ~np.isnan(hazards)
    calibration = Calibration(
        scaling,
        tuple(beta.tolist()),
        offset,
        _baseline(hazards[known], months[known], died[known]),
        tuple(np.quantile(hazards[known], np.linspace(0, 1, KNOTS)).tolist()),
    )
    return PhysiologyModel(version, evaluated, calibration), trees


def _trees(clean: Floats, linear: Floats, months: Floats, died: Flags) -> xgboost.Booster:
    rng = np.random.Generator(np.random.Philox(PARAMS["seed"]))
    hidden = rng.random(clean.shape) < FORGOTTEN
    hidden[:, [AGE, INDEX["male"]]] = False
    both = np.vstack([clean, np.where(hidden, np.nan, clean)]).astype(np.float32)
    label = np.tile(np.where(died, months, -months), 2)
    return xgboost.train(PARAMS, xgboost.DMatrix(both, label, base_margin=np.tile(linear, 2), nthread=1), ROUNDS)


def penalised_cox(columns: Floats, months: Floats, died: Flags, ridge: float) -> Floats:
    """Coefficients that maximise Breslow's partial likelihood less ridge x |b|^2 / 2, by Newton with step halving.

    Columns must be centred. Source: Cox, JRSS B 34 (1972), 187-220; Breslow's ties.
    """
    order = np.lexsort((~died, -months))
    x, event, time = columns[order], died[order], months[order]
    # everyone followed as long as a death or longer is at risk of it, ties included
    last = np.searchsorted(-time, -time, side="right") - 1

    def likelihood(b: Floats) -> tuple[float, Floats, Floats]:
        lp = np.clip(x @ b, -30.0, 30.0)
        weight = np.exp(lp)
        risk = np.cumsum(weight)[last]
        return float((lp - np.log(risk))[event].sum() - ridge * (b @ b) / 2), weight, risk

    b = np.zeros(x.shape[1])
    value, weight, risk = likelihood(b)
    for _ in range(50):
        steps = np.zeros(len(time))
        np.add.at(steps, last[event], 1.0 / risk[event])
        expected = weight * np.cumsum(steps[::-1])[::-1]
        gradient = x.T @ (event - expected) - ridge * b
        move = np.linalg.solve(x.T @ (x * expected[:, None]) + ridge * np.eye(len(b)), gradient)
        size = 1.0
        while (found := likelihood(b + size * move))[0] < value and size > 1e-6:
            size /= 2
        b, gain = b + size * move, found[0] - value
        value, weight, risk = found
        if gain < 1e-7 * abs(value):
            break
    return b


def _baseline(hazards: Floats, months: Floats, died: Flags) -> float:
    """Breslow's cumulative baseline hazard of ten years."""
    order = np.argsort(-months, kind="stable")
    time, event = months[order], died[order]
    last = np.searchsorted(-time, -time, side="right") - 1
    risk = np.cumsum(np.exp(hazards[order]))[last]
    return float((1.0 / risk)[event & (time <= TEN_YEARS)].sum())


def pheno_age(sample: NhanesSample) -> Floats:
    """PhenoAge [n], the published biological age to be beaten; NaN where one of its nine biomarkers is missing.

    Source: Levine et al., Aging 10 (2018), 573-591; constants as in Liu et al., PLoS Medicine 15 (2018), e1002718.
    """
    f = {code: sample.features[:, i] for code, i in INDEX.items()}
    xb = (
        -19.90667 - 0.03359355 * 10 * f["albumin"] + 0.009506491 * 88.4 * f["creat"]
        + 0.1953192 * f["glucose"] / 18.0156 + 0.09536762 * np.log(np.maximum(f["crp"], 1e-3))
        - 0.01199984 * f["lymph"] + 0.02676401 * f["mcv"] + 0.3306156 * f["rdw"] + 0.001868778 * f["alp"]
        + 0.05542406 * f["wbc"] + 0.08035356 * f["age"]
    )  # fmt: skip
    # 1 - mortality = exp(-1.51714 exp(xb) / 0.0076927); its logarithm is taken without going through 1 - mortality
    return np.asarray(141.50225 + np.log(0.00553 * 1.51714 * np.exp(xb) / 0.007692696) / 0.090165)


def auc(positive: Flags, score: Floats) -> float:
    """Probability that a positive outranks a negative, ties counting half (Mann-Whitney)."""
    _, rank, counts = np.unique(score, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts - 1) / 2.0
    n = int(positive.sum())
    return float((middle[rank][positive].sum() - n * (n + 1) / 2) / (n * (len(score) - n)))


def cross_validated(sample: NhanesSample) -> Floats:
    """Log hazard of each followed adult from a model that has not seen them; folds by the order of a fixed shuffle."""
    fold = np.random.Generator(np.random.Philox(5)).integers(0, FOLDS, len(sample.months))
    out = np.full(len(sample.months), np.nan)
    for k in range(FOLDS):
        model, _ = fit("fold", sample.rows((fold != k) & sample.followed))
        out[fold == k] = model.log_hazard(sample.features[fold == k])
    return out


def evaluate(sample: NhanesSample, hazards: Floats, mortality: Floats) -> dict[str, Any]:
    """Figures on out-of-fold hazards: AUC of ten-year mortality beside PhenoAge's and age's, and calibration."""
    dead, peer, age = sample.died & (sample.months <= TEN_YEARS), pheno_age(sample), sample.features[:, AGE]
    whole = sample.followed & ((sample.months >= TEN_YEARS) | dead) & ~np.isnan(hazards) & ~np.isnan(peer)
    figures: dict[str, Any] = {"adults": int(whole.sum()), "deaths_in_ten_years": int(dead[whole].sum())}
    for name, rows in (("all", whole), ("50-70", whole & (age >= 50) & (age <= 70))):
        figures[f"auc_{name}"] = {
            label: round(auc(dead[rows], score[rows]), 4)
            for label, score in (("model", hazards), ("pheno_age", peer), ("age", age))
        }
    order = np.argsort(mortality[whole], kind="stable")
    tenths = np.array_split(np.flatnonzero(whole)[order], 10)
    figures["predicted_over_observed_by_tenth"] = [
        round(float(mortality[rows].mean() / max(dead[rows].mean(), 1e-9)), 3) for rows in tenths
    ]
    figures["measures"] = len(MEASURES)
    return figures
