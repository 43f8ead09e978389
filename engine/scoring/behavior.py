"""The wearable component: how steps, resting heart rate and sleep move the predicted cost.

Relative risks of all-cause mortality stand in for relative cost, by the ensemble's elasticity and within bounds. Steps:
the forecast of next week's mean, where there is one, else the month's, through the curve fitted on the NHANES
accelerometer file beside base risk. The others are priors: resting heart rate, Zhang et al., CMAJ 2016;188:E53, 1.09
for each 10 bpm; sleep, Cappuccio et al., Sleep 2010;33:585, 1.12 short and 1.30 long. (confirm)
"""

import numpy as np
from numpy.typing import NDArray

from engine.domain.metrics import METRIC_INDEX
from engine.scoring.ensemble import ELASTICITY, Ensemble, clipped

MINIMUM_DAYS = 7
"""A metric with fewer days of readings in the last 30 takes no part."""
BOUNDS = (0.85, 1.25)
COMPONENTS: tuple[str, ...] = ("steps", "resting_heart_rate", "sleep_minutes")

_REFERENCE_RESTING = 65.0
METRICS_WORN = np.array([METRIC_INDEX[code] for code in COMPONENTS])
"""Indices of the components' metrics."""
_LOG_BOUNDS = tuple(np.log(BOUNDS).tolist())
_HOURS, _SLEEP = np.array([5.0, 7.0, 8.0, 9.0]), np.log([1.12, 1.0, 1.0, 1.30])


def log_relative_costs(
    ensemble: Ensemble, month: NDArray[np.float64], days: NDArray[np.int64], forecast: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Log relative cost [members, COMPONENTS]; NaN where a metric has too few days.

    `month` [members, COMPONENTS] are the 30-day features, `days` of their shape the number of days with readings,
    `forecast` [members] the forecast steps a day, NaN without one.
    """
    mean_steps, mean_resting, mean_sleep = month.T
    steps = ensemble.steps_effect(np.where(np.isnan(forecast), mean_steps, forecast))
    resting = ELASTICITY * np.log(1.09) * (mean_resting - _REFERENCE_RESTING) / 10.0
    hours = mean_sleep / 60.0
    sleep = ELASTICITY * np.interp(hours, _HOURS, _SLEEP)
    effects = np.array([steps, resting, sleep]).T
    return np.where(days >= MINIMUM_DAYS, effects, np.nan)


def together(effects: NDArray[np.float64]) -> NDArray[np.float64]:
    """The component's log relative cost [members]: the sum of its effects within BOUNDS, NaN without any."""
    silent = np.isnan(effects)
    said = clipped(np.where(silent, 0.0, effects).sum(axis=1), *_LOG_BOUNDS)
    return np.where(silent.all(axis=1), np.nan, said)
