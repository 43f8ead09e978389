"""Trains the behavioural model with Keras on the days of a few persons, and says what they can carry.

With some seventy persons the network is kept small, its hidden part is penalised, readings and whole series are hidden
at random, and it is judged on persons it has never seen. Loss: pinball, weighted by the member's level, so that its
median minimises the mean absolute error in steps.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.scoring.steps_forecast import AHEAD, FEATURES, LEVELS, QUANTILES, DailySeries, StepsForecaster, Weights

if TYPE_CHECKING:  # TensorFlow takes ten seconds and 600 MB to import: only who trains pays for it
    import keras

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

UNITS = 8
EPOCHS = 150
LEARNING_RATE = 5e-3
PENALTY = 3e-3
DROPOUT = 0.4
HIDDEN_DAYS = 0.3
HIDDEN_SERIES = 0.3
SEED = 20_210_524
EARLIER_DAYS = 14
KNOWN_DAYS = 7
KNOWN_AHEAD = 4
FOLDS = 6
COVERAGE = 0.80
# (value, mask) features that augmentation hides: steps by day, the other series also as a whole
_MASKED = ((0, 1), (5, 6), (7, 8), (9, 10), (11, 12))


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """Mean steps of the seven days after each day [rows], and which rows count."""

    steps: Floats
    counts: Flags


def targets(series: DailySeries) -> Targets:
    """Targets of a series without gaps: at least 4 of the next 7 days known, 14 days and 7 known ones behind."""
    steps, counts = np.full(len(series.days), np.nan), np.zeros(len(series.days), bool)
    for a, b in zip(series.starts[:-1].tolist(), series.starts[1:].tolist(), strict=True):
        day = series.values[a:b, 0]
        behind = np.cumsum(~np.isnan(day))
        for t in range(EARLIER_DAYS, len(day) - AHEAD):
            ahead = day[t + 1 : t + 1 + AHEAD]
            ahead = ahead[~np.isnan(ahead)]
            if len(ahead) >= KNOWN_AHEAD and behind[t] >= KNOWN_DAYS:
                steps[a + t], counts[a + t] = ahead.mean(), True
    return Targets(steps, counts)


def persons(series: DailySeries, chosen: list[int]) -> DailySeries:
    """The series of the chosen persons."""
    rows = [np.arange(series.starts[p], series.starts[p + 1]) for p in chosen]
    starts = np.concatenate([[0], np.cumsum([len(each) for each in rows])]).astype(np.int64)
    at = np.concatenate(rows)
    return DailySeries(starts, series.days[at], series.values[at])


def together(one: DailySeries, other: DailySeries) -> DailySeries:
    """Both series' persons."""
    starts = np.concatenate([one.starts, one.starts[-1] + other.starts[1:]])
    return DailySeries(starts, np.concatenate([one.days, other.days]), np.concatenate([one.values, other.values]))


def train(series: DailySeries, seed: int) -> "keras.Model":
    """The Keras model: (days' features) -> quantiles of next week's mean steps over the scale, less 1."""
    import keras
    import tensorflow

    keras.utils.set_random_seed(seed)
    model = _network(keras)
    x, ratio, weight = _padded(series)
    optimizer = keras.optimizers.Adam(LEARNING_RATE)
    quantiles = np.array(QUANTILES, np.float32)

    @tensorflow.function
    def step(batch: Any) -> None:
        with tensorflow.GradientTape() as tape:
            error = ratio[..., None] - 1.0 - model(batch, training=True)
            pinball = tensorflow.maximum(quantiles * error, (quantiles - 1.0) * error)
            loss = tensorflow.reduce_sum(weight[..., None] * pinball) + tensorflow.add_n(model.losses)
        gradients, _ = tensorflow.clip_by_global_norm(tape.gradient(loss, model.trainable_variables), 1.0)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

    rng = np.random.Generator(np.random.Philox(seed))
    for epoch in range(EPOCHS):
        optimizer.learning_rate = LEARNING_RATE * 0.5 * (1.0 + np.cos(np.pi * epoch / EPOCHS))
        step(tensorflow.constant(_with_gaps(x, rng)))
    return model


