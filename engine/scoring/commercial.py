"""The clinical component of individual and small-group members: the diagnoses and drugs on their claims as HHS-HCC.

There the risk score that moves money is HHS's, and so it takes the place of CMS-HCC: a member's diagnoses and drugs of
this year and the last, by the models of the latest benefit year that has tables, at the metal of their plan, as of who
is enrolled for twelve months. How much they raise the score over the same person without any moves the predicted cost
as `clinical` says, by the same prior: `SHRINKAGE` of its logarithm, up to `MOST`.
"""

from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from engine.domain.events import METALS
from engine.scoring.clinical import LOG_MOST, OLDEST, SHRINKAGE
from engine.scoring.hcc.hhs import kernels
from engine.scoring.hcc.hhs.compiled import WORDS, Rules, compiled_hhs
from engine.scoring.hcc.hhs.edge import INPATIENT, OUTPATIENT, STILL_A_PATIENT
from engine.scoring.hcc.hhs.model import ADULT, BENEFIT_YEARS, LAST_DURATION, load_hhs, model_of, variable_of
from engine.scoring.hcc.score import encode_codes

LINES = ("individual", "small_group")
"""Lines of business whose clinical component this is."""
BENEFIT_YEAR = BENEFIT_YEARS[-1]
SILVER = METALS.index("silver")
"""The level of who has none."""
_MID_YEAR = f"{BENEFIT_YEAR}-07-01"


@cache
def version() -> str:
    """What a score was made with, such as hhs-v08.2025."""
    return f"hhs-{load_hhs(BENEFIT_YEAR).version.lower()}.{BENEFIT_YEAR}"


class Tables(NamedTuple):
    """What `risk` looks up: scores in thousandths [metal, sex, age] without any illness, the model by age, rules."""

    healthy: NDArray[np.int64]
    model: NDArray[np.int8]
    rules: Rules


class Room(NamedTuple):
    """One person as the kernels want them, and room for what they find."""

    ccs: NDArray[np.uint64]
    rxcs: NDArray[np.int64]
    standing: NDArray[np.int64]
    model: NDArray[np.int8]
    age: NDArray[np.int16]
    female: NDArray[np.int8]
    duration: NDArray[np.int8]
    metal: NDArray[np.int8]
    hccs: NDArray[np.uint64]
    ends: NDArray[np.int64]
    variables: NDArray[np.int32]
    raw: NDArray[np.int32]


@njit(cache=True, nogil=True)
def room_for_one() -> Room:
    """Room for one person."""
    return Room(
        np.zeros((1, WORDS), np.uint64),
        np.zeros(1, np.int64),
        np.zeros(1, np.int64),
        np.zeros(1, np.int8),
        np.zeros(1, np.int16),
        np.zeros(1, np.int8),
        np.full(1, LAST_DURATION, np.int8),
        np.zeros(1, np.int8),
        np.zeros((1, WORDS), np.uint64),
        np.zeros(1, np.int64),
        np.zeros(kernels.MAX_VARIABLES, np.int32),
        np.zeros((1, 1), np.int32),
    )


@njit(cache=True, nogil=True)
def risk(
    ccs: NDArray[np.uint64], rxcs: int, age: int, female: int, metal: int, tables: Tables, room: Room
) -> tuple[float, float]:
    """The risk score of a person with these CCs [3] and drug classes (bits), and the log relative cost that it means.

    The payment HCCs are then in `room.hccs`. NaN is the log cost of who has neither an HCC nor a drug class.
    """
    own = min(max(age, 0), OLDEST)
    model = tables.model[own]
    room.ccs[0], room.age[0], room.female[0], room.metal[0], room.model[0] = ccs, own, female, metal, model
    room.rxcs[0] = rxcs if model == ADULT else 0
    kernels.stand(room.rxcs, tables.rules.rxc_drops, room.standing)
    kernels.variables_of(
        room.ccs,
        room.standing,
        room.model,
        room.age,
        room.female,
        room.duration,
        tables.rules,
        room.hccs,
        room.ends,
        room.variables,
    )
    kernels.total(room.ends, room.variables, room.metal, tables.rules.coefficients, room.raw)
    raw, healthy = float(room.raw[0, 0]), float(tables.healthy[metal, female, own])
    found = room.hccs[0]
    if found[0] | found[1] | found[2] == 0 and room.standing[0] == 0:
        return raw / 1000.0, np.nan
    return raw / 1000.0, min(SHRINKAGE * np.log(max(raw / healthy, 1.0)), LOG_MOST)


