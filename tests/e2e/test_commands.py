"""The commands as a user gives them."""

import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.conftest import shared_data
from tests.e2e.conftest import RunningStack, vitanexus
from tests.e2e.test_http import wait_until

COMMANDS = ("demo", "up", "status", "down", "migrate", "replay", "score", "predict", "train", "docs")


def test_help_teaches_every_command() -> None:
    told = vitanexus("--help").stdout
    for command in COMMANDS:
        assert command in told
        assert "Usage" in vitanexus(command, "--help").stdout


def test_the_demo_checks_itself(tmp_path: Path) -> None:
    done = vitanexus("demo", "--members", "40", "--days", "3", "--dir", str(tmp_path / "demo"))
    told = " ".join(done.stdout.split())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "check holds" in told and "40 of 40 members scored" in told


def test_real_files_are_replayed_into_the_running_stack(stack: RunningStack) -> None:
    folder = shared_data("tuva_demo_100")

    def consumed() -> int:
        return sum(row.applied + row.duplicates + row.dead_letters for row in stack.queries.consumed())

    before = consumed()
    sent = stack.command("replay", "tuva", str(folder))
    assert sent.returncode == 0, sent.stderr
    count = int(re.search(r"([\d,]+) events sent", sent.stdout)[1].replace(",", ""))
    wait_until(lambda: consumed() == before + count)
    again = stack.command("replay", "tuva", str(folder))
    assert again.returncode == 0
    wait_until(lambda: consumed() == before + 2 * count)
    assert sum(row.duplicates for row in stack.queries.consumed()) >= count * 0.99


def test_the_cost_of_a_survey_file_is_predicted(tmp_path: Path) -> None:
    folder, out = shared_data("meps"), tmp_path / "predicted.parquet"
    done = vitanexus("predict", "cost", "--source", "meps", "--dir", str(folder), "--year", "2012", "--out", str(out))
    assert done.returncode == 0, done.stderr
    table = pq.read_table(out)
    assert table.column_names == ["dupersid", "panel", "predicted_cost", "lower_90", "upper_90"]
    assert table.num_rows == pq.read_metadata(folder / "meps_2012.parquet").num_rows
    low, mean, high = (table[name].to_numpy() for name in ("lower_90", "predicted_cost", "upper_90"))
    assert (low >= 0).all() and (low <= mean).all() and (mean <= high).all()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("replay", "garmin", "."), "garmin"),
        (("replay", "fitabase", "nowhere"), "nowhere"),
        (("predict", "cost", "--source", "meps", "--dir", "nowhere", "--year", "2012", "--out", "o"), "nowhere"),
        (("status", "--dir", "nowhere"), "nothing runs in nowhere"),
    ],
)
def test_a_wrong_word_is_named(words: tuple[str, ...], told: str) -> None:
    done = vitanexus(*words)
    assert done.returncode != 0
    assert told in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
