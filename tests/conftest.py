"""Fixtures every test may use."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

pytest_plugins = ("tests.kafka", "tests.stack")

# machines are shared and the first call compiles a kernel: a slow example is no failure
settings.register_profile("vitanexus", deadline=None)
settings.load_profile("vitanexus")

ROOT = Path(__file__).resolve().parents[1]


def shared_data(name: str) -> Path:
    """The folder `name` of the shared data beside the project (or under VITANEXUS_DATA); skips where it is absent."""
    base = Path(os.environ.get("VITANEXUS_DATA", ROOT.parent / "shared" / "data"))
    path = base / name
    if not path.is_dir():
        pytest.skip(f"the data set {name} is not beside the project (set VITANEXUS_DATA)")
    return path
