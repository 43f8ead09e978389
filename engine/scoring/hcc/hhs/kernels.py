"""Kernels of HHS-HCC: diagnoses to CCs, CCs to HCCs, groups and variables, variables to scores. Integers throughout."""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from engine.domain.age import civil
from engine.domain.raw_bytes import trailing_zeros
from engine.scoring.hcc.hhs.compiled import (
    DURATION,
    EXCLUDED,
    FEMALE,
    GROUP,
    GROUP_H,
    GROUP_OF,
    GROUPED,
    HCC,
    MALE,
    MAX_AGE,
    MOST_COUNTED,
    SEVERE,
    SEVERE_COUNT,
    TRANSPLANT,
    TRANSPLANT_COUNT,
    UNCOUNTED,
    V3,
    V3_WITH,
    WORDS,
    CodeRows,
    Pairs,
    Rules,
)
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


class Births(NamedTuple):
    """Days of birth: from 1970-01-01, and as year and month x 32 + day of the month."""

    day: Integers
    year: NDArray[np.int16]
    month_day: NDArray[np.int16]


class Calendar(NamedTuple):
    """A benefit year: its number, its first day from 1970-01-01, and of each day the month x 32 + day of the month."""

    year: int
    first: int
    month_day: NDArray[np.int16]


def calendar_of(year: int) -> Calendar:
    """The calendar of a benefit year."""
    days = np.arange(f"{year}-01-01", f"{year + 1}-01-01", dtype="M8[D]")
    month_day = [day.month * 32 + day.day for day in days.tolist()]
    return Calendar(year, int(days[0].astype(np.int64)), np.array(month_day, np.int16))


@njit(cache=True, nogil=True)
def birthdays(born: Integers, years: NDArray[np.int16], month_days: NDArray[np.int16]) -> None:
    """The year, and month x 32 + day of the month, of each day of birth."""
    for i in range(len(born)):
        year, month, day = civil(born[i])
        years[i], month_days[i] = year, month * 32 + day


@njit(cache=True, nogil=True)
def fit(
    rows: Integers, days: Integers, born: Births, age_last: NDArray[np.int16], calendar: Calendar, out: NDArray[np.int8]
) -> None:
    """For each diagnosis, by the row of its person and its day of service, FITS or what is wrong with the day.

    A person's age at a diagnosis in the year is the age on the last day of enrolment, or a year less.
    """
    for i in range(len(rows)):
        row = rows[i]
        if row < 0:
            out[i] = FITS
        elif days[i] == NO_DAY:
            out[i] = NO_DATE
        elif not 0 <= days[i] - calendar.first < len(calendar.month_day):
            out[i] = OUTSIDE
        elif days[i] < born.day[row]:
            out[i] = BEFORE_BIRTH
        else:
            age = _age(row, calendar.month_day[days[i] - calendar.first], born, calendar)
            out[i] = TOO_OLD if age > age_last[row] else TOO_YOUNG if age < age_last[row] - 1 else FITS


@njit(cache=True, nogil=True, inline="always")
def _age(row: int, month_day: int, born: Births, calendar: Calendar) -> int:
    """The person's age on a day of the year."""
    return int(calendar.year - born.year[row] - (month_day < born.month_day[row]))


@njit(cache=True, nogil=True)
def collect(
    rows: Integers,
    numbers: NDArray[np.int32],
    days: Integers,
    fits: NDArray[np.int8],
    born: Births,
    age_last: NDArray[np.int16],
    female: NDArray[np.int8],
    calendar: Calendar,
    first_fiscal_year: int,
    codes: CodeRows,
    ccs: Words,
) -> None:
    """Adds to `ccs` [persons, 3] the CCs of the diagnoses that fit: person's row, code number and day each."""
    for i in range(len(rows)):
        row, number = rows[i], numbers[i]
        if row < 0 or number < 0 or fits[i] != FITS:
            continue
        month_day = calendar.month_day[days[i] - calendar.first]
        month = month_day >> 5
        fiscal = calendar.year + (month >= _FIRST_MONTH_OF_FISCAL_YEAR) - first_fiscal_year
        column = min(max(fiscal, 0), codes.valid.shape[1] - 1)  # past the last, the last
        period = 0 if month < 4 else 1 if month < _FIRST_MONTH_OF_FISCAL_YEAR else 2
        age = _age(row, month_day, born, calendar)
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
def _any(low: np.uint64, middle: np.uint64, high: np.uint64, of: Words) -> bool:
    """Whether the HCCs, three words, have one of those [3]."""
    return bool((low & of[0]) | (middle & of[1]) | (high & of[2]))


