"""Reads the wearable data, trains the steps forecast, judges it on unseen persons, and enters it in the registry."""

from pathlib import Path
from typing import Any

from engine.errors import ModelError
from engine.learning import registry
from engine.learning.daily import read_fitabase, read_lifesnaps, without_gaps
from engine.scoring.steps_forecast import DailySeries


def training_series(lifesnaps: Path, fitabase: Path) -> tuple[DailySeries, int]:
    """All persons' days without gaps, LifeSnaps' first, and how many are LifeSnaps'."""
    from engine.learning.fit_behavior import together

    own = without_gaps(read_lifesnaps(lifesnaps).series)
    return together(own, without_gaps(read_fitabase(fitabase).series)), len(own.starts) - 1


def train(lifesnaps: Path, fitabase: Path, out: Path, version: str) -> tuple[Path, dict[str, Any]]:
    """Trains and saves a version; returns its folder and its figures. Raises ModelError without TensorFlow."""
    try:
        from engine.learning import fit_behavior

        series, judged = training_series(lifesnaps, fitabase)
        quantiles = fit_behavior.unseen(series, judged)
        model = fit_behavior.train(series, fit_behavior.SEED)
    except ModuleNotFoundError as error:
        raise ModelError(f"training needs {error.name}: install the extra, pip install 'vitanexus[train]'") from error
    metrics = fit_behavior.evaluate(series, quantiles)
    training = {
        "data": "LifeSnaps 2021-22 (36 persons) and Fitabase 2016 (33 persons), daily",
        "licence": "CC BY 4.0: LifeSnaps, Zenodo 10.5281/zenodo.7229547; Fitabase, Zenodo 10.5281/zenodo.53894",
        "evaluation": f"LifeSnaps' persons out of {fit_behavior.FOLDS} folds by person",
        "keras_outputs": fit_behavior.keras_outputs(model, fit_behavior.check_series()).tolist(),
    }
    sources = [lifesnaps, *(fitabase / name for name in ("dailyActivity_merged.csv", "sleepDay_merged.csv"))]
    weights = fit_behavior.weights(model, fit_behavior.widening(series, quantiles))
    return registry.save(registry.BEHAVIOR, version, {}, weights, training, metrics, sources, out), metrics
