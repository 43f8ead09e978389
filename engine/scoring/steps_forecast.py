"""The behavioural model: a member's days advance a small LSTM, which forecasts the mean steps of the next seven days.

Everything is relative to the member: steps to their own exponentially weighted mean (the scale), heart rate, sleep,
activity and variability to their own month. Head: quantiles of next week's mean over the scale = 1 + linear(levels) +
linear(hidden state). One day costs one step of the state, whatever the history; no TensorFlow is needed to score.
"""

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from engine.errors import ModelError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SERIES: tuple[str, ...] = ("steps", "resting_heart_rate", "sleep_minutes", "active_minutes", "hrv_rmssd")
"""Columns of a day's values; NaN where there is no reading."""
QUANTILES: tuple[float, float, float] = (0.1, 0.5, 0.9)
FEATURES = 16
LEVELS = (2, 3, 4, 15)
"""Features that say how high the member's level is and where it comes from; the head reads them directly."""
AHEAD = 7

_HALF_LIVES = (10.0, 30.0, 3.0)
_OTHERS = 4
_SUMS = 2 * len(_HALF_LIVES) + 2 + 2 * _OTHERS
_USUAL, _LEAST_SCALE, _REFERENCE = 7000.0, 1000.0, 3000.0
_DECAYS = np.array([0.5 ** (1.0 / h) for h in _HALF_LIVES])
_MONTH = 0.5 ** (1.0 / 30.0)
_REACH = 3.0
_MONDAY = 3  # 1970-01-01 was a Thursday


@njit(cache=True)
def _mean(total: float, weight: float) -> float:
    return total / weight if weight > 0.0 else np.nan


@njit(cache=True)
def _in_units(series: int, value: float) -> float:
    """A reading in units in which a day's change is of the order of one."""
    if series == 1:
        return value / 5.0
    if series == 2:
        return value / 60.0
    if series == 3:
        return value / 30.0
    return 2.0 * math.log(max(value, 5.0))


@njit(cache=True)
def day_features(sums: Floats, values: Floats, day: int, x: Floats) -> float:
    """Takes a day into the running sums, writes its features to x [FEATURES], returns the scale in steps.

    sums: weighted total and weight at each half-life, total and count of all days, then total and weight of the month
    of the other series. values [SERIES], NaN where there is none. day: days since 1970-01-01.
    """
    steps = values[0]
    known = not math.isnan(steps)
    for k in range(3):
        sums[2 * k] = sums[2 * k] * _DECAYS[k] + (steps if known else 0.0)
        sums[2 * k + 1] = sums[2 * k + 1] * _DECAYS[k] + (1.0 if known else 0.0)
    if known:
        sums[6] += steps
        sums[7] += 1.0
    level = _mean(sums[0], sums[1])
    scale = max(_USUAL if math.isnan(level) else level, _LEAST_SCALE)
    x[0] = min(max(steps / scale, 0.0), 4.0) - 1.0 if known else 0.0
    x[1] = 1.0 if known else 0.0
    x[2] = _REFERENCE / scale
    slow, fast = _mean(sums[2], sums[3]), _mean(sums[4], sums[5])
    x[3] = 0.0 if math.isnan(slow) else slow / scale - 1.0
    x[4] = 0.0 if math.isnan(fast) else fast / scale - 1.0
    for j in range(1, 5):
        at = 6 + 2 * j
        there = not math.isnan(values[j])
        sums[at] = sums[at] * _MONTH + (values[j] if there else 0.0)
        sums[at + 1] = sums[at + 1] * _MONTH + (1.0 if there else 0.0)
        x[3 + 2 * j] = 0.0
        if there:
            change = _in_units(j, values[j]) - _in_units(j, sums[at] / sums[at + 1])
            x[3 + 2 * j] = min(max(change, -_REACH), _REACH)
        x[4 + 2 * j] = 1.0 if there else 0.0
    angle = 2.0 * math.pi * ((day + _MONDAY) % 7) / 7.0
    x[13] = math.sin(angle)
    x[14] = math.cos(angle)
    x[15] = (sums[6] / sums[7] if sums[7] > 0.0 else _USUAL) / scale - 1.0
    return scale


@njit(cache=True)
def _sigmoid(z: float) -> float:
    return 1.0 / (1.0 + math.exp(-z))


@njit(cache=True)
def lstm_step(x: Floats, h: Floats, c: Floats, kernel: Floats, recurrent: Floats, bias: Floats, z: Floats) -> None:
    """One LSTM step in place, as Keras computes it: gates in the order input, forget, cell, output.

    kernel [inputs, 4 units], recurrent [units, 4 units], bias [4 units]; z [4 units] is scratch.
    """
    units = len(h)
    for j in range(4 * units):
        z[j] = bias[j]
    for i in range(len(x)):
        if x[i] != 0.0:
            for j in range(4 * units):
                z[j] += x[i] * kernel[i, j]
    for i in range(units):
        for j in range(4 * units):
            z[j] += h[i] * recurrent[i, j]
    for k in range(units):
        c[k] = _sigmoid(z[units + k]) * c[k] + _sigmoid(z[k]) * math.tanh(z[2 * units + k])
        h[k] = _sigmoid(z[3 * units + k]) * math.tanh(c[k])


