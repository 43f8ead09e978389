"""Kernels: codes to numbers, diagnoses to sets of CCs, sets to HCCs, variables and scores. Integers throughout."""

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from engine.domain.raw_bytes import trailing_zeros
from engine.scoring.hcc.compiled import DISABLED_BIT, MAX_AGE, CodeIndex, Codes, Edits, Rules, Variables

UNMAPPED, MALFORMED = -1, -2
NE, INSTITUTIONAL = 7, 6
_GOLDEN = np.uint64(0x9E37_79B9_7F4A_7C15)
MAX_VARIABLES = 192
"""More variables than a person can have at once."""
_SPACE, _DOT = 32, 46


@intrinsic
def popcount(typing: Any, word: Any) -> Any:
    """Number of bits set in a uint64."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), build


@njit(cache=True)
def encode(offsets: NDArray[Any], text: NDArray[np.uint8], codes: CodeIndex, out: NDArray[np.int32]) -> None:
    """Numbers of the codes given as UTF-8 `text` between `offsets`: UNMAPPED, MALFORMED, or the code's number.

    A code is a letter, a digit and one to five letters or digits; dots, spaces around it and case do not matter.
    """
    for row in range(len(out)):
        start, stop = offsets[row], offsets[row + 1]
        while start < stop and text[start] <= _SPACE:
            start += 1
        while start < stop and text[stop - 1] <= _SPACE:
            stop -= 1
        key, length, sound = np.uint64(0), 0, True
        for i in range(start, stop):
            char = text[i]
            if char == _DOT:
                continue
            if 97 <= char <= 122:
                char -= 32
            letter, digit = 65 <= char <= 90, 48 <= char <= 57
            sound &= letter if length == 0 else digit if length == 1 else letter or digit
            key = (key << np.uint64(8)) | np.uint64(char)
            length += 1
        if not sound or length < 3 or length > 7:
            out[row] = MALFORMED
            continue
        mask = np.uint64(len(codes.keys) - 1)
        place = (key * _GOLDEN) >> np.uint64(codes.shift)
        while codes.keys[place] != 0 and codes.keys[place] != key:
            place = (place + np.uint64(1)) & mask
        out[row] = codes.numbers[place] if codes.keys[place] == key else UNMAPPED


@njit(cache=True)
def collect(
    rows: NDArray[Any],
    numbers: NDArray[np.int32],
    age: NDArray[np.int16],
    female: NDArray[np.int8],
    codes: Codes,
    edits: Edits,
    mce: bool,
    ccs: NDArray[np.uint64],
) -> None:
    """Adds to `ccs` [members, 2] the CCs of the diagnoses: member row and code number each, after age and sex edits."""
    for i in range(len(numbers)):
        number = numbers[i]
        if number < 0:
            continue
        row, edit = rows[i], codes.edit[number]
        if edit >= 0 and (mce or not edits.mce[edit]):
            by_age = age[row] <= edits.at_most[edit] or age[row] >= edits.at_least[edit]
            if by_age or edits.sex[edit] == female[row]:
                ccs[row, 0] |= edits.words[edit, 0]
                ccs[row, 1] |= edits.words[edit, 1]
                continue
        ccs[row, 0] |= codes.words[number, 0]
        ccs[row, 1] |= codes.words[number, 1]


@njit(cache=True, inline="always")
def _resolve(low: np.uint64, high: np.uint64, rules: Rules) -> tuple[np.uint64, np.uint64]:
    """The HCCs that stand: those that lack what they need go first, then hierarchies fire from all that are left."""
    for i in range(len(rules.needs)):
        if (low & rules.needs_one_of[i, 0]) | (high & rules.needs_one_of[i, 1]) == 0:
            bit = rules.needs[i]
            if bit < 64:
                low &= ~(np.uint64(1) << np.uint64(bit))
            else:
                high &= ~(np.uint64(1) << np.uint64(bit - 64))
    drop_low, drop_high = np.uint64(0), np.uint64(0)
    rest = low
    while rest != 0:
        bit = trailing_zeros(rest)
        drop_low |= rules.drops[bit, 0]
        drop_high |= rules.drops[bit, 1]
        rest &= rest - np.uint64(1)
    rest = high
    while rest != 0:
        bit = trailing_zeros(rest) + np.uint64(64)
        drop_low |= rules.drops[bit, 0]
        drop_high |= rules.drops[bit, 1]
        rest &= rest - np.uint64(1)
    return low & ~drop_low, high & ~drop_high


@njit(cache=True, inline="always")
def _active(
    low: np.uint64,
    high: np.uint64,
    age: int,
    female: int,
    orec: int,
    ltimcaid: bool,
    nemcaid: bool,
    rules: Rules,
    variables: Variables,
    out: NDArray[np.int64],
) -> int:
    """Writes the variables that are 1 to `out`, and returns how many they are. All segments' variables together."""
    disabled = age < 65 and orec != 0
    origds = orec == 1 and not disabled
    shown = min(age, MAX_AGE)
    n = 0
    out[n] = variables.age_sex[female, variables.band[shown]]
    n += 1
    ne_band = variables.ne_band[shown]
    if age == 64 and orec == 0:
        ne_band += 1
    flag = (1 if nemcaid else 0) + (2 if orec == 1 and age >= 65 else 0)
    out[n] = variables.new[flag, female, ne_band]
    n += 1
    if origds:
        out[n] = variables.originally_disabled[female]
        out[n + 1] = variables.origds
        n += 2
    if ltimcaid:
        out[n] = variables.ltimcaid
        n += 1
    count = 0
    rest = low
    while rest != 0:
        out[n + count] = variables.hcc[trailing_zeros(rest)]
        count += 1
        rest &= rest - np.uint64(1)
    rest = high
    while rest != 0:
        out[n + count] = variables.hcc[trailing_zeros(rest) + np.uint64(64)]
        count += 1
        rest &= rest - np.uint64(1)
    n += count
    if count > 0:
        held = np.uint64(1 if disabled else 0) << np.uint64(DISABLED_BIT)
        for i in range(len(rules.categories)):
            if (low & rules.categories[i, 0]) | (high & rules.categories[i, 1]) != 0:
                held |= np.uint64(1) << np.uint64(i)
        for i in range(len(rules.interactions)):
            if held & rules.interactions[i] == rules.interactions[i]:
                out[n] = variables.interaction[i]
                n += 1
        out[n] = variables.counts[min(count, 10)]
        n += 1
    return n


