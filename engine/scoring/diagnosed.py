"""The condition categories and drug classes of members, read from what their claims and fills still say."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine.domain.age import completed_years
from engine.scoring import clinical, commercial
from engine.scoring.facts import ADMITTED, CATEGORY, DIAGNOSIS, HCPCS, NDC, code_text
from engine.scoring.hcc.hhs.compiled import WORDS
from engine.scoring.member_state import NEVER, PartitionState
from engine.scoring.state_kernels import NO_DAY

_KINDS = (DIAGNOSIS, ADMITTED, CATEGORY, NDC, HCPCS)


class _Said(NamedTuple):
    """Codes of one kind: whose (a place in slots), and as a row of their person and year."""

    who: NDArray[np.int64]
    rows: NDArray[np.int64]
    codes: NDArray[np.int64]


def renew_categories(state: PartitionState, slots: NDArray[np.int64]) -> None:
    """Reads categories and drug classes of the members anew: of the year of their latest event and the year before it.

    A diagnosis is edited for age and sex by the birth date that is known by now: for CMS-HCC the age on 1 February
    after its year, for HHS-HCC, read for members of commercial lines alone, that of its own year.
    """
    slots = np.unique(slots)
    found = {kind: state.facts.of_kind(kind, slots) for kind in _KINDS}
    heads = _seen_years(state, slots)
    for who, _, years in found.values():
        np.maximum.at(heads, who, years)
    years = heads[:, None] - np.arange(2)

    def said(kind: int, kept: NDArray[np.bool_] | None = None) -> _Said:
        who, codes, year = found[kind]
        recent = (heads[who] - year <= 1) & (True if kept is None else kept[who])
        who, codes, year = who[recent], codes[recent], year[recent]
        return _Said(who, 2 * who + heads[who] - year, codes)

    female = np.repeat(~state["male"][slots], 2).astype(np.int8)
    ccs = np.zeros((len(slots) * 2, 2), np.uint64)
    age = _ages(state["birth_day"][slots, None], years)
    for kind in (DIAGNOSIS, ADMITTED):
        _, rows, codes = said(kind)
        if len(rows):
            clinical.add_categories(rows, _texts(codes), age, female, ccs)
    for row, bit in zip(*(column.tolist() for column in said(CATEGORY)[1:]), strict=True):
        ccs[row, bit // 64] |= np.uint64(1 << bit % 64)
    state["ccs"][slots], state["cc_year"][slots] = ccs.reshape(-1, 2, 2), heads
    own = state["commercial"][slots]
    state["hhs_ccs"][slots], state["rxcs"][slots] = 0, 0
    if own.any():
        _renew_commercial(state, slots, years, said(ADMITTED, own), (said(NDC, own), said(HCPCS, own)), female)


def _renew_commercial(
    state: PartitionState,
    slots: NDArray[np.int64],
    years: NDArray[np.int64],
    diagnoses: _Said,
    drugs: tuple[_Said, _Said],
    female: NDArray[np.int8],
) -> None:
    if len(diagnoses.rows):
        born = state["birth_day"][slots].astype("M8[D]")
        birth_years = born.astype("M8[Y]").astype(np.int64) + 1970
        late = np.repeat(born.astype("M8[M]").astype(np.int64) % 12 >= 6, 2)
        age = np.maximum(years - birth_years[:, None], 0).reshape(-1)
        ccs = np.zeros((len(slots) * 2, WORDS), np.uint64)
        commercial.add_categories(diagnoses.rows, _texts(diagnoses.codes), age, late & (age > 0), female, ccs)
        state["hhs_ccs"][slots] = ccs.reshape(-1, 2, WORDS)
    classes = np.zeros(len(slots) * 2, np.int32)
    for (_, rows, codes), kind in zip(drugs, ("ndc", "hcpcs"), strict=True):
        for row, code in zip(rows.tolist(), codes.tolist(), strict=True):
            found = commercial.drug_class(kind, f"{code:011d}" if kind == "ndc" else code_text(code))
            classes[row] |= 1 << found if found else 0
    state["rxcs"][slots] = classes.reshape(-1, 2)


def _seen_years(state: PartitionState, slots: NDArray[np.int64]) -> NDArray[np.int64]:
    """The year of each member's latest event: no score is of a time before it."""
    watermark = state["watermark"][slots]
    years = np.where(watermark == NEVER, 0, watermark).view("M8[us]").astype("M8[Y]").astype(np.int64) + 1970
    return np.where(watermark == NEVER, NO_DAY, years)


def _ages(birth_day: NDArray[np.int32], years: NDArray[np.int64]) -> NDArray[np.int16]:
    """Ages [members x years] on 1 February after each year [members, years]."""
    counted_on = (np.maximum(years, 1970) + 1 - 1970).astype("M8[Y]").astype("M8[D]") + np.timedelta64(31, "D")
    return np.clip(completed_years(birth_day.astype("M8[D]"), counted_on), 0, None).astype(np.int16).reshape(-1)


def _texts(codes: NDArray[np.int64]) -> pa.Array:
    distinct, which = np.unique(codes, return_inverse=True)
    words = pa.array([code_text(code) for code in distinct.tolist()], pa.string())
    return pa.DictionaryArray.from_arrays(pa.array(which.astype(np.int32)), words)
