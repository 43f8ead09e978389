"""The declared metrics as Ray's own, for the process that tells them."""

from ray.util.metrics import Counter, Gauge, Histogram

from actors.metric_list import Metric


def counter(metric: Metric) -> Counter:
    """A counter. Raises ValueError where the metric is declared as something else."""
    _must_be(metric, "counter")
    return Counter(metric.name, metric.doc, metric.labels)


def gauge(metric: Metric) -> Gauge:
    """A gauge. Raises ValueError where the metric is declared as something else."""
    _must_be(metric, "gauge")
    return Gauge(metric.name, metric.doc, metric.labels)


def histogram(metric: Metric) -> Histogram:
    """A histogram. Raises ValueError where the metric is declared as something else."""
    _must_be(metric, "histogram")
    return Histogram(metric.name, metric.doc, list(metric.buckets), metric.labels)


def _must_be(metric: Metric, kind: str) -> None:
    if metric.kind != kind:
        raise ValueError(f"metric {metric.name} is declared as a {metric.kind}, not a {kind}")
