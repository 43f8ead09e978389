"""The clinical component: the diagnoses on a member's claims as CMS-HCCs, and what they add to the predicted cost.

A member's risk score (RAF) is that of CMS-HCC V28 for a person not in Medicaid, living in the community. How much the
diseases raise it over the same person without any moves the predicted cost by a share, SHRINKAGE of its logarithm, up
to MOST: the base risk knows last year's cost and the commonest conditions already, and V28 is fitted on Medicare's
members. The share is a prior, to be replaced by one fitted on labels.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from engine.scoring.hcc import kernels
from engine.scoring.hcc.compiled import Rules, Variables, compiled
from engine.scoring.hcc.model import SEGMENTS, load_model
from engine.scoring.hcc.score import encode_codes

MODEL, PAYMENT_YEAR = "v28", 2027
SHRINKAGE = 0.15
MOST = 1.5
OLDEST = 130
"""Ages above count as this one."""
LOG_MOST = float(np.log(MOST))
VERSION = f"hcc-{MODEL}.{PAYMENT_YEAR}"
_AGED, _DISABLED = SEGMENTS.index("COMMUNITY_NA"), SEGMENTS.index("COMMUNITY_ND")


class Tables(NamedTuple):
    """What `risk` looks up: risk scores [sex, age] without any CC, what raw scores are divided by, and the model."""

    healthy: NDArray[np.float64]
    normalisation: float
    rules: Rules
    variables: Variables


def add_categories(
    rows: NDArray[np.int64],
    icd10: pa.Array,
    age: NDArray[np.int16],
    female: NDArray[np.int8],
    ccs: NDArray[np.uint64],
) -> None:
    """Adds to `ccs` [n, 2] the CCs of diagnoses, each of one of n rows, edited for the age and sex [n] of its row.

    Other codes add nothing.
    """
    arrays = compiled(MODEL, PAYMENT_YEAR)
    kernels.collect(rows, encode_codes(icd10, arrays.codes.lookup), age, female, arrays.codes, arrays.edits, True, ccs)


def categories_of(
    diagnoses: Sequence[Sequence[str]], age: NDArray[np.int16], female: NDArray[np.int8]
) -> NDArray[np.uint64]:
    """The CCs [n, 2] of n persons' lists of ICD-10-CM codes, edited for age and sex."""
    ccs = np.zeros((len(diagnoses), 2), np.uint64)
    if any(diagnoses):
        rows = np.repeat(np.arange(len(diagnoses)), [len(codes) for codes in diagnoses])
        codes = pa.array([code for codes in diagnoses for code in codes], pa.string())
        add_categories(rows, codes, age, female, ccs)
    return ccs


@njit(cache=True, nogil=True)
def risk(
    low: np.uint64, high: np.uint64, age: int, female: int, tables: Tables, scratch: NDArray[np.int64]
) -> tuple[np.uint64, np.uint64, float, float]:
    """A member's payment HCCs (two words), risk score relative to the average Medicare member, and log relative cost.

    Of these CCs (two words), of that age in years and sex (1 female); NaN is the log cost of who has no HCC. `scratch`
    is room for kernels.MAX_VARIABLES numbers.
    """
    raw = tables.healthy[female, min(max(age, 0), OLDEST)] * tables.normalisation
    segment = _AGED if age >= 65 else _DISABLED
    low, high, thousandths = kernels.score_one(
        low, high, age, female, 0, False, False, segment, tables.rules, tables.variables, scratch
    )
    diseased = thousandths / 1000.0
    effect = min(SHRINKAGE * np.log(max(diseased / raw, 1.0)), LOG_MOST)
    return low, high, diseased / tables.normalisation, effect if low | high != 0 else np.nan


@cache
def tables() -> Tables:
    """The tables of the model and year that the score uses."""
    ages = np.arange(OLDEST + 1, dtype=np.int16)
    n, arrays = len(ages), compiled(MODEL, PAYMENT_YEAR)
    none, no, orec = np.zeros((n, 2), np.uint64), np.zeros(n, np.bool_), np.zeros(n, np.int8)
    segment = np.where(ages >= 65, _AGED, _DISABLED).astype(np.int8)
    healthy, hccs, raw = np.empty((2, n)), np.empty((n, 2), np.uint64), np.empty((n, 1), np.int32)
    for sex in (0, 1):
        female = np.full(n, sex, np.int8)
        kernels.score(none, ages, female, orec, no, no, segment, arrays.rules, arrays.variables, hccs, raw)
        healthy[sex] = raw[:, 0] / 1000
    normalisation = float(load_model(MODEL, PAYMENT_YEAR).year(PAYMENT_YEAR).normalisation)
    return Tables(healthy / normalisation, normalisation, arrays.rules, arrays.variables)


@cache
def hcc_codes() -> tuple[str, ...]:
    """The payment HCCs in the order of their bits, such as HCC37."""
    return tuple(f"HCC{hcc}" for hcc in load_model(MODEL, PAYMENT_YEAR).hccs)


def label_of(code: str) -> str:
    """CMS's label of an HCC such as HCC37."""
    return load_model(MODEL, PAYMENT_YEAR).labels[int(code.removeprefix("HCC"))]
