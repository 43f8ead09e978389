"""The wearable component: how steps, resting heart rate and sleep move the predicted cost.

Relative risks of all-cause mortality stand in for relative cost, by the ensemble's elasticity and within bounds. Steps:
the forecast of next week's mean, where there is one, else the month's, through the curve fitted on the NHANES
accelerometer file beside base risk. The others are priors: resting heart rate, Zhang et al., CMAJ 2016;188:E53, 1.09
for each 10 bpm; sleep, Cappuccio et al., Sleep 2010;33:585, 1.12 short and 1.30 long. (confirm)
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from engine.domain.curves import on_curve
from engine.domain.metrics import METRIC_INDEX
from engine.scoring.ensemble import ELASTICITY

Reals = NDArray[np.float64]
MINIMUM_DAYS = 7
"""A metric with fewer days of readings in the last 30 takes no part."""
BOUNDS = (0.85, 1.25)
COMPONENTS: tuple[str, ...] = ("steps", "resting_heart_rate", "sleep_minutes")

_REFERENCE_RESTING = 65.0
METRICS_WORN = np.array([METRIC_INDEX[code] for code in COMPONENTS])
"""Indices of the components' metrics."""
_LOG_LEAST, _LOG_MOST = np.log(BOUNDS).tolist()
_PER_BEAT = float(np.log(1.09)) / 10.0
_HOURS, _SLEEP = np.array([5.0, 7.0, 8.0, 9.0]), np.log([1.12, 1.0, 1.0, 1.30])


@njit(cache=True, nogil=True, inline="always")
def log_relative_costs(
    month: Reals, days: NDArray[np.int64], forecast: float, knots: Reals, log_hazards: Reals, out: Reals
) -> None:
    """One member's log relative costs into out [COMPONENTS]; NaN where a metric has too few days.

    `month` [COMPONENTS] are the 30-day features, `days` of their shape the number of days with readings, `forecast` the
    forecast steps a day, NaN without one; `knots` and `log_hazards` are the ensemble's curve of steps.
    """
    steps = month[0] if forecast != forecast else forecast
    out[0] = ELASTICITY * on_curve(steps, knots, log_hazards)
    out[1] = ELASTICITY * _PER_BEAT * (month[1] - _REFERENCE_RESTING)
    out[2] = ELASTICITY * on_curve(month[2] / 60.0, _HOURS, _SLEEP)
    for i in range(len(out)):
        if days[i] < MINIMUM_DAYS:
            out[i] = np.nan


@njit(cache=True, nogil=True, inline="always")
def together(effects: Reals) -> tuple[float, float]:
    """The component's log relative cost, the sum of its effects [COMPONENTS] within BOUNDS, and that sum.

    NaN and 0 without any effect.
    """
    whole, some = 0.0, False
    for effect in effects:
        if effect == effect:
            whole += effect
            some = True
    return min(max(whole, _LOG_LEAST), _LOG_MOST) if some else np.nan, whole
