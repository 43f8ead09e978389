"""The shards' figures where Prometheus finds them: on the metrics endpoints that Ray lists for discovery."""

import datetime as dt
import json
import re
from collections import defaultdict
from pathlib import Path

import httpx2

from engine.domain.events import READING, SourceEvent
from engine.domain.population import Population
from engine.interop import synthetic
from engine.streams.producer import EventProducer
from tests.e2e.conftest import RunningStack
from tests.waiting import wait_for

_LINE = re.compile(r"^(ray_vitanexus_\w+)\{(.*)\} (\S+)$", re.MULTILINE)
_NAMES = (
    "ray_vitanexus_batch_records_count",
    "ray_vitanexus_batch_seconds_count",
    "ray_vitanexus_commit_seconds_count",
    "ray_vitanexus_members",
    "ray_vitanexus_partition_lag",
    "ray_vitanexus_state_bytes",
    "ray_vitanexus_watermark_seconds",
)


def scraped(stack: RunningStack) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Every series of ours: by name, its labels and value."""
    (session,) = Path("/tmp/ray").glob(f"session_*_{stack.supervisor.pid}")
    found: dict[str, list[tuple[dict[str, str], float]]] = defaultdict(list)
    for job in json.loads((session / "prom_metrics_service_discovery.json").read_text()):
        for target in job["targets"]:
            for name, labels, value in _LINE.findall(httpx2.get(f"http://{target}/metrics").text):
                found[name].append((dict(re.findall(r'(\w+)="([^"]*)"', labels)), float(value)))
    return found


def test_shards_tell_lag_outcomes_and_times(stack: RunningStack) -> None:
    month = list(synthetic.month(Population.generate(5, 30), dt.date(2025, 3, 1), days=2))
    own = [
        SourceEvent(e.kind, {**e.fields, **{n: f"m-{e.fields[n]}" for n in ("member_id", "event_id")}}) for e in month
    ]
    readings = [event for event in own if event.kind is READING]

    def series() -> dict[tuple[tuple[str, str], ...], float]:
        rows = scraped(stack).get("ray_vitanexus_events_total", [])
        return {tuple(sorted(labels.items())): value for labels, value in rows}

    before = series()

    def told() -> tuple[float, ...]:
        """The increase by outcome. A counter of a process that another test has killed goes away some time later."""
        more = [(dict(labels)["outcome"], value - before.get(labels, 0)) for labels, value in series().items()]
        return tuple(sum(value for own, value in more if own == n) for n in ("applied", "duplicate", "dead_letter"))

    def stored() -> tuple[int, ...]:
        rows = stack.queries.consumed()
        return tuple(sum(getattr(row, name) for row in rows) for name in ("applied", "duplicates", "dead_letters"))

    def since(now: tuple[float, ...], before: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(x - y for x, y in zip(now, before, strict=True))

    stored_before = stored()
    with EventProducer(stack.endpoints.kafka) as producer:
        producer.send_all(own)
        producer.send_all(readings)
    wait_for(lambda: sum(since(stored(), stored_before)) == len(own) + len(readings), "every event", seen=stored)
    wait_for(lambda: told() == since(stored(), stored_before), "the metrics to say so", seen=told)
    assert since(stored(), stored_before)[1] > 0
    found = scraped(stack)
    assert set(_NAMES) <= set(found)
    assert {labels["shard"] for labels, _ in found["ray_vitanexus_members"]} == {"shard-0", "shard-1"}
    lags = {(labels["topic"], labels["partition"]): value for labels, value in found["ray_vitanexus_partition_lag"]}
    assert all(value == 0 for value in lags.values()), lags
    assert any(topic == READING.topic for topic, _ in lags)
    latest = max(event.fields["time"] for event in readings) / 1000
    assert any(value >= latest for _, value in found["ray_vitanexus_watermark_seconds"])
