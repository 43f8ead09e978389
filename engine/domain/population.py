"""The seeded synthetic population: members, their health, their cost and what a wearable would read of them.

Every draw is a function of (seed, purpose, member index): a Philox stream keyed by seed and purpose, turned
into the wanted law by its inverse. Member i is therefore the same in a population of any size, and a new
purpose disturbs no other. One latent variable, standard normal and higher = sicker, ties conditions, cost
and physiology together.

Figures and their sources are in docs/population.md; tests/reference/test_population.py holds the draws to
them. Health has no way into a premium from here: policies and cohorts are for pricing in the aggregate, and
depend on market and region.
"""

from dataclasses import dataclass, field
from datetime import date
from hashlib import blake2b
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from engine.domain.age import completed_years
from engine.domain.events import CONDITIONS, LINES_OF_BUSINESS, REGIONS
from engine.domain.metrics import METRIC_INDEX, METRICS
from engine.errors import InvalidRecordError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

SEXES: tuple[str, ...] = ("female", "male")
AS_OF = date(2025, 1, 1)
POLICIES_A_COHORT = 5
AGE_BANDS: tuple[int, ...] = (0, 18, 30, 40, 50, 60, 70, 80)
"""First age of each band of the tables below."""

# US population of 2020 by age: cumulative share at each knot, linear between them
_AGE_KNOTS = (0.0, 15.0, 25.0, 55.0, 65.0, 75.0, 85.0, 98.0)
_AGE_SHARES = (18.46, 12.91, 38.92, 12.86, 9.96, 4.95, 1.94)
# Share of females in the age groups 0-14, 15-24, 25-54, 55-64, 65+
_FEMALE_FROM = (0, 15, 25, 55, 65)
_FEMALE = (0.4891, 0.4892, 0.4987, 0.5164, 0.5537)
# US Census 2020 by region, in the order of REGIONS
_REGION_SHARES = (0.1738, 0.2081, 0.3810, 0.2371)
# Market by age (under 65, 65 and over), in the order of LINES_OF_BUSINESS
_MARKET_SHARES = ((0.14, 0.14, 0.29, 0.0, 0.43), (0.0, 0.0, 0.03, 0.92, 0.05))
# Adults who smoke cigarettes: by age from 18, 25, 45, 65; men and women stand to all as 13.1 and 10.1 to 11.5
_SMOKES_FROM = (18, 25, 45, 65)
_SMOKES = (0.053, 0.126, 0.149, 0.083)
_SMOKES_SEX = (10.1 / 11.5, 13.1 / 11.5)

