"""One simulation job: reads, runs, and writes result.json, manifest.json, plots and the report."""

import dataclasses
import datetime as dt
import hashlib
import json
import math
import platform
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from cluster.simulation.files import Inputs
from simulations import ibnr, premium, reserve
from simulations.batch import Batch, Partial, Paths, cut
from simulations.errors import CancelledError, SpecError
from simulations.plans import Plan
from simulations.pool import TOTAL, join
from simulations.scenario import IbnrScenario, PremiumScenario, Scenario
from simulations.tables import CENTS
from simulations.triangles import chain_ladder

_PACKAGES = ("vitanexus", "numpy", "numba", "scipy", "pyarrow", "ray")
Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A finished job: its documents, what the report draws, and whether the exact twin agrees (None without one)."""

    result: dict[str, Any]
    manifest: dict[str, Any]
    drawn: "reserve.ReserveResult | ibnr.IbnrResult"
    agrees: bool | None


class Checkpointed:
    """A runner that keeps each finished batch in a folder and does not run again what it finds there.

    `read` are the hashes of what the run reads, which `Inputs` fills as it reads: a run on other data is another run.
    """

    def __init__(
        self,
        runner: reserve.Runner,
        folder: Path,
        spec: Mapping[str, Any],
        progress: Progress,
        read: Mapping[str, str],
    ) -> None:
        self._runner, self._root, self._spec, self._progress, self._read = runner, folder, spec, progress, read
        self._folder = folder
        self.resumed = 0

    def _identity(self) -> str:
        """Of all that the batches come from: the scenario, the files it has read by now, and the code."""
        known = {"spec": self._spec, "read": dict(self._read), "version": metadata.version("vitanexus")}
        return hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()[:16]

    def __call__(self, chosen: Plan, work: list[Batch]) -> Iterator[Partial]:
        """The batches' results, those kept first. The run's files must have been read."""
        self._folder = self._root / self._identity()
        self._folder.mkdir(parents=True, exist_ok=True)
        kept = [batch for batch in work if self._path(batch).is_file()]
        self.resumed = len(kept)
        for done, partial in enumerate(self._all(chosen, work, kept), 1):
            self._progress(done, len(work))
            yield partial

    def _all(self, chosen: Plan, work: list[Batch], kept: list[Batch]) -> Iterable[Partial]:
        for batch in kept:
            with np.load(self._path(batch)) as arrays:
                yield Partial(batch, int(arrays["first_group"]), arrays["gross"], arrays["ceded"])
        for partial in self._runner(chosen, [batch for batch in work if batch not in set(kept)]):
            path = self._path(partial.batch)
            fresh = path.with_suffix(".new.npz")
            np.savez(fresh, first_group=partial.first_group, gross=partial.gross, ceded=partial.ceded)
            fresh.replace(path)
            yield partial

    def _path(self, batch: Batch) -> Path:
        return self._folder / f"{batch.name}.npz"

    def clear(self) -> None:
        """Forgets the batches of a finished job."""
        if self._folder != self._root:
            shutil.rmtree(self._folder, ignore_errors=True)


def run(
    scenario: Scenario, document: dict[str, Any], inputs: Inputs, runner: reserve.Runner, run_id: str = ""
) -> Outcome:
    """Runs a scenario on `runner`. Raises SpecError where it or its data cannot be simulated."""
    run_id, begun = run_id or uuid.uuid4().hex, time.monotonic()
    head = {"run": run_id, "kind": scenario.kind, "paths": scenario.paths, "seed": scenario.seed}
    try:
        if isinstance(scenario, IbnrScenario):
            drawn: Any = _ibnr(scenario, inputs, runner)
            body, agrees, hashes = _ibnr_document(drawn), None, {}
        else:
            pool = join(scenario, inputs.portfolio(scenario), inputs.losses)
            drawn = reserve.simulate(pool, runner)
            body, hashes = _reserve_document(drawn), dict(drawn.table_hashes)
            agrees = drawn.passed if drawn.exact else None
            if isinstance(scenario, PremiumScenario):
                past = inputs.experience(scenario.premium)
                priced = premium.finish(pool, inputs.portfolio(scenario), scenario.premium, drawn.paths, past)
                body |= {"premium": _plain(priced.groups), "experience": _plain(priced.experience)}
    except KeyboardInterrupt as error:
        raise CancelledError("cancelled; run it again with the same --out to go on from its checkpoint") from error
    manifest = {
        "run": run_id,
        "scenario": document,
        "versions": {name: metadata.version(name) for name in _PACKAGES} | {"python": platform.python_version()},
        "machine": {"processor": platform.machine(), "system": platform.platform()},
        "tables": hashes,
        "inputs": inputs.hashes,
        "finished": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - begun, 3),
    }
    return Outcome(_plain(head | body) | {"notes": [*inputs.notes]}, manifest, drawn, agrees)


def _ibnr(scenario: IbnrScenario, inputs: Inputs, runner: reserve.Runner) -> ibnr.IbnrResult:
    triangle, exposure = inputs.triangle(scenario)
    for origin, latest in zip(triangle.origins, triangle.latest, strict=True):
        if latest == 0:
            inputs.notes.append(f"nothing is paid in origin {origin} yet: chain ladder reserves nothing for it")
    try:
        fit = ibnr.over_dispersed_poisson(triangle)
    except SpecError as error:
        reserves = chain_ladder(triangle).reserve
        told = ", ".join(f"{origin} {amount:,.2f}" for origin, amount in zip(triangle.origins, reserves, strict=True))
        raise SpecError(
            error.path,
            f"{str(error).removeprefix(f'{error.path}: ')}, so there is no distribution; the reserves of chain ladder "
            f"are {told}, in total {reserves.sum():,.2f}",
        ) from error
    plan = ibnr.bootstrap_plan(fit, scenario.process, scenario.seed)
    paths = Paths.zeros(scenario.paths, plan.groups)
    for partial in runner(plan, cut(scenario.paths, 1, max(1, -(-scenario.paths // 16)), 1)):
        paths.add(partial)
    return ibnr.finish(scenario, triangle, exposure, paths.gross)


def _plain(value: Any) -> Any:
    """Values of dataclasses and arrays as JSON holds them; what is no finite number is null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _reserve_document(result: reserve.ReserveResult) -> dict[str, Any]:
    exact: dict[str, Any] = {
        name: {
            part: {
                "mean": law.mean,
                "sd": law.sd,
                "quantiles": [{"level": level, "value": value} for level, value in law.quantiles],
                "tvar": [{"level": level, "value": value} for level, value in law.tvar],
                "ks_distance": law.distance,
                "checks": [_plain(check) | {"passed": check.passed} for check in law.checks],
            }
            for part, law in parts.items()
        }
        for name, parts in result.exact.items()
    }
    exact["verdict"] = ("pass" if result.passed else "fail") if result.exact else f"none: {result.why_no_exact}"
    return {
        "method": result.choice.method,
        "why_method": result.choice.why,
        "groups": {name: {part: _plain(m) for part, m in parts.items()} for name, parts in result.measures.items()},
        "exact": exact,
        "reserve": {"formula": result.formula, "simulated": [_plain(level) for level in result.simulated]},
        "co_tvar": [_plain(share) for share in result.shares],
        "convergence": [_plain(row) for row in result.convergence],
        "exceedance": {"amount": _plain(result.curve[0]), "probability": _plain(result.curve[1])},
    }


