"""Every Prometheus metric there is to look at, declared once: the code that tells it and all documents derive of it.

Ray's metrics endpoint puts `ray_` before each name and `_total` behind a counter's. Those of Ray and Serve are listed
where a dashboard or an alert of ours uses them.
"""

from collections.abc import Iterable
from dataclasses import dataclass

RECORDS = (1, 10, 100, 1_000, 10_000, 50_000, 100_000, 200_000, 500_000, 1_000_000)
SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
KINDS = ("counter", "gauge", "histogram")


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric: name as the code tells it, kind, labels, unit ("" for a number), meaning, and who tells it.

    A histogram has the upper ends of its `buckets`; another's metric (`teller` ray or serve) has none here.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    unit: str
    doc: str
    group: str
    teller: str = "vitanexus"
    buckets: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"metric {self.name}: kind {self.kind!r} is not one of {KINDS}")
        if (self.kind == "histogram" and self.teller == "vitanexus") != bool(self.buckets):
            raise ValueError(f"metric {self.name}: a histogram of ours has buckets, and nothing else has")

    @property
    def series(self) -> tuple[str, ...]:
        """The names of its series in Prometheus."""
        if self.kind == "counter":
            return (f"ray_{self.name.removesuffix('_total')}_total",)
        ends = ("_bucket", "_sum", "_count") if self.kind == "histogram" else ("",)
        return tuple(f"ray_{self.name}{end}" for end in ends)


EVENTS = Metric(
    "vitanexus_events", "counter", ("shard", "outcome"), "events",
    "Events committed, by outcome: applied, duplicate or dead_letter", "shards",
)  # fmt: skip
BATCH_RECORDS = Metric(
    "vitanexus_batch_records", "histogram", ("shard",), "records", "Records of a micro-batch", "shards",
    buckets=RECORDS,
)  # fmt: skip
BATCH_SECONDS = Metric(
    "vitanexus_batch_seconds", "histogram", ("shard",), "s", "From a micro-batch's arrival to its commit", "shards",
    buckets=SECONDS,
)  # fmt: skip
COMMIT_SECONDS = Metric(
    "vitanexus_commit_seconds", "histogram", ("shard",), "s", "The transaction of a micro-batch alone", "shards",
    buckets=SECONDS,
)  # fmt: skip
PARTITION_LAG = Metric(
    "vitanexus_partition_lag", "gauge", ("shard", "topic", "partition"), "records",
    "Records of the log that are not committed yet", "shards",
)  # fmt: skip
WATERMARK = Metric(
    "vitanexus_watermark_seconds", "gauge", ("shard", "partition"), "s",
    "Latest event time applied, since 1970", "shards",
)  # fmt: skip
LATE = Metric(
    "vitanexus_late", "counter", ("shard",), "events",
    "Readings applied that happened before the latest one of their member and metric", "shards",
)  # fmt: skip
PENDING = Metric(
    "vitanexus_pending", "gauge", ("shard",), "events", "Events held for members who are not enrolled yet", "shards"
)
STATE_BYTES = Metric("vitanexus_state_bytes", "gauge", ("shard",), "bytes", "Size of the member state held", "shards")
MEMBERS = Metric("vitanexus_members", "gauge", ("shard",), "members", "Members the shard holds", "shards")
PARTITIONS_OWNED = Metric(
    "vitanexus_partitions_owned", "gauge", (), "partitions", "Partitions under a lease that has not expired", "shards"
)
OUTBOX_WAITING = Metric(
    "vitanexus_outbox_waiting", "gauge", (), "messages", "Messages committed and not published yet", "shards"
)
PUBLISHED = Metric("vitanexus_published", "counter", ("topic",), "messages", "Messages published", "shards")
RUNS = Metric(
    "vitanexus_runs", "gauge", ("status",), "runs",
    "Simulation runs of the last day by status: queued, running, succeeded, failed, cancelled", "simulations",
)  # fmt: skip
BATCHES_WAITING = Metric(
    "vitanexus_simulation_batches_waiting", "gauge", (), "batches",
    "Batches of a run that no worker has begun", "simulations",
)  # fmt: skip
BATCHES_RUNNING = Metric(
    "vitanexus_simulation_batches_running", "gauge", (), "batches", "Batches given to workers", "simulations"
)
BATCHES_DONE = Metric("vitanexus_simulation_batches", "counter", (), "batches", "Batches simulated", "simulations")
CHAMPION = Metric(
    "vitanexus_champion", "gauge", ("model", "version"), "", "1 for the version that makes the scores", "models"
)
PROMOTION_PENDING = Metric(
    "vitanexus_promotion_pending", "gauge", (), "",
    "1 while a change of champion has not reached every partition", "models",
)  # fmt: skip
PARTITIONS_SCORED_BY = Metric(
    "vitanexus_partitions_scored_by", "gauge", ("model_version",), "partitions",
    "Partitions by the models and rules of their latest snapshot", "models",
)  # fmt: skip

