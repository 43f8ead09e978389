"""The report of a simulation: one self-contained HTML page, and its plots as PNG files."""

import base64
import html
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.logs import get_logger
from simulations import ibnr
from simulations.pool import TOTAL
from simulations.tables import CENTS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cluster.simulation.job import Outcome

Floats = NDArray[np.float64]
Made = TypeVar("Made")
_INK, _SECOND, _GRID = "#1f4e79", "#c55a11", "#d9d9d9"
_STYLE = (
    "body{font:15px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:1em 0}"
    "td,th{padding:.25em .8em;border-bottom:1px solid #ddd;text-align:right}"
    "td:first-child,th:first-child{text-align:left}img{max-width:100%}.fail{color:#b00}"
)


def write(outcome: "Outcome", folder: Path) -> Path | None:
    """Writes report.html and the plots into the folder; returns the page's path.

    What cannot be drawn is left out, with a line in the log, and None returned where that is the page: the result
    stands without its pictures.
    """
    sample, part = _sample(outcome), _part(outcome)
    levels = outcome.result["groups"][TOTAL][part]["quantiles"]
    steps = outcome.result["convergence"]
    figures: dict[str, Callable[[], Figure]] = {
        "distribution": lambda: _distribution(sample, levels, part),
        "exceedance": lambda: _exceedance(sample, part),
        "convergence": lambda: _convergence(steps, part),
    }
    drawn = {name: _attempted(name, lambda draw=draw: _png(draw())) for name, draw in figures.items()}
    plots = {name: png for name, png in drawn.items() if png is not None}
    for name, png in plots.items():
        (folder / f"{name}.png").write_bytes(png)
    page = _attempted("report.html", lambda: _page(outcome, plots))
    if page is None:
        return None
    (folder / "report.html").write_text(page)
    return folder / "report.html"


def _attempted(what: str, make: Callable[[], Made]) -> Made | None:
    try:
        return make()
    except (ValueError, TypeError, ArithmeticError, LookupError) as error:
        get_logger(part="report").warning("cannot be drawn; the result is whole", what=what, error=str(error))
        return None


def _sample(outcome: "Outcome") -> Floats:
    drawn = outcome.drawn
    if isinstance(drawn, ibnr.IbnrResult):
        return drawn.total
    return np.asarray((drawn.paths.gross - drawn.paths.ceded).sum(axis=1) / CENTS, np.float64)


def _part(outcome: "Outcome") -> str:
    return "unpaid" if outcome.result["kind"] == "ibnr" else "net"


