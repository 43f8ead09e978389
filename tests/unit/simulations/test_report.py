"""A report that cannot be drawn never costs the result."""

import json
from pathlib import Path
from typing import Any

import pytest

from cluster.simulation import job, report
from cluster.simulation.files import Inputs, read_scenario
from simulations.reserve import here
from tests.fuzz.broken import GOOD


def outcome(folder: Path, **changes: Any) -> job.Outcome:
    scenario, document = read_scenario(GOOD / "scenarios" / "reserve.yaml", changes)
    made = job.run(scenario, document, Inputs(GOOD / "scenarios"), here(1))
    job.write(made, folder, keep_paths=False)
    return made


def test_nothing_kept_has_a_page_without_the_picture_that_divides_by_it(tmp_path: Path) -> None:
    made = outcome(tmp_path, cover={"quota_share": {"share": 1.0}})
    assert report.write(made, tmp_path) == tmp_path / "report.html"
    assert (tmp_path / "distribution.png").is_file() and not (tmp_path / "convergence.png").exists()
    assert json.loads((tmp_path / "result.json").read_text())["groups"]["total"]["net"]["mean"] == 0


def test_a_page_that_cannot_be_made_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = outcome(tmp_path)
    monkeypatch.setattr(report, "_page", lambda *_: f"{None:,.0f}")
    assert report.write(made, tmp_path) is None
    assert (tmp_path / "exceedance.png").is_file() and (tmp_path / "result.json").is_file()
