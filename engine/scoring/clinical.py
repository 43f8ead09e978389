"""The clinical component: the diagnoses on a member's claims as CMS-HCCs, and what they add to the predicted cost.

A member's risk score (RAF) is that of CMS-HCC V28 for a person not in Medicaid, living in the community. How much the
diseases raise it over the same person without any moves the predicted cost by a share, SHRINKAGE of its logarithm, up
to MOST: the base risk knows last year's cost and the commonest conditions already, and V28 is fitted on Medicare's
members. The share is a prior, to be replaced by one fitted on labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine.scoring.hcc import kernels
from engine.scoring.hcc.compiled import compiled
from engine.scoring.hcc.model import SEGMENTS, load_model
from engine.scoring.hcc.score import encode_codes

MODEL, PAYMENT_YEAR = "v28", 2027
SHRINKAGE = 0.15
MOST = 1.5
_OLDEST = 130
_LOG_MOST = np.log(MOST)
VERSION = f"hcc-{MODEL}.{PAYMENT_YEAR}"
_AGED, _DISABLED = SEGMENTS.index("COMMUNITY_NA"), SEGMENTS.index("COMMUNITY_ND")


@dataclass(frozen=True, slots=True)
class ClinicalRisk:
    """By member: payment HCCs [n, 2], risk score relative to the average Medicare member, log relative cost."""

    hccs: NDArray[np.uint64]
    raf: NDArray[np.float64]
    effect: NDArray[np.float64]


def categories_of(
    diagnoses: Sequence[Sequence[str]], age: NDArray[np.int16], female: NDArray[np.int8]
) -> NDArray[np.uint64]:
    """The CCs [n, 2] of n lists of ICD-10-CM codes, edited for the person's age and sex. Other codes add nothing."""
    ccs = np.zeros((len(diagnoses), 2), np.uint64)
    if not any(diagnoses):
        return ccs
    arrays = compiled(MODEL, PAYMENT_YEAR)
    numbers = encode_codes(pa.array([code for codes in diagnoses for code in codes], pa.string()), arrays)
    rows = np.repeat(np.arange(len(diagnoses)), [len(codes) for codes in diagnoses])
    kernels.collect(rows, numbers, age, female, arrays.codes, arrays.edits, True, ccs)
    return ccs


def risk(ccs: NDArray[np.uint64], age: NDArray[np.int16], female: NDArray[np.int8]) -> ClinicalRisk:
    """The clinical risk of members with these CCs [n, 2], ages in years and sexes (1 female)."""
    hccs, effect = np.zeros((len(ccs), 2), np.uint64), np.zeros(len(ccs))
    raw = _healthy()[female, np.clip(age, 0, _OLDEST)]
    ill = np.flatnonzero((ccs != 0).any(axis=1))
    if len(ill):
        hccs[ill], diseased = _raw(ccs[ill], age[ill], female[ill])
        effect[ill] = np.minimum(SHRINKAGE * np.log(np.maximum(diseased / raw[ill], 1.0)), _LOG_MOST)
        raw[ill] = diseased
    return ClinicalRisk(hccs, raw / load_model(MODEL, PAYMENT_YEAR).year(PAYMENT_YEAR).normalisation, effect)


@cache
def _healthy() -> NDArray[np.float64]:
    """Raw score [sex, age] of a person without any CC."""
    ages = np.arange(_OLDEST + 1, dtype=np.int16)
    none = np.zeros((len(ages), 2), np.uint64)
    return np.stack([_raw(none, ages, np.full(len(ages), sex, np.int8))[1] for sex in (0, 1)])


def _raw(
    ccs: NDArray[np.uint64], age: NDArray[np.int16], female: NDArray[np.int8]
) -> tuple[NDArray[np.uint64], NDArray[np.float64]]:
    n, arrays = len(ccs), compiled(MODEL, PAYMENT_YEAR)
    hccs, raw, no = np.empty((n, 2), np.uint64), np.empty((n, 1), np.int32), np.zeros(n, np.bool_)
    segment = np.where(age >= 65, _AGED, _DISABLED).astype(np.int8)
    orec = np.zeros(n, np.int8)
    kernels.score(ccs, age, female, orec, no, no, segment, arrays.rules, arrays.variables, hccs, raw)
    return hccs, raw[:, 0] / 1000


@cache
def hcc_codes() -> tuple[str, ...]:
    """The payment HCCs in the order of their bits, such as HCC37."""
    return tuple(f"HCC{hcc}" for hcc in load_model(MODEL, PAYMENT_YEAR).hccs)


def label_of(code: str) -> str:
    """CMS's label of an HCC such as HCC37."""
    return load_model(MODEL, PAYMENT_YEAR).labels[int(code.removeprefix("HCC"))]


def held(hccs: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The HCCs [n, 2] of members as indices into `hcc_codes`, member by member, and where each member's end."""
    which, lengths = np.empty(0, np.int64), np.zeros(len(hccs), np.int64)
    ill = np.flatnonzero((hccs != 0).any(axis=1))
    if len(ill):
        bits = np.unpackbits(np.ascontiguousarray(hccs[ill], "<u8").view(np.uint8), axis=1, bitorder="little")
        which, lengths[ill] = np.nonzero(bits)[1], bits.sum(axis=1)
    return which, lengths.cumsum()
