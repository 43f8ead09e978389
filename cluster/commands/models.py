"""`vitanexus predict` and `vitanexus train`: the fitted models."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from cluster.commands.described import Check, tell_files, tell_meps
from cluster.stack import ray_environment

predict = typer.Typer(help="Predict with the fitted models.", no_args_is_help=True)
_FITTED_ON = 2012
"""Year of the survey's features on which the package's models are fitted."""
train = typer.Typer(help="Fit the models.", no_args_is_help=True)


@predict.command("cost")
def predict_cost(
    source: Annotated[str, typer.Option(help="survey the file comes from: meps")],
    directory: Annotated[Path, typer.Option("--dir", help="folder that holds meps_YEAR.parquet")],
    year: Annotated[int, typer.Option(help="year of the file; the prediction is for the year after")],
    out: Annotated[Path | None, typer.Option(help="Parquet file to write")] = None,
    check: Check = False,
) -> None:
    """Predict everyone's cost of the next year, with a 90 % interval.

    Writes dupersid, panel, predicted_cost, lower_90 and upper_90 (US dollars).
    Example: vitanexus predict cost --source meps --dir data/meps --year 2012 --out predictions.parquet
    """
    from engine.learning.predict import predict_meps_cost
    from engine.learning.registry import load_base_risk

    if source != "meps":
        raise typer.BadParameter(f"{source!r} is not a source: meps is the only one", param_hint="--source")
    if check:
        from engine.learning.meps import read_meps

        read_meps(directory, year)
        tell_files(directory / f"meps_{year}.parquet")
        return
    model, out = load_base_risk(), _named(out)
    persons = predict_meps_cost(model, directory, year, out)
    typer.echo(f"{persons:,} persons predicted for {year + 1} with base risk {model.version}: {out}")


@predict.command("health")
def predict_health(
    source: Annotated[str, typer.Option(help="survey the file comes from: nhanes")],
    file: Annotated[Path, typer.Option(help="Parquet file in the layout of the BioAge package")],
    out: Annotated[Path | None, typer.Option(help="Parquet file to write")] = None,
    check: Check = False,
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
    if check:
        from engine.learning.nhanes import read_nhanes

        read_nhanes(file)
        tell_files(file)
        return
    model, out = load_physiology(), _named(out)
    scored, refused = predict_nhanes_health(model, file, out)
    typer.echo(f"{scored:,} adults scored with physiology {model.version}, {refused:,} with too little data: {out}")


@predict.command("behavior")
def predict_behavior(
    source: Annotated[str, typer.Option(help="layout of the file: lifesnaps")],
    file: Annotated[Path, typer.Option(help="CSV with a row a person and day: id, date, steps, ...")],
    out: Annotated[Path | None, typer.Option(help="Parquet file to write")] = None,
    check: Check = False,
) -> None:
    """Forecast everyone's mean steps of the next seven days, with an 80 % interval.

    Writes id, date, steps_next7_mean, lower_80 and upper_80 for each day with at least 14 earlier ones.
    Example: vitanexus predict behavior --source lifesnaps --file daily.csv --out steps.parquet
    """
    from engine.learning.predict import predict_steps
    from engine.learning.registry import load_behavior

    if source != "lifesnaps":
        raise typer.BadParameter(f"{source!r} is not a source: lifesnaps is the only one", param_hint="--source")
    if check:
        from engine.learning.daily import read_lifesnaps

        read_lifesnaps(file)
        tell_files(file)
        return
    model, out = load_behavior(), _named(out)
    found, unknown = predict_steps(model, file, out)
    typer.echo(f"{found:,} days forecast with behavior {model.version}, {unknown:,} without any known steps: {out}")


def _named(out: Path | None) -> Path:
    if out is None:
        raise typer.BadParameter("say which file to write", param_hint="--out")
    return out


@train.command("base-risk")
def train_base_risk(
    data: Annotated[Path, typer.Option(help="folder that holds meps_2012.parquet and meps_2013.parquet")],
    out: Annotated[Path | None, typer.Option(help="registry to write to; the package's own where left out")] = None,
    version: Annotated[str, typer.Option(help="version of the new model")] = "1",
    tune: Annotated[int, typer.Option(min=0, help="settings of the trees to try first, by cross-validation")] = 0,
    address: Annotated[str, typer.Option(help="Ray cluster; on this machine where left out")] = "",
    storage: Annotated[Path | None, typer.Option(help="folder for Ray's files; all nodes must see it")] = None,
    check: Check = False,
) -> None:
    """Fit the base-risk model on MEPS through Ray Data and Ray Train, and print its figures on held-out persons.

    Example: vitanexus train base-risk --data data/meps --out models --version 4 --tune 40
    """
    if check:
        tell_meps(data, _FITTED_ON)
        return
    if address and storage is None:
        raise typer.BadParameter("a cluster's nodes need a folder that all of them see", param_hint="--storage")
    from cluster.scoring_commands import progress_bar

    with progress_bar() as progress:
        task = progress.add_task("settings tried", total=tune or None, visible=tune > 0)
        _train(
            "train_base_risk",
            data,
            out,
            version,
            address,
            storage,
            trials=tune,
            progress=lambda done: progress.update(task, completed=done),
        )


@train.command("physiology")
def train_physiology(
    file: Annotated[Path, typer.Option(help="nhanes3_labs_mortality.parquet")],
    out: Annotated[Path | None, typer.Option(help="registry to write to; the package's own where left out")] = None,
    version: Annotated[str, typer.Option(help="version of the new model")] = "1",
    check: Check = False,
) -> None:
    """Fit the physiology model on NHANES III through Ray Train, and print its out-of-fold figures."""
    if check:
        from engine.learning.nhanes import read_nhanes

        read_nhanes(file)
        tell_files(file)
        return
    _train("train_physiology", file, out, version)


@train.command("ensemble")
def train_ensemble(
    meps: Annotated[Path, typer.Option(help="folder that holds meps_2012.parquet")],
    adults: Annotated[Path, typer.Option(help="nhanes3_labs_mortality.parquet")],
    walkers: Annotated[Path, typer.Option(help="nhanes_steps_mortality.parquet")],
    out: Annotated[Path | None, typer.Option(help="registry to write to; the package's own where left out")] = None,
    version: Annotated[str, typer.Option(help="version of the new weights")] = "1",
    check: Check = False,
) -> None:
    """Fit how physiology and steps move the predicted cost beside base risk, and print what each adds."""
    if check:
        from engine.learning.meps import read_meps
        from engine.learning.nhanes import read_nhanes, read_steps

        read_meps(meps, _FITTED_ON)
        read_nhanes(adults)
        read_steps(walkers)
        tell_files(meps / f"meps_{_FITTED_ON}.parquet", adults, walkers)
        return
    from rich import print_json

    from actors.training import train_ensemble as fit
    from engine.learning.registry import MODELS

    with Console(stderr=True).status("stacking on predictions that have not seen the person"):
        folder, metrics = fit(meps, adults, walkers, MODELS if out is None else out, version)
    typer.echo(f"written to {folder}")
    print_json(data=metrics)


@train.command("behavior")
def train_behavior(
    lifesnaps: Annotated[Path, typer.Option(help="daily.csv of LifeSnaps, whose persons also judge the model")],
    fitabase: Annotated[Path, typer.Option(help="folder of Fitabase, whose persons are trained on only")],
    out: Annotated[Path | None, typer.Option(help="registry to write to; the package's own where left out")] = None,
    version: Annotated[str, typer.Option(help="version of the new model")] = "1",
    check: Check = False,
) -> None:
    """Train the steps forecast with Keras, and print its figures on unseen persons. Needs the extra `train`."""
    if check:
        from engine.learning.daily import FITABASE_FILES, read_fitabase, read_lifesnaps

        read_lifesnaps(lifesnaps)
        read_fitabase(fitabase)
        tell_files(lifesnaps, *(fitabase / name for name in FITABASE_FILES))
        return
    from rich import print_json

    from engine.learning.registry import MODELS
    from engine.learning.train_behavior import train as fit

    with Console(stderr=True).status("training on persons, and without each sixth of them"):
        folder, metrics = fit(lifesnaps, fitabase, MODELS if out is None else out, version)
    typer.echo(f"written to {folder}")
    print_json(data=metrics)


def _train(
    which: str,
    data: Path,
    out: Path | None,
    version: str,
    address: str = "",
    storage: Path | None = None,
    **more: Any,
) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        ray_environment.prepare(Path(folder), address)
        import ray
        from rich import print_json

        from actors import training
        from engine.learning.registry import MODELS

        local = {} if address else {"_node_ip_address": "127.0.0.1", "dashboard_host": "127.0.0.1"}
        ray.init(address=address or "local", log_to_driver=False, logging_level="ERROR", **local)
        try:
            written, metrics = getattr(training, which)(
                data, MODELS if out is None else out, version, storage or Path(folder), **more
            )
        finally:
            ray.shutdown()
    typer.echo(f"written to {written}")
    print_json(data=metrics)
