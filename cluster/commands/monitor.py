"""`vitanexus monitor`: whether the models still fit the members they score."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cluster.commands.described import Check, tell_survey
from cluster.commands.stack import DEFAULT, Directory

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from engine.learning.drift import Calibration, Shift
    from engine.learning.registry import ModelCard

monitor = typer.Typer(help="Watch the models at work.", no_args_is_help=True)
_console = Console(highlight=False)
_DRIFTED = 3


@monitor.callback()
def _monitor() -> None:
    """Watch the models at work."""


@monitor.command("drift")
def drift(
    source: Annotated[str, typer.Option(help="database: the members scored; meps: a year of the survey")] = "database",
    data: Annotated[Path | None, typer.Option(help="folder of meps_YEAR.parquet, for --source meps")] = None,
    year: Annotated[int, typer.Option(help="year of the survey, for --source meps")] = 2013,
    out: Annotated[Path | None, typer.Option(help="JSON file to write the figures to")] = None,
    fail: Annotated[
        bool, typer.Option("--fail", help="exit with 3 where a feature has shifted: for schedulers")
    ] = False,
    check: Check = False,
    directory: Directory = DEFAULT,
) -> None:
    """Measure drift of the base risk's features and predictions (PSI), and whether predictions came true.

    Of the database, features are those of the shards' latest snapshots, and predictions of a year and more ago are
    held against the claims and fills of the year after them. PSI below 0.1 is stable, above 0.25 shifted. Of the
    survey, the year the model was fitted on says nothing of how it does elsewhere.
    Example: vitanexus monitor drift --source meps --data data/meps --year 2013
    """
    if check and source != "meps":
        raise typer.BadParameter("only --source meps reads files", param_hint="--check")
    if source == "database":
        card, now, weights, told = _members(directory)
    elif source == "meps":
        if data is None:
            raise typer.BadParameter("--source meps needs --data", param_hint="--data")
        if check:
            tell_survey(data, year)
            return
        card, now, weights, told = _survey(data, year)
    else:
        raise typer.BadParameter(f"{source!r} is not a source: database, meps", param_hint="--source")
    from engine.learning import drift as measures
    from engine.learning.registry import drift_reference

    found = measures.shifts(drift_reference(card), now, weights)
    _show(card, found, told)
    if out is not None:
        document = {"model": f"{card.name} {card.version}", "persons": len(next(iter(now.values())))}
        rows = [asdict(each) | {"verdict": each.verdict} for each in found]
        came_true = None if told is None else asdict(told)
        out.write_text(json.dumps(document | {"shifts": rows, "calibration": came_true}, indent=1))
    if fail and any(each.verdict == "shifted" for each in found):
        raise typer.Exit(_DRIFTED)


Found = tuple["ModelCard", Mapping[str, "NDArray[np.float64]"], "NDArray[np.float64] | None", "Calibration | None"]
"""The model's card, features and prediction by name, the persons' weights if they have any, and what came true."""


def _members(directory: Path) -> Found:
    """Features and predictions of all members in the shards' snapshots, and what came true of earlier predictions."""
    import numpy as np

    from cluster.bootstrap import connect
    from engine.errors import StorageError
    from engine.learning import drift as measures
    from engine.learning import registry
    from engine.scoring.base_risk import CostPrediction
    from engine.scoring.features import BASE_FEATURES
    from engine.scoring.member_features import base_features
    from engine.scoring.member_state import PartitionState
    from engine.settings import load_settings
    from engine.storage.models import ModelStore
    from engine.storage.queries import Queries

    url = connect(directory, "postgres").postgres
    champions = ModelStore(url, pool_size=1).champions()
    card = registry.card(registry.BASE_RISK, champions.base_risk, registry.folder(load_settings().models.folder))
    queries = Queries(url, pool_size=1)
    features, costs = [], []
    for payload in queries.snapshots():
        state = PartitionState.load(payload)
        slots = np.flatnonzero(~np.isnan(state["base_cost"][: len(state), 0]))
        features.append(base_features(state, slots, state["base_as_of"][slots]))
        costs.append(state["base_cost"][slots, 0])
    if not features:
        raise StorageError("no shard has taken a snapshot yet: they do every few commits, and when they stop")
    whole = np.vstack(features).astype(np.float64)
    now = {feature.code: whole[:, i] for i, feature in enumerate(BASE_FEATURES)}
    past = queries.predictions_that_have_come_due()
    cost, mean, lower, upper = (np.array(column, np.float64) for column in past)
    told = measures.calibration(cost, CostPrediction(mean, lower, upper)) if cost.sum() > 0 else None
    return card, now | {"predicted_cost": np.concatenate(costs)}, None, told


def _survey(data: Path, year: int) -> Found:
    """Features and predictions of a year of MEPS; what came true where the year after is there."""
    from engine.learning import drift as measures
    from engine.learning import fit, registry
    from engine.learning.meps import read_meps
    from engine.scoring.base_risk import CostPrediction
    from engine.scoring.features import BASE_FEATURES

    model = registry.load_base_risk()
    first = read_meps(data, year)
    predicted = fit.predict_year(model, first)
    now: dict[str, Any] = {f.code: first.features[:, i].astype(float) for i, f in enumerate(BASE_FEATURES)}
    told = None
    if (data / f"meps_{year + 1}.parquet").is_file():
        second = read_meps(data, year + 1)
        rows, others = fit.linked_rows(first, second)
        mean, lower, upper = (getattr(predicted, name)[rows] for name in ("mean", "lower_90", "upper_90"))
        told = measures.calibration(second.cost[others], CostPrediction(mean, lower, upper))
    card = registry.card(registry.BASE_RISK, model.version)
    return card, now | {"predicted_cost": predicted.mean}, first.weight, told


def _show(card: "ModelCard", found: "list[Shift]", told: "Calibration | None") -> None:
    table = Table(f"{card.name} {card.version}", "PSI", "chance reaches", "verdict")
    for each in found:
        table.add_row(each.name, f"{each.psi:.3f}", f"{each.chance:.3f}", each.verdict)
    _console.print(table)
    if told is None:
        _console.print("calibration: no prediction is a year old yet")
    else:
        _console.print(
            f"calibration of {told.persons:,} predictions: predicted over actual {told.ratio:.3f} "
            f"(standard error {told.standard_error:.3f}), the 90 % interval covers {told.coverage_90:.1%}"
        )