@njit(cache=True, nogil=True, inline="always")
def _bits(word: np.uint64) -> int:
    return int(np.int64(popcount(word)))


@njit(cache=True, nogil=True)
def _payment_hccs(ccs: Words, excluded: Words, drops: Words, out: Words) -> None:
    """The HCCs [3] that count: by the hierarchies from the CCs, less those that the model leaves out."""
    low, middle, high = ccs[0], ccs[1], ccs[2]
    for w in range(WORDS):
        rest = ccs[w]
        while rest != 0:
            bit = trailing_zeros(rest) + np.uint64(64 * w)
            rest &= rest - np.uint64(1)
            low &= ~drops[bit, 0]
            middle &= ~drops[bit, 1]
            high &= ~drops[bit, 2]
    out[0], out[1], out[2] = low & ~excluded[0], middle & ~excluded[1], high & ~excluded[2]


@njit(cache=True, nogil=True)
def stand(rxcs: Integers, drops: Integers, out: Integers) -> None:
    """The drug classes of each person, as bits, less those that another drops."""
    for i in range(len(rxcs)):
        out[i] = rxcs[i]
        for rxc in range(len(drops)):
            if rxcs[i] >> rxc & 1:
                out[i] &= ~drops[rxc]


@njit(cache=True, nogil=True)
def _infant(hccs: Words, age: int, female: int, rules: Rules, out: Integers) -> int:
    """An infant's variables: one maturity with one severity, and what a boy adds, by age or by that maturity."""
    low, middle, high = hccs[0], hccs[1], hccs[2]
    maturity = AGE1
    if age == 0:
        for m in range(AGE1 - 1, -1, -1):
            if _any(low, middle, high, rules.maturity[m]):
                maturity = m
    severity = len(rules.severity) - 1  # who has no HCC of any severity is of the lowest
    for s in range(len(rules.severity) - 1, -1, -1):
        if _any(low, middle, high, rules.severity[s]):
            severity = s
    out[0] = rules.infant[maturity, severity]
    out[1] = rules.male[1 if maturity == AGE1 else 0]
    return 1 if female else 2


@njit(cache=True, nogil=True)
def _drugs(hccs: Words, rxcs: int, of_class: Integers, pairs: Pairs, out: Integers, n: int) -> int:
    """An adult's drug classes, and these with HCCs as they are before groups."""
    low, middle, high = hccs[0], hccs[1], hccs[2]
    for rxc in range(1, len(of_class)):
        if rxcs >> rxc & 1:
            out[n] = of_class[rxc]
            n += 1
    for k in range(len(pairs.variable)):
        other = _any(low, middle, high, pairs.others[k]) or not pairs.both[k]
        if rxcs >> pairs.rxc[k] & 1 and other and _any(low, middle, high, pairs.one[k]):
            out[n] = pairs.variable[k]
            n += 1
    return n


@njit(cache=True, nogil=True, inline="always")
def _add(variable: int, out: Integers, n: int) -> int:
    if variable >= 0:
        out[n] = variable
        n += 1
    return n