def _ibnr_document(result: ibnr.IbnrResult) -> dict[str, Any]:
    return {
        "method": "over-dispersed Poisson bootstrap",
        "why_method": "resampled residuals with process variance, refitted by chain ladder",
        "groups": {name: {"unpaid": _plain(m)} for name, m in result.measures.items()},
        "origins": list(result.triangle.origins),
        "reserves": {name: _plain(reserves) for name, reserves in result.reserves.items()},
        "factors": _plain(result.ladder.factors),
        "completion": _plain(result.ladder.completion),
        "cape_cod_ratio": result.cape_cod_ratio,
        "mack": _plain(result.mack),
        "merz_wuthrich": _plain(result.one_year),
        "over_dispersed_poisson": {
            "phi": result.odp.phi,
            "reserve": result.odp.reserve,
            "estimation_error": result.odp.estimation_error,
            "prediction_error": result.odp.prediction_error,
        },
        "convergence": [_plain(row) for row in result.convergence],
    }


def write(outcome: Outcome, folder: Path, keep_paths: bool) -> None:
    """result.json, manifest.json, and paths.parquet where it is wanted."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(json.dumps(outcome.result, indent=1, allow_nan=False))
    (folder / "manifest.json").write_text(json.dumps(outcome.manifest, indent=1, default=str))
    if keep_paths:
        parquet.write_table(_paths(outcome.drawn), folder / "paths.parquet")


def _paths(drawn: "reserve.ReserveResult | ibnr.IbnrResult") -> pa.Table:
    """One row a scenario: dollars, in total and by group."""
    if isinstance(drawn, ibnr.IbnrResult):
        return pa.table({f"{TOTAL}_unpaid": drawn.total})
    columns = {f"{TOTAL}_gross": drawn.paths.gross.sum(axis=1), f"{TOTAL}_ceded": drawn.paths.ceded.sum(axis=1)}
    for g, name in enumerate(drawn.names):
        columns |= {f"{name}_gross": drawn.paths.gross[:, g], f"{name}_ceded": drawn.paths.ceded[:, g]}
    return pa.table({name: cents / CENTS for name, cents in columns.items()})


def rows(outcome: Outcome) -> list[dict[str, Any]]:
    """The measures of the run as rows of `simulation_results`."""
    part = "unpaid" if outcome.result["kind"] == "ibnr" else "net"
    whole = outcome.result["groups"][TOTAL][part]
    found = [{"measure": f"{part} mean", "level": -1.0, "value": whole["mean"], "standard_error": whole["mean_se"]}]
    for quantile in whole["quantiles"]:
        se = (quantile["upper"] - quantile["lower"]) / (2 * 1.959963984540054)
        row = {"level": quantile["level"], "value": quantile["value"], "standard_error": se}
        found.append({"measure": f"{part} VaR", **row})
    for tail in whole["tvar"]:
        row = {"level": tail["level"], "value": tail["value"], "standard_error": tail["se"]}
        found.append({"measure": f"{part} TVaR", **row})
    return [{"run_id": outcome.result["run"], **row} for row in found]
