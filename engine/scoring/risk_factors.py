"""Ranked risk factors: what moves a member's predicted cost, in which direction, by how many dollars a year."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np
from numba import njit
from numpy.typing import NDArray

from engine.domain.decimals import shortest_of
from engine.domain.metrics import METRIC_INDEX, METRICS
from engine.scoring import clinical, commercial
from engine.scoring.behavior import COMPONENTS
from engine.scoring.features import BASE_FEATURES
from engine.scoring.score_kernel import Known, Scored

TOP = 5
_WEARABLES = tuple(METRICS[METRIC_INDEX[code]] for code in COMPONENTS)
FACTORS: tuple[tuple[str, str, str], ...] = (
    *((feature.code, feature.label, feature.unit) for feature in BASE_FEATURES),
    *((metric.code, metric.name, metric.unit) for metric in _WEARABLES),
    ("hcc_raf", "Clinical risk (CMS-HCC): ", "RAF"),
    ("physiology", "Laboratory values and blood pressure against age, sex and history", "times the cost"),
    ("hhs_risk", "Clinical risk (HHS-HCC): ", "risk score"),
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


class Grounds(NamedTuple):
    """What the factors of members are told from: `features` and base risk's `contributions` [n, BASE_FEATURES], the
    latter in dollars, both float32."""

    features: NDArray[np.float32]
    contributions: NDArray[np.float32]


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
def _carried(value: float, scale: float, digits: int) -> float:
    """The value in so many decimals, of which `scale` is the power of ten, as it comes back from a float32."""
    return float(shortest_of(np.float32(np.rint(value * scale) / scale), digits))


@njit(cache=True, nogil=True)
def _largest(dollars: NDArray[np.float64], which: NDArray[np.int64]) -> int:
    """The columns of the largest amounts by size, of equal ones the first column, into `which`; how many."""
    held, most = 0, len(which)
    for column in range(len(dollars)):
        size = abs(dollars[column])
        if size == 0.0 or (held == most and size <= abs(dollars[which[most - 1]])):
            continue
        at = held if held < most else most - 1
        held = min(held + 1, most)
        while at > 0 and size > abs(dollars[which[at - 1]]):
            which[at] = which[at - 1]
            at -= 1
        which[at] = column
    return held


@njit(cache=True, nogil=True)
def _rank(
    dollars: NDArray[np.float64],
    values: NDArray[np.float64],
    news2: NDArray[np.int64],
    news2_high: int,
    which: NDArray[np.int64],
    sizes: NDArray[np.float64],
    known: NDArray[np.float64],
) -> None:
    """`ranked` into its columns."""
    chosen = np.empty(which.shape[1], np.int64)
    which[:], sizes[:], known[:] = -1, np.nan, np.nan
    for i in range(len(dollars)):
        at = 0
        if news2[i] >= news2_high:
            which[i, 0], known[i, 0], at = NEWS2, news2[i], 1
        for k in range(min(_largest(dollars[i], chosen), len(chosen) - at)):
            column = chosen[k]
            size = _carried(dollars[i, column], 100.0, 2)
            if size != 0.0:
                which[i, at], sizes[i, at] = column, size
                known[i, at] = _carried(values[i, column], 1000.0, 3)
                at += 1


@njit(cache=True, nogil=True)
def _weigh(
    known: Known, scores: Scored, grounds: Grounds, dollars: NDArray[np.float64], values: NDArray[np.float64]
) -> None:
    """What each factor but NEWS2 moves the cost by, and the value behind it: rows of the columns of `ranked`."""
    base, worn = grounds.features.shape[1], scores.effects.shape[1]
    for i in range(len(dollars)):
        cost = known.base_cost[i, 0]
        for k in range(base):
            dollars[i, k], values[i, k] = grounds.contributions[i, k], grounds.features[i, k]
        for k in range(worn):
            dollars[i, base + k] = cost * np.expm1(scores.effects[i, k])
            values[i, base + k] = known.month[i, k]
        disease = cost * np.expm1(scores.disease[i])
        dollars[i, base + worn] = 0.0 if known.commercial[i] else disease
        dollars[i, base + worn + 2] = disease if known.commercial[i] else 0.0
        values[i, base + worn] = values[i, base + worn + 2] = scores.raf[i]
        dollars[i, base + worn + 1] = cost * np.expm1(scores.physiology[i])
        values[i, base + worn + 1] = np.exp(scores.physiology[i])


def factors_of(known: Known, scores: Scored, grounds: Grounds, news2_high: int) -> Ranked:
    """The TOP factors of scored members."""
    dollars = np.empty((len(scores.score), NEWS2))
    values = np.empty_like(dollars)
    _weigh(known, scores, grounds, dollars, values)
    return ranked(dollars, values, scores.news2, news2_high)


def ranked(
    dollars: NDArray[np.float64], values: NDArray[np.float64], news2: NDArray[np.int64], news2_high: int
) -> Ranked:
    """The TOP factors of each member by size; an alarming NEWS2 stands first.

    `dollars` and `values` [n, columns] are the TreeSHAP values of the base features and what the wearables, the HCCs
    and physiology add, and the values behind them; less than half a cent is no factor.
    """
    which = np.empty((len(dollars), TOP), np.int64)
    sizes, known = np.empty(which.shape), np.empty(which.shape)
    _rank(dollars, values, news2, news2_high, which, sizes, known)
    return Ranked(which, sizes, known)


def told(
    codes: Sequence[str], dollars: Sequence[float | None], values: Sequence[float | None], hccs: Sequence[str]
) -> list[RiskFactor]:
    """One member's factors for people; `hccs` are what the clinical risk is made of, such as HCC37."""
    factors = []
    for code, size, value in zip(codes, dollars, values, strict=True):
        _, label, unit = FACTORS[_INDEX[code]]
        name = label + "; ".join(map(_named, hccs)) if code in ("hcc_raf", "hhs_risk") else label
        direction = "lowers" if size is not None and size < 0 else "raises"
        factors.append(RiskFactor(code, name, direction, size, value, unit))
    return factors


def _named(hcc: str) -> str:
    """An HCC of either family with its label."""
    return f"{hcc} {(commercial if hcc.startswith('HHS') else clinical).label_of(hcc)}"
