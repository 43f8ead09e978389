"""Scoring on one core: base risk with intervals and with factors, physiology, steps forecast, beside xgboost's predict.

Writes benchmarks/results/scoring-<date>.md. Figures are medians of several runs, kernels warm.
"""

import datetime as dt
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import typer
from numpy.typing import NDArray

from benchmarks import machine
from engine.domain.batch import TextColumn
from engine.domain.metrics import LAB_TESTS, METRICS
from engine.learning import registry
from engine.scoring.features import BASE_FEATURES
from engine.scoring.health_score import HealthScorer
from engine.scoring.member_features import grounds, known, renew_forecasts
from engine.scoring.member_state import PartitionState
from engine.scoring.physiology import MEASURES
from engine.scoring.score_kernel import Known
from engine.scoring.state_kernels import NO_DAY
from engine.scoring.steps_forecast import SERIES, DailySeries
from engine.settings import load_rules
from engine.streams.outputs import Place, score_rows
from engine.streams.scoring import renew_base

RESULTS = Path(__file__).parent / "results"
DAYS = 30
DIRTY = 1000
_US_PER_DAY = 86_400_000_000
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


def shard(members: int) -> PartitionState:
    """A partition whose members have 40 days of every metric, a laboratory panel, claims and, a third, a disease."""
    chance, state, last = np.random.default_rng(4), PartitionState(0), 20_000
    slots = state.enrol(TextColumn.of([f"M{i:07d}" for i in range(members)]))
    state["birth_day"][slots], state["male"][slots] = chance.integers(-9000, 12_000, members), slots % 2 == 0
    state["since_day"][slots] = last - 500
    for i, metric in enumerate(METRICS):
        for day in range(last - 40, last):
            values = chance.uniform(metric.low, metric.low + (metric.high - metric.low) * 0.2, members)
            state.add_readings(slots, np.full(members, i), np.full(members, day * _US_PER_DAY), values)
    for i, test in enumerate(LAB_TESTS):
        values = chance.uniform(test.low, test.low + (test.high - test.low) * 0.3, members)
        state.add_labs(slots, np.full(members, i), np.full(members, (last - 20) * _US_PER_DAY), values)
    state.add_costs(slots, slots % 6, np.full(members, last - 30), chance.integers(0, 1_000_000, members))
    ccs = np.where(chance.random((members, 2)) < 0.2, np.uint64(1 << 9), np.uint64(0))
    state["ccs"][slots, 0], state["cc_year"][slots] = ccs, 2024
    return state


def whole(members: int, runs: int) -> list[tuple[str, str]]:
    """The whole score in a shard: a dirty batch to rows, and scores alone, with and without factors."""
    scorer, state = HealthScorer(registry.load_models(), load_rules()), shard(members)
    slots, as_of = np.arange(members), np.full(members, 20_000 * _US_PER_DAY)

    def gathered() -> Known:
        return known(state, slots, as_of, scorer.models.physiology)

    def base() -> None:
        renew_base(scorer, state, slots, as_of)

    def forecasts() -> None:
        state["forecast_day"][slots] = NO_DAY
        renew_forecasts(state, slots, scorer.models.behavior)

    def rows() -> None:
        renew_forecasts(state, slots, scorer.models.behavior)
        score_rows(scorer, [Place(state, slots, as_of, True)], gathered())

    base()
    forecasts()
    found, told = gathered(), grounds(state, slots)
    scores = scorer.score(found)
    both = machine.seconds(lambda: scorer.score(gathered()), runs)
    explained = both + machine.seconds(lambda: scorer.explain(found, scores, told), runs)
    work = {"readings to rows": rows, "base risk anew as well": base, "forecasts of a new day as well": forecasts}
    return [(f"a dirty batch of {members:,}: {name}", f"{machine.seconds(call, runs) * 1e3:.1f} ms")
            for name, call in work.items()] + [
        ("the whole ensemble, members/s", f"{members / both:,.0f}"),
        ("the whole ensemble with ranked factors, members/s", f"{members / explained:,.0f}"),
    ]  # fmt: skip


def measure(members: int, runs: int) -> list[tuple[str, str]]:
    """What was measured and the figure."""
    import xgboost  # here, so that a worker's memory is measured without it

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


def worker_memory() -> float:
    """Resident MB that the models, kernels and a scored batch add to a process that has imported Ray."""
    script = """
import psutil, ray
resident = lambda: psutil.Process().memory_info().rss
before = resident()
from benchmarks.scoring import DIRTY, shard
from engine.learning.registry import Scorers
from engine.settings import load_rules
from engine.streams.scoring import Marked, score_members
import numpy as np
state, slots = shard(DIRTY), np.arange(DIRTY)
score_members(Scorers(load_rules())(""), [Marked(state, slots, slots, state["watermark"][slots])])
print(resident() - before)
"""
    words = [sys.executable, "-c", script]
    return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout) / 1e6


def run(
    members: Annotated[int, typer.Option(help="members scored")] = 200_000,
    runs: Annotated[int, typer.Option(help="runs, of which the median counts")] = 5,
    out: Annotated[Path | None, typer.Option(help="file; benchmarks/results/scoring-<date>.md where left out")] = None,
) -> None:
    """Measure the models' speed on one core, and write the table."""
    described = machine.describe()
    rows = measure(members, runs) + whole(DIRTY, 3 * runs)
    rows.append(("memory of a scoring worker above Ray's own", f"{worker_memory():,.0f} MB"))
    rows.append(("resident at the end", f"{psutil.Process().memory_info().rss / 1e9:.2f} GB"))
    lines = ["# Scoring on one core", "", f"{members:,} members.", "", "| what | |", "|---|---|"]
    lines += [f"| {what} | {figure} |" for what, figure in rows]
    lines += ["", "| machine | |", "|---|---|", *(f"| {name} | {value} |" for name, value in described.items())]
    page = out or RESULTS / f"scoring-{dt.date.today().isoformat()}.md"
    page.write_text("\n".join(lines) + "\n")
    typer.echo(page.read_text())


if __name__ == "__main__":
    typer.run(run)
