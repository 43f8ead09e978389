"""Ranked risk factors: what moves a member's predicted cost, in which direction, by how many dollars a year."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numba import njit
from numpy.typing import NDArray

from engine.domain.decimals import shortest
from engine.domain.metrics import METRIC_INDEX, METRICS
from engine.scoring import clinical
from engine.scoring.behavior import COMPONENTS
from engine.scoring.features import BASE_FEATURES

TOP = 5
_WEARABLES = tuple(METRICS[METRIC_INDEX[code]] for code in COMPONENTS)
FACTORS: tuple[tuple[str, str, str], ...] = (
    *((feature.code, feature.label, feature.unit) for feature in BASE_FEATURES),
    *((metric.code, metric.name, metric.unit) for metric in _WEARABLES),
    ("hcc_raf", "Clinical risk (CMS-HCC): ", "RAF"),
    ("physiology", "Laboratory values and blood pressure against age, sex and history", "times the cost"),
    ("news2", "Vital signs (NEWS2)", "points"),
)
"""Code, label and unit of every factor: first those of the columns of `ranked`, in order, then NEWS2."""
FACTOR_CODES: tuple[str, ...] = tuple(code for code, _, _ in FACTORS)
NEWS2 = len(FACTORS) - 1
_INDEX = {code: i for i, code in enumerate(FACTOR_CODES)}


class RiskFactor(msgspec.Struct, frozen=True):
    """One factor. `dollars` is its contribution to the predicted annual cost against the average person.

    `value` is the member's own value in `unit`, None where it is not known; `direction` is "raises" or "lowers".
    NEWS2 has no dollars: it speaks of the next hours.
    """

    code: str
    label: str
    direction: str
    dollars: float | None
    value: float | None
    unit: str


@dataclass(frozen=True, slots=True)
class Ranked:
    """The factors of members as columns [n, TOP]: index into FACTORS, -1 behind the last, dollars and value.

    Dollars are NaN of NEWS2, values where they are not known. Both are whole cents and thousandths as far as a float32
    carries them (to 131,072 dollars, to 8,192), so that a stored row says what the score itself says.
    """

    which: NDArray[np.int64]
    dollars: NDArray[np.float64]
    values: NDArray[np.float64]


@njit(cache=True, nogil=True)
def _largest(dollars: NDArray[np.float64], which: NDArray[np.int64]) -> None:
    """The columns of the largest amounts of each row by size, of equal ones the first column, into which [n, TOP]."""
    most = which.shape[1]
    for i in range(len(dollars)):
        held = 0
        for column in range(dollars.shape[1]):
            size = abs(dollars[i, column])
            if held == most and size <= abs(dollars[i, which[i, most - 1]]):
                continue
            at = held if held < most else most - 1
            held = min(held + 1, most)
            while at > 0 and size > abs(dollars[i, which[i, at - 1]]):
                which[i, at] = which[i, at - 1]
                at -= 1
            which[i, at] = column


def ranked(
    dollars: NDArray[np.float64], values: NDArray[np.float64], news2: NDArray[np.int64], news2_high: int
) -> Ranked:
    """The TOP factors of each member by size; an alarming NEWS2 stands first.

    `dollars` and `values` [n, columns] are the TreeSHAP values of the base features and what the wearables, the HCCs
    and physiology add, and the values behind them; less than half a cent is no factor.
    """
    which = np.full((len(dollars), TOP), -1, np.int64)
    _largest(dollars, which)
    sizes = _carried(np.take_along_axis(dollars, which, axis=1), 2)
    known = _carried(np.take_along_axis(values, which, axis=1), 3)
    none = sizes == 0
    which[none], sizes[none], known[none] = -1, np.nan, np.nan
    alarming = np.flatnonzero(news2 >= news2_high)
    for column, first in ((which, NEWS2), (sizes, np.nan), (known, news2[alarming])):
        column[alarming, 1:] = column[alarming, :-1]
        column[alarming, 0] = first
    return Ranked(which, sizes, known)


def _carried(values: NDArray[np.float64], digits: int) -> NDArray[np.float64]:
    """The values in so many decimals, as they come back from a float32 of them."""
    return shortest(np.round(values, digits).astype(np.float32), digits)


def told(
    codes: Sequence[str], dollars: Sequence[float | None], values: Sequence[float | None], hccs: Sequence[str]
) -> list[RiskFactor]:
    """One member's factors for people; `hccs` are what the clinical risk is made of, such as HCC37."""
    factors = []
    for code, size, value in zip(codes, dollars, values, strict=True):
        _, label, unit = FACTORS[_INDEX[code]]
        name = label + "; ".join(f"{hcc} {clinical.label_of(hcc)}" for hcc in hccs) if code == "hcc_raf" else label
        direction = "lowers" if size is not None and size < 0 else "raises"
        factors.append(RiskFactor(code, name, direction, size, value, unit))
    return factors
