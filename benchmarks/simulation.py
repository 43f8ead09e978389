"""Simulation at size: the three ways at 10 million members, the triangle bootstrap beside chainladder, growth of cost.

Times are after compilation, from joining the portfolio to the last merged batch, without the exact twin. Writes
benchmarks/results/simulation-<date>.md and a plot.
"""

import copy
import datetime as dt
import os
import resource
import time
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import typer
import yaml
from numpy.typing import NDArray

from benchmarks import machine
from simulations.batch import Paths
from simulations.choose import choose, plan
from simulations.ibnr import bootstrap_plan
from simulations.kernels.rng import SEVERITY, fill_words
from simulations.kernels.severity import fill_cents
from simulations.pool import join
from simulations.portfolio import Portfolio, synthetic
from simulations.reserve import batches, here
from simulations.scenario import parse
from simulations.severity import Lognormal
from simulations.tables import table_of
from simulations.triangles import over_dispersed_poisson

Floats = NDArray[np.float64]
SCENARIO = Path(__file__).parents[1] / "configs" / "scenarios" / "reserve.yaml"
RESULTS = Path(__file__).parent / "results"
COVERS: dict[str, dict[str, Any]] = {
    "collapse": {},
    "claimants": {"specific": {"attachment": 50_000}},
    "member": {"specific": {"attachment": 50_000}},
}


def document(method: str, paths: int, inpatient_only: bool) -> dict[str, Any]:
    """The reference scenario with the rates of the synthetic portfolio's classes."""
    made = copy.deepcopy(yaml.safe_load(SCENARIO.read_text()))
    made.pop("relativity")
    for category, rate in zip(made["categories"], ("ip_rate", "op_rate", "rx_rate"), strict=True):
        category["frequency"]["rate"] = rate
    if inpatient_only:
        made["categories"] = made["categories"][:1]
    return {**made, "method": method, "paths": paths, "cover": COVERS[method]}


def seconds(portfolio: Portfolio, spec: dict[str, Any], runs: int) -> float:
    """Median wall time of join, choice, plan and all batches."""
    scenario, taken = parse(spec), []
    for run in range(runs + 1):
        begun = time.perf_counter()
        pool = join(scenario, portfolio)
        chosen = plan(pool, choose(pool).method)
        paths = Paths.zeros(scenario.paths, chosen.groups)
        for partial in here(len(os.sched_getaffinity(0)))(chosen, batches(pool, chosen)):
            paths.add(partial)
        if run or not runs:
            taken.append(time.perf_counter() - begun)
    return median(taken)


def bootstrap_rates(runs: int) -> tuple[float, float]:
    """Resamples a second of the GenIns triangle: ours on all cores, chainladder's."""
    import chainladder

    from tests.triangles import published

    made = bootstrap_plan(over_dispersed_poisson(published("genins")), "gamma", 1)
    ours, theirs = [], []
    triangle = chainladder.load_sample("genins")
    made.sample(0, 1000, 2)
    for run in range(runs):
        begun = time.perf_counter()
        made.sample(0, 200_000, 2)
        ours.append(200_000 / (time.perf_counter() - begun))
        begun = time.perf_counter()
        resampled = chainladder.BootstrapODPSample(n_sims=5000, random_state=run).fit_transform(triangle)
        chainladder.Chainladder().fit(resampled).ibnr_.sum("origin")
        theirs.append(5000 / (time.perf_counter() - begun))
    return median(ours), median(theirs)


def severity_rates(runs: int) -> tuple[float, float, float]:
    """Lognormal severities a second on one core: ours, numpy's generator, gemact (20,000 years of 1,000 claims)."""
    import logging

    from gemact import Frequency, LossModel
    from gemact import Severity as GemactSeverity

    logging.getLogger("lossmodel").setLevel(logging.ERROR)
    count, frequency = Frequency(dist="poisson", par={"mu": 1000.0}), {"shape": 1.1, "scale": float(np.exp(9.1))}
    table, taken = table_of(Lognormal(9.1, 1.1)), []
    _severities(table, 1)
    for _ in range(runs):
        begun = time.perf_counter()
        _severities(table, 20_000)
        ours = time.perf_counter()
        np.random.default_rng(1).lognormal(9.1, 1.1, 20_000_000)
        numpys = time.perf_counter()
        severity = GemactSeverity(dist="lognormal", par=frequency)
        LossModel(frequency=count, severity=severity, aggr_loss_dist_method="mc", n_sim=20_000, random_state=1)
        taken.append((ours - begun, numpys - ours, time.perf_counter() - numpys))
    return tuple(20_000_000 / median(column) for column in zip(*taken, strict=True))


