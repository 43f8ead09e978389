"""Ranked risk factors: what moves a member's predicted cost, in which direction, by how many dollars a year."""

from collections.abc import Callable

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.domain.metrics import METRIC_INDEX, METRICS
from engine.scoring.behavior import COMPONENTS
from engine.scoring.features import BASE_FEATURES

TOP = 5
_WEARABLES = tuple(METRICS[METRIC_INDEX[code]] for code in COMPONENTS)
_LABS = "Laboratory values and blood pressure against age, sex and history"
_HCC = "Clinical risk (CMS-HCC): "
_COLUMNS: tuple[tuple[str, str, str], ...] = (
    *((feature.code, feature.label, feature.unit) for feature in BASE_FEATURES),
    *((metric.code, metric.name, metric.unit) for metric in _WEARABLES),
    ("hcc_raf", _HCC, "RAF"),
    ("physiology", _LABS, "times the cost"),
)
"""Code, label and unit of every factor, in the order of the columns of `ranked`."""
CLINICAL = len(_COLUMNS) - 2


class RiskFactor(msgspec.Struct, frozen=True):  # six thousand of them a batch: a dataclass takes five times as long
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


def ranked(
    dollars: NDArray[np.float64],
    values: NDArray[np.float64],
    diseases: Callable[[int], str],
    news2: NDArray[np.int64],
    news2_high: int,
) -> list[list[RiskFactor]]:
    """The TOP factors of each member by size; an alarming NEWS2 stands first.

    `dollars` and `values` [n, columns] are the TreeSHAP values of the base features and what the wearables, the HCCs
    and physiology add, and the values behind them; 0 dollars are no factor. `diseases` names a member's HCCs.
    """
    order = np.argsort(-np.abs(dollars), axis=1, kind="stable")[:, :TOP]
    sizes = np.round(np.take_along_axis(dollars, order, axis=1), 2).tolist()
    known = np.round(np.take_along_axis(values, order, axis=1), 3).tolist()
    found = []
    for i, columns in enumerate(order.tolist()):
        factors = []
        for column, size, value in zip(columns, sizes[i], known[i], strict=True):
            if size:
                code, label, unit = _COLUMNS[column]
                name = label + diseases(i) if column == CLINICAL else label
                direction = "raises" if size > 0 else "lowers"
                factors.append(RiskFactor(code, name, direction, size, value if value == value else None, unit))
        found.append(factors)
    for i in np.flatnonzero(news2 >= news2_high).tolist():
        alarm = RiskFactor("news2", "Vital signs (NEWS2)", "raises", None, float(news2[i]), "points")
        found[i] = [alarm, *found[i]][:TOP]
    return found
