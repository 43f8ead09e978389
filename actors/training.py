"""Trains models on Ray. Small data trains in one worker; the loop is the same for more."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import ray.train
from ray.train import Checkpoint, RunConfig, ScalingConfig
from ray.train.xgboost import XGBoostTrainer

from engine.learning import fit, fit_ensemble, fit_physiology, registry
from engine.learning.meps import read_meps
from engine.learning.nhanes import read_nhanes, read_steps

FIRST_YEAR, SECOND_YEAR = 2012, 2013
REPEATS = 20


def _train_loop(config: dict[str, Any]) -> None:
    """Fits the trees on rank 0, whose checkpoint carries them; every rank reports once."""
    if ray.train.get_context().get_world_rank() != 0:
        ray.train.report({})
        return
    boosters = fit.fit_trees(_sample(Path(config["data"])))
    with tempfile.TemporaryDirectory() as folder:
        boosters.mean.save_model(Path(folder) / "mean.ubj")
        boosters.quantiles.save_model(Path(folder) / "quantiles.ubj")
        ray.train.report({"scale": boosters.scale}, checkpoint=Checkpoint.from_directory(folder))


def _sample(data: Path) -> fit.Sample:
    return fit.linked_sample(read_meps(data, FIRST_YEAR), read_meps(data, SECOND_YEAR))


def train_base_risk(data: Path, out: Path, version: str, storage: Path) -> tuple[Path, dict[str, Any]]:
    """Trains the base-risk model on MEPS 2012 -> 2013 through Ray Train; returns its folder and its figures.

    `data` holds meps_2012.parquet and meps_2013.parquet, `out` is the registry to write to, `storage` takes Ray Train's
    own files. Calibration and evaluation run here, on persons outside each fold.
    """
    import xgboost

    trainer = XGBoostTrainer(
        _train_loop,
        train_loop_config={"data": str(data.resolve())},
        scaling_config=ScalingConfig(num_workers=1),
        run_config=RunConfig(name="base-risk", storage_path=str(storage)),
    )
    result = trainer.fit()
    with result.checkpoint.as_directory() as folder:
        fitted = [xgboost.Booster(model_file=Path(folder) / name) for name in ("mean.ubj", "quantiles.ubj")]
    boosters = fit.Boosters(*fitted, result.metrics["scale"])
    sample = _sample(data)
    unseen = fit.cross_fitted(sample)
    model = fit.calibrate(version, boosters, sample, unseen, read_meps(data, FIRST_YEAR))
    repeated = fit.repeated_r2(sample, REPEATS)
    metrics = fit.evaluate(sample, unseen) | {"repeated_r2": [round(value, 4) for value in repeated]}
    training = {
        "data": f"MEPS {FIRST_YEAR} features -> {SECOND_YEAR} total expenditure, persons in both by dupersid and panel",
        "licence": "AHRQ MEPS public use files, United States Government, public domain; statistical use only",
        "evaluation": f"out of {fit.FOLDS} folds by person, blake2b-32 of 'dupersid/panel'; fitted on all",
    }
    trees = {"mean": boosters.mean, "quantiles": boosters.quantiles}
    return registry.save(registry.BASE_RISK, version, trees, model.calibration, training, metrics, out), metrics


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
        boosters = {"trees": trees}
        registry.save(
            registry.PHYSIOLOGY, config["version"], boosters, model.calibration, training, metrics, Path(folder)
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
    return registry.save(registry.ENSEMBLE, version, {}, weights, training, metrics, out), metrics
