"""Metrics: declared once, told as declared, and nothing that is looked at is missing from the list."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import promql_parser
import pytest
import ray

from actors import metric_list
from actors.metric_list import METRICS, OURS, SERIES, THEIRS, Metric
from cluster.observability.alerts import ALERTS, RUNBOOK, SEVERITIES, groups
from cluster.observability.dashboards import DASHBOARDS
from tests.conftest import ROOT

_VARIABLE = re.compile(r"\$\w+")
QUERIES = [
    *((f"{d.uid}: {p.title}", expr) for d in DASHBOARDS for p in d.panels for _, expr in p.queries),
    *((alert.name, alert.expr) for alert in ALERTS),
]
ADDED = {"instance", "le"}
"""Labels that Prometheus adds to a series, and those of a histogram."""


def selectors(node: object) -> Iterator[promql_parser.VectorSelector]:
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    elif isinstance(node, promql_parser.MatrixSelector):
        yield node.vector_selector
    elif isinstance(node, promql_parser.BinaryExpr):
        yield from selectors(node.lhs)
        yield from selectors(node.rhs)
    elif isinstance(node, promql_parser.Call):
        for argument in node.args:
            yield from selectors(argument)
    elif isinstance(node, promql_parser.AggregateExpr | promql_parser.ParenExpr | promql_parser.UnaryExpr):
        yield from selectors(node.expr)


def grouped_by(node: object) -> Iterator[str]:
    if isinstance(node, promql_parser.AggregateExpr):
        yield from node.modifier.labels if node.modifier else ()
        yield from grouped_by(node.expr)
    elif isinstance(node, promql_parser.BinaryExpr):
        yield from grouped_by(node.lhs)
        yield from grouped_by(node.rhs)
    elif isinstance(node, promql_parser.Call):
        for argument in node.args:
            yield from grouped_by(argument)


@pytest.mark.parametrize(("where", "expr"), QUERIES, ids=[where for where, _ in QUERIES])
def test_every_query_parses_and_names_declared_series_and_labels(where: str, expr: str) -> None:
    parsed = promql_parser.parse(_VARIABLE.sub("x", expr))
    found = list(selectors(parsed))
    assert found, where
    known: set[str] = set(ADDED)
    for selector in found:
        assert selector.name in SERIES, f"{where}: {selector.name} is not in the list of metrics"
        labels = set(SERIES[selector.name].labels)
        known |= labels
        assert {matcher.name for matcher in selector.matchers.matchers} <= labels | ADDED, where
    assert set(grouped_by(parsed)) <= known, where


def test_a_series_that_is_not_declared_would_be_found() -> None:
    (one,) = selectors(promql_parser.parse("sum(rate(ray_vitanexus_evens_total[5m]))"))
    assert one.name not in SERIES


def test_names_are_prometheus_and_declared_once() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", metric.name)
    assert all(metric.name.startswith("vitanexus_") for metric in OURS)


def told() -> Iterator[tuple[Path, ast.Call]]:
    for folder in ("actors", "serve_apps", "cluster"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                    yield path, node


def test_every_metric_of_ours_is_told_by_its_declaration_and_by_nothing_else() -> None:
    names = {id(value): name for name, value in vars(metric_list).items() if isinstance(value, Metric)}
    declared = {names[id(metric)] for metric in OURS}
    used: set[str] = set()
    for path, call in told():
        if call.func.id in ("counter", "gauge", "histogram") and path.name != "metrics.py":
            (argument,) = call.args
            used.add(argument.attr if isinstance(argument, ast.Attribute) else argument.id)
        elif call.func.id in ("Counter", "Gauge", "Histogram") and call.args:
            literal = call.args[0]
            assert not isinstance(literal, ast.Constant), f"{path.name}: {ast.unparse(call)} is not in the list"
    assert used == declared


def test_metrics_of_ray_are_in_the_ray_that_is_installed() -> None:
    package = Path(ray.__file__).parent
    sources = [
        *(package / "serve" / "_private").rglob("*.py"),
        package / "dashboard/modules/reporter/reporter_agent.py",
    ]
    text = "\n".join(path.read_text() for path in sources).replace("{protocol_name}", "http")
    text += (package / "dashboard/modules/metrics/dashboards/default_dashboard_panels.py").read_text()
    missing = [metric.name for metric in THEIRS if f'"{metric.name}"' not in text and f"ray_{metric.name}" not in text]
    assert not missing


def test_a_metric_of_the_wrong_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="vitanexus_x: kind 'timer'"):
        Metric("vitanexus_x", "timer", (), "", "", "shards")
    with pytest.raises(ValueError, match="vitanexus_x: a histogram of ours has buckets"):
        Metric("vitanexus_x", "histogram", (), "s", "", "shards")


def test_every_alert_has_its_chapter_in_the_runbook_and_no_chapter_is_left_over() -> None:
    page = (ROOT / RUNBOOK).read_text()
    chapters = re.findall(r"^### (\w+)$", page, re.MULTILINE)
    assert sorted(chapters) == sorted(alert.name for alert in ALERTS)
    for rule, alert in zip(groups()[0]["rules"], ALERTS, strict=True):
        assert rule["annotations"]["runbook_url"] == f"{RUNBOOK}#{alert.name.lower()}"
        assert alert.severity in SEVERITIES and re.fullmatch(r"\d+[smh]", alert.lasts)