# Percent with the condition by band of age, females then males: weighted MEPS 2012 and 2013
_PREVALENCE: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "hypertension": (
        (0, 5.8, 13.4, 24.8, 37.0, 56.9, 68.1, 73.2),
        (0, 8.7, 18.5, 31.1, 46.3, 61.8, 72.4, 71.5),
    ),
    "coronary_heart_disease": (
        (0, 0.2, 0.6, 1.9, 3.2, 6.9, 11.9, 21.5),
        (0, 0.3, 0.3, 1.8, 6.6, 14.8, 29.4, 32.2),
    ),
    "angina": ((0, 0.2, 0.4, 1.5, 1.6, 3.3, 5.4, 9.1), (0, 0.2, 0.4, 1.0, 2.3, 6.9, 9.5, 11.0)),
    "heart_attack": ((0, 0.2, 0.4, 2.0, 1.9, 3.4, 5.7, 12.6), (0, 0.3, 0.6, 1.9, 4.9, 11.1, 20.2, 19.1)),
    "other_heart_disease": (
        (0, 3.8, 5.4, 7.7, 12.8, 17.4, 23.5, 31.3),
        (0, 3.3, 4.8, 6.4, 9.9, 19.0, 31.8, 34.0),
    ),
    "stroke": ((0, 0.2, 0.9, 1.9, 3.7, 5.3, 9.9, 19.8), (0, 0.1, 0.6, 1.7, 3.1, 6.7, 11.8, 18.9)),
    "emphysema": ((0, 0.1, 0.3, 1.1, 1.7, 4.4, 5.9, 6.2), (0, 0.2, 0.2, 0.7, 2.6, 5.5, 6.5, 6.4)),
    "chronic_bronchitis": ((0, 1.5, 2.0, 3.6, 5.5, 7.4, 7.0, 6.1), (0, 0.8, 0.7, 1.1, 2.8, 4.3, 5.1, 5.3)),
    "high_cholesterol": (
        (0, 3.8, 10.4, 24.2, 36.8, 56.4, 64.3, 60.7),
        (0, 4.0, 17.5, 30.9, 44.8, 57.3, 68.1, 57.8),
    ),
    "cancer": ((0, 1.7, 4.0, 7.5, 12.2, 21.5, 27.3, 33.4), (0, 0.7, 1.1, 3.6, 9.4, 19.0, 33.5, 45.9)),
    "diabetes": ((0, 0.9, 3.3, 5.4, 10.1, 18.7, 21.8, 19.3), (0, 0.7, 3.1, 6.9, 12.7, 21.1, 25.6, 21.3)),
    "joint_pain": (
        (0, 20.4, 30.1, 42.7, 58.4, 68.6, 71.8, 75.8),
        (0, 21.8, 32.1, 43.0, 55.0, 60.9, 68.6, 72.2),
    ),
    "arthritis": ((0, 3.6, 11.1, 21.1, 38.3, 54.8, 66.2, 67.0), (0, 2.7, 7.5, 15.0, 28.3, 42.6, 52.5, 58.5)),
    "asthma": ((9.5, 12.3, 11.1, 12.4, 11.8, 13.4, 11.1, 8.1), (13.2, 9.1, 7.3, 7.2, 7.1, 6.0, 6.3, 5.1)),
}
PREVALENCE: Floats = np.array([_PREVALENCE[name] for name in CONDITIONS]) / 100
"""Probability of each condition, shape (conditions, sexes, age bands)."""

_LOADING = 0.17  # share of a condition's liability that is the latent health
_GROUP_LOADING = 0.30  # and that is shared within its group
_GROUPS: dict[str, str] = {
    **dict.fromkeys(("coronary_heart_disease", "angina", "heart_attack", "other_heart_disease"), "heart"),
    **dict.fromkeys(("emphysema", "chronic_bronchitis", "asthma"), "lungs"),
    **dict.fromkeys(("joint_pain", "arthritis"), "joints"),
}

MEAN_ANNUAL_COST = 6_777
"""Dollars a person, 2022: the mean $147,071 of the top 1 % over their 21.7 % share (AHRQ, MEPS brief 560)."""
# Normal scores of annual cost by sex and age band, then by condition: least squares on MEPS 2012 and 2013
_COST_BASE: Floats = np.array(
    [
        [-0.309, -0.271, -0.161, -0.255, -0.242, -0.174, -0.211, -0.130],
        [-0.288, -0.786, -0.697, -0.586, -0.427, -0.280, -0.192, -0.069],
    ]
)
_COST_OF_CONDITION: Floats = np.array(
    [0.187, 0.132, 0.037, 0.054, 0.215, 0.168, 0.150, 0.120, 0.209, 0.314, 0.324, 0.249, 0.290, 0.268]
)
_COST_TILT = 0.65  # ranks near zero steepen that regression; this gives the mean cost by age and sex of the survey
_COST_OF_HEALTH = 0.25
_COST_NOISE = 0.811  # with the health term, the residual 0.849 of that regression
# Quantiles of annual cost in means, MEPS 2012 and 2013; below the first there is no expense at all
# at the ranks 0.154, 0.16, 0.2, then by 0.05 to 0.9, 0.925, 0.95, 0.97, 0.98, 0.99, 0.995, 0.9975, 0.999,
# 0.9995, 0.9999 and 0.99999
_COST_QUANTILES = (
    *(
        0.003,
        0.0047,
        0.0212,
        0.0378,
        0.0586,
        0.0838,
        0.1146,
        0.1531,
        0.2059,
        0.268,
        0.3492,
        0.4587,
        0.6053,
        0.8091,
    ),
    *(
        1.1139,
        1.5698,
        2.4221,
        3.1467,
        4.3136,
        6.2707,
        8.0718,
        11.5607,
        17.0118,
        24.5042,
        37.0649,
        52.0235,
        94.0105,
    ),
    125.4,
)

