"""The models of a benefit year as arrays: what the kernels read. The first axis is that of `model.MODELS`."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.scoring.hcc.compiled import CodeIndex, index_of
from engine.scoring.hcc.hhs.model import (
    AGE1,
    LAST_DURATION,
    MATURITIES,
    METALS,
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
MOST_GROUPS = 32
MOST_COUNTED = 12
"""Counts above are this one."""
MAX_AGE = 120
_PERIODS = 3
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

    By model: `excluded` HCCs; `age_sex` [sex, age]; `hcc` [HCCs]; `groups` [groups, 3] and `group` [groups];
    `uncounted`; the sets `severe` and `transplant` of HCCs and, as bits of a uint64, of groups, with their variables by
    count; `v3`, `v3_with` (HCCs, groups) and `group_h` of 2021 and 2022; `duration` [months], which where
    `duration_needs_hcc` is for those with an HCC. `drops` [HCCs, 3] are the hierarchies, `rxc_drops` [classes] those of
    the drug classes as bits; a pair holds where class `pair_rxc` is there with one of `pair_one` and of `pair_other`
    (where it is not empty). Infants: `severity` [from 5 to 1, 3], `maturity` [4, 3], `infant` [maturity or AGE1,
    severity from 5 to 1], `male` [age].
    """

    drops: Words
    excluded: Words
    age_sex: NDArray[np.int64]
    hcc: NDArray[np.int64]
    groups: Words
    group: NDArray[np.int64]
    uncounted: Words
    severe: Words
    severe_groups: Words
    severe_count: NDArray[np.int64]
    transplant: Words
    transplant_groups: Words
    transplant_count: NDArray[np.int64]
    v3: Words
    v3_with: Words
    v3_with_groups: Words
    group_h: NDArray[np.int64]
    duration: NDArray[np.int64]
    duration_needs_hcc: bool
    rxc: NDArray[np.int64]
    rxc_drops: NDArray[np.int64]
    pair_rxc: NDArray[np.int64]
    pair_one: Words
    pair_other: Words
    pair: NDArray[np.int64]
    severity: Words
    maturity: Words
    infant: NDArray[np.int64]
    male: NDArray[np.int64]
    coefficients: NDArray[np.int64]


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

    def named(self, name: str) -> Words:
        """The HCCs of a set, by model."""
        return _words([self.words(self._model.sets[kind].get(name, ())) for kind in MODELS])

    def groups(self, name: str) -> Words:
        """The groups of a set, by model."""
        found = []
        for kind in MODELS:
            place = {group: i for i, group in enumerate(self._model.groups[kind])}
            members = self._model.sets[kind].get(name, ())
            found.append(sum(1 << place[member] for member in members if member in place))
        return np.array(found, np.uint64)


def _words(rows: Sequence[Sequence[int]]) -> Words:
    return np.array(rows, np.uint64).reshape(len(rows), WORDS)


def _by_number(numbers: Mapping[int, int], length: int) -> list[int]:
    return [numbers.get(n, -1) for n in range(length)]


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


def _rules(model: HhsModel, sets: _Sets) -> Rules:
    row = {pair: i for i, pair in enumerate(model.variables)}
    ages = range(MAX_AGE + 1)

    def age_sex(kind: str, sex: str) -> list[int]:
        own = [kind != "infant" and MODELS[model_of(age)] == kind for age in ages]
        return [row[kind, f"{sex}AGE_LAST_{band_of(kind, age)}"] if own[age] else -1 for age in ages]

    def by_count(kind: str, name: str) -> list[int]:
        numbers = counts(model, kind).get(name, {})
        return _by_number({n: row[kind, variable] for n, variable in numbers.items()}, MOST_COUNTED + 1)

    groups, group = np.zeros((len(MODELS), MOST_GROUPS, WORDS), np.uint64), np.full((len(MODELS), MOST_GROUPS), -1)
    for m, kind in enumerate(MODELS):
        for g, (name, hccs) in enumerate(model.groups[kind].items()):
            groups[m, g], group[m, g] = sets.words(hccs), row[kind, name]
    months = {n: row["adult", name] for n, name in durations(model).items()}
    none = _by_number({}, LAST_DURATION + 1)
    severities = [f"SEVERITY{SEVERITIES - i}" for i in range(SEVERITIES)]
    drops = [0] * (RXCS + 1)
    for rxc, dropped in model.rxc_drops:
        drops[rxc] |= 1 << dropped
    return Rules(
        _words([sets.words(model.hierarchy.get(hcc, ())) for hcc in model.hccs]),
        _words([sets.words(model.excluded[kind]) for kind in MODELS]),
        np.array([[age_sex(kind, sex) for sex in "MF"] for kind in MODELS], np.int64),
        np.array([[row.get((kind, variable_of(hcc)), -1) for hcc in model.hccs] for kind in MODELS], np.int64),
        groups,
        group.astype(np.int64),
        _words([sets.words(model.uncounted.get(kind, ())) for kind in MODELS]),
        sets.named("SEVERE"),
        sets.groups("SEVERE"),
        np.array([by_count(kind, "SEVERE") for kind in MODELS], np.int64),
        sets.named("TRANSPLANT"),
        sets.groups("TRANSPLANT"),
        np.array([by_count(kind, "TRANSPLANT") for kind in MODELS], np.int64),
        sets.named("SEVERE_V3"),
        sets.named("SEVERE_V3_WITH"),
        sets.groups("SEVERE_V3_WITH"),
        np.array([row.get((kind, "INT_GROUP_H"), -1) for kind in MODELS], np.int64),
        np.array([_by_number(months, LAST_DURATION + 1), none, none], np.int64),
        model.duration_needs_hcc,
        np.array([-1, *(row["adult", f"RXC_{n:02d}"] for n in range(1, RXCS + 1))], np.int64),
        np.array(drops, np.int64),
        np.array([each.rxc for each in model.interactions], np.int64),
        _words([sets.words(each.one_of) for each in model.interactions]),
        _words([sets.words(each.and_one_of) for each in model.interactions]),
        np.array([row["adult", each.variable] for each in model.interactions], np.int64),
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