def _severities(table: Floats, chunks: int) -> int:
    words, amounts, rows = np.empty(1000, np.uint32), np.empty(1000, np.int64), np.empty(1000, np.int64)
    fractions, total, key = np.empty(1000), 0, (np.uint64(1), np.uint64(0))
    for scenario in range(chunks):
        fill_words(words, 1000, 0, scenario, SEVERITY, *key)
        total += fill_cents(amounts, words, rows, fractions, 1000, table, 0, 0, scenario, SEVERITY, *key)
    return total


def growth(path: Path) -> None:
    """Plots wall time against members and against scenarios."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    sizes = [100_000, 300_000, 1_000_000, 3_000_000, 10_000_000]
    for way, paths, alone in (("collapse", 10_000, False), ("claimants", 10_000, False), ("member", 1000, True)):
        taken = [seconds(synthetic(n, 1), document(way, paths, alone), 1) for n in sizes]
        left.loglog(sizes, taken, "o-", label=f"{way}, {paths:,}")
    left.set(xlabel="members", ylabel="seconds", title="by members (way, scenarios)")
    left.legend(frameon=False)
    portfolio, counts = synthetic(1_000_000, 1), [1000, 3000, 10_000, 30_000, 100_000]
    for way in ("collapse", "claimants"):
        right.loglog(counts, [seconds(portfolio, document(way, n, False), 1) for n in counts], "o-", label=way)
    right.set(xlabel="scenarios", title="by scenarios, 1,000,000 members")
    right.legend(frameon=False)
    for axes in (left, right):
        axes.grid(color="#d9d9d9", linewidth=0.6)
    figure.savefig(path, dpi=110)


def run(
    members: Annotated[int, typer.Option(help="members of the portfolio")] = 10_000_000,
    paths: Annotated[int, typer.Option(help="scenarios")] = 10_000,
    runs: Annotated[int, typer.Option(help="runs after the first, of which the median counts")] = 3,
    out: Annotated[Path | None, typer.Option(help="file; benchmarks/results/simulation-<date>.md")] = None,
) -> None:
    """Measure the three ways, the bootstrap and how cost grows, and write the table."""
    described, portfolio = machine.describe(), synthetic(members, 1)
    rows = [
        [
            f"{way}, three categories, {paths:,} scenarios",
            f"{seconds(portfolio, document(way, paths, False), runs):.1f} s",
        ]
        for way in ("collapse", "claimants")
    ]
    alone = seconds(portfolio, document("member", paths, True), 1)
    rows.append([f"member, inpatient alone, {paths:,} scenarios", f"{alone:.1f} s"])
    ours, theirs = bootstrap_rates(runs)
    rows.append(["triangle bootstrap, resamples/s", f"{ours:,.0f}"])
    rows.append(
        ["chainladder's resample and reserve, resamples/s", f"{theirs:,.0f} ({ours / theirs:,.0f} times fewer)"]
    )
    own, numpys, gemacts = severity_rates(runs)
    rows.append(["lognormal severities/s, one core", f"{own:,.0f}"])
    rows.append(["numpy's, severities/s, one core", f"{numpys:,.0f} ({own / numpys:,.1f} times fewer)"])
    rows.append(["gemact's collective risk model, severities/s", f"{gemacts:,.0f} ({own / gemacts:,.0f} times fewer)"])
    rows.append(["peak memory", f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB"])
    page = out or RESULTS / f"simulation-{dt.date.today().isoformat()}.md"
    growth(page.with_suffix(".png"))
    lines = ["# Simulation", "", f"{members:,} members in 50 markets, all cores.", "", "| work | |", "|---|---|"]
    lines += [f"| {what} | {figure} |" for what, figure in rows]
    lines += ["", f"![cost against members and scenarios]({page.with_suffix('.png').name})", ""]
    lines += ["| machine | |", "|---|---|", *(f"| {name} | {value} |" for name, value in described.items())]
    page.write_text("\n".join(lines) + "\n")
    typer.echo(page.read_text())


if __name__ == "__main__":
    typer.run(run)
