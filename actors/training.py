"""Trains models on Ray. Small data trains in one worker; the loop is the same for more."""

import tempfile
from pathlib import Path
from typing import Any

import ray.train
from ray.train import Checkpoint, RunConfig, ScalingConfig
from ray.train.xgboost import XGBoostTrainer

from engine.learning import fit, registry
from engine.learning.meps import read_meps

FIRST_YEAR, SECOND_YEAR = 2012, 2013
REPEATS = 20


def _train_loop(config: dict[str, Any]) -> None:
    """Fits the trees on rank 0, whose checkpoint carries them; every rank reports once."""
    if ray.train.get_context().get_world_rank() != 0:
        ray.train.report({})
        return
    sample = _sample(Path(config["data"]))
    to_fit, _, _ = fit.split(sample)
    boosters = fit.fit_trees(to_fit)
    with tempfile.TemporaryDirectory() as folder:
        boosters.mean.save_model(Path(folder) / "mean.ubj")
        boosters.quantiles.save_model(Path(folder) / "quantiles.ubj")
        ray.train.report({"scale": boosters.scale}, checkpoint=Checkpoint.from_directory(folder))


def _sample(data: Path) -> fit.Sample:
    return fit.linked_sample(read_meps(data, FIRST_YEAR), read_meps(data, SECOND_YEAR))


def train_base_risk(data: Path, out: Path, version: str, storage: Path) -> tuple[Path, dict[str, Any]]:
    """Trains the base-risk model on MEPS 2012 -> 2013 through Ray Train; returns its folder and its figures.

    `data` holds meps_2012.parquet and meps_2013.parquet, `out` is the registry to write to, `storage` takes Ray Train's
    own files. Calibration and evaluation run here, on persons that the workers did not see.
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
        trees = [xgboost.Booster(model_file=Path(folder) / name) for name in ("mean.ubj", "quantiles.ubj")]
    boosters = fit.Boosters(*trees, result.metrics["scale"])
    sample = _sample(data)
    _, to_calibrate, to_test = fit.split(sample)
    model = fit.calibrate(version, boosters, to_calibrate, read_meps(data, FIRST_YEAR))
    repeated = fit.repeated_r2(sample, REPEATS)
    metrics = fit.evaluate(model, to_test) | {
        "repeated_r2": [round(value, 4) for value in repeated],
        "persons_fitted": len(fit.split(sample)[0].cost),
    }
    training = {
        "data": f"MEPS {FIRST_YEAR} features -> {SECOND_YEAR} total expenditure, persons in both by dupersid and panel",
        "licence": "AHRQ MEPS public use files, United States Government, public domain; statistical use only",
        "split": "blake2b-32 of 'dupersid/panel', first byte / 256: < 0.70 fitted, < 0.85 calibrated, rest tested",
    }
    return registry.save(model, boosters, training, metrics, out), metrics
