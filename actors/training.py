"""Trains models on Ray. Small data trains in one worker; the loop is the same for more."""

import logging
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.data
import ray.train
import ray.tune
from ray.train import Checkpoint, RunConfig, ScalingConfig
from ray.train.xgboost import XGBoostTrainer
from ray.tune.search.basic_variant import BasicVariantGenerator

from engine.learning import drift, fit, fit_ensemble, fit_physiology, registry
from engine.learning.meps import MepsYear, read_meps
from engine.learning.nhanes import read_nhanes, read_steps
from engine.scoring.base_risk import BaseRiskModel
from engine.scoring.features import BASE_FEATURES

FIRST_YEAR, SECOND_YEAR = 2012, 2013
REPEATS = 20
SEARCH_SEED = 20_120_103
SPACE: Mapping[str, Any] = {
    "rounds": ray.tune.choice([200, 350, 500, 800]),
    "max_depth": ray.tune.choice([2, 3]),
    "eta": ray.tune.loguniform(0.01, 0.1),
    "min_child_weight": ray.tune.loguniform(5.0, 80.0),
    "subsample": ray.tune.uniform(0.4, 0.9),
    "colsample_bytree": ray.tune.uniform(0.3, 0.9),
    "reg_lambda": ray.tune.loguniform(1.0, 30.0),
}
"""What a search draws from. Depth ends at 3, for which scoring has exact contributions."""
_FEATURES = [feature.code for feature in BASE_FEATURES]


@dataclass(frozen=True, slots=True)
class Search:
    """What a search found: the settings that did best, and R2 out of fold of those and of the usual ones."""

    best: fit.TreeSettings
    best_r2: float
    usual_r2: float
    trials: int


def _table(sample: fit.Sample) -> pa.Table:
    columns = {code: sample.features[:, i] for i, code in enumerate(_FEATURES)}
    dupersid, panel = zip(*sample.keys, strict=True)
    return pa.table({**columns, "cost": sample.cost, "dupersid": dupersid, "panel": panel})


def _persons(table: pa.Table) -> fit.Sample:
    """The sample in order of the persons' keys: blocks arrive in any order, and trees depend on it."""
    table = table.sort_by([("dupersid", "ascending"), ("panel", "ascending")])
    features = np.column_stack([table[code].to_numpy() for code in _FEATURES]).astype(np.float32)
    keys = zip(table["dupersid"].to_pylist(), table["panel"].to_pylist(), strict=True)
    return fit.Sample(features, table["cost"].to_numpy(), list(keys))


def _train_loop(config: dict[str, Any]) -> None:
    """Fits the trees on rank 0, whose checkpoint carries them; every rank reports once."""
    shard = ray.train.get_dataset_shard("persons")
    blocks = list(shard.iter_batches(batch_format="pyarrow", batch_size=None))
    if ray.train.get_context().get_world_rank() != 0:
        ray.train.report({})
        return
    boosters = fit.fit_trees(_persons(pa.concat_tables(blocks)), fit.TreeSettings(**config))
    with tempfile.TemporaryDirectory() as folder:
        boosters.mean.save_model(Path(folder) / "mean.ubj")
        boosters.quantiles.save_model(Path(folder) / "quantiles.ubj")
        ray.train.report({"scale": boosters.scale}, checkpoint=Checkpoint.from_directory(folder))


def _fit(sample: fit.Sample, chosen: fit.TreeSettings, storage: Path) -> fit.Boosters:
    """The trees, fitted through Ray Data and Ray Train."""
    import xgboost

    trainer = XGBoostTrainer(
        _train_loop,
        train_loop_config=asdict(chosen),
        datasets={"persons": ray.data.from_arrow(_table(sample))},
        scaling_config=ScalingConfig(num_workers=1),
        run_config=RunConfig(name="base-risk", storage_path=str(storage)),
    )
    result = trainer.fit()
    with result.checkpoint.as_directory() as folder:
        fitted = [xgboost.Booster(model_file=Path(folder) / name) for name in ("mean.ubj", "quantiles.ubj")]
    return fit.Boosters(*fitted, result.metrics["scale"])


class _Told(ray.tune.Callback):
    """Tells how many trials are done."""

    def __init__(self, progress: Callable[[int], None]) -> None:
        self._progress = progress

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """One more."""
        self._progress(sum(each.is_finished() for each in trials))


def search(sample: fit.Sample, trials: int, storage: Path, progress: Callable[[int], None]) -> Search:
    """Tries `trials` settings of the mean trees with Ray Tune, the usual ones first; the same for the same number.

    A best of many tries is flattered by choosing it: its figure is no measure of the model, which is judged anew.
    """

    def trial(config: dict[str, Any], persons: fit.Sample) -> dict[str, float]:
        return {"r2": fit.cross_validated_r2(persons, fit.TreeSettings(**config))}

    usual = asdict(fit.CHOSEN)
    tuner = ray.tune.Tuner(
        ray.tune.with_parameters(trial, persons=sample),
        param_space=dict(SPACE),
        tune_config=ray.tune.TuneConfig(
            metric="r2",
            mode="max",
            num_samples=trials,
            search_alg=BasicVariantGenerator(points_to_evaluate=[usual], random_state=SEARCH_SEED),
        ),
        run_config=ray.tune.RunConfig(
            name="base-risk-search", storage_path=str(storage), callbacks=[_Told(progress)], verbose=0
        ),
    )
    results = tuner.fit()
    figures = {fit.TreeSettings(**result.config): result.metrics["r2"] for result in results}
    best = max(figures, key=lambda settings: figures[settings])
    return Search(best, figures[best], figures[fit.CHOSEN], len(figures))