HTTP_REQUESTS = Metric(
    "vitanexus_http_requests", "counter", ("route", "method", "status"), "requests", "Requests answered", "serving"
)
HTTP_SECONDS = Metric(
    "vitanexus_http_seconds", "histogram", ("route",), "s",
    "From a request's arrival in the replica to its last byte, queueing too", "serving",
    buckets=(0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1.0, 5.0, 30.0),
)  # fmt: skip
HTTP_IN_PROGRESS = Metric(
    "vitanexus_http_in_progress", "gauge", ("replica",), "requests",
    "Requests that have arrived and are not answered: the queue and the work", "serving",
)  # fmt: skip
HTTP_SHED = Metric(
    "vitanexus_http_shed", "counter", (), "requests", "Requests turned away with 503: the queue was full", "serving"
)
HTTP_UNRECORDED = Metric(
    "vitanexus_http_unrecorded", "counter", (), "requests", "Requests answered faster than they could be noted",
    "serving",
)  # fmt: skip
SCORES_SERVED = Metric(
    "vitanexus_scores_served", "counter", ("source",), "scores",
    "Scores answered: request, board, shard; away: the shard did not answer", "serving",
)  # fmt: skip
SCORE_AGE = Metric(
    "vitanexus_score_age_seconds", "histogram", ("source",), "s",
    "How long ago a member's score was last known to hold", "serving",
    buckets=(0.01, 0.1, 0.3, 1.0, 10.0, 60.0, 3600.0, 86_400.0),
)  # fmt: skip

OURS: tuple[Metric, ...] = (
    EVENTS, BATCH_RECORDS, BATCH_SECONDS, COMMIT_SECONDS, PARTITION_LAG, WATERMARK, LATE, PENDING, MEMBERS, STATE_BYTES,
    PARTITIONS_OWNED, OUTBOX_WAITING, PUBLISHED, RUNS, BATCHES_WAITING, BATCHES_RUNNING, BATCHES_DONE, CHAMPION,
    PROMOTION_PENDING, PARTITIONS_SCORED_BY, HTTP_REQUESTS, HTTP_SECONDS, HTTP_IN_PROGRESS, HTTP_SHED,
    HTTP_UNRECORDED, SCORES_SERVED, SCORE_AGE,
)  # fmt: skip

_HTTP, _DEPLOYMENT = ("route", "method", "application", "status_code"), ("deployment", "application")
THEIRS: tuple[Metric, ...] = (
    Metric("serve_num_http_requests", "counter", _HTTP, "requests", "Requests answered", "serving", "serve"),
    Metric("serve_num_http_error_requests", "counter", ("route", "error_code", "method", "application"), "requests",
           "Requests answered with 4xx or 5xx", "serving", "serve"),
    Metric("serve_http_request_latency_ms", "histogram", _HTTP, "ms", "Time to an answer at the proxy", "serving",
           "serve"),
    Metric("serve_deployment_queued_queries", "gauge", _DEPLOYMENT, "requests", "Requests that wait for a replica",
           "serving", "serve"),
    Metric("serve_replica_processing_queries", "gauge", ("deployment", "replica", "application"), "requests",
           "Requests a replica works on", "serving", "serve"),
    Metric("serve_deployment_replica_healthy", "gauge", ("deployment", "replica", "application"), "",
           "1 for a replica that is healthy", "serving", "serve"),
    Metric("serve_autoscaling_target_replicas", "gauge", _DEPLOYMENT, "replicas", "Replicas Serve wants", "serving",
           "serve"),
    Metric("node_mem_used", "gauge", ("instance",), "bytes", "Memory in use on a node", "nodes", "ray"),
    Metric("node_mem_total", "gauge", ("instance",), "bytes", "Memory of a node", "nodes", "ray"),
    Metric("node_cpu_utilization", "gauge", ("instance",), "%", "CPU in use on a node, 0 to 100", "nodes", "ray"),
    Metric("node_disk_utilization_percentage", "gauge", ("instance",), "%", "Disk in use on a node", "nodes", "ray"),
    Metric("cluster_active_nodes", "gauge", ("node_type",), "nodes", "Nodes of a group that work", "nodes", "ray"),
    Metric("cluster_pending_nodes", "gauge", ("node_type",), "nodes", "Nodes of a group that start", "nodes", "ray"),
    Metric("tasks", "gauge", ("State", "Name"), "tasks", "Tasks by state", "simulations", "ray"),
)  # fmt: skip

METRICS = (*OURS, *THEIRS)
SERIES: dict[str, Metric] = {series: metric for metric in METRICS for series in metric.series}
"""Every metric by the names of its series."""


def grouped() -> Iterable[tuple[str, list[Metric]]]:
    """The metrics by group, in the order of the list."""
    groups = dict.fromkeys(metric.group for metric in METRICS)
    return [(group, [metric for metric in METRICS if metric.group == group]) for group in groups]
