"""Status: what the metrics endpoints say, as one document and as tables."""

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from rich.console import Console

from cluster.observability.overview import document, tables
from cluster.observability.scrape import Reading, Sample, scrape, targets
from engine.errors import StackError
from engine.settings import load_shard_scaling
from tests.command import NO_PROXY, PROXY

TEXT = """\
# HELP ray_vitanexus_members Members the shard holds
# TYPE ray_vitanexus_members gauge
ray_vitanexus_members{Component="core_worker",NodeAddress="n",shard="shard-0"} 600.0
ray_vitanexus_members{Component="core_worker",NodeAddress="n",shard="shard-1"} 400.0
# TYPE ray_vitanexus_state_bytes gauge
ray_vitanexus_state_bytes{shard="shard-0"} 5e9
ray_vitanexus_state_bytes{shard="shard-1"} 6e9
# TYPE ray_vitanexus_partition_lag gauge
ray_vitanexus_partition_lag{shard="shard-0",topic="t",partition="1"} 70.0
ray_vitanexus_partition_lag{shard="shard-1",topic="t",partition="2"} 30.0
# TYPE ray_vitanexus_events_total counter
ray_vitanexus_events_total{shard="shard-0",outcome="applied"} 900.0
ray_vitanexus_events_total{shard="shard-0",outcome="dead_letter"} 3.0
ray_vitanexus_events_total{shard="shard-1",outcome="applied"} 97.0
# TYPE ray_vitanexus_batch_seconds histogram
ray_vitanexus_batch_seconds_bucket{shard="shard-0",le="0.1"} 90.0
ray_vitanexus_batch_seconds_bucket{shard="shard-0",le="0.5"} 98.0
ray_vitanexus_batch_seconds_bucket{shard="shard-0",le="1.0"} 100.0
ray_vitanexus_batch_seconds_bucket{shard="shard-0",le="+Inf"} 100.0
ray_vitanexus_batch_seconds_count{shard="shard-0"} 100.0
ray_vitanexus_batch_seconds_sum{shard="shard-0"} 9.0
# TYPE ray_vitanexus_partitions_owned gauge
ray_vitanexus_partitions_owned{} 64.0
# TYPE ray_vitanexus_champion gauge
ray_vitanexus_champion{model="base_risk",version="3"} 0.0
ray_vitanexus_champion{model="base_risk",version="4"} 1.0
# TYPE ray_somebody_elses gauge
ray_somebody_elses{} 1.0
"""


@pytest.fixture
def address() -> Iterator[str]:
    class Metrics(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(TEXT.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Metrics)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_the_figures_are_what_the_endpoints_say_and_rates_what_they_grow(address: str) -> None:
    samples, silent = scrape([address, "127.0.0.1:1"])
    assert silent == ["127.0.0.1:1"]
    assert not [sample for sample in samples if "somebody" in sample.series]
    assert all("Component" not in sample.labels for sample in samples)
    now = Reading(samples, 110.0)
    before = Reading(
        [Sample(s.series, s.labels, s.value - 400 if s.series.endswith("events_total") else s.value) for s in samples],
        100.0,
    )
    found = document(now, before, *load_shard_scaling())
    shards = found["shards"]
    assert (shards["members"], shards["lag_records"], shards["partitions_owned"]) == (1000, 100, 64)
    assert shards["events_per_second"] == pytest.approx(3 * 400 / 10)
    # 120 events/s are little work, but 11 GB of state want four shards of 3 GB, and more with the slack
    assert shards["state_bytes"] == 11e9 and shards["shards_wanted"] >= 4
    first = shards["each"][0]
    assert first["shard"] == "shard-0" and first["dead_letter"] == 3 and first["members"] == 600
    assert first["batch_p99_seconds_within"] == 1.0
    assert found["models"]["champions"] == {"base_risk": "4"}
    assert found["simulations"]["runs_of_the_last_day"] == {}
    assert json.loads(json.dumps(found)) == found
    out = io.StringIO()
    Console(file=out, width=140).print(tables(found))
    assert "shard-1" in out.getvalue() and "base_risk 4" in out.getvalue()


def test_a_proxy_of_the_environment_is_not_asked(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node's own address is no loopback, and so on nobody's list of addresses without a proxy."""
    for name, url in PROXY.items():
        monkeypatch.setenv(name, url)
    for name in NO_PROXY:
        monkeypatch.delenv(name, raising=False)
    samples, silent = scrape([address])
    assert samples and not silent


def test_a_counter_that_began_anew_has_no_rate() -> None:
    after = Reading([Sample("ray_vitanexus_events_total", {"shard": "s", "outcome": "applied"}, 5.0)], 10.0)
    before = Reading([Sample("ray_vitanexus_events_total", {"shard": "s", "outcome": "applied"}, 90.0)], 0.0)
    assert after.rate(before, "ray_vitanexus_events_total") is None
    assert after.rate(None, "ray_vitanexus_events_total") is None
    assert after.quantile("ray_vitanexus_batch_seconds", 0.5) is None


def test_a_session_without_metrics_is_named(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"prom_metrics_service_discovery\.json lists no metrics"):
        targets(tmp_path)
