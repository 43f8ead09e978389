"""Scoring on one core: base risk with intervals and with factors, physiology, steps forecast, beside xgboost's predict.

Writes benchmarks/results/scoring-<date>.md. Figures are medians of several runs, kernels warm.
"""

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import typer
import xgboost
from numpy.typing import NDArray

from benchmarks import machine
from engine.learning import registry
from engine.scoring.features import BASE_FEATURES
from engine.scoring.physiology import MEASURES
from engine.scoring.steps_forecast import SERIES, DailySeries

RESULTS = Path(__file__).parent / "results"
DAYS = 30
FACTORED = 20


def crowd(members: int) -> NDArray[np.float32]:
    """Base features of made-up members: a third without costs, a tenth of the conditions, some answers missing."""
    chance = np.random.default_rng(1)
    columns = []
    for feature in BASE_FEATURES:
        if feature.code == "age":
            column = chance.uniform(0, 90, members)
        elif feature.group in ("cost", "utilisation"):
            column = np.where(
                chance.random(members) < 0.33, 0.0, chance.lognormal(6 if feature.group == "cost" else 1, 1.5, members)
            )
        elif feature.group == "self_report":
            column = np.where(chance.random(members) < 0.2, np.nan, chance.integers(1, 6, members))
        else:
            column = (chance.random(members) < (0.5 if feature.code == "male" else 0.1)).astype(float)
        columns.append(column)
    return np.stack(columns, axis=1).astype(np.float32)


def measures(members: int) -> NDArray[np.float64]:
    """Measures of made-up adults, a tenth of the values missing."""
    chance = np.random.default_rng(2)
    low, high = np.array([m.low for m in MEASURES]), np.array([m.high for m in MEASURES])
    values = low + (high - low) * chance.random((members, len(MEASURES))) * 0.3
    values[:, 0], values[:, 1] = chance.uniform(20, 90, members), chance.integers(0, 2, members)
    values[:, 2:][chance.random((members, len(MEASURES) - 2)) < 0.1] = np.nan
    return values


def days(members: int) -> DailySeries:
    """A month of made-up days of each member."""
    values = np.random.default_rng(3).uniform(20, 12_000, (members * DAYS, len(SERIES)))
    return DailySeries(
        np.arange(0, members * DAYS + 1, DAYS), np.tile(np.arange(19_000, 19_000 + DAYS), members), values
    )


def measure(members: int, runs: int) -> list[tuple[str, str]]:
    """What was measured and the figure."""
    base, physiology, behavior = registry.load_base_risk(), registry.load_physiology(), registry.load_behavior()
    features = crowd(members)
    trees = xgboost.Booster(model_file=registry.MODELS / registry.BASE_RISK / base.version / "mean.json")
    trees.set_param({"nthread": 1})
    few = max(members // FACTORED, 1)
    adults, series = measures(few), days(few)
    work: dict[str, tuple[int, Callable[[], Any]]] = {
        "base risk with interval, members/s": (members, lambda: base.predict(features)),
        "xgboost's own predict of the mean trees alone, members/s": (members, lambda: trees.inplace_predict(features)),
        "base risk's contributions (TreeSHAP), members/s": (few, lambda: base.contributions(features[:few])),
        "physiology, adults/s": (few, lambda: physiology.log_hazard(adults)),
        "steps forecast, days/s": (few * DAYS, lambda: behavior.raw(series)),
    }
    rates = {name: count / machine.seconds(call, runs) for name, (count, call) in work.items()}
    one, day = features[:1], DailySeries(np.array([0, 1]), series.days[:1], series.values[:1])
    single = {
        "base risk with interval, one member": machine.seconds(lambda: base.predict(one), 20 * runs),
        "steps forecast, one day": machine.seconds(lambda: behavior.raw(day), 20 * runs),
    }
    return [(name, f"{rate:,.0f}") for name, rate in rates.items()] + [
        (name, f"{seconds * 1e6:,.0f} us") for name, seconds in single.items()
    ]


def run(
    members: Annotated[int, typer.Option(help="members scored")] = 200_000,
    runs: Annotated[int, typer.Option(help="runs, of which the median counts")] = 5,
    out: Annotated[Path | None, typer.Option(help="file; benchmarks/results/scoring-<date>.md where left out")] = None,
) -> None:
    """Measure the models' speed on one core, and write the table."""
    described = machine.describe()
    rows = measure(members, runs)
    rows.append(("resident at the end", f"{psutil.Process().memory_info().rss / 1e9:.2f} GB"))
    lines = ["# Scoring on one core", "", f"{members:,} members.", "", "| what | |", "|---|---|"]
    lines += [f"| {what} | {figure} |" for what, figure in rows]
    lines += ["", "| machine | |", "|---|---|", *(f"| {name} | {value} |" for name, value in described.items())]
    page = out or RESULTS / f"scoring-{dt.date.today().isoformat()}.md"
    page.write_text("\n".join(lines) + "\n")
    typer.echo(page.read_text())


if __name__ == "__main__":
    typer.run(run)
