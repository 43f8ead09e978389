"""Alert rules as data: when they fire, how bad it is, and the chapter of docs/operations.md that says what to do."""

from dataclasses import dataclass
from typing import Any

RUNBOOK = "docs/operations.md"
"""The runbook in the repository; an installation puts before it where it reads the repository."""
SEVERITIES = ("page", "ticket")


@dataclass(frozen=True, slots=True)
class Alert:
    """Fires when `expr` has held for `lasts`. `page` wakes somebody: members' scores or answers suffer now."""

    name: str
    expr: str
    lasts: str
    severity: str
    summary: str

    @property
    def anchor(self) -> str:
        """The heading of the runbook that is about it."""
        return self.name.lower()


ALERTS = (
    Alert("PartitionsWithoutOwner", "min(ray_vitanexus_partitions_owned) < 64", "1m", "page",
          "{{ $value }} of 64 partitions have an owner: members of the others are answered from PostgreSQL"),
    Alert("ShardsBehind", "sum by (shard) (ray_vitanexus_partition_lag) > 1000000", "10m", "page",
          "{{ $labels.shard }} is {{ $value }} records behind the log"),
    Alert("ShardStuck",
          "sum by (shard) (ray_vitanexus_partition_lag) > 0 unless on (shard) "
          "sum by (shard) (rate(ray_vitanexus_batch_seconds_count[5m])) > 0", "5m", "page",
          "{{ $labels.shard }} has records to read and commits nothing"),
    Alert("CommitsSlow",
          "histogram_quantile(0.99, sum by (le) (rate(ray_vitanexus_commit_seconds_bucket[5m]))) > 5", "10m", "ticket",
          "One commit in a hundred takes {{ $value }} s: PostgreSQL is short of I/O or something locks"),
    Alert("DeadLettersRise",
          'sum(rate(ray_vitanexus_events_total{outcome="dead_letter"}[15m])) '
          "/ sum(rate(ray_vitanexus_events_total[15m])) > 0.01", "15m", "ticket",
          "{{ $value | humanizePercentage }} of events are refused"),
    Alert("OutboxWaits", "max(ray_vitanexus_outbox_waiting) > 100000", "10m", "page",
          "{{ $value }} scores and care alerts are committed and not published"),
    Alert("EndpointErrors",
          'sum(rate(ray_serve_num_http_error_requests_total{error_code=~"5.."}[5m])) '
          "/ sum(rate(ray_serve_num_http_requests_total[5m])) > 0.01", "5m", "page",
          "{{ $value | humanizePercentage }} of requests fail"),
    Alert("EndpointsSlow",
          "histogram_quantile(0.99, sum by (le) (rate(ray_serve_http_request_latency_ms_bucket[5m]))) > 1000", "10m",
          "ticket", "One answer in a hundred takes {{ $value }} ms"),
    Alert("RequestsQueue", "sum by (deployment) (ray_serve_deployment_queued_queries) > 200", "5m", "ticket",
          "{{ $value }} requests wait for {{ $labels.deployment }}: it is at its most replicas, or nodes are missing"),
    Alert("RunsFail", 'max(ray_vitanexus_runs{status="failed"}) > 0', "0m", "ticket",
          "{{ $value }} simulation runs of the last day have failed"),
    Alert("SimulationsStarve",
          "max(ray_vitanexus_simulation_batches_waiting) > 0 "
          "unless sum(rate(ray_vitanexus_simulation_batches_total[15m])) > 0",
          "15m", "ticket", "{{ $value }} batches wait and none is finished"),
    Alert("PromotionHangs", "max(ray_vitanexus_promotion_pending) > 0", "15m", "ticket",
          "A change of champion has not reached every partition"),
    Alert("NodeMemory", "ray_node_mem_used / ray_node_mem_total > 0.92", "5m", "page",
          "{{ $labels.instance }} uses {{ $value | humanizePercentage }} of its memory: Ray will kill workers"),
    Alert("NodeDisk", "ray_node_disk_utilization_percentage > 85", "10m", "ticket",
          "{{ $labels.instance }} uses {{ $value }} % of its disk"),
    Alert("NodesPending", "sum by (node_type) (ray_cluster_pending_nodes) > 0", "15m", "ticket",
          "Nodes of group {{ $labels.node_type }} start for 15 minutes now: Kubernetes has no room or no image"),
)  # fmt: skip


def groups() -> list[dict[str, Any]]:
    """The rules as Prometheus reads them."""
    rules = [
        {
            "alert": alert.name,
            "expr": alert.expr,
            "for": alert.lasts,
            "labels": {"severity": alert.severity},
            "annotations": {"summary": alert.summary, "runbook_url": f"{RUNBOOK}#{alert.anchor}"},
        }
        for alert in ALERTS
    ]
    return [{"name": "vitanexus", "rules": rules}]


def prometheus_rule() -> dict[str, Any]:
    """The rules as an object of the Prometheus operator."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "vitanexus"},
        "spec": {"groups": groups()},
    }