def _axes(title: str, x: str, y: str) -> tuple["Figure", Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 3.8))  # fixed margins: a layout that fits itself takes longer than the drawing
    axes = figure.add_axes((0.1, 0.14, 0.88, 0.76))
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.grid(color=_GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _distribution(sample: Floats, levels: list[dict[str, float]], part: str) -> "Figure":
    figure, axes = _axes(f"Distribution of {part} cost", "million dollars", "scenarios")
    axes.hist(sample / 1e6, bins=80, color=_INK, alpha=0.8)
    top = axes.get_ylim()[1]
    for i, quantile in enumerate(levels):
        at = quantile["value"] / 1e6
        axes.axvline(at, color=_SECOND, linewidth=1)
        place = (at, top * (0.96 - 0.08 * (i % 3)))
        label = f"{quantile['level']:.1%}"
        axes.annotate(label, place, (3, 0), textcoords="offset points", fontsize=8, color=_SECOND)
    return figure


def _exceedance(sample: Floats, part: str) -> "Figure":
    figure, axes = _axes(f"Exceedance curve of {part} cost", "million dollars", "probability of more")
    x = np.sort(sample)
    axes.semilogy(x / 1e6, 1.0 - np.arange(len(x)) / len(x), color=_INK)
    return figure


def _convergence(steps: list[dict[str, Any]], part: str) -> "Figure":
    figure, axes = _axes(f"Convergence of {part} cost", "scenarios", "estimate over the last one")
    paths = [step["paths"] for step in steps]
    last = steps[-1]["measures"]
    axes.errorbar(
        paths,
        [step["measures"]["mean"] / last["mean"] for step in steps],
        [1.96 * step["measures"]["mean_se"] / last["mean"] for step in steps],
        label="mean",
        color=_INK,
        capsize=3,
    )
    highest = len(last["quantiles"]) - 1
    final = last["quantiles"][highest]
    values = [step["measures"]["quantiles"][highest] for step in steps]
    error = np.array([[v["value"] - v["lower"], v["upper"] - v["value"]] for v in values]).T / final["value"]
    ratio = [v["value"] / final["value"] for v in values]
    axes.errorbar(paths, ratio, np.maximum(error, 0), label=f"VaR {final['level']:.1%}", color=_SECOND, capsize=3)
    axes.set_xscale("log")
    axes.legend(frameon=False)
    return figure


def _png(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _page(outcome: "Outcome", plots: dict[str, bytes]) -> str:
    result, part = outcome.result, _part(outcome)
    parts = [
        f"<h1>{html.escape(result['kind'].capitalize())} simulation</h1>",
        f"<p>{result['paths']:,} scenarios, seed {result['seed']}, run {result['run']}. Method: "
        f"<b>{html.escape(result['method'])}</b>, {html.escape(result['why_method'])}.</p>",
        "<h2>Results, dollars</h2>",
        _measures_table(result["groups"][TOTAL]),
        *(_image(name, png) for name, png in plots.items()),
    ]
    if part == "net":
        parts += [_reserve(result["reserve"]), _exact(result["exact"]), _groups(result["groups"])]
        if "premium" in result:
            parts.append(_premium(result["premium"][TOTAL]))
    else:
        parts.append(_origins(result))
    body = "\n".join(parts)
    return f'<!doctype html><meta charset="utf-8"><title>Simulation</title><style>{_STYLE}</style>\n{body}\n'


def _image(name: str, png: bytes) -> str:
    return f'<p><img alt="{name}" src="data:image/png;base64,{base64.b64encode(png).decode()}"></p>'


def _table(head: list[str], rows: list[list[str]]) -> str:
    cells = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{''.join(f'<th>{word}</th>' for word in head)}</tr>{cells}</table>"


def _measures_table(parts: dict[str, Any]) -> str:
    rows = []
    for name, m in parts.items():
        rows.append([f"{name} mean", f"{m['mean']:,.0f}", f"{m['mean_se']:,.0f}", ""])
        rows.append([f"{name} standard deviation", f"{m['sd']:,.0f}", "", ""])
        for q, t in zip(m["quantiles"], m["tvar"], strict=True):
            span = f"{q['lower']:,.0f} to {q['upper']:,.0f}"
            rows.append([f"{name} VaR {q['level']:.1%}", f"{q['value']:,.0f}", "", span])
            rows.append([f"{name} TVaR {t['level']:.1%}", f"{t['value']:,.0f}", f"{t['se']:,.0f}", ""])
    return _table(["measure", "estimate", "standard error", "95 % interval"], rows)


def _reserve(reserve: dict[str, Any]) -> str:
    rows = [
        ["formula", f"{reserve['formula']:,.0f}", ""],
        *(
            [f"simulated, {level['level']:.1%}", f"{level['quantile']:,.0f}", f"{level['tvar']:,.0f}"]
            for level in reserve["simulated"]
        ),
    ]
    return "<h2>Reserve beyond the mean in premium</h2>" + _table(["", "VaR less mean", "TVaR less mean"], rows)


def _exact(exact: dict[str, Any]) -> str:
    rows = []
    for part, law in exact.get(TOTAL, {}).items():
        for check in law["checks"]:
            level = "" if check["level"] is None else f" {check['level']:.1%}"
            mark = "pass" if check["passed"] else '<span class="fail">fail</span>'
            rows.append(
                [
                    f"{part} {check['measure']}{level}",
                    f"{check['simulated']:,.0f}",
                    f"{check['exact']:,.0f}",
                    f"{check['z']:+.2f}",
                    mark,
                ]
            )
    head = ["total", "simulated", "exact", "standard errors apart", f"within {3}"]
    return f"<h2>Exact twin: {html.escape(exact['verdict'])}</h2>" + (_table(head, rows) if rows else "")


def _groups(groups: dict[str, Any]) -> str:
    rows = [
        [html.escape(name), *(f"{parts[part]['mean']:,.0f}" for part in ("gross", "ceded", "net"))]
        for name, parts in groups.items()
    ]
    return "<h2>Groups: mean cost</h2>" + _table(["group", "gross", "ceded", "net"], rows)


def _premium(total: dict[str, Any]) -> str:
    rows = [
        ["premium", f"{total['premium']:,.0f}"],
        ["expected net claims", f"{total['expected_claims']:,.0f}"],
        ["mean loss ratio", f"{total['loss_ratio']['mean']:.3f}"],
        ["probability that the rate is adequate", f"{total['adequacy']:.3f} (se {total['adequacy_se']:.3f})"],
        ["mean medical loss ratio", f"{total['mlr']['mean']:.3f}"],
        ["mean rebate", f"{total['rebate']['mean']:,.0f}"],
        ["indicated rate change", f"{total['indicated_change']:+.1%}"],
    ]
    return "<h2>Premium</h2>" + _table(["", "total"], rows)


def _origins(result: dict[str, Any]) -> str:
    methods = list(result["reserves"])
    rows = [
        [html.escape(origin), *(f"{result['reserves'][m][i]:,.0f}" for m in methods)]
        for i, origin in enumerate(result["origins"])
    ]
    return "<h2>Reserves by origin</h2>" + _table(["origin", *methods], rows)
