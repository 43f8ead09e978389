"""Fixtures every test may use."""

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

pytest_plugins = ("tests.kafka", "tests.service", "tests.stack")

# machines are shared and the first call compiles a kernel: a slow example is no failure. The same examples each time,
# so that a change fails for what it changed; `make fuzz` looks for new ones
settings.register_profile("vitanexus", deadline=None, derandomize=True)
settings.register_profile("fuzz", deadline=None, max_examples=1_000)
settings.load_profile("vitanexus")

ROOT = Path(__file__).resolve().parents[1]


def shared_data(name: str) -> Path:
    """The folder `name` of the shared data beside the project (or under VITANEXUS_DATA); skips where it is absent."""
    base = Path(os.environ.get("VITANEXUS_DATA", ROOT.parent / "shared" / "data"))
    path = base / name
    if not path.is_dir():
        pytest.skip(f"the data set {name} is not beside the project (set VITANEXUS_DATA)")
    return path


ALLOWED_SKIPS = ("the data set ",)
"""Beginnings of the reasons for which a test may be skipped in CI: real data is never in the repository."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a test that is skipped for a reason not on the list has failed: nothing is left out unseen."""
    report = yield
    if os.environ.get("CI") and report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if not reason.startswith(ALLOWED_SKIPS):
            report.outcome, report.longrepr = "failed", f"skipped in CI, which its list does not allow: {reason}"
    return report
