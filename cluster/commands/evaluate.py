"""`vitanexus evaluate`: how good the base-risk model is on persons it has not seen."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cluster.commands.described import Check, tell_meps

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_console = Console(highlight=False)
_INK, _SECOND, _GRID = "#1f4e79", "#c55a11", "#d9d9d9"
_FITTED_ON = 2012


def evaluate(
    data: Annotated[Path, typer.Option(help="folder that holds meps_YEAR.parquet and that of the year after")],
    year: Annotated[int, typer.Option(help="year of the features; costs are of the year after")] = _FITTED_ON,
    out: Annotated[Path, typer.Option(help="folder for evaluation.json and the plots")] = Path("evaluation"),
    check: Check = False,
) -> None:
    """Evaluate predicted costs: R2, MAE, calibration; predictive ratio and coverage by tenth, age-sex, condition, race.

    Of 2012, on which the model was fitted, persons are judged by trees that have not seen them.
    Example: vitanexus evaluate --data data/meps --out evaluation
    """
    if check:
        tell_meps(data, year)
        return
    from engine.learning.evaluation import figures, judge_meps
    from engine.learning.registry import load_base_risk

    with Console(stderr=True).status("predicting persons outside each fold" if year == _FITTED_ON else "predicting"):
        found = figures(judge_meps(load_base_risk(), data, year, _FITTED_ON))
    out.mkdir(parents=True, exist_ok=True)
    (out / "evaluation.json").write_text(json.dumps(found, indent=1))
    _plots(found, out)
    whole = found["all"]
    _console.print(f"{whole['persons']:,} persons, {found['seen']}")
    _console.print(
        f"R2 {whole['r2']:.3f}, mean absolute error ${whole['mae']:,.0f}, "
        f"predictive ratio {whole['predictive_ratio']:.3f}, the 90 % interval covers {whole['coverage_90']:.1%}"
    )
    for kind in [name for name in found if name not in ("seen", "all")]:
        _console.print(_table(kind, found[kind]))
    typer.echo(f"{out}/evaluation.json, calibration.png, groups.png")


def _table(kind: str, groups: dict[str, Any]) -> Table:
    table = Table(kind, "persons", "predicted", "actual", "ratio", "coverage")
    for name, row in groups.items():
        if "predicted" not in row:
            table.add_row(name, f"{row['persons']:,}", "too few", "", "", "")
            continue
        ratio = "" if row["predictive_ratio"] is None else f"{row['predictive_ratio']:.3f}"
        table.add_row(
            name,
            f"{row['persons']:,}",
            f"${row['predicted']:,.0f}",
            f"${row['actual']:,.0f}",
            ratio,
            f"{row['coverage_90']:.1%}",
        )
    return table


def _plots(found: dict[str, Any], out: Path) -> None:
    from matplotlib.figure import Figure

    tenths = [row for row in found["tenth of prediction"].values() if "predicted" in row]
    figure = Figure(figsize=(5.2, 4.6), layout="constrained")
    axes = figure.add_subplot()
    predicted, actual = ([max(row[name], 1.0) for row in tenths] for name in ("predicted", "actual"))
    ends = min(predicted + actual), max(predicted + actual)
    axes.loglog(ends, ends, color=_SECOND, linewidth=1, label="predicted = actual")
    axes.loglog(predicted, actual, "o", color=_INK, label="a tenth of the persons")
    axes.set(
        title="Calibration by tenth of prediction",
        xlabel="mean predicted cost, dollars",
        ylabel="mean actual cost, dollars",
    )
    axes.legend(frameon=False)
    _bare(axes)
    figure.savefig(out / "calibration.png", dpi=110)

    rows = [
        (name, row["predictive_ratio"], row["coverage_90"])
        for kind in ("race", "condition", "age and sex")
        for name, row in found[kind].items()
        if row.get("predictive_ratio") is not None
    ]
    names, ratios, coverages = zip(*rows, strict=True)
    figure = Figure(figsize=(8.4, 1.2 + 0.24 * len(rows)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    at = range(len(rows))
    left.plot(ratios, at, "o", color=_INK)
    left.axvspan(0.9, 1.1, color=_GRID, alpha=0.5)
    left.set(title="predictive ratio", yticks=at, yticklabels=names)
    right.plot([100 * share for share in coverages], at, "o", color=_INK)
    right.axvspan(87, 93, color=_GRID, alpha=0.5)
    right.set(title="coverage of the 90 % interval, %")
    for each in (left, right):
        _bare(each)
    figure.savefig(out / "groups.png", dpi=110)


def _bare(axes: "Axes") -> None:
    axes.grid(color=_GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