@njit(cache=True, nogil=True)
def score_one(
    low: np.uint64,
    high: np.uint64,
    age: int,
    female: int,
    orec: int,
    ltimcaid: bool,
    nemcaid: bool,
    segment: int,
    rules: Rules,
    variables: Variables,
    scratch: NDArray[np.int64],
) -> tuple[np.uint64, np.uint64, int]:
    """HCCs of one member's CCs and the raw score of the segment in thousandths; `scratch` holds MAX_VARIABLES."""
    low, high = _resolve(low, high, rules)
    own = 0
    for i in range(_active(low, high, age, female, orec, ltimcaid, nemcaid, rules, variables, scratch)):
        own += variables.coefficients[scratch[i], segment]
    return low, high, own


@njit(cache=True, nogil=True)
def score(
    ccs: NDArray[np.uint64],
    age: NDArray[np.int16],
    female: NDArray[np.int8],
    orec: NDArray[np.int8],
    ltimcaid: NDArray[np.bool_],
    nemcaid: NDArray[np.bool_],
    segment: NDArray[np.int8],
    rules: Rules,
    variables: Variables,
    hccs: NDArray[np.uint64],
    raw: NDArray[np.int32],
) -> None:
    """HCCs [members, 2] and raw scores in thousandths: [members, 1] of each one's segment, or [members, 9] of all."""
    scratch = np.empty(MAX_VARIABLES, np.int64)
    every = raw.shape[1] > 1
    for row in range(len(ccs)):
        years, sex, reason, limited, new = age[row], female[row], orec[row], ltimcaid[row], nemcaid[row]
        low, high = ccs[row, 0], ccs[row, 1]
        if not every:
            hccs[row, 0], hccs[row, 1], raw[row, 0] = score_one(
                low, high, years, sex, reason, limited, new, segment[row], rules, variables, scratch
            )
            continue
        low, high = _resolve(low, high, rules)
        hccs[row, 0], hccs[row, 1] = low, high
        raw[row, :] = 0
        for i in range(_active(low, high, years, sex, reason, limited, new, rules, variables, scratch)):
            for s in range(raw.shape[1]):
                raw[row, s] += variables.coefficients[scratch[i], s]


@njit(cache=True)
def ledger(
    hccs: NDArray[np.uint64],
    age: NDArray[np.int16],
    female: NDArray[np.int8],
    orec: NDArray[np.int8],
    ltimcaid: NDArray[np.bool_],
    nemcaid: NDArray[np.bool_],
    segments: NDArray[np.int8],
    rules: Rules,
    variables: Variables,
    rows: NDArray[np.int32],
    entries: NDArray[np.int16],
    amounts: NDArray[np.float64],
) -> int:
    """What makes the scores of the segments [members, k]: member row, (variable, segment) [entries, 2], coefficient.

    Only variables that the segment uses. Returns the number of entries; where `rows` is empty, it only counts them.
    """
    scratch = np.empty(MAX_VARIABLES, np.int64)
    at = 0
    for row in range(len(hccs)):
        n = _active(
            hccs[row, 0],
            hccs[row, 1],
            age[row],
            female[row],
            orec[row],
            ltimcaid[row],
            nemcaid[row],
            rules,
            variables,
            scratch,
        )
        for k in range(segments.shape[1]):
            s = segments[row, k]
            for i in range(n):
                variable = scratch[i]
                if variables.used[variable, s]:
                    if len(rows) > 0:
                        rows[at], entries[at, 0], entries[at, 1] = row, variable, s
                        amounts[at] = variables.coefficients[variable, s] / 1000.0
                    at += 1
    return at


@njit(cache=True)
def list_hccs(
    hccs: NDArray[np.uint64], numbers: NDArray[np.int32], offsets: NDArray[np.int32], out: NDArray[np.int32]
) -> None:
    """HCC numbers of each member in ascending order in `out`, from `offsets` [members + 1]; where `out` is empty, only
    the offsets."""
    offsets[0] = 0
    for row in range(len(hccs)):
        at = offsets[row]
        if len(out) == 0:
            offsets[row + 1] = at + popcount(hccs[row, 0]) + popcount(hccs[row, 1])
            continue
        for word in range(2):
            rest = hccs[row, word]
            while rest != 0:
                out[at] = numbers[trailing_zeros(rest) + np.uint64(64 * word)]
                at += 1
                rest &= rest - np.uint64(1)