def train_base_risk(
    data: Path,
    out: Path,
    version: str,
    storage: Path,
    trials: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[Path, dict[str, Any]]:
    """Trains the base-risk model on MEPS 2012 -> 2013 through Ray; returns its folder and its figures.

    `data` holds meps_2012.parquet and meps_2013.parquet, `out` is the registry to write to, `storage` takes Ray's own
    files and must be seen by every node. With `trials` the settings of the trees are searched for first, and `progress`
    is told how many are done. Calibration and evaluation run here, on persons outside each fold.
    """
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    first = read_meps(data, FIRST_YEAR)
    sample = _persons(_table(fit.linked_sample(first, read_meps(data, SECOND_YEAR))))
    found = search(sample, trials, storage, progress) if trials else None
    chosen = fit.CHOSEN if found is None else found.best
    boosters = _fit(sample, chosen, storage)
    unseen = fit.cross_fitted(sample, chosen)
    model = fit.calibrate(version, boosters, sample, unseen, first)
    repeated = fit.repeated_r2(sample, REPEATS, chosen)
    metrics = fit.evaluate(sample, unseen) | {"repeated_r2": [round(value, 4) for value in repeated]}
    training = {
        "data": f"MEPS {FIRST_YEAR} features -> {SECOND_YEAR} total expenditure, persons in both by dupersid and panel",
        "licence": "AHRQ MEPS public use files, United States Government, public domain; statistical use only",
        "evaluation": f"out of {fit.FOLDS} folds by person, blake2b-32 of 'dupersid/panel'; fitted on all",
        "settings": asdict(chosen),
        "reference": {name: asdict(each) for name, each in _reference(model, first).items()},
        "search": None if found is None else {"trials": found.trials, "r2": found.best_r2, "usual": found.usual_r2},
    }
    trees = {"mean": boosters.mean, "quantiles": boosters.quantiles}
    sources = [data / f"meps_{year}.parquet" for year in (FIRST_YEAR, SECOND_YEAR)]
    folder = registry.save(registry.BASE_RISK, version, trees, model.calibration, training, metrics, sources, out)
    return folder, metrics


def _reference(model: BaseRiskModel, year: MepsYear) -> dict[str, drift.Reference]:
    """How features and predictions are distributed in the survey's population."""
    columns = {code: year.features[:, i].astype(np.float64) for i, code in enumerate(_FEATURES)}
    columns["predicted_cost"] = model.predict(year.features).mean
    return {name: drift.reference(values, year.weight) for name, values in columns.items()}


def _physiology_loop(config: dict[str, Any]) -> None:
    """Fits the model and its folds on rank 0; every rank reports once."""
    if ray.train.get_context().get_world_rank() != 0:
        ray.train.report({})
        return
    sample = read_nhanes(Path(config["file"]))
    model, trees = fit_physiology.fit(config["version"], sample)
    hazards = fit_physiology.cross_validated(sample)
    metrics = fit_physiology.evaluate(sample, hazards, model.ten_year_mortality(hazards))
    with tempfile.TemporaryDirectory() as folder:
        training = {
            "data": "NHANES III adults with mortality linked to 2019, death of any cause, follow-up cut at 20 years",
            "licence": "US CDC/NCHS public-use files, public domain; never to be used to identify anyone",
            "evaluation": f"out of fold, {fit_physiology.FOLDS} folds; ten-year mortality",
        }
        registry.save(
            registry.PHYSIOLOGY,
            config["version"],
            {"trees": trees},
            model.calibration,
            training,
            metrics,
            [Path(config["file"])],
            Path(folder),
        )
        ray.train.report(metrics, checkpoint=Checkpoint.from_directory(folder))


def train_physiology(file: Path, out: Path, version: str, storage: Path) -> tuple[Path, dict[str, Any]]:
    """Trains the physiology model on an NHANES file through Ray Train; returns its folder and its figures."""
    trainer = XGBoostTrainer(
        _physiology_loop,
        train_loop_config={"file": str(file.resolve()), "version": version},
        scaling_config=ScalingConfig(num_workers=1),
        run_config=RunConfig(name="physiology", storage_path=str(storage)),
    )
    result = trainer.fit()
    with result.checkpoint.as_directory() as folder:
        shutil.copytree(folder, out, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*"))
    return out / registry.PHYSIOLOGY / version, result.metrics


def train_ensemble(meps: Path, adults: Path, walkers: Path, out: Path, version: str) -> tuple[Path, dict[str, Any]]:
    """Fits the ensemble's weights beside the newest base risk of the registry `out`; returns their folder and figures.

    `meps` holds meps_2012.parquet; `adults` and `walkers` are the NHANES files of laboratory values and of steps. Small
    and serial: it runs here, in seconds.
    """
    base = registry.load_base_risk(root=out)
    weights, metrics = fit_ensemble.fit(base, read_nhanes(adults), read_steps(walkers), read_meps(meps, FIRST_YEAR))
    training = {
        "data": "NHANES III adults and NHANES 2011-2014 accelerometer wearers, with linked mortality; MEPS 2012",
        "licence": "US CDC/NCHS and AHRQ public-use files, public domain; never to be used to identify anyone",
        "base_risk": base.version,
        "evaluation": f"AUC of death out of {fit_ensemble.FOLDS} folds: base risk, age and sex alone, and stacked",
    }
    sources = [meps / f"meps_{FIRST_YEAR}.parquet", adults, walkers]
    return registry.save(registry.ENSEMBLE, version, {}, weights, training, metrics, sources, out), metrics