def _network(keras: Any) -> "keras.Model":
    penalty = keras.regularizers.l2(PENALTY)
    days = keras.layers.Input((None, FEATURES))
    hidden = keras.layers.LSTM(
        UNITS, return_sequences=True, kernel_regularizer=penalty, recurrent_regularizer=penalty, name="lstm"
    )(days)
    hidden = keras.layers.Dropout(DROPOUT)(hidden)
    # a fixed choice of columns as a frozen layer: it needs no code of ours to be loaded
    pick = keras.layers.Dense(len(LEVELS), use_bias=False, trainable=False, name="levels")
    levels = pick(days)
    pick.set_weights([np.eye(FEATURES, dtype=np.float32)[:, list(LEVELS)]])
    own = {"kernel_initializer": "zeros"}
    from_hidden = keras.layers.Dense(3, use_bias=False, kernel_regularizer=penalty, name="hidden_head", **own)(hidden)
    from_levels = keras.layers.Dense(3, name="level_head", **own)(levels)
    return keras.Model(days, keras.layers.Add()([from_hidden, from_levels]))


def weights(model: "keras.Model", widening: float) -> Weights:
    """The model's weights for `StepsForecaster`."""
    kernel, recurrent, bias = (w.astype(np.float64).tolist() for w in model.get_layer("lstm").get_weights())
    (hidden_head,) = (w.astype(np.float64).tolist() for w in model.get_layer("hidden_head").get_weights())
    level_head, head_bias = (w.astype(np.float64).tolist() for w in model.get_layer("level_head").get_weights())

    def rows(matrix: list[list[float]]) -> Any:
        return tuple(tuple(row) for row in matrix)

    heads = rows(hidden_head), rows(level_head), tuple(head_bias)
    return Weights(rows(kernel), rows(recurrent), tuple(bias), *heads, widening)


def _padded(series: DailySeries) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Features [persons, days, FEATURES], ratios of target to scale, and weights [persons, days]; zeros at the end."""
    features, scales = series.features()
    found = targets(series)
    lengths = np.diff(series.starts)
    shape = len(lengths), int(lengths.max())
    x, ratio, weight = (
        np.zeros((*shape, FEATURES), np.float32),
        np.zeros(shape, np.float32),
        np.zeros(shape, np.float32),
    )
    for p, (a, b) in enumerate(zip(series.starts[:-1].tolist(), series.starts[1:].tolist(), strict=True)):
        counts = found.counts[a:b]
        x[p, : b - a] = features[a:b]
        ratio[p, : b - a] = np.where(counts, found.steps[a:b], 0.0) / scales[a:b]
        weight[p, : b - a] = counts * scales[a:b]
    return x, ratio, weight / weight.sum()


def _with_gaps(x: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """A copy in which readings, and of the series but steps the whole, are hidden at random."""
    out = x.copy()
    for value, mask in _MASKED:
        hidden = rng.random(x.shape[:2]) < HIDDEN_DAYS
        if value:
            hidden |= (rng.random(len(x)) < HIDDEN_SERIES)[:, None]
        out[hidden, value] = 0.0
        out[hidden, mask] = 0.0
    return out


def check_series() -> DailySeries:
    """Ninety made-up days with gaps of two persons, on which Keras and the kernel are compared."""
    rng = np.random.Generator(np.random.Philox(9))
    usual, spread = np.array([8000.0, 65.0, 420.0, 30.0, 40.0]), np.array([3000.0, 4.0, 60.0, 20.0, 12.0])
    values = np.maximum(usual + spread * rng.standard_normal((90, len(usual))), 0.0)
    values[rng.random(values.shape) < 0.3] = np.nan
    return DailySeries(np.array([0, 60, 90]), np.concatenate([np.arange(19_000, 19_060), np.arange(30)]), values)


def keras_outputs(model: "keras.Model", series: DailySeries) -> Floats:
    """Keras' own quantiles [rows, 3] of a series without gaps."""
    x, scales = series.features()
    parts = [model(x[a:b][None], training=False) for a, b in zip(series.starts[:-1], series.starts[1:], strict=True)]
    return np.asarray((1.0 + np.concatenate([np.asarray(part)[0] for part in parts])) * scales[:, None], np.float64)


