"""Kernels of HHS-HCC: diagnoses to CCs, CCs to HCCs, groups and variables, variables to scores. Integers throughout."""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from engine.domain.age import civil, years_completed
from engine.domain.raw_bytes import trailing_zeros
from engine.scoring.hcc.hhs.compiled import MAX_AGE, MOST_COUNTED, WORDS, CodeRows, Rules
from engine.scoring.hcc.kernels import popcount

FITS, NO_DATE, OUTSIDE, BEFORE_BIRTH, TOO_OLD, TOO_YOUNG = range(6)
"""What is wrong with a diagnosis's day of service, if anything."""
NO_DAY = np.iinfo(np.int64).min
MAX_VARIABLES = 224
"""More variables than a person can have at once."""
INFANT = 2
AGE1 = 4
"""The maturity of who is 1 year old, or a newborn without a newborn's HCC."""
_FIRST_MONTH_OF_FISCAL_YEAR = 10
Words = NDArray[np.uint64]
Integers = NDArray[np.int64]


@njit(cache=True, nogil=True)
def fit(
    rows: Integers,
    days: Integers,
    born: Integers,
    age_last: NDArray[np.int16],
    year: int,
    out: NDArray[np.int8],
) -> None:
    """For each diagnosis, by the row of its person and its day of service, FITS or what is wrong with the day.

    A person's age at a diagnosis in the year is the age on the last day of enrolment, or a year less.
    """
    for i in range(len(rows)):
        if rows[i] < 0:
            out[i] = FITS
        elif days[i] == NO_DAY:
            out[i] = NO_DATE
        elif civil(days[i])[0] != year:
            out[i] = OUTSIDE
        elif days[i] < born[rows[i]]:
            out[i] = BEFORE_BIRTH
        else:
            age = years_completed(born[rows[i]], days[i])
            last = age_last[rows[i]]
            out[i] = TOO_OLD if age > last else TOO_YOUNG if age < last - 1 else FITS


@njit(cache=True, nogil=True)
def collect(
    rows: Integers,
    numbers: NDArray[np.int32],
    days: Integers,
    fits: NDArray[np.int8],
    born: Integers,
    age_last: NDArray[np.int16],
    female: NDArray[np.int8],
    first_fiscal_year: int,
    codes: CodeRows,
    ccs: Words,
) -> None:
    """Adds to `ccs` [persons, 3] the CCs of the diagnoses that fit: person's row, code number and day each."""
    for i in range(len(rows)):
        row, number = rows[i], numbers[i]
        if row < 0 or number < 0 or fits[i] != FITS:
            continue
        year, month, _ = civil(days[i])
        fiscal = year + (month >= _FIRST_MONTH_OF_FISCAL_YEAR) - first_fiscal_year
        column = min(max(fiscal, 0), codes.valid.shape[1] - 1)  # past the last, the last
        period = 0 if month < 4 else 1 if month < _FIRST_MONTH_OF_FISCAL_YEAR else 2
        age = years_completed(born[row], days[i])
        for k in range(codes.first[number], codes.first[number + 1]):
            mce_sex, sex = codes.mce_sex[k, period], codes.sex[k]
            if (
                codes.valid[k, column]
                and (mce_sex < 0 or mce_sex == female[row])
                and codes.mce_low[k, period] <= age <= codes.mce_high[k, period]
                and (sex < 0 or sex == female[row])
                and codes.low[k] <= age_last[row] <= codes.high[k]
            ):
                for w in range(WORDS):
                    ccs[row, w] |= codes.words[k, w]


@njit(cache=True, nogil=True, inline="always")
def _any(hccs: Words, of: Words) -> bool:
    return bool((hccs[0] & of[0]) | (hccs[1] & of[1]) | (hccs[2] & of[2]))


@njit(cache=True, nogil=True, inline="always")
def _count(hccs: Words) -> int:
    return int(np.int64(popcount(hccs[0])) + np.int64(popcount(hccs[1])) + np.int64(popcount(hccs[2])))


@njit(cache=True, nogil=True)
def payment_hccs(ccs: Words, model: int, rules: Rules, out: Words) -> None:
    """The HCCs [3] that count: by the hierarchies from the CCs, less those that the model leaves out."""
    for w in range(WORDS):
        out[w] = ccs[w]
    for w in range(WORDS):
        rest = ccs[w]
        while rest != 0:
            bit = trailing_zeros(rest) + np.uint64(64 * w)
            rest &= rest - np.uint64(1)
            for v in range(WORDS):
                out[v] &= ~rules.drops[bit, v]
    for w in range(WORDS):
        out[w] &= ~rules.excluded[model, w]


@njit(cache=True, nogil=True)
def standing_rxcs(rxcs: int, rules: Rules) -> int:
    """The drug classes, as bits, less those that another drops."""
    standing = rxcs
    for rxc in range(len(rules.rxc_drops)):
        if rxcs >> rxc & 1:
            standing &= ~rules.rxc_drops[rxc]
    return standing


@njit(cache=True, nogil=True)
def _infant(hccs: Words, age: int, female: int, rules: Rules, out: Integers) -> int:
    """An infant's variables: one maturity with one severity, and what a boy adds, by age or by that maturity."""
    maturity = AGE1
    if age == 0:
        for m in range(AGE1 - 1, -1, -1):
            if _any(hccs, rules.maturity[m]):
                maturity = m
    severity = len(rules.severity) - 1  # who has no HCC of any severity is of the lowest
    for s in range(len(rules.severity) - 1, -1, -1):
        if _any(hccs, rules.severity[s]):
            severity = s
    out[0] = rules.infant[maturity, severity]
    if female:
        return 1
    out[1] = rules.male[1 if maturity == AGE1 else 0]
    return 2