@njit(cache=True)
def _forecast(
    starts: Integers,
    days: Integers,
    values: Floats,
    kernel: Floats,
    recurrent: Floats,
    bias: Floats,
    hidden_head: Floats,
    level_head: Floats,
    head_bias: Floats,
    levels: Integers,
    out: Floats,
) -> None:
    """Quantiles of next week's mean steps after each row's day, and the scale: out [rows, 4].

    Days without a row are days without data.
    """
    units = len(recurrent)
    x, z, nothing = np.zeros(FEATURES), np.empty(4 * units), np.full(5, np.nan)
    for p in range(len(starts) - 1):
        sums, h, c = np.zeros(_SUMS), np.zeros(units), np.zeros(units)
        for row in range(starts[p], starts[p + 1]):
            if row > starts[p]:
                for day in range(days[row - 1] + 1, days[row]):
                    day_features(sums, nothing, day, x)
                    lstm_step(x, h, c, kernel, recurrent, bias, z)
            scale = day_features(sums, values[row], days[row], x)
            lstm_step(x, h, c, kernel, recurrent, bias, z)
            for q in range(3):
                ratio = 1.0 + head_bias[q]
                for k in range(units):
                    ratio += h[k] * hidden_head[k, q]
                for j in range(len(levels)):
                    ratio += x[levels[j]] * level_head[j, q]
                out[row, q] = scale * ratio
            out[row, 3] = scale


@njit(cache=True)
def _features(starts: Integers, days: Integers, values: Floats, out: Floats, scales: Floats) -> None:
    for p in range(len(starts) - 1):
        sums = np.zeros(_SUMS)
        for row in range(starts[p], starts[p + 1]):
            scales[row] = day_features(sums, values[row], days[row], out[row])


@dataclass(frozen=True, slots=True, eq=False)
class DailySeries:
    """Days of persons, by person and day: person p has rows starts[p] .. starts[p + 1].

    days [rows]: days since 1970-01-01, rising within a person; values [rows, SERIES], NaN where there is none.
    """

    starts: Integers
    days: Integers
    values: Floats

    def __post_init__(self) -> None:
        if self.values.shape != (len(self.days), len(SERIES)) or self.starts[-1] != len(self.days):
            raise ModelError(f"daily series: values {self.values.shape} for {len(self.days)} days")
        within = np.ones(len(self.days), bool)
        within[self.starts[:-1]] = False
        if np.any(np.diff(self.days)[within[1:]] <= 0):
            raise ModelError("daily series: days of a person must rise")

    def features(self) -> tuple[Floats, Floats]:
        """Features [rows, FEATURES] and scales [rows]. For series without gaps: a gap's days are not shown."""
        out, scales = np.zeros((len(self.days), FEATURES)), np.empty(len(self.days))
        _features(self.starts, self.days, self.values, out, scales)
        return out, scales


@dataclass(frozen=True, slots=True)
class Weights:
    """The trained network, as Keras lays it out, and the conformal widening in units of the scale."""

    kernel: tuple[tuple[float, ...], ...]
    recurrent: tuple[tuple[float, ...], ...]
    bias: tuple[float, ...]
    hidden_head: tuple[tuple[float, float, float], ...]
    level_head: tuple[tuple[float, float, float], ...]
    head_bias: tuple[float, float, float]
    widening: float


class StepsForecaster:
    """The trained model. Pure: the same days give the same bits in any company."""

    def __init__(self, version: str, weights: Weights) -> None:
        self.version, self.weights = version, weights
        names = ("kernel", "recurrent", "bias", "hidden_head", "level_head", "head_bias")
        self._arrays = tuple(np.array(getattr(weights, name), np.float64) for name in names)
        if self._arrays[0].shape[0] != FEATURES:
            raise ModelError(f"steps forecast {version} takes {self._arrays[0].shape[0]} features: train it anew")

    def raw(self, series: DailySeries) -> tuple[Floats, Floats]:
        """The network's quantiles [rows, QUANTILES] before sorting and widening, and the scales [rows], in steps."""
        out = np.empty((len(series.days), len(QUANTILES) + 1))
        _forecast(series.starts, series.days, series.values, *self._arrays, np.array(LEVELS, np.int64), out)
        return out[:, :-1], out[:, -1]

    def forecast(self, series: DailySeries) -> tuple[Floats, Floats, Floats]:
        """(median, lower, upper) [rows]: mean steps of the seven days after each row's day, with an 80 % interval.

        0 <= lower <= median <= upper.
        """
        quantiles, scales = self.raw(series)
        found, room = np.sort(quantiles, axis=1), self.weights.widening * scales
        middle = np.maximum(found[:, 1], 0.0)
        return middle, np.clip(found[:, 0] - room, 0.0, middle), np.maximum(found[:, 2] + room, middle)