# The score at those ranks, from 4.5 million draws; cost is log-linear in the score between them, flat after
# the last
_COST_SCORES = (
    *(
        -0.944,
        -0.921,
        -0.781,
        -0.627,
        -0.489,
        -0.359,
        -0.236,
        -0.117,
        0.001,
        0.120,
        0.241,
        0.367,
        0.500,
        0.645,
    ),
    *(0.807, 0.997, 1.240, 1.397, 1.603, 1.843, 2.020, 2.300, 2.557, 2.794, 3.089, 3.292, 3.736, 4.325),
)

# Median steps a day by age band and spread of their logarithm: NHANES 2011-2014, step count by a learned
# model
_STEPS = (9_500, 8_733, 9_185, 9_536, 9_492, 8_080, 6_258, 3_652)
_STEPS_SPREAD = (0.45, 0.50, 0.50, 0.48, 0.52, 0.58, 0.65, 0.80)
_STEPS_MOST = 30_000  # nobody's habit is beyond; the survey's 95th percentile is 18,000


def uniforms(seed: int, purpose: str, n: int, width: int = 1) -> Floats:
    """Uniforms on (0, 1) of shape (n, width): row i is a function of (seed, purpose, i) and `width` alone."""
    key = int.from_bytes(blake2b(purpose.encode(), digest_size=8).digest(), "little")
    generator = np.random.Generator(np.random.Philox(key=np.array([seed, key], dtype=np.uint64)))
    return np.maximum(generator.random((n, width)), 2.0**-54)


def normals(seed: int, purpose: str, n: int, width: int = 1) -> Floats:
    """Standard normals of shape (n, width), by inversion of `uniforms`."""
    scores: Floats = ndtri(uniforms(seed, purpose, n, width))
    return scores


@dataclass(frozen=True, slots=True, eq=False)
class Population:
    """Members as columns, each of length n; `sex`, `region` and `line_of_business` index SEXES, REGIONS and
    LINES_OF_BUSINESS.

    `birth_date` is M8[D] on or before `as_of`. `health` is the latent variable (standard normal, higher =
    sicker), `conditions` of shape (n, len(CONDITIONS)), `annual_cost_cents` the expected spending of a year
    with drugs, and `baseline`, of shape (n, len(METRICS)), the member's own mean of each metric (of its
    day's sum for metrics that are summed). Under 18, `smoker_free` is true.
    """

    seed: int
    as_of: date
    member_id: NDArray[np.str_]
    birth_date: NDArray[np.datetime64]
    sex: NDArray[np.int8]
    region: NDArray[np.int8]
    line_of_business: NDArray[np.int8]
    policy_id: NDArray[np.str_]
    cohort_id: NDArray[np.str_]
    smoker_free: Flags
    health: Floats
    conditions: Flags
    annual_cost_cents: Ints
    baseline: Floats = field(repr=False)

    @classmethod
    def generate(cls, seed: int, n: int, as_of: date = AS_OF) -> Self:
        """The first `n` members of the population of `seed`, as they stand on the day `as_of`.

        `seed` is an unsigned 64-bit integer; a seed or n out of range raises InvalidRecordError.
        """
        if not 0 <= seed < 2**64:
            raise InvalidRecordError("out_of_range", "seed", f"seed {seed} is not between 0 and 2**64 - 1")
        if not 0 <= n <= 99_999_999:
            raise InvalidRecordError("out_of_range", "n", f"n {n} is not between 0 and 99,999,999")
        age = _ages(seed, n)
        sex = _sexes(seed, age)
        region = _pick(uniforms(seed, "region", n)[:, 0], np.broadcast_to(_REGION_SHARES, (n, len(REGIONS))))
        shares = np.array(_MARKET_SHARES)[(age >= 65).astype(np.int64)]
        market = _pick(uniforms(seed, "line of business", n)[:, 0], shares)
        cohort, policy = _contracts(seed, region, market)
        health = normals(seed, "health", n)[:, 0]
        conditions = _conditions(seed, age, sex, health)
        return cls(
            seed=seed,
            as_of=as_of,
            member_id=np.array([f"M{i:07d}" for i in range(1, n + 1)], dtype=np.str_),
            birth_date=np.datetime64(as_of, "D") - np.floor(age * 365.2425).astype("m8[D]"),
            sex=sex.astype(np.int8),
            region=region.astype(np.int8),
            line_of_business=market.astype(np.int8),
            policy_id=policy,
            cohort_id=cohort,
            smoker_free=_smoker_free(seed, age, sex),
            health=health,
            conditions=conditions,
            annual_cost_cents=_cost(seed, age, sex, health, conditions),
            baseline=_baseline(seed, age, sex, health, conditions),
        )

    def __len__(self) -> int:
        return len(self.member_id)

    def age(self, on: date) -> Ints:
        """Age of each member in completed years on a day."""
        return completed_years(self.birth_date, on)


