"""The models of a benefit year as arrays: what the kernels read. The first axis is that of `model.MODELS`."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.domain.events import METALS
from engine.scoring.hcc.compiled import CodeIndex, index_of
from engine.scoring.hcc.hhs.model import (
    AGE1,
    MATURITIES,
    MODELS,
    RXCS,
    SEVERITIES,
    HhsModel,
    band_of,
    counts,
    durations,
    load_hhs,
    model_of,
    variable_of,
)

WORDS = 3
MOST_COUNTED = 12
"""Counts above are this one."""
MAX_AGE = 120
_PERIODS = 3
EXCLUDED, GROUPED, UNCOUNTED, SEVERE, TRANSPLANT, V3, V3_WITH = range(7)
"""Sets of HCCs by model: those the model leaves out, those in a group, those not counted, and what makes a person
severe, a transplant, and in 2021 and 2022 severe together with another."""
_SETS = V3_WITH + 1
MALE, FEMALE, HCC, GROUP_OF, GROUP, SEVERE_COUNT, TRANSPLANT_COUNT, DURATION, GROUP_H = range(9)
"""Rows by model: of a man's and a woman's age, of an HCC, of a group, of a count of HCCs, of months; one alone."""
_ROWS = GROUP_H + 1
_WIDTH = 144
Words = NDArray[np.uint64]


class CodeRows(NamedTuple):
    """Rows of the codes: those of code i from `first[i]` up to `first[i + 1]`.

    `valid` [rows, 2] by fiscal year; the Medicare Code Editor's `mce_sex` (1 female, 0 male, -1 any), `mce_low` and
    `mce_high` [rows, 3] by period of the year, ages at diagnosis; `low`, `high` and `sex` split by age on the last day
    of enrolment and sex; `words` [rows, 3] the CCs.
    """

    first: NDArray[np.int32]
    valid: NDArray[np.bool_]
    mce_sex: NDArray[np.int8]
    mce_low: NDArray[np.int16]
    mce_high: NDArray[np.int16]
    low: NDArray[np.int16]
    high: NDArray[np.int16]
    sex: NDArray[np.int8]
    words: Words


class Rules(NamedTuple):
    """What turns sets of CCs into variables, which are rows of `coefficients` [variables, METALS]; -1 is none.

    `drops` [HCCs, 3] are the hierarchies. By model: `sets` [SETS, 3] of HCCs and `group_sets` [SETS] of groups as bits;
    `rows` [ROWS, ...] from what a person has to a variable, or for GROUP_OF from an HCC to its group. Where
    `duration_needs_hcc` the months count for those with an HCC. `rxc` [classes] are the variables of the drug classes,
    `rxc_drops` [classes] as bits which classes each drops. `infant` [maturity or AGE1, severity from 5 to 1], by the
    sets `maturity` [4, 3] and `severity` [from 5 to 1, 3], and `male` [age].
    """

    drops: Words
    sets: Words
    group_sets: Words
    rows: NDArray[np.int64]
    duration_needs_hcc: bool
    rxc: NDArray[np.int64]
    rxc_drops: NDArray[np.int64]
    pairs: "Pairs"
    severity: Words
    maturity: Words
    infant: NDArray[np.int64]
    male: NDArray[np.int64]
    coefficients: NDArray[np.int64]


class Pairs(NamedTuple):
    """Drug classes with HCCs: the class, one of these and where `both` one of the `others`, and the variable."""

    rxc: NDArray[np.int64]
    one: Words
    others: Words
    both: NDArray[np.bool_]
    variable: NDArray[np.int64]


class CompiledHhs(NamedTuple):
    """All of a benefit year that the kernels need."""

    benefit_year: int
    first_fiscal_year: int
    lookup: CodeIndex
    codes: CodeRows
    rules: Rules


class _Sets:
    """Sets of HCCs as words, and of groups as bits, of one year's models."""

    def __init__(self, model: HhsModel) -> None:
        self._model = model
        self._bit = {hcc: bit for bit, hcc in enumerate(model.hccs)}

    def words(self, hccs: Iterable[str]) -> list[int]:
        out = [0] * WORDS
        for hcc in hccs:
            if hcc in self._bit:
                out[self._bit[hcc] // 64] |= 1 << (self._bit[hcc] % 64)
        return out

    def groups(self, kind: str, name: str) -> int:
        """The groups of a set of one of MODELS, as bits."""
        place = {group: i for i, group in enumerate(self._model.groups[kind])}
        return sum(1 << place[member] for member in self._model.sets[kind].get(name, ()) if member in place)


def _words(rows: Sequence[Sequence[int]]) -> Words:
    return np.array(rows, np.uint64).reshape(len(rows), WORDS)


def _code_rows(model: HhsModel, sets: _Sets) -> CodeRows:
    rows = [row for each in model.codes.values() for row in each]
    first = np.cumsum([0, *(len(each) for each in model.codes.values())]).astype(np.int32)
    of_periods = [(row.mce_sex * _PERIODS, row.mce_age * _PERIODS) for row in rows]
    return CodeRows(
        first,
        np.array([row.valid for row in rows], np.bool_),
        np.array([sexes[:_PERIODS] for sexes, _ in of_periods], np.int8),
        np.array([[low for low, _ in ages[:_PERIODS]] for _, ages in of_periods], np.int16),
        np.array([[high for _, high in ages[:_PERIODS]] for _, ages in of_periods], np.int16),
        np.array([row.age_last[0] for row in rows], np.int16),
        np.array([row.age_last[1] for row in rows], np.int16),
        np.array([row.sex for row in rows], np.int8),
        _words([sets.words(row.ccs) for row in rows]),
    )


def _sets(model: HhsModel, sets: _Sets) -> tuple[Words, Words]:
    named = {SEVERE: "SEVERE", TRANSPLANT: "TRANSPLANT", V3: "SEVERE_V3", V3_WITH: "SEVERE_V3_WITH"}
    words = np.zeros((len(MODELS), _SETS, WORDS), np.uint64)
    groups = np.zeros((len(MODELS), _SETS), np.uint64)
    for m, kind in enumerate(MODELS):
        words[m, EXCLUDED] = sets.words(model.excluded[kind])
        words[m, GROUPED] = sets.words(hcc for hccs in model.groups[kind].values() for hcc in hccs)
        words[m, UNCOUNTED] = sets.words(model.uncounted.get(kind, ()))
        for at, name in named.items():
            words[m, at], groups[m, at] = sets.words(model.sets[kind].get(name, ())), sets.groups(kind, name)
    return words, groups


def _of_model(model: HhsModel, kind: str, row: Mapping[tuple[str, str], int]) -> NDArray[np.int64]:
    """The rows [ROWS, ...] of one of MODELS."""
    out = np.full((_ROWS, _WIDTH), -1, np.int64)
    if kind != "infant":
        for age in range(MAX_AGE + 1):
            if MODELS[model_of(age)] == kind:
                for at, sex in ((MALE, "M"), (FEMALE, "F")):
                    out[at, age] = row[kind, f"{sex}AGE_LAST_{band_of(kind, age)}"]
        for bit, hcc in enumerate(model.hccs):
            out[HCC, bit] = row.get((kind, variable_of(hcc)), -1)
        for g, (name, hccs) in enumerate(model.groups[kind].items()):
            out[GROUP, g] = row[kind, name]
            out[GROUP_OF, [model.hccs.index(hcc) for hcc in hccs]] = g
        for at, name in ((SEVERE_COUNT, "SEVERE"), (TRANSPLANT_COUNT, "TRANSPLANT")):
            for n, variable in counts(model, kind).get(name, {}).items():
                out[at, n] = row[kind, variable]
    if kind == "adult":
        for n, variable in durations(model).items():
            out[DURATION, n] = row[kind, variable]
        out[GROUP_H, 0] = row.get((kind, "INT_GROUP_H"), -1)
    return out


def _rules(model: HhsModel, sets: _Sets) -> Rules:
    row = {pair: i for i, pair in enumerate(model.variables)}
    severities = [f"SEVERITY{SEVERITIES - i}" for i in range(SEVERITIES)]
    drops = [0] * (RXCS + 1)
    for rxc, dropped in model.rxc_drops:
        drops[rxc] |= 1 << dropped
    words, groups = _sets(model, sets)
    return Rules(
        _words([sets.words(model.hierarchy.get(hcc, ())) for hcc in model.hccs]),
        words,
        groups,
        np.array([_of_model(model, kind, row) for kind in MODELS]),
        model.duration_needs_hcc,
        np.array([-1, *(row["adult", f"RXC_{n:02d}"] for n in range(1, RXCS + 1))], np.int64),
        np.array(drops, np.int64),
        Pairs(
            np.array([each.rxc for each in model.interactions], np.int64),
            _words([sets.words(each.one_of) for each in model.interactions]),
            _words([sets.words(each.and_one_of) for each in model.interactions]),
            np.array([bool(each.and_one_of) for each in model.interactions], np.bool_),
            np.array([row["adult", each.variable] for each in model.interactions], np.int64),
        ),
        _words([sets.words(model.sets["infant"][name]) for name in severities]),
        _words([sets.words(model.sets["infant"][name]) for name in MATURITIES]),
        np.array([[row["infant", f"{m}_X_{name}"] for name in severities] for m in (*MATURITIES, AGE1)], np.int64),
        np.array([row["infant", "AGE0_MALE"], row["infant", "AGE1_MALE"]], np.int64),
        np.ascontiguousarray(model.coefficients.reshape(-1, len(METALS))),
    )


@cache
def compiled_hhs(year: int) -> CompiledHhs:
    """The arrays of a benefit year. Raises HccError as `load_hhs` does."""
    model = load_hhs(year)
    sets = _Sets(model)
    return CompiledHhs(
        year, model.first_fiscal_year, index_of(model.codes), _code_rows(model, sets), _rules(model, sets)
    )
