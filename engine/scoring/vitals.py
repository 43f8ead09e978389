"""NEWS2 from the latest vital signs: the acute component of the health score.

National Early Warning Score 2, Royal College of Physicians, London 2017, charts 1 and 2, SpO2 scale 1. Consciousness
and oxygen therapy cannot be read from a wearable and count 0, so the aggregate is a lower bound of the bedside score.
The score was validated on measurements by trained staff; here it moves a member up the care team's list, nothing more.
"""

from collections.abc import Mapping

import numpy as np
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
_BANDS = {name: (np.array(bands, float), np.array(scores)) for name, (bands, scores) in _CHART.items()}
_PULSE = list(_CHART).index("pulse")
_AT = np.array(
    [METRIC_INDEX["heart_rate" if n == "pulse" else n] for n in _CHART] + [METRIC_INDEX["resting_heart_rate"]]
)
_WHOLE = ("respiratory_rate", "spo2", "systolic_bp", "pulse")
"""The chart bands these in whole numbers; temperature in tenths."""


def points(parameter: str, values: NDArray[np.float64]) -> NDArray[np.int64]:
    """NEWS2 points of one parameter; 0 for NaN. `parameter` is a row of the chart; values in the chart's units."""
    bands, scores = _BANDS[parameter]
    rounded = np.rint(values) if parameter in _WHOLE else np.round(values, 1)
    scored = scores[np.minimum(bands.searchsorted(rounded, side="left"), len(scores) - 1)]
    return np.where(np.isnan(values), 0, scored)


def news2(
    last_value: NDArray[np.float64], last_time: NDArray[np.int64], as_of_us: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Aggregate and highest single parameter [members]; NOT_MEASURED where no vital sign is fresh.

    `last_value` and `last_time` are the latest reading by member and metric. The pulse is the resting heart rate where
    one is fresh, else the heart rate: a heart rate of 150 on a run is no finding.
    """
    times, now = last_time[:, _AT], as_of_us[:, None]
    fresh = np.where((times <= now) & (times > now - FRESH_US), last_value[:, _AT], np.nan)
    resting = fresh[:, -1]
    fresh[:, _PULSE] = np.where(np.isnan(resting), fresh[:, _PULSE], resting)
    measured = ~np.isnan(fresh).all(axis=1)
    if not measured.any():
        return np.full(len(fresh), NOT_MEASURED), np.full(len(fresh), NOT_MEASURED)
    scored = np.array([points(name, fresh[:, i]) for i, name in enumerate(_CHART)])
    return (
        np.where(measured, scored.sum(axis=0), NOT_MEASURED),
        np.where(measured, scored.max(axis=0), NOT_MEASURED),
    )
