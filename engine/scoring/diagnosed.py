"""The condition categories of members, read from the diagnoses that their claims still say."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine.domain.age import completed_years
from engine.scoring.clinical import add_categories
from engine.scoring.facts import CATEGORY, DIAGNOSIS, code_text
from engine.scoring.member_state import NEVER, PartitionState
from engine.scoring.state_kernels import NO_DAY


def renew_categories(state: PartitionState, slots: NDArray[np.int64]) -> None:
    """Reads the categories of the members anew: of the latest year of service and of the year before it.

    A diagnosis is edited for the age on 1 February after its year, by the birth date and sex that are known by now.
    Years before the last one that a score can ask for say nothing.
    """
    slots = np.unique(slots)
    rows, codes, years = state.facts.of_kind(DIAGNOSIS, slots)
    owners, bits, told = state.facts.of_kind(CATEGORY, slots)
    heads = np.full(len(slots), NO_DAY, np.int64)
    first = _first_years(state, slots)
    for who, when in ((rows, years), (owners, told)):
        kept = when >= first[who]
        np.maximum.at(heads, who[kept], when[kept])
    words = np.zeros((len(slots), 2, 2), np.uint64)
    behind = heads[rows] - years
    kept = (years >= first[rows]) & (behind <= 1)
    if kept.any():
        age = _ages(state["birth_day"][slots, None], np.maximum(heads, first)[:, None] - np.arange(2)).reshape(-1)
        female = np.repeat(~state["male"][slots], 2).astype(np.int8)
        place = 2 * rows[kept] + behind[kept]
        add_categories(place, _texts(codes[kept]), age, female, words.reshape(-1, 2))
    behind = heads[owners] - told
    kept = (told >= first[owners]) & (behind <= 1)
    for row, back, bit in zip(owners[kept].tolist(), behind[kept].tolist(), bits[kept].tolist(), strict=True):
        words[row, back, bit // 64] |= np.uint64(1 << bit % 64)
    state["ccs"][slots], state["cc_year"][slots] = words, heads


def _first_years(state: PartitionState, slots: NDArray[np.int64]) -> NDArray[np.int64]:
    """The year before that of the latest event: no score is of a time before it."""
    watermark = state["watermark"][slots]
    years = np.where(watermark == NEVER, 0, watermark).view("M8[us]").astype("M8[Y]").astype(np.int64) + 1970
    return np.where(watermark == NEVER, NO_DAY, years - 1)


def _ages(birth_day: NDArray[np.int32], years: NDArray[np.int64]) -> NDArray[np.int16]:
    counted_on = (years + 1 - 1970).astype("M8[Y]").astype("M8[D]") + np.timedelta64(31, "D")
    return np.clip(completed_years(birth_day.astype("M8[D]"), counted_on), 0, None).astype(np.int16)


def _texts(codes: NDArray[np.int64]) -> pa.Array:
    distinct, which = np.unique(codes, return_inverse=True)
    words = pa.array([code_text(code) for code in distinct.tolist()], pa.string())
    return pa.DictionaryArray.from_arrays(pa.array(which.astype(np.int32)), words)
