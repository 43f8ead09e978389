"""The clinical component: the diagnoses on a member's claims as CMS-HCCs, and what they add to the predicted cost.

A member's risk score (RAF) is that of CMS-HCC V28 for a person not in Medicaid, living in the community. How much the
diseases raise it over the same person without any moves the predicted cost by a share, SHRINKAGE of its logarithm, up
to MOST: the base risk knows last year's cost and the commonest conditions already, and V28 is fitted on Medicare's
members. The share is a prior, to be replaced by one fitted on labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

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
    arrays = compiled(MODEL, PAYMENT_YEAR)
    numbers = encode_codes(pa.array([code for codes in diagnoses for code in codes], pa.string()), arrays)
    rows = np.repeat(np.arange(len(diagnoses)), [len(codes) for codes in diagnoses])
    ccs = np.zeros((len(diagnoses), 2), np.uint64)
    kernels.collect(rows, numbers, age, female, arrays.codes, arrays.edits, True, ccs)
    return ccs


def risk(ccs: NDArray[np.uint64], age: NDArray[np.int16], female: NDArray[np.int8]) -> ClinicalRisk:
    """The clinical risk of members with these CCs [n, 2], ages in years and sexes (1 female)."""
    healthy = _raw(np.zeros_like(ccs), age, female)[1]
    hccs, ill = _raw(ccs, age, female)
    effect = np.minimum(SHRINKAGE * np.log(np.maximum(ill / healthy, 1.0)), np.log(MOST))
    return ClinicalRisk(hccs, ill / load_model(MODEL, PAYMENT_YEAR).year(PAYMENT_YEAR).normalisation, effect)


def _raw(
    ccs: NDArray[np.uint64], age: NDArray[np.int16], female: NDArray[np.int8]
) -> tuple[NDArray[np.uint64], NDArray[np.float64]]:
    n, arrays = len(ccs), compiled(MODEL, PAYMENT_YEAR)
    hccs, raw, no = np.empty((n, 2), np.uint64), np.empty((n, 1), np.int32), np.zeros(n, np.bool_)
    segment = np.where(age >= 65, _AGED, _DISABLED).astype(np.int8)
    orec = np.zeros(n, np.int8)
    kernels.score(ccs, age, female, orec, no, no, segment, arrays.rules, arrays.variables, hccs, raw)
    return hccs, raw[:, 0] / 1000


def labels(hccs: NDArray[np.uint64]) -> list[str]:
    """CMS's labels of one member's HCCs [2], each with its number."""
    model = load_model(MODEL, PAYMENT_YEAR)
    held = [hcc for bit, hcc in enumerate(model.hccs) if int(hccs[bit // 64]) >> (bit % 64) & 1]
    return [f"HCC{hcc} {model.labels[hcc]}" for hcc in held]