@njit(cache=True, nogil=True)
def _ill(hccs: Words, sets: Words, group_sets: Words, rows: Integers, out: Integers, n: int) -> tuple[int, int]:
    """Writes what an adult's or child's HCCs make, by the model's sets and rows; returns how many variables there are,
    and the count of HCCs and groups."""
    held = np.uint64(0)
    for w in range(WORDS):
        rest = hccs[w]
        while rest != 0:
            bit = trailing_zeros(rest) + np.uint64(64 * w)
            rest &= rest - np.uint64(1)
            if rows[GROUP_OF, bit] >= 0:
                held |= np.uint64(1) << np.uint64(rows[GROUP_OF, bit])
            else:
                out[n] = rows[HCC, bit]
                n += 1
    groups = held
    while groups != 0:
        out[n] = rows[GROUP, trailing_zeros(groups)]
        n += 1
        groups &= groups - np.uint64(1)
    low, middle, high = hccs[0] & ~sets[GROUPED, 0], hccs[1] & ~sets[GROUPED, 1], hccs[2] & ~sets[GROUPED, 2]
    count = _bits(held) + _bits(low & ~sets[UNCOUNTED, 0])
    count += _bits(middle & ~sets[UNCOUNTED, 1]) + _bits(high & ~sets[UNCOUNTED, 2])
    at = min(count, MOST_COUNTED)
    if _any(low, middle, high, sets[SEVERE]) or held & group_sets[SEVERE] != 0:
        n = _add(rows[SEVERE_COUNT, at], out, n)
    if _any(low, middle, high, sets[TRANSPLANT]) or held & group_sets[TRANSPLANT] != 0:
        n = _add(rows[TRANSPLANT_COUNT, at], out, n)
    together = _any(low, middle, high, sets[V3_WITH]) or held & group_sets[V3_WITH] != 0
    if together and _any(hccs[0], hccs[1], hccs[2], sets[V3]):
        n = _add(rows[GROUP_H, 0], out, n)
    return n, count


@njit(cache=True, nogil=True)
def variables_of(
    ccs: Words,
    rxcs: Integers,
    model: NDArray[np.int8],
    age: NDArray[np.int16],
    female: NDArray[np.int8],
    duration: NDArray[np.int8],
    rules: Rules,
    hccs: Words,
    ends: Integers,
    variables: NDArray[np.int32],
) -> None:
    """Payment HCCs [persons, 3], before groups, and the variables of each person up to `ends` [persons].

    From the CCs and the drug classes that stand. `variables` has room for MAX_VARIABLES a person.
    """
    out, end = np.empty(MAX_VARIABLES, np.int64), 0
    drops, sets, group_sets, rows = rules.drops, rules.sets, rules.group_sets, rules.rows
    for i in range(len(ccs)):
        m, own = model[i], hccs[i]
        _payment_hccs(ccs[i], sets[m, EXCLUDED], drops, own)
        if m == INFANT:
            n = _infant(own, age[i], female[i], rules, out)
        else:
            out[0] = rows[m, FEMALE if female[i] else MALE, min(age[i], MAX_AGE)]
            n, count = 1, 0
            if own[0] | own[1] | own[2] != 0:
                n, count = _ill(own, sets[m], group_sets[m], rows[m], out, n)
            if rxcs[i] != 0:
                n = _drugs(own, rxcs[i], rules.rxc, rules.pairs, out, n)
            if count > 0 or not rules.duration_needs_hcc:
                n = _add(rows[m, DURATION, duration[i]], out, n)
        for k in range(n):
            variables[end + k] = out[k]
        end += n
        ends[i] = end


@njit(cache=True, nogil=True)
def total(
    ends: Integers,
    variables: NDArray[np.int32],
    metal: NDArray[np.int8],
    coefficients: Integers,
    raw: NDArray[np.int32],
) -> None:
    """Scores in thousandths: of each person's metal, or of all where `raw` has a column each."""
    every, first = raw.shape[1] > 1, 0
    for i in range(len(ends)):
        for k in range(raw.shape[1]):
            amount, column = np.int64(0), np.int64(k) if every else np.int64(metal[i])
            for j in range(first, ends[i]):
                amount += coefficients[variables[j], column]
            raw[i, k] = amount
        first = ends[i]


@njit(cache=True, nogil=True)
def list_bits(sets: Words, offsets: NDArray[np.int32], out: NDArray[Any]) -> None:
    """Numbers of each set's bits, ascending, in `out` from `offsets` [sets + 1]; where `out` is empty, only these."""
    offsets[0] = 0
    for row in range(len(sets)):
        at = offsets[row]
        if len(out) == 0:
            for w in range(WORDS):
                at += _bits(sets[row, w])
            offsets[row + 1] = at
            continue
        for w in range(WORDS):
            rest = sets[row, w]
            while rest != 0:
                out[at] = trailing_zeros(rest) + np.uint64(64 * w)
                at += 1
                rest &= rest - np.uint64(1)
