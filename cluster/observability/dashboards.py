"""Grafana dashboards as data, and the JSON Grafana imports."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_WIDTH, _HEIGHT, _ACROSS = 12, 8, 2
_SOURCE = {"type": "prometheus", "uid": "${source}"}


@dataclass(frozen=True, slots=True)
class Panel:
    """A time series, or one number with `stat`: title, Grafana's unit, and (legend, PromQL) pairs."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    stat: bool = False


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A page of panels. `variable` is (name, label, metric whose label it takes its values from)."""

    uid: str
    title: str
    panels: tuple[Panel, ...]
    variable: tuple[str, str] | None = None


def _quantiles(series: str, where: str = "") -> tuple[tuple[str, str], ...]:
    return tuple(
        (f"p{level * 100:g}", f"histogram_quantile({level}, sum by (le) (rate({series}_bucket{where}[5m])))")
        for level in (0.5, 0.95, 0.99)
    )


_SHARD = '{shard=~"$shard"}'
DASHBOARDS = (
    Dashboard("vitanexus-shards", "VitaNexus / Shards", (
        Panel("Partitions with an owner", "none", (("owned", "min(ray_vitanexus_partitions_owned)"),), stat=True),
        Panel("Members held", "short", (("members", "sum(ray_vitanexus_members)"),), stat=True),
        Panel("State held", "bytes", (("{{shard}}", f"sum by (shard) (ray_vitanexus_state_bytes{_SHARD})"),)),
        Panel("Events a second", "ops",
              (("{{outcome}}", f"sum by (outcome) (rate(ray_vitanexus_events_total{_SHARD}[1m]))"),)),
        Panel("Records behind the log", "short",
              (("{{shard}}", f"sum by (shard) (ray_vitanexus_partition_lag{_SHARD})"),)),
        Panel("Arrival to commit", "s", _quantiles("ray_vitanexus_batch_seconds", _SHARD)),
        Panel("The transaction alone", "s", _quantiles("ray_vitanexus_commit_seconds", _SHARD)),
        Panel("Records of a batch", "short", _quantiles("ray_vitanexus_batch_records", _SHARD)),
        Panel("Age of the latest event", "s",
              (("{{shard}}", f"time() - max by (shard) (ray_vitanexus_watermark_seconds{_SHARD})"),)),
        Panel("Outbox: committed, not published", "short", (("waiting", "max(ray_vitanexus_outbox_waiting)"),)),
        Panel("Published a second", "ops",
              (("{{topic}}", "sum by (topic) (rate(ray_vitanexus_published_total[1m]))"),)),
    ), ("shard", "ray_vitanexus_members")),
    Dashboard("vitanexus-serving", "VitaNexus / Serving", (
        Panel("Requests a second", "reqps",
              (("{{route}}", "sum by (route) (rate(ray_serve_num_http_requests_total[1m]))"),)),
        Panel("Refused or failed a second", "reqps",
              (("{{error_code}}", "sum by (error_code) (rate(ray_serve_num_http_error_requests_total[1m]))"),)),
        Panel("Time to an answer", "ms", _quantiles("ray_serve_http_request_latency_ms")),
        Panel("Requests that wait", "short",
              (("{{deployment}}", "sum by (deployment) (ray_serve_deployment_queued_queries)"),)),
        Panel("Requests under way", "short",
              (("{{deployment}}", "sum by (deployment) (ray_serve_replica_processing_queries)"),)),
        Panel("Replicas: healthy and wanted", "short", (
            ("{{deployment}} healthy", "sum by (deployment) (ray_serve_deployment_replica_healthy)"),
            ("{{deployment}} wanted", "max by (deployment) (ray_serve_autoscaling_target_replicas)"))),
        Panel("Memory of the nodes", "percentunit", (("{{instance}}", "ray_node_mem_used / ray_node_mem_total"),)),
        Panel("CPU of the nodes", "percent", (("{{instance}}", "ray_node_cpu_utilization"),)),
        Panel("Nodes", "short", (
            ("{{node_type}}", "sum by (node_type) (ray_cluster_active_nodes)"),
            ("{{node_type}} starting", "sum by (node_type) (ray_cluster_pending_nodes)"))),
        Panel("Disk of the nodes", "percent", (("{{instance}}", "ray_node_disk_utilization_percentage"),)),
    )),
    Dashboard("vitanexus-simulations", "VitaNexus / Simulations", (
        Panel("Runs of the last day", "none", (("{{status}}", "max by (status) (ray_vitanexus_runs)"),)),
        Panel("Batches that wait", "short", (
            ("waiting", "sum(ray_vitanexus_simulation_batches_waiting)"),
            ("given to workers", "sum(ray_vitanexus_simulation_batches_running)"))),
        Panel("Batches a second", "ops", (("done", "sum(rate(ray_vitanexus_simulation_batches_total[1m]))"),)),
        Panel("Tasks by state", "short", (("{{State}}", 'sum by (State) (ray_tasks{State!~"FINISHED|FAILED"})'),)),
    )),
    Dashboard("vitanexus-models", "VitaNexus / Models", (
        Panel("Champions", "none",
              (("{{model}} {{version}}", "max by (model, version) (ray_vitanexus_champion) > 0"),)),
        Panel("A change is under way", "none", (("pending", "max(ray_vitanexus_promotion_pending)"),), stat=True),
        Panel("Partitions by the models of their snapshot", "short",
              (("{{model_version}}", "max by (model_version) (ray_vitanexus_partitions_scored_by) > 0"),)),
        Panel("Dead letters by share of events", "percentunit", (
            ("share", 'sum(rate(ray_vitanexus_events_total{outcome="dead_letter"}[15m])) '
             "/ sum(rate(ray_vitanexus_events_total[15m]))"),)),
    )),
)  # fmt: skip


def grafana(dashboard: Dashboard) -> dict[str, Any]:
    """The dashboard as Grafana's JSON model (schema 39)."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["vitanexus"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": _variables(dashboard)},
        "panels": [_panel(number, panel) for number, panel in enumerate(dashboard.panels)],
    }


def _variables(dashboard: Dashboard) -> Sequence[dict[str, Any]]:
    found: list[dict[str, Any]] = [{"name": "source", "type": "datasource", "query": "prometheus"}]
    if dashboard.variable is not None:
        label, series = dashboard.variable
        found.append(
            {
                "name": label,
                "type": "query",
                "datasource": _SOURCE,
                "query": f"label_values({series}, {label})",
                "refresh": 2,
                "multi": True,
                "includeAll": True,
                "allValue": ".*",
            }
        )
    return found


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    place = {"x": number % _ACROSS * _WIDTH, "y": number // _ACROSS * _HEIGHT, "w": _WIDTH, "h": _HEIGHT}
    targets = [
        {"refId": chr(ord("A") + index), "expr": expr, "legendFormat": legend, "datasource": _SOURCE}
        for index, (legend, expr) in enumerate(panel.queries)
    ]
    return {
        "id": number + 1,
        "title": panel.title,
        "type": "stat" if panel.stat else "timeseries",
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": targets,
    }
