"""NEWS2 from the latest vital signs: the acute component of the health score.

National Early Warning Score 2, Royal College of Physicians, London 2017, charts 1 and 2, SpO2 scale 1. Consciousness
and oxygen therapy cannot be read from a wearable and count 0, so the aggregate is a lower bound of the bedside score.
The score was validated on measurements by trained staff; here it moves a member up the care team's list, nothing more.
"""

from collections.abc import Mapping

import numpy as np
from numba import njit
from numpy.typing import NDArray

from engine.domain.metrics import METRIC_INDEX

FRESH_US = 24 * 3600 * 1_000_000
"""A vital sign counts for 24 hours."""
NOT_MEASURED = -1

_CHART: Mapping[str, tuple[tuple[float, ...], tuple[int, ...]]] = {
    # upper ends of the bands, and the points of each band and of what lies above the last
    "respiratory_rate": ((8, 11, 20, 24), (3, 1, 0, 2, 3)),
    "spo2": ((91, 93, 95), (3, 2, 1, 0)),
    "systolic_bp": ((90, 100, 110, 219), (3, 2, 1, 0, 3)),
    "pulse": ((40, 50, 90, 110, 130), (3, 1, 0, 1, 2, 3)),
    "body_temperature": ((35.0, 36.0, 38.0, 39.0), (3, 1, 0, 1, 2)),
}
PARAMETERS: tuple[str, ...] = tuple(_CHART)
_PULSE, _TEMPERATURE = PARAMETERS.index("pulse"), PARAMETERS.index("body_temperature")
VITALS: tuple[str, ...] = (*("heart_rate" if name == "pulse" else name for name in PARAMETERS), "resting_heart_rate")
"""The metrics that take part, in the order of the columns of vital signs: those of PARAMETERS, then the resting heart
rate, which is the pulse where it is fresh."""
VITAL_METRICS = np.array([METRIC_INDEX[code] for code in VITALS])
"""Indices of these metrics."""
_RESTING = len(PARAMETERS)
_BANDS = np.full((len(PARAMETERS), 6), np.inf)  # beyond its last end a band has none
_POINTS = np.zeros((len(PARAMETERS), 6), np.int64)
for _row, (_ends, _given) in enumerate(_CHART.values()):
    _BANDS[_row, : len(_ends)] = _ends
    _POINTS[_row, : len(_given)] = _given


@njit(cache=True, nogil=True, inline="always")
def points(parameter: int, value: float) -> int:
    """NEWS2 points of a value of one of PARAMETERS, in the chart's units; 0 for NaN.

    The chart bands temperature in tenths and everything else in whole numbers.
    """
    if value != value:
        return 0
    rounded = np.rint(value * 10.0) / 10.0 if parameter == _TEMPERATURE else np.rint(value)
    band = 0
    while rounded > _BANDS[parameter, band]:
        band += 1
    return int(_POINTS[parameter, band])


@njit(cache=True, nogil=True, inline="always")
def news2(values: NDArray[np.float64], times_us: NDArray[np.int64], as_of_us: int) -> int:
    """Aggregate of one member's latest readings [VITALS]; NOT_MEASURED where none is fresh.

    The pulse is the resting heart rate where one is fresh, else the heart rate: a heart rate of 150 on a run is no
    finding.
    """
    aggregate, measured, resting = 0, False, np.nan
    if as_of_us - FRESH_US < times_us[_RESTING] <= as_of_us:
        resting = values[_RESTING]
    for i in range(_RESTING):
        value = values[i] if as_of_us - FRESH_US < times_us[i] <= as_of_us else np.nan
        if i == _PULSE and resting == resting:
            value = resting
        measured |= value == value
        aggregate += points(i, value)
    return aggregate if measured else NOT_MEASURED
