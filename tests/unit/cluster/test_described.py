"""`--check`: what files hold, by column and by kind of event, before any work."""

import re
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from cluster.cli import app
from engine.errors import SourceError
from tests.conftest import shared_data
from tests.fuzz.broken import GOOD

CLI = CliRunner()
FITABASE = {
    "dailyActivity_merged.csv": "Id,ActivityDate,TotalSteps,VeryActiveMinutes,FairlyActiveMinutes\n7,4/12/2016,9,1,2\n",
    "sleepDay_merged.csv": "Id,SleepDay,TotalMinutesAsleep\n7,4/12/2016 12:00:00 AM,327\n",
}


def told(*words: str) -> str:
    done = CLI.invoke(app, [*words, "--check"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


def test_replay_tells_events_and_refusals_and_sends_nothing(tmp_path: Path) -> None:
    for file in (GOOD / "tuva").iterdir():
        (tmp_path / file.name).write_text(file.read_text().replace(",Utah", ",Atlantis"))
    shown = told("replay", "tuva", str(tmp_path))
    assert "claim.submitted │ 2 │ 1 │ 2018-02-01 │ 2018-02-02 │ 0" in shown
    assert "of enrollment.change would be dead letters: unknown_region of region" in shown


def test_hcc_tells_who_can_be_scored_and_why_others_cannot(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("member_id,age,sex,orec\nA1,70,F,0\nB2,70,X,0\nC3,70,F,0\nD4,70,M,0\n")
    (tmp_path / "d.csv").write_text("member_id,icd10\nA1,E119\nC3,E119\n")
    shown = told("hcc", "score", "--members", str(tmp_path / "m.csv"), "--diagnoses", str(tmp_path / "d.csv"))
    assert "3 members can be scored with v28 for 2026" in shown
    assert "1 values of sex cannot be used: must be F, M, 2 or 1" in shown
    assert "F, M, X" in shown and "B2" not in shown  # codes are shown, people are not


def test_explain_and_drift_tell_their_files_too(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("member_id,age,sex,orec\nA1,70,F,0\n")
    (tmp_path / "d.csv").write_text("member_id,icd10\nA1,E119\n")
    files = ["--members", str(tmp_path / "m.csv"), "--diagnoses", str(tmp_path / "d.csv")]
    assert "1 members can be scored with v28" in told("hcc", "explain", "--member", "A1", *files)
    shown = told("monitor", "drift", "--source", "meps", "--data", str(shared_data("meps")))
    assert "meps_2013.parquet: " in shown and "PSI" not in shown
    done = CLI.invoke(app, ["monitor", "drift", "--check"])
    assert done.exit_code == 2 and "only --source meps reads files" in done.output


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("premium", ["portfolio.csv: 3 rows", "past.csv", "valid: 3 members in 2 groups"]),
        ("claims", ["claims.csv: 7 rows", "1 claim lines have no paid_date", "valid: 3 origins"]),
    ],
)
def test_simulate_tells_the_files_it_would_read(kind: str, words: list[str]) -> None:
    shown = told("simulate", str(GOOD / "scenarios" / f"{kind}.yaml"))
    assert all(word in shown for word in words), shown


def test_predict_tells_the_columns(tmp_path: Path) -> None:
    shown = told("predict", "behavior", "--source", "lifesnaps", "--file", str(GOOD / "lifesnaps" / "daily.csv"))
    assert "daily.csv: 2 rows" in shown and "resting_hr" in shown
    table = pa.table({"sampleID": [4711, 4712], "age": [40, 50], "gender": [1, 2], "tags": [[1], []]})
    parquet.write_table(table, tmp_path / "n.parquet")
    shown = told("predict", "health", "--source", "nhanes", "--file", str(tmp_path / "n.parquet"))
    assert "│ age │ int64 │ 2 │ 2 │ 40 │ 50 │" in shown and "4711" not in shown


def test_training_and_evaluation_tell_the_surveys_they_would_read() -> None:
    meps, nhanes = str(shared_data("meps")), shared_data("nhanes")
    for words in (["train", "base-risk", "--data", meps], ["evaluate", "--data", meps]):
        shown = told(*words)
        assert "meps_2012.parquet: 38,974 rows" in shown and "meps_2013.parquet" in shown
        assert re.search(r"1\d,\d{3} persons are in both years", shown)
    adults, walkers = (str(nhanes / f"{name}_mortality.parquet") for name in ("nhanes3_labs", "nhanes_steps"))
    assert "nhanes3_labs_mortality.parquet: 18,825 rows" in told("train", "physiology", "--file", adults)
    shown = told("train", "ensemble", "--meps", meps, "--adults", adults, "--walkers", walkers)
    assert all(f"{name}.parquet: " in shown for name in ("meps_2012", "nhanes3_labs_mortality"))


def test_training_the_steps_forecast_tells_both_its_sources(tmp_path: Path) -> None:
    for name, text in FITABASE.items():
        (tmp_path / name).write_text(text)
    snaps = str(GOOD / "lifesnaps" / "daily.csv")
    shown = told("train", "behavior", "--lifesnaps", snaps, "--fitabase", str(tmp_path))
    assert all(f"{name}: " in shown for name in ("daily.csv", *FITABASE))


def test_a_file_that_cannot_be_trained_on_is_refused_before_any_work(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"sampleID": [1], "age": ["forty"], "gender": [1]}), tmp_path / "n.parquet")
    done = CLI.invoke(app, ["train", "physiology", "--file", str(tmp_path / "n.parquet"), "--check"])
    assert isinstance(done.exception, SourceError) and "column 'age', row 1: 'forty' is no number" in str(
        done.exception
    )


def test_a_job_is_checked_without_a_stack(tmp_path: Path) -> None:
    scenario = str(GOOD / "scenarios" / "premium.yaml")
    shown = told("jobs", "submit", scenario, "--dir", str(tmp_path / "none"))
    assert "portfolio.csv: 3 rows" in shown and "valid: 3 members in 2 groups" in shown
    assert not (tmp_path / "none").exists()


def test_without_check_a_file_to_write_must_be_named() -> None:
    done = CLI.invoke(
        app, ["predict", "behavior", "--source", "lifesnaps", "--file", str(GOOD / "lifesnaps" / "daily.csv")]
    )
    assert done.exit_code == 2 and "--out" in done.output