def unseen(series: DailySeries, judged: int, seed: int = SEED) -> Floats:
    """The network's quantiles [rows, 3] for the first `judged` persons from models that have not seen them.

    Each fold is trained on the judged persons outside it and on all others. NaN for rows of the others.
    """
    count = len(series.starts) - 1
    fold = np.random.Generator(np.random.Philox(seed)).permutation(judged) % FOLDS
    out = np.full((len(series.days), 3), np.nan)
    for k in range(FOLDS):
        outside = [p for p in range(count) if p >= judged or fold[p] != k]
        inside = np.flatnonzero(fold == k).tolist()
        model = StepsForecaster("fold", weights(train(persons(series, outside), seed), 0.0))
        found = np.sort(model.raw(persons(series, inside))[0], axis=1)
        at = np.concatenate([np.arange(series.starts[p], series.starts[p + 1]) for p in inside])
        out[at] = found
    return out


def widening(series: DailySeries, quantiles: Floats) -> float:
    """What the interval lacks on each side, in units of the scale, so that it holds 80 % of unseen persons' weeks.

    Conformalised quantile regression (Romano, Patterson, Candes 2019) with out-of-fold scores.
    """
    found, scales = targets(series), series.features()[1]
    rows = found.counts & ~np.isnan(quantiles[:, 0])
    miss = np.maximum(quantiles[rows, 0] - found.steps[rows], found.steps[rows] - quantiles[rows, 2]) / scales[rows]
    return float(np.quantile(miss, COVERAGE, method="higher"))


def evaluate(series: DailySeries, quantiles: Floats) -> dict[str, Any]:
    """Figures on unseen persons: MAE beside the simple forecasts', as shares of the last-7-day mean's, and coverage.

    Coverage is of intervals widened by what the other half of the persons asks for.
    """
    found, scales = targets(series), series.features()[1]
    half = np.repeat(np.arange(len(series.starts) - 1), np.diff(series.starts)) % 2
    room = np.array([widening(series, np.where((half == h)[:, None], np.nan, quantiles)) for h in (0, 1)])[half]
    rows = found.counts & ~np.isnan(quantiles[:, 0])
    actual, last_week = found.steps[rows], _last_week(series)[rows]
    weighted = _weighted_mean(series, 10.0)[rows]
    week = float(np.abs(actual - last_week).mean())
    low, high = (quantiles[:, 0] - room * scales)[rows], (quantiles[:, 2] + room * scales)[rows]
    return {
        "persons": int(np.sum(np.add.reduceat(rows, series.starts[:-1]) > 0)),
        "weeks": int(rows.sum()),
        "mae_last_week_mean": round(week, 1),
        "mae_to_last_week_mean": {
            "model": round(float(np.abs(actual - quantiles[rows, 1]).mean()) / week, 4),
            "weighted_mean_half_life_10": round(float(np.abs(actual - weighted).mean()) / week, 4),
        },
        "coverage_80": round(float(((actual >= low) & (actual <= high)).mean()), 4),
    }


def _weighted_mean(series: DailySeries, half_life: float) -> Floats:
    decay, out = 0.5 ** (1.0 / half_life), np.full(len(series.days), np.nan)
    for a, b in zip(series.starts[:-1].tolist(), series.starts[1:].tolist(), strict=True):
        total = weight = 0.0
        for row in range(a, b):
            total, weight = total * decay, weight * decay
            if not np.isnan(series.values[row, 0]):
                total, weight = total + series.values[row, 0], weight + 1.0
            out[row] = total / weight if weight else np.nan
    return out


def _last_week(series: DailySeries) -> Floats:
    """Mean of the known of the last seven days; the weighted mean where none is known."""
    out = _weighted_mean(series, 10.0)
    for a, b in zip(series.starts[:-1].tolist(), series.starts[1:].tolist(), strict=True):
        for row in range(a, b):
            week = series.values[max(a, row - AHEAD + 1) : row + 1, 0]
            if not np.isnan(week).all():
                out[row] = np.nanmean(week)
    return out
