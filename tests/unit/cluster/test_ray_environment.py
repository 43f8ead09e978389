"""Which token Ray is given: of its own cluster, whatever the environment says of some other."""

import os
import stat
from pathlib import Path

import pytest

from cluster.stack import ray_environment


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    others = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    monkeypatch.setattr(os, "environ", others)


def _used() -> str | None:
    return os.environ.get("RAY_AUTH_TOKEN_PATH")


def test_a_cluster_started_here_has_a_token_of_its_own_that_stays(tmp_path: Path) -> None:
    ray_environment.prepare(tmp_path / "state")
    key = tmp_path / "state" / "ray.auth"
    token = key.read_text()
    assert (os.environ["RAY_AUTH_MODE"], _used()) == ("token", str(key))
    assert len(token) == 64 and stat.S_IMODE(key.stat().st_mode) == 0o600
    ray_environment.prepare(tmp_path / "state")
    assert key.read_text() == token


@pytest.mark.parametrize("known", [{"RAY_AUTH_TOKEN": "another"}, {"RAY_AUTH_TOKEN_PATH": "/nowhere"}, {}])
def test_what_the_environment_says_of_another_cluster_does_not_count(tmp_path: Path, known: dict[str, str]) -> None:
    """`ray.init` leaves the mode behind in its process, and people have a token for the cluster at work."""
    os.environ.update({"RAY_AUTH_MODE": "token"} | known)
    ray_environment.prepare(tmp_path)
    assert _used() == str(tmp_path / "ray.auth") and "RAY_AUTH_TOKEN" not in os.environ
    os.environ.update({"RAY_AUTH_MODE": "token"} | known)
    ray_environment.join(tmp_path)
    assert _used() == str(tmp_path / "ray.auth") and "RAY_AUTH_TOKEN" not in os.environ


def test_a_cluster_that_is_named_has_the_token_of_the_environment(tmp_path: Path) -> None:
    ray_environment.prepare(tmp_path)  # a stack of before, with a Ray of its own
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH="/etc/ray/token")
    ray_environment.prepare(tmp_path, "10.0.0.1:6379")
    ray_environment.join(tmp_path)
    assert _used() == "/etc/ray/token"


def test_without_a_token_in_either_place_none_is_made_for_who_joins(tmp_path: Path) -> None:
    ray_environment.join(tmp_path)
    assert _used() is None and not list(tmp_path.iterdir())
