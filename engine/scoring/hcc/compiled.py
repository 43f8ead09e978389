"""A model as arrays: what the kernels read."""

from collections.abc import Collection
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.scoring.hcc.model import BANDS, COUNTS, DISABLED, NE_BANDS, SEXES, HccModel, load_model

MAX_AGE = 120
"""Ages above count as this one."""

DISABLED_BIT = 63
_HASH = 0x9E37_79B9_7F4A_7C15
_FIRST_AGES = (0, 35, 45, 55, 60, 65, 70, 75, 80, 85, 90, 95)
_NE_FIRST_AGES = (0, 35, 45, 55, 60, 65, 66, 67, 68, 69, 70, 75, 80, 85, 90, 95)


class CodeIndex(NamedTuple):
    """Open addressing from packed codes to their numbers: `keys` uint64 (0 empty), `numbers`, the shift of the hash."""

    keys: NDArray[np.uint64]
    numbers: NDArray[np.int32]
    shift: int


class Codes(NamedTuple):
    """Codes by number: `lookup` of a code, the CCs `words` [codes, 2] of each, and its `edit` or -1."""

    lookup: CodeIndex
    words: NDArray[np.uint64]
    edit: NDArray[np.int32]


class Edits(NamedTuple):
    """Edits by number: when they fire, and the CCs [edits, 2] the code then has."""

    sex: NDArray[np.int8]
    at_most: NDArray[np.int16]
    at_least: NDArray[np.int16]
    mce: NDArray[np.bool_]
    words: NDArray[np.uint64]


class Rules(NamedTuple):
    """Hierarchies, categories and interactions on sets of HCCs.

    `drops` [HCCs, 2] is what an HCC removes; HCC `needs` stands only with one of `needs_one_of` [needs, 2];
    `categories` [categories, 2]; an interaction holds where all bits of `interactions` are set among the categories'.
    """

    drops: NDArray[np.uint64]
    needs: NDArray[np.int64]
    needs_one_of: NDArray[np.uint64]
    categories: NDArray[np.uint64]
    interactions: NDArray[np.uint64]


class Variables(NamedTuple):
    """Row of the coefficients of each variable; by sex 0 male, 1 female; `counts` by number of payment HCCs 0-10.

    `band` and `ne_band` give the age band by age; `new` is [flag (Medicaid + 2 x originally disabled), sex, band], -1
    where there is none. `coefficients` are thousandths [variables, segments], `used` whether the segment has it.
    """

    band: NDArray[np.int64]
    ne_band: NDArray[np.int64]
    age_sex: NDArray[np.int64]
    originally_disabled: NDArray[np.int64]
    origds: int
    ltimcaid: int
    hcc: NDArray[np.int64]
    interaction: NDArray[np.int64]
    counts: NDArray[np.int64]
    new: NDArray[np.int64]
    coefficients: NDArray[np.int64]
    used: NDArray[np.bool_]


class Compiled(NamedTuple):
    """All of a model that the kernels need; `hccs` are the HCC numbers by bit."""

    codes: Codes
    edits: Edits
    rules: Rules
    variables: Variables
    hccs: NDArray[np.int32]


def pack(code: str) -> int:
    """A code of at most seven characters as an integer: one byte a character."""
    return int.from_bytes(code.encode("ascii"), "big")


def index_of(codes: Collection[str]) -> CodeIndex:
    """The index of codes, which are numbered in their order."""
    size = 1 << (4 * len(codes) - 1).bit_length()
    keys, numbers = np.zeros(size, np.uint64), np.full(size, -1, np.int32)
    shift = 64 - (size.bit_length() - 1)
    for number, code in enumerate(codes):
        key = pack(code)
        place = (key * _HASH & (2**64 - 1)) >> shift
        while keys[place]:
            place = (place + 1) % size
        keys[place], numbers[place] = key, number
    return CodeIndex(keys, numbers, shift)


def _codes(model: HccModel, edit_number: dict[str, int]) -> Codes:
    words = np.array([model.words(hccs) for hccs in model.codes.values()])
    edit = np.array([edit_number.get(code, -1) for code in model.codes], np.int32)
    return Codes(index_of(model.codes), words, edit)


def _edits(model: HccModel) -> Edits:
    edits = list(model.edits.values())
    return Edits(
        np.array([edit.sex for edit in edits], np.int8),
        np.array([edit.at_most for edit in edits], np.int16),
        np.array([edit.at_least for edit in edits], np.int16),
        np.array([edit.mce for edit in edits], np.bool_),
        np.array([model.words(() if edit.hcc is None else (edit.hcc,)) for edit in edits]),
    )


def _rules(model: HccModel) -> Rules:
    singles = sorted({part for parts in model.interactions.values() for part in parts if isinstance(part, int)})
    parts: list[str | int] = [*model.categories, *singles]
    bits = {part: i for i, part in enumerate(parts)}
    bits[DISABLED] = DISABLED_BIT
    sets = [*model.categories.values(), *((hcc,) for hcc in singles)]
    needs = [model.hccs.index(hcc) for hcc in model.needs]
    return Rules(
        np.array([model.words(model.hierarchy.get(hcc, ())) for hcc in model.hccs]),
        np.array(needs, np.int64),
        np.array([model.words(one_of) for one_of in model.needs.values()], np.uint64).reshape(len(needs), 2),
        np.array([model.words(hccs) for hccs in sets]),
        np.array([sum(1 << bits[part] for part in held) for held in model.interactions.values()], np.uint64),
    )


def _bands(first_ages: tuple[int, ...]) -> NDArray[np.int64]:
    return np.searchsorted(first_ages, np.arange(MAX_AGE + 1), "right").astype(np.int64) - 1


def _variables(model: HccModel) -> Variables:
    row = {name: i for i, name in enumerate(model.variables)}
    flags = [f"{medicaid}_{origin}" for origin in ("NORIGDIS", "ORIGDIS") for medicaid in ("NMCAID", "MCAID")]
    new = [[[row.get(f"{flag}_NE{sex}{band}", -1) for band in NE_BANDS] for sex in SEXES] for flag in flags]
    return Variables(
        _bands(_FIRST_AGES),
        _bands(_NE_FIRST_AGES),
        np.array([[row[f"{sex}{band}"] for band in BANDS] for sex in SEXES], np.int64),
        np.array([row["OriginallyDisabled_Male"], row["OriginallyDisabled_Female"]], np.int64),
        row["ORIGDS"],
        row["LTIMCAID"],
        np.array([row[f"HCC{hcc}"] for hcc in model.hccs], np.int64),
        np.array([row[name] for name in model.interactions], np.int64),
        np.array([-1, *(row[name] for name in COUNTS)], np.int64),
        np.array(new, np.int64),
        np.ascontiguousarray(model.coefficients),
        np.ascontiguousarray(model.in_segment),
    )


@cache
def compiled(name: str, payment_year: int) -> Compiled:
    """The arrays of a model and year. Raises HccError as `load_model` does."""
    model = load_model(name, payment_year)
    edit_number = {code: i for i, code in enumerate(model.edits)}
    return Compiled(
        _codes(model, edit_number), _edits(model), _rules(model), _variables(model), np.array(model.hccs, np.int32)
    )