def _pick(u: Floats, shares: Floats) -> Ints:
    """Index of the share, row by row, in which u falls."""
    below = u[:, None] >= np.cumsum(shares, axis=1)
    index: Ints = np.minimum(below.sum(axis=1), shares.shape[1] - 1)
    return index


def _bands(age: Floats) -> Ints:
    band: Ints = np.searchsorted(AGE_BANDS, age, side="right") - 1
    return band


def _ages(seed: int, n: int) -> Floats:
    cumulative = np.concatenate([[0.0], np.cumsum(_AGE_SHARES)])
    return np.interp(uniforms(seed, "age", n)[:, 0], cumulative / cumulative[-1], _AGE_KNOTS)


def _sexes(seed: int, age: Floats) -> Ints:
    female = np.array(_FEMALE)[np.searchsorted(_FEMALE_FROM, age, side="right") - 1]
    return (uniforms(seed, "sex", len(age))[:, 0] >= female).astype(np.int64)


def _contracts(seed: int, region: Ints, market: Ints) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
    """Cohort = market and region; policy = one of the cohort's contracts. Neither knows of health."""
    names = np.char.add(np.array(LINES_OF_BUSINESS)[market], "-")
    cohort = np.char.add(names, np.array(REGIONS)[region])
    number = (uniforms(seed, "policy", len(region))[:, 0] * POLICIES_A_COHORT).astype(np.int64) + 1
    return cohort, np.char.add(np.char.add(cohort, "-"), number.astype(np.str_))


def _smoker_free(seed: int, age: Floats, sex: Ints) -> Flags:
    band = np.searchsorted(_SMOKES_FROM, age, side="right")
    smokes = np.array((0.0, *_SMOKES))[band] * np.array(_SMOKES_SEX)[sex]
    free: Flags = uniforms(seed, "smoking", len(age))[:, 0] >= smokes
    return free


def _conditions(seed: int, age: Floats, sex: Ints, health: Floats) -> Flags:
    """A condition is present where its liability, a standard normal, passes the point its prevalence sets."""
    n, band = len(age), _bands(age)
    present = np.empty((n, len(CONDITIONS)), dtype=np.bool_)
    groups = {name: normals(seed, f"condition group {name}", n)[:, 0] for name in set(_GROUPS.values())}
    for c, name in enumerate(CONDITIONS):
        own = normals(seed, f"condition {name}", n)[:, 0]
        rest = 1.0 - _LOADING
        liability = np.sqrt(_LOADING) * health
        if name in _GROUPS:
            liability += np.sqrt(_GROUP_LOADING) * groups[_GROUPS[name]]
            rest -= _GROUP_LOADING
        liability += np.sqrt(rest) * own
        present[:, c] = liability > -ndtri(PREVALENCE[c, sex, band])
    return present


