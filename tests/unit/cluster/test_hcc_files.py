"""Files of `vitanexus hcc` as users have them: documented values are taken, and what cannot be read is named."""

import csv
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from cluster.cli import app
from engine.errors import HccError

CLI = CliRunner()
DIAGNOSES = "member_id,icd10\n007,e11.9\nNA,E119\nN3,E119\n"


def score(folder: Path, members: str) -> dict[str, str]:
    (folder / "d.csv").write_text(DIAGNOSES)
    words = ["hcc", "score", "--members", members, "--diagnoses", str(folder / "d.csv"), "--out", str(folder / "o.csv")]
    done = CLI.invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    with (folder / "o.csv").open(newline="") as file:
        return {row["member_id"]: row["segment"] for row in csv.DictReader(file)}


def test_na_and_a_blank_are_medicaid_codes_in_both_formats(tmp_path: Path) -> None:
    expected = {"007": "COMMUNITY_NA", "NA": "COMMUNITY_NA", "N3": "COMMUNITY_FBA"}
    (tmp_path / "m.csv").write_text(
        "member_id,birth_date,sex,orec,dual\n007,19550101,F,0,NA\nNA,1955-01-01,F,0,\nN3,19550101,F,0,02\n"
    )
    assert score(tmp_path, str(tmp_path / "m.csv")) == expected
    table = {"member_id": [*expected], "age": [70] * 3, "sex": ["F"] * 3, "orec": ["0"] * 3, "dual": ["NA", "", "02"]}
    parquet.write_table(pa.table(table), tmp_path / "m.parquet")
    assert score(tmp_path, str(tmp_path / "m.parquet")) == expected


@pytest.mark.parametrize("name", ["nowhere.csv", "nowhere.parquet", "", "broken.parquet", "broken.csv"])
@pytest.mark.parametrize("which", ["--members", "--diagnoses"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, which: str) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"member_id")
    (tmp_path / "broken.csv").write_bytes(b'member_id,icd10\n"7')
    (tmp_path / "m.csv").write_text("member_id,age,sex,orec\n007,70,F,0\nNA,70,F,0\nN3,70,M,0\n")
    (tmp_path / "d.csv").write_text(DIAGNOSES)
    files = {"--members": str(tmp_path / "m.csv"), "--diagnoses": str(tmp_path / "d.csv"), which: str(tmp_path / name)}
    words = [word for pair in files.items() for word in pair]
    with pytest.raises(HccError) as refused:
        CLI.invoke(app, ["hcc", "score", *words, "--out", str(tmp_path / "o.csv")], catch_exceptions=False)
    assert name in str(refused.value) or "member" in str(refused.value)
