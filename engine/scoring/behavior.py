"""The wearable component: how a month of steps, resting heart rate and sleep moves the predicted cost.

Relative risks of all-cause mortality stand in for relative cost, shrunk to a quarter and bounded, until the behavioural
model is trained on outcomes of our own members. Steps: Paluch et al., Lancet Public Health 2022;7:e219, quartile
medians 3,553, 5,801, 7,842 and 10,901 steps with hazard ratios 1, 0.60, 0.55, 0.47. Resting heart rate: Zhang et al.,
CMAJ 2016;188:E53, 1.09 for each 10 bpm. Sleep: Cappuccio et al., Sleep 2010;33:585, 1.12 short and 1.30 long. (confirm)
"""

import numpy as np
from numpy.typing import NDArray

from engine.domain.metrics import METRIC_INDEX

MINIMUM_DAYS = 7
"""A metric with fewer days of readings in the last 30 takes no part."""
SHRINKAGE = 0.25
BOUNDS = (0.85, 1.25)
COMPONENTS: tuple[str, ...] = ("steps", "resting_heart_rate", "sleep_minutes")

_STEPS = np.array([3553.0, 5801.0, 7842.0, 10901.0])
_STEPS_LOG_RR = np.log([1.0, 0.60, 0.55, 0.47])
_REFERENCE_STEPS = 5000.0
_REFERENCE_RESTING = 65.0


def log_relative_risks(month: NDArray[np.float64], days: NDArray[np.int64]) -> NDArray[np.float64]:
    """Shrunk log relative cost [members, COMPONENTS]; 0 where a metric has too few days.

    `month` are the 30-day features by member and metric, `days` the number of days with readings.
    """
    enough = days >= MINIMUM_DAYS
    reference = np.interp(_REFERENCE_STEPS, _STEPS, _STEPS_LOG_RR)
    steps = np.interp(month[:, METRIC_INDEX["steps"]], _STEPS, _STEPS_LOG_RR) - reference
    resting = np.log(1.09) * (month[:, METRIC_INDEX["resting_heart_rate"]] - _REFERENCE_RESTING) / 10.0
    hours = month[:, METRIC_INDEX["sleep_minutes"]] / 60.0
    sleep = np.interp(hours, [5.0, 7.0, 8.0, 9.0], np.log([1.12, 1.0, 1.0, 1.30]))
    effects = np.stack([steps, resting, sleep], axis=1)
    taking_part = np.stack([enough[:, METRIC_INDEX[code]] for code in COMPONENTS], axis=1)
    return np.where(taking_part & ~np.isnan(effects), SHRINKAGE * effects, 0.0)


def relative_cost(effects: NDArray[np.float64]) -> NDArray[np.float64]:
    """The factor on predicted cost [members] of the summed effects, within BOUNDS."""
    return np.asarray(np.clip(np.exp(effects.sum(axis=1)), *BOUNDS), np.float64)