def _cost(seed: int, age: Floats, sex: Ints, health: Floats, conditions: Flags) -> Ints:
    score = _COST_TILT * (_COST_BASE[sex, _bands(age)] + conditions @ _COST_OF_CONDITION)
    score += _COST_OF_HEALTH * health + _COST_NOISE * normals(seed, "cost", len(age))[:, 0]
    means = np.exp(np.interp(score, _COST_SCORES, np.log(_COST_QUANTILES)))
    cost = np.where(score < _COST_SCORES[0], 0.0, means * MEAN_ANNUAL_COST * 100)
    return np.rint(cost).astype(np.int64)


def _baseline(seed: int, age: Floats, sex: Ints, health: Floats, conditions: Flags) -> Floats:
    """Each member's own mean of each metric, inside its possible range: docs/population.md has the laws."""
    n = len(age)
    male = sex == 1
    child = np.clip((18 - age) / 18, 0.0, 1.0)  # 1 at birth, 0 from 18
    has = {name: conditions[:, c] for c, name in enumerate(CONDITIONS)}
    lungs = has["emphysema"] | has["chronic_bronchitis"]

    def score(metric: str, of_health: float) -> Floats:
        """A standard normal that has the correlation `of_health` with the latent health."""
        own = normals(seed, f"baseline {metric}", n)[:, 0]
        scores: Floats = of_health * health + np.sqrt(1 - of_health**2) * own
        return scores

    band = _bands(age)
    steps = np.array(_STEPS)[band] * np.exp(np.array(_STEPS_SPREAD)[band] * score("steps", -0.35))
    steps = np.minimum(steps, _STEPS_MOST)
    resting = 64.0 + 3.0 * ~male - 0.002 * (np.clip(age, 18, None) - 50) ** 2 + 25 * child
    resting += 7.2 * score("resting_heart_rate", 0.3)
    adult_weight = np.where(male, 88.0, 74.5) * np.exp(0.2 * score("weight", 0.15))
    weight = np.where(age < 18, (3.5 + 3.4 * age) * np.exp(0.15 * score("weight", 0.15)), adult_weight)
    systolic = 112 + 0.35 * np.clip(age - 20, 0, None) + 10 * has["hypertension"] - 15 * child
    values = {
        "steps": steps,
        "heart_rate": resting + 14 + 3 * score("heart_rate", 0.1),
        "resting_heart_rate": resting,
        "hrv_rmssd": 42 * np.exp(-0.0165 * (np.clip(age, 15, 80) - 33) + 0.4 * score("hrv_rmssd", -0.3)),
        "spo2": 96.3 - 0.012 * (age - 40) - 1.2 * lungs + 0.8 * score("spo2", -0.2),
        "respiratory_rate": 15.3
        - 0.01 * (age - 45)
        + 0.4 * (~male & (age < 50))
        + 12 * child
        + 2.25 * score("respiratory_rate", 0.15),
        "body_temperature": 36.6 + 0.2 * score("body_temperature", 0.1),
        "sleep_minutes": np.where(male, 386.0, 410.0)
        - 0.4 * (np.clip(age, 18, None) - 45)
        + 200 * child
        + 40 * score("sleep_minutes", -0.15),
        "active_minutes": 28 * (steps / 7_900) ** 1.3,
        "sedentary_minutes": 1_058 - 0.02 * (steps - 7_900) + 90 * score("sedentary_minutes", 0.15),
        "calories": 22 * 1.2 * weight + 0.045 * steps,
        "weight": weight,
        "systolic_bp": systolic + 9 * score("systolic_bp", 0.2),
        "diastolic_bp": 0.45 * systolic + 22 + 6 * score("diastolic_bp", 0.2),
        "glucose": 98 + 55 * has["diabetes"] + 8 * score("glucose", 0.2),
    }
    low = [metric.low for metric in METRICS]
    high = [metric.high for metric in METRICS]
    columns = [values[code] for code in METRIC_INDEX]
    baseline: Floats = np.clip(np.column_stack(columns), low, high)
    return baseline