@cache
def tables() -> Tables:
    """The tables of the benefit year that the score uses."""
    ages = np.arange(OLDEST + 1, dtype=np.int16)
    n, rules = len(ages), compiled_hhs(BENEFIT_YEAR).rules
    model = np.array([model_of(int(age)) for age in ages], np.int8)
    none, duration = np.zeros(n, np.int64), np.full(n, LAST_DURATION, np.int8)
    hccs, ends = np.empty((n, WORDS), np.uint64), np.empty(n, np.int64)
    variables, raw = np.empty(n * kernels.MAX_VARIABLES, np.int32), np.empty((n, len(METALS)), np.int32)
    healthy = np.empty((len(METALS), 2, n), np.int64)
    for sex in (0, 1):
        female = np.full(n, sex, np.int8)
        ccs = np.zeros((n, WORDS), np.uint64)
        kernels.variables_of(ccs, none, model, ages, female, duration, rules, hccs, ends, variables)
        kernels.total(ends, variables, np.zeros(n, np.int8), rules.coefficients, raw)
        healthy[:, sex] = raw.T
    return Tables(healthy, model, rules)


def add_categories(
    rows: NDArray[np.int64],
    icd10: pa.Array,
    age: NDArray[np.int64],
    born_late: NDArray[np.bool_],
    female: NDArray[np.int8],
    ccs: NDArray[np.uint64],
) -> None:
    """Adds to `ccs` [n, 3] the CCs of diagnoses, each of one of n rows of a person and year.

    `age` [n] is that at the end of the year, a year more than at its middle, which stands for the day of service, of
    who is `born_late` [n], in the second half. Codes without a CC, or of another age or sex, add nothing.
    """
    arrays, born = compiled_hhs(BENEFIT_YEAR), BENEFIT_YEAR - age
    births = kernels.Births(
        np.zeros(len(age), np.int64), born.astype(np.int16), np.where(born_late, 12 * 32, 32).astype(np.int16)
    )
    days = np.full(len(rows), int(np.datetime64(_MID_YEAR).astype(np.int64)))
    kernels.collect(
        rows,
        encode_codes(icd10, arrays.lookup),
        days,
        np.full(len(rows), kernels.FITS, np.int8),
        births,
        age.astype(np.int16),
        female,
        kernels.calendar_of(BENEFIT_YEAR),
        arrays.first_fiscal_year,
        arrays.codes,
        ccs,
    )


def categories_of(
    diagnoses: Sequence[Sequence[str]], age: NDArray[np.int64], female: NDArray[np.int8]
) -> NDArray[np.uint64]:
    """The CCs [n, 3] of n persons' lists of ICD-10-CM codes, at these ages."""
    ccs = np.zeros((len(diagnoses), WORDS), np.uint64)
    if any(diagnoses):
        rows = np.repeat(np.arange(len(diagnoses)), [len(codes) for codes in diagnoses])
        codes = pa.array([code for codes in diagnoses for code in codes], pa.string())
        add_categories(rows, codes, age, np.zeros(len(age), np.bool_), female, ccs)
    return ccs


@lru_cache(maxsize=131_072)
def drug_class(kind: str, code: str) -> int:
    """The drug class of a code of a kind, ndc or hcpcs; 0 for none."""
    return load_hhs(BENEFIT_YEAR).drugs.get((kind, code), 0)


def drug_classes(ndcs: Iterable[str]) -> int:
    """The drug classes of NDCs, as bits."""
    bits = 0
    for code in ndcs:
        found = drug_class("ndc", code)
        bits |= 1 << found if found else 0
    return bits


def admits(claim_type: str, bill_type: str | None, procedure: str | None, discharge_status: str | None) -> bool:
    """Whether the diagnoses of a claim line count: by the EDGE server's rules, a line standing for its claim.

    An inpatient bill counts unless the patient is still there; another one needs a service code that counts.
    """
    if claim_type not in ("professional", "institutional"):
        return False
    if claim_type == "institutional" and bill_type in INPATIENT:
        return discharge_status != STILL_A_PATIENT
    if claim_type == "institutional" and bill_type not in OUTPATIENT:
        return False
    return procedure in load_hhs(BENEFIT_YEAR).services


@cache
def hcc_codes() -> tuple[str, ...]:
    """The HCCs in the order of their bits, such as HHS_HCC019."""
    return tuple(map(variable_of, load_hhs(BENEFIT_YEAR).hccs))


def label_of(code: str) -> str:
    """HHS's label of an HCC such as HHS_HCC019."""
    return load_hhs(BENEFIT_YEAR).label_of(code)
