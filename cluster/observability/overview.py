"""What `vitanexus status` says of a running installation: the dashboards' figures as one document, and as tables."""

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from cluster.observability.scrape import Reading
from engine.domain.scaling import Scaling, ShardCapacity, wanted_units

_OUTCOMES = ("applied", "duplicate", "dead_letter")


def document(now: Reading, before: Reading | None, scaling: Scaling, capacity: ShardCapacity) -> dict[str, Any]:
    """The figures by part. A rate is None until there are two readings, a figure nobody has told is None."""
    shards = [_shard(name, now, before) for name in now.values("ray_vitanexus_members", "shard")]
    lag, rate = now.total("ray_vitanexus_partition_lag"), now.rate(before, "ray_vitanexus_events_total")
    size = now.total("ray_vitanexus_state_bytes")
    wanted = None if rate is None else wanted_units(scaling, capacity.load(rate, lag, size))
    return {
        "shards": {
            "partitions_owned": now.most("ray_vitanexus_partitions_owned"),
            "members": now.total("ray_vitanexus_members"),
            "state_bytes": size,
            "lag_records": lag,
            "events_per_second": rate,
            "outbox_waiting": now.most("ray_vitanexus_outbox_waiting"),
            "shards_wanted": wanted,
            "each": shards,
        },
        "serving": {
            "requests_per_second": now.rate(before, "ray_serve_num_http_requests_total"),
            "errors_per_second": now.rate(before, "ray_serve_num_http_error_requests_total"),
            "p50_ms_within": now.quantile("ray_serve_http_request_latency_ms", 0.5),
            "p99_ms_within": now.quantile("ray_serve_http_request_latency_ms", 0.99),
            "queued": now.total("ray_serve_deployment_queued_queries"),
            "replicas": {
                name: now.total("ray_serve_deployment_replica_healthy", deployment=name)
                for name in now.values("ray_serve_deployment_replica_healthy", "deployment")
            },
        },
        "simulations": {
            "runs_of_the_last_day": {
                status: now.most("ray_vitanexus_runs", status=status)
                for status in now.values("ray_vitanexus_runs", "status")
            },
            "batches_waiting": now.total("ray_vitanexus_simulation_batches_waiting"),
            "batches_running": now.total("ray_vitanexus_simulation_batches_running"),
        },
        "models": {
            "champions": _champions(now),
            "promotion_pending": bool(now.most("ray_vitanexus_promotion_pending")),
        },
    }


def _shard(name: str, now: Reading, before: Reading | None) -> dict[str, Any]:
    return {
        "shard": name,
        "members": now.total("ray_vitanexus_members", shard=name),
        "lag_records": now.total("ray_vitanexus_partition_lag", shard=name),
        **{o: now.total("ray_vitanexus_events_total", shard=name, outcome=o) for o in _OUTCOMES},
        "events_per_second": now.rate(before, "ray_vitanexus_events_total", shard=name),
        "batch_p99_seconds_within": now.quantile("ray_vitanexus_batch_seconds", 0.99, shard=name),
        "commit_p99_seconds_within": now.quantile("ray_vitanexus_commit_seconds", 0.99, shard=name),
        "latest_event": now.most("ray_vitanexus_watermark_seconds", shard=name),
    }


def _champions(now: Reading) -> dict[str, str]:
    return {
        model: version
        for version in now.values("ray_vitanexus_champion", "version")
        for model in now.values("ray_vitanexus_champion", "model")
        if now.most("ray_vitanexus_champion", model=model, version=version)
    }


def tables(found: dict[str, Any]) -> RenderableType:
    """The document for people."""
    head = ("shard", "members", "behind", *_OUTCOMES, "events/s", "batch p99 <= s", "commit p99 <= s")
    shards = Table(*head, title="shards", title_justify="left")
    for shard in found["shards"]["each"]:
        figures = (shard[name] for name in ("members", "lag_records", *_OUTCOMES, "events_per_second"))
        times = (shard["batch_p99_seconds_within"], shard["commit_p99_seconds_within"])
        shards.add_row(shard["shard"], *(_number(x) for x in figures), *(_number(x) for x in times))
    rest = Table("part", "figure", "value", show_edge=True)
    for part in ("shards", "serving", "simulations", "models"):
        for name, value in found[part].items():
            if name != "each":
                rest.add_row(part, name.replace("_", " "), _text(value))
    return Group(shards, rest)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(each)}" for name, each in value.items()) or "none"
    return value if isinstance(value, str) else _number(value)


def _number(value: float | bool | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.3g}"
