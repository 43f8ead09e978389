"""`--check`: what files hold, by column and by kind of event, before any work."""

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from cluster.cli import app
from tests.fuzz.broken import GOOD

CLI = CliRunner()


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


def test_without_check_a_file_to_write_must_be_named() -> None:
    done = CLI.invoke(
        app, ["predict", "behavior", "--source", "lifesnaps", "--file", str(GOOD / "lifesnaps" / "daily.csv")]
    )
    assert done.exit_code == 2 and "--out" in done.output
