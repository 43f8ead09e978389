"""Age in completed years: the one way it is counted, for people, files and requests alike."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def completed_years(born: Any, on: Any) -> NDArray[np.int64]:
    """Whole years from the dates `born` to the dates `on`, both M8[D] or datetime.date, broadcast; negative before.

    A year is completed as the birthday begins; who was born on 29 February completes it on 1 March of other years.
    """
    birth, day = np.asarray(born, "M8[D]"), np.asarray(on, "M8[D]")
    years = day.astype("M8[Y]").astype(np.int64) - birth.astype("M8[Y]").astype(np.int64)
    return np.asarray(years - (_within_year(day) < _within_year(birth)), np.int64)


def _within_year(dates: NDArray[np.datetime64]) -> NDArray[np.int64]:
    """Month and day as one number that orders the days of any year alike."""
    month = dates.astype("M8[M]")
    return np.asarray(month.astype(np.int64) % 12 * 32 + (dates - month.astype("M8[D]")).astype(np.int64), np.int64)
