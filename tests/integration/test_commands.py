"""The commands that need no running stack, as a user gives them."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from engine.learning import registry
from tests.command import vitanexus
from tests.conftest import ROOT, shared_data

COMMANDS = (
    "demo",
    "simulate",
    "jobs",
    "hcc",
    "up",
    "status",
    "down",
    "migrate",
    "replay",
    "score",
    "predict",
    "train",
    "evaluate",
    "shards",
    "docs",
)


def test_help_teaches_every_command() -> None:
    told = vitanexus("--help").stdout
    for command in COMMANDS:
        assert command in told
        assert "Usage" in vitanexus(command, "--help").stdout


def test_the_cost_of_a_survey_file_is_predicted(tmp_path: Path) -> None:
    folder, out = shared_data("meps"), tmp_path / "predicted.parquet"
    done = vitanexus("predict", "cost", "--source", "meps", "--dir", str(folder), "--year", "2012", "--out", str(out))
    assert done.returncode == 0, done.stderr
    table = pq.read_table(out)
    assert table.column_names == ["dupersid", "panel", "predicted_cost", "lower_90", "upper_90"]
    assert table.num_rows == pq.read_metadata(folder / "meps_2012.parquet").num_rows
    low, mean, high = (table[name].to_numpy() for name in ("lower_90", "predicted_cost", "upper_90"))
    assert (low >= 0).all() and (low <= mean).all() and (mean <= high).all()


def test_the_cost_model_is_evaluated(tmp_path: Path) -> None:
    done = vitanexus("evaluate", "--data", str(shared_data("meps")), "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert {"tenth of prediction", "age and sex", "condition", "race"} < set(found)
    card = registry.card(registry.BASE_RISK).metrics
    assert found["all"]["r2"] == card["r2"] and found["all"]["coverage_90"] == card["coverage_90"]
    for plot in ("calibration.png", "groups.png"):
        assert (tmp_path / "out" / plot).stat().st_size > 5000
    alone = vitanexus("evaluate", "--data", str(shared_data("meps")), "--year", "2013", "--out", str(tmp_path / "o"))
    assert alone.returncode == 1 and "meps_2014" in alone.stderr


def test_drift_of_another_year_is_measured(tmp_path: Path) -> None:
    data = str(shared_data("meps"))
    done = vitanexus(
        "monitor", "drift", "--source", "meps", "--data", data, "--year", "2012", "--out", str(tmp_path / "d.json")
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "d.json").read_text())
    assert max(abs(row["psi"]) for row in found["shifts"]) < 1e-9, "the year it was fitted on"
    assert found["calibration"]["persons"] == registry.card(registry.BASE_RISK).metrics["persons"]
    done = vitanexus("monitor", "drift", "--source", "meps", "--data", data, "--year", "2013")
    assert done.returncode == 0 and "calibration: no prediction is a year old yet" in done.stdout


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


def _hcc_files(folder: Path) -> list[str]:
    (folder / "m.csv").write_text(
        "member_id,birth_date,sex,orec,dual\n007,1955-06-30,M,0,00\n008,1990-01-01,F,1,02\n9,,F,0,00\n"
    )
    (folder / "d.csv").write_text("member_id,icd10\n007,E11.69\n007,I50.9\n008,F20.9\n008,Z00.00\n")
    return ["--members", str(folder / "m.csv"), "--diagnoses", str(folder / "d.csv")]


def test_clinical_risk_of_files_is_scored_and_explained(tmp_path: Path) -> None:
    files, out = _hcc_files(tmp_path), tmp_path / "out.csv"
    stopped = vitanexus("hcc", "score", *files, "--out", str(out))
    assert stopped.returncode == 1 and "member 9: birth_date is missing" in stopped.stderr and not out.exists()
    ledger = tmp_path / "ledger.parquet"
    words = ["--on-error", "report", "--payment-year", "2025", "--all-segments", "--ledger", str(ledger)]
    done = vitanexus("hcc", "score", *files, "--out", str(out), *words)
    assert done.returncode == 0, done.stderr
    assert "Z0000" in done.stdout.replace(".", "") and "1 members refused" in done.stdout
    rows = out.read_text().splitlines()
    assert rows[1].startswith('"007","COMMUNITY_NA","37 226",') and len(rows) == 3
    assert "9,birth_date,missing" in (tmp_path / "out.csv.errors.csv").read_text()
    assert set(pq.read_table(ledger)["segment"].unique().to_pylist()) >= {"NE", "INSTITUTIONAL", "COMMUNITY_NA"}
    blend = vitanexus("hcc", "score", *files, "--out", str(tmp_path / "b.parquet"), "--model", "blend", *words[:4])
    assert blend.returncode == 0 and "hccs_v24" in pq.read_schema(tmp_path / "b.parquet").names
    told = vitanexus("hcc", "explain", "--member", "007", *files, "--payment-year", "2025").stdout
    assert "DIABETES_HF_V28" in told and "raw score" in told and "Heart Failure" in told


def _hhs_files(folder: Path) -> list[str]:
    (folder / "p.csv").write_text(
        "ENROLID,SEX,DOB,AGE_LAST,METAL,CSR_INDICATOR,ENROLDURATION\n"
        "007,2,19801130,44,silver,3,12\n008,1,20130501,12,gold,1,12\n9,1,20250301,0,bronze,1,10\n"
    )
    (folder / "d.csv").write_text(
        "ENROLID,DIAG,DIAGNOSIS_SERVICE_DATE\n007,E11.65,20250610\n008,J45909,20250610\n008,J45909,20240610\n"
    )
    (folder / "n.csv").write_text("ENROLID,NDC\n007,00002751001\n008,00002751001\n")
    return [f"--{name}={folder / file}" for name, file in (("members", "p"), ("diagnoses", "d"), ("drugs", "n"))]


def test_commercial_risk_of_files_under_cmss_names_is_scored_and_explained(tmp_path: Path) -> None:
    files = [f"{word}.csv" for word in _hhs_files(tmp_path)]
    model = ["--model", "hhs", "--benefit-year", "2025"]
    out, ledger = tmp_path / "out.csv", tmp_path / "ledger.parquet"
    stopped = vitanexus("hcc", "score", *model, *files, "--out", str(out))
    assert stopped.returncode == 1 and "member 008: diagnosis 'J45909' is of another year" in stopped.stderr
    words = ["--on-error", "report", "--metal", "all", "--ledger", str(ledger), "--out", str(out)]
    done = vitanexus("hcc", "score", *model, *files, *words)
    assert done.returncode == 0, done.stderr
    assert "1 ndc codes do not count" in done.stdout and "age 0 without a newborn's HCC" in done.stdout
    rows = out.read_text().splitlines()
    assert rows[0].startswith('"member_id","benefit_year","model","metal","hccs","rxcs","score",')
    assert rows[1].startswith('"007",2025,"adult","silver","21","6",') and "2.24672" in rows[1]
    assert "008,diagnosis,J45909,is of another year" in (tmp_path / "out.csv.errors.csv").read_text()
    assert set(pq.read_table(ledger).column_names) >= {"variable", "coefficient_silver", "coefficient_catastrophic"}
    told = vitanexus("hcc", "explain", *model, *files, "--member", "007").stdout
    assert "RXC_06_X_HCC018" in told and "2.24672" in told and "G01" in told
    silver = tmp_path / "silver.parquet"
    vitanexus("hcc", "score", *model, *files, "--on-error", "report", "--metal", "silver", "--out", str(silver))
    assert pq.read_table(silver)["score"].to_pylist()[:2] == [2.006, 0.285]
    missing = vitanexus("hcc", "score", "--model", "hhs", *files, "--out", str(out))
    assert missing.returncode == 2 and "benefit-year" in missing.stderr
    checked = vitanexus("hcc", "score", *model, *files, "--check")
    assert checked.returncode == 0 and "3 members can be scored with HHS-HCC for 2025" in checked.stdout


def test_plan_liability_risk_scores_are_written(tmp_path: Path) -> None:
    files = [f"{word}.csv" for word in _hhs_files(tmp_path)]
    (tmp_path / "e.csv").write_text(
        "ENROLID,PLAN_ID,RATING_AREA,METAL,CSR_INDICATOR,DAYS\n"
        "007,P1,R1,silver,3,365\n008,P1,R1,silver,3,365\n9,P2,R1,bronze,1,306\n"
    )
    out, each = tmp_path / "plrs.csv", tmp_path / "each.csv"
    words = ["--enrolments", str(tmp_path / "e.csv"), "--out", str(out), "--each", str(each), "--on-error", "report"]
    done = vitanexus("hcc", "plrs", "--benefit-year", "2025", *files, *words)
    assert done.returncode == 0, done.stderr
    rows = [row.split(",") for row in out.read_text().replace('"', "").splitlines()]
    assert rows[0] == ["plan_id", "rating_area", "metal", "enrollees", "months", "billable_months", "plrs"]
    assert rows[1][:4] == ["P1", "R1", "silver", "2"] and abs(float(rows[1][6]) - (2.24672 + 0.3192) / 2) < 1e-9
    assert rows[2][:4] == ["P2", "R1", "bronze", "1"] and len(each.read_text().splitlines()) == 4


@pytest.mark.parametrize("kind", ["reserve", "premium", "ibnr"])
def test_a_scenario_of_each_kind_is_simulated(kind: str, tmp_path: Path) -> None:
    scenario, out = ROOT / "configs" / "scenarios" / f"{kind}.yaml", tmp_path / "out"
    document = yaml.safe_load(scenario.read_text())
    if kind != "ibnr":
        document |= {"portfolio": {"synthetic": {"members": 2000, "seed": 1}}, "group_by": "sex"}
    else:
        (tmp_path / "paid.csv").write_text((scenario.parent / "paid.csv").read_text())
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(document))
    done = vitanexus("simulate", str(tmp_path / "s.yaml"), "--paths", "10000", "--out", str(out), "--keep-paths")
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((out / "result.json").read_text())
    part = "unpaid" if kind == "ibnr" else "net"
    whole = result["groups"]["total"][part]
    assert result["paths"] == 10000 and whole["mean"] > 0
    values = [quantile["value"] for quantile in whole["quantiles"]]
    assert values == sorted(values)
    sample = pq.read_table(out / "paths.parquet").to_pandas()
    cost = sample["total_unpaid"] if kind == "ibnr" else sample["total_gross"] - sample["total_ceded"]
    assert cost.mean() == pytest.approx(whole["mean"])
    if kind != "ibnr":
        assert result["exact"]["verdict"] == "pass"
        assert result["reserve"]["formula"] > 0
    page = (out / "report.html").read_text()
    assert "data:image/png;base64," in page and "http" not in page.replace("https://www.w3.org", "")
    manifest = json.loads((out / "manifest.json").read_text())
    assert {"numpy", "vitanexus"} <= set(manifest["versions"])
    assert not list((out / "checkpoint").glob("*"))


def test_a_wrong_scenario_is_named_with_its_path(tmp_path: Path) -> None:
    text = (ROOT / "configs" / "scenarios" / "reserve.yaml").read_text()
    (tmp_path / "s.yaml").write_text(text.replace("sigma: 1.1", "sigma: -1"))
    done = vitanexus("simulate", str(tmp_path / "s.yaml"), "--check")
    assert done.returncode == 1 and "categories.0.severity.sigma" in done.stderr
    good = vitanexus("simulate", str(ROOT / "configs" / "scenarios" / "reserve.yaml"), "--check")
    assert good.returncode == 0 and "method" in good.stdout and "core-seconds" in good.stdout