@njit(cache=True, nogil=True)
def variables_of(
    hccs: Words, rxcs: int, model: int, age: int, female: int, duration: int, rules: Rules, out: Integers
) -> int:
    """Writes a person's variables to `out`, which has room for MAX_VARIABLES, and returns how many.

    Of the payment HCCs [3] before groups, the standing drug classes, and the number of enrolled months.
    """
    if model == INFANT:
        return int(_infant(hccs, age, female, rules, out))
    left, held, n = hccs.copy(), np.uint64(0), 1
    out[0] = rules.age_sex[model, female, min(age, MAX_AGE)]
    for g in range(rules.group.shape[1]):
        if rules.group[model, g] >= 0 and _any(hccs, rules.groups[model, g]):
            held |= np.uint64(1) << np.uint64(g)
            for w in range(WORDS):
                left[w] &= ~rules.groups[model, g, w]
            out[n] = rules.group[model, g]
            n += 1
    for w in range(WORDS):
        rest = left[w]
        while rest != 0:
            out[n] = rules.hcc[model, trailing_zeros(rest) + np.uint64(64 * w)]
            n += 1
            rest &= rest - np.uint64(1)
    if model == 0:
        n = _drugs(hccs, rxcs, rules, out, n)
    counted = np.empty(WORDS, np.uint64)
    for w in range(WORDS):
        counted[w] = left[w] & ~rules.uncounted[model, w]
    count = _count(counted) + np.int64(popcount(held))
    at = min(count, MOST_COUNTED)
    if _any(left, rules.severe[model]) or held & rules.severe_groups[model]:
        n = _add(rules.severe_count[model, at], out, n)
    if _any(left, rules.transplant[model]) or held & rules.transplant_groups[model]:
        n = _add(rules.transplant_count[model, at], out, n)
    if _any(hccs, rules.v3[model]) and (_any(left, rules.v3_with[model]) or held & rules.v3_with_groups[model]):
        n = _add(rules.group_h[model], out, n)
    if count > 0 or not rules.duration_needs_hcc:
        n = _add(rules.duration[model, duration], out, n)
    return n


@njit(cache=True, nogil=True, inline="always")
def _add(variable: int, out: Integers, n: int) -> int:
    if variable >= 0:
        out[n] = variable
        n += 1
    return n


@njit(cache=True, nogil=True)
def _drugs(hccs: Words, rxcs: int, rules: Rules, out: Integers, n: int) -> int:
    """An adult's drug classes, and these with HCCs as they are before groups."""
    for rxc in range(1, len(rules.rxc)):
        if rxcs >> rxc & 1:
            out[n] = rules.rxc[rxc]
            n += 1
    for k in range(len(rules.pair)):
        other = rules.pair_other[k]
        if (
            rxcs >> rules.pair_rxc[k] & 1
            and _any(hccs, rules.pair_one[k])
            and (_any(hccs, other) or not _any(other, other))
        ):
            out[n] = rules.pair[k]
            n += 1
    return n


@njit(cache=True, nogil=True)
def score(
    ccs: Words,
    rxcs: Integers,
    model: NDArray[np.int8],
    age: NDArray[np.int16],
    female: NDArray[np.int8],
    duration: NDArray[np.int8],
    metal: NDArray[np.int8],
    rules: Rules,
    hccs: Words,
    raw: NDArray[np.int32],
) -> None:
    """Payment HCCs [persons, 3] and scores in thousandths: of each person's metal, or of all where raw has a column
    each."""
    scratch, every = np.empty(MAX_VARIABLES, np.int64), raw.shape[1] > 1
    for i in range(len(ccs)):
        payment_hccs(ccs[i], model[i], rules, hccs[i])
        standing = standing_rxcs(rxcs[i], rules)
        n = variables_of(hccs[i], standing, model[i], age[i], female[i], duration[i], rules, scratch)
        for k in range(raw.shape[1]):
            total, column = np.int64(0), k if every else metal[i]
            for j in range(n):
                total += rules.coefficients[scratch[j], column]
            raw[i, k] = total


@njit(cache=True, nogil=True)
def ledger(
    hccs: Words,
    rxcs: Integers,
    model: NDArray[np.int8],
    age: NDArray[np.int16],
    female: NDArray[np.int8],
    duration: NDArray[np.int8],
    rules: Rules,
    rows: NDArray[np.int32],
    variables: NDArray[np.int32],
) -> int:
    """The variables of each person into `rows` and `variables`; where these are empty, only how many there are."""
    scratch, at = np.empty(MAX_VARIABLES, np.int64), 0
    for i in range(len(hccs)):
        standing = standing_rxcs(rxcs[i], rules)
        n = variables_of(hccs[i], standing, model[i], age[i], female[i], duration[i], rules, scratch)
        if len(rows) > 0:
            for j in range(n):
                rows[at + j], variables[at + j] = i, scratch[j]
        at += n
    return at


@njit(cache=True, nogil=True)
def list_bits(sets: Words, offsets: NDArray[np.int32], out: NDArray[Any]) -> None:
    """Numbers of each set's bits, ascending, in `out` from `offsets` [sets + 1]; where `out` is empty, only these."""
    offsets[0] = 0
    for row in range(len(sets)):
        at = offsets[row]
        if len(out) == 0:
            offsets[row + 1] = at + _count(sets[row])
            continue
        for w in range(WORDS):
            rest = sets[row, w]
            while rest != 0:
                out[at] = trailing_zeros(rest) + np.uint64(64 * w)
                at += 1
                rest &= rest - np.uint64(1)
