"""`vitanexus predict` and `vitanexus train`: the fitted models."""

from pathlib import Path
from typing import Annotated

import typer

from cluster.stack import ray_environment

predict = typer.Typer(help="Predict with the fitted models.", no_args_is_help=True)
train = typer.Typer(help="Fit the models.", no_args_is_help=True)


@predict.command("cost")
def predict_cost(
    source: Annotated[str, typer.Option(help="survey the file comes from: meps")],
    directory: Annotated[Path, typer.Option("--dir", help="folder that holds meps_YEAR.parquet")],
    year: Annotated[int, typer.Option(help="year of the file; the prediction is for the year after")],
    out: Annotated[Path, typer.Option(help="Parquet file to write")],
) -> None:
    """Predict everyone's cost of the next year, with a 90 % interval.

    Writes dupersid, panel, predicted_cost, lower_90 and upper_90 (US dollars).
    Example: vitanexus predict cost --source meps --dir data/meps --year 2012 --out predictions.parquet
    """
    from engine.learning.predict import predict_meps_cost
    from engine.learning.registry import load_base_risk

    if source != "meps":
        raise typer.BadParameter(f"{source!r} is not a source: meps is the only one", param_hint="--source")
    model = load_base_risk()
    persons = predict_meps_cost(model, directory, year, out)
    typer.echo(f"{persons:,} persons predicted for {year + 1} with base risk {model.version}: {out}")


@predict.command("health")
def predict_health(
    source: Annotated[str, typer.Option(help="survey the file comes from: nhanes")],
    file: Annotated[Path, typer.Option(help="Parquet file in the layout of the BioAge package")],
    out: Annotated[Path, typer.Option(help="Parquet file to write")],
) -> None:
    """Score adults' health from laboratory values, vital signs and self-rated health.

    Writes sampleID, health_score (1 healthiest to 100), hazard (relative), ten_year_mortality, and the reason where a
    row has too little data.
    Example: vitanexus predict health --source nhanes --file nhanes.parquet --out health.parquet
    """
    from engine.learning.predict import predict_nhanes_health
    from engine.learning.registry import load_physiology

    if source != "nhanes":
        raise typer.BadParameter(f"{source!r} is not a source: nhanes is the only one", param_hint="--source")
    model = load_physiology()
    scored, refused = predict_nhanes_health(model, file, out)
    typer.echo(f"{scored:,} adults scored with physiology {model.version}, {refused:,} with too little data: {out}")


@train.command("base-risk")
def train_base_risk(
    data: Annotated[Path, typer.Option(help="folder that holds meps_2012.parquet and meps_2013.parquet")],
    out: Annotated[Path | None, typer.Option(help="registry to write to; the package's own where left out")] = None,
    version: Annotated[str, typer.Option(help="version of the new model")] = "1",
) -> None:
    """Fit the base-risk model on MEPS through Ray Train, and print its figures on held-out persons."""
    _train("train_base_risk", data, out, version)


@train.command("physiology")
def train_physiology(
    file: Annotated[Path, typer.Option(help="nhanes3_labs_mortality.parquet")],
    out: Annotated[Path | None, typer.Option(help="registry to write to; the package's own where left out")] = None,
    version: Annotated[str, typer.Option(help="version of the new model")] = "1",
) -> None:
    """Fit the physiology model on NHANES III through Ray Train, and print its out-of-fold figures."""
    _train("train_physiology", file, out, version)


def _train(which: str, data: Path, out: Path | None, version: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as storage:
        ray_environment.prepare(Path(storage))
        import ray
        from rich import print_json

        from actors import training
        from engine.learning.registry import MODELS

        ray.init(log_to_driver=False, logging_level="ERROR", _node_ip_address="127.0.0.1", dashboard_host="127.0.0.1")
        try:
            folder, metrics = getattr(training, which)(data, MODELS if out is None else out, version, Path(storage))
        finally:
            ray.shutdown()
    typer.echo(f"written to {folder}")
    print_json(data=metrics)
