"""CMS-HCC and HHS-HCC: members a second on one core, beside hccinfhir and hccpy in the same run.

Writes benchmarks/results/hcc-<date>.md. Each member has eight random codes of the model. Figures are medians of several
runs, kernels warm.
"""

import datetime as dt
from pathlib import Path
from typing import Annotated

import numpy as np
import psutil
import pyarrow as pa
import typer

from benchmarks import machine
from engine.domain.events import METALS
from engine.scoring.hcc.compiled import compiled
from engine.scoring.hcc.hhs.model import load_hhs
from engine.scoring.hcc.hhs.score import score as hhs_score
from engine.scoring.hcc.model import load_model
from engine.scoring.hcc.score import HccScorer, encode_codes, score

CODES = 8
RESULTS = Path(__file__).parent / "results"
YEARS = {"v28": 2026, "v24": 2025}
BENEFIT_YEAR = 2025


def crowd(model: str, members: int) -> tuple[pa.Table, pa.Table]:
    """Members and their diagnoses, sorted by member as claim extracts are."""
    chance = np.random.default_rng(1)
    codes = np.array(list(load_model(model, YEARS[model]).codes))
    ids = pa.array(np.char.add("M", np.char.zfill(np.arange(members).astype("U8"), 8)))
    people = {
        "member_id": ids,
        "age": chance.integers(20, 95, members),
        "sex": pa.array(np.array(["F", "M"])[chance.integers(0, 2, members)]),
        "orec": pa.array(np.array(list("0123"))[chance.integers(0, 4, members)]),
        "dual": pa.array(np.array(["00", "01", "02"])[chance.integers(0, 3, members)]),
    }
    held = chance.integers(0, len(codes), CODES * members)
    rows = pa.array(np.repeat(np.arange(members), CODES))
    return pa.table(people), pa.table({"member_id": ids.take(rows), "icd10": pa.array(codes[held])})


def measure(model: str, members: int, runs: int) -> dict[str, float]:
    """Members a second by way of scoring."""
    year = YEARS[model]
    people, diagnoses = crowd(model, members)
    scorer = HccScorer.of(people, model, year)
    rows = scorer.index.rows(diagnoses["member_id"].combine_chunks())
    numbers = encode_codes(diagnoses["icd10"].combine_chunks(), compiled(model, year).codes.lookup)

    def encoded() -> None:
        fresh = HccScorer(model, year, scorer.members)
        fresh.collect(rows, numbers)
        fresh.finish()

    ways = {
        "strings in, scores out": lambda: score(people, diagnoses, model, year).table(),
        "from encoded codes": encoded,
        "nine segments and ledger": lambda: score(people, diagnoses, model, year, all_segments=True).ledger(),
    }
    return {name: members / machine.seconds(work, runs) for name, work in ways.items()}


def peer(model: str, members: int, runs: int) -> float:
    """Members a second of hccinfhir, on the first of the same members."""
    from hccinfhir.model_calculate import calculate_raf

    people, diagnoses = (table.to_pylist() for table in crowd(model, members))
    codes: dict[str, list[str]] = {}
    for row in diagnoses:
        codes.setdefault(row["member_id"], []).append(row["icd10"])

    def work() -> None:
        for person in people:
            calculate_raf(
                codes[person["member_id"]],
                f"CMS-HCC Model {model.upper()}",
                age=person["age"],
                sex=person["sex"],
                dual_elgbl_cd=person["dual"],
                orec=person["orec"],
            )

    return members / machine.seconds(work, runs)


def adults(members: int) -> tuple[pa.Table, pa.Table, list[str]]:
    """Adults of commercial plans and their diagnoses of the benefit year, and the model's codes."""
    chance = np.random.default_rng(1)
    codes = list(load_hhs(BENEFIT_YEAR).codes)
    ids = pa.array(np.char.add("M", np.char.zfill(np.arange(members).astype("U8"), 8)))
    age = chance.integers(21, 65, members)
    born = (np.datetime64(f"{BENEFIT_YEAR}-01-01") - np.datetime64("1970-01-01")).astype(int) - 365.25 * age - 100
    people = {
        "member_id": ids,
        "sex": pa.array(np.array(["F", "M"])[chance.integers(0, 2, members)]),
        "birth_date": pa.array(born.astype(np.int32), pa.date32()),
        "metal": pa.array(np.array(METALS)[chance.integers(0, 5, members)]),
        "duration": chance.integers(1, 13, members),
        "last_day": pa.array(np.full(members, np.datetime64(f"{BENEFIT_YEAR}-12-31")).astype("M8[D]")),
    }
    first = int(np.datetime64(f"{BENEFIT_YEAR}-01-01").astype(int))
    diagnoses = {
        "member_id": ids.take(pa.array(np.repeat(np.arange(members), CODES))),
        "icd10": pa.array(np.array(codes)[chance.integers(0, len(codes), CODES * members)]),
        "service_date": pa.array((first + chance.integers(120, 365, CODES * members)).astype(np.int32), pa.date32()),
    }
    return pa.table(people), pa.table(diagnoses), codes


def measure_hhs(members: int, runs: int) -> dict[str, float]:
    """Adults a second by way of HHS-HCC scoring."""
    people, diagnoses, _ = adults(members)
    ways = {
        "strings in, scores out at one metal": lambda: hhs_score(
            people, diagnoses, BENEFIT_YEAR, metal="silver"
        ).table(),
        "five metals and ledger": lambda: hhs_score(people, diagnoses, BENEFIT_YEAR, all_metals=True).ledger(),
    }
    return {name: members / machine.seconds(work, runs) for name, work in ways.items()}


def peer_hhs(members: int, runs: int) -> float:
    """Adults a second of hccpy's HHS-HCC engine, on the first of the same adults."""
    from hccpy.hhshcc import HHSHCCEngine

    people, diagnoses, _ = adults(members)
    codes: dict[str, list[str]] = {}
    for row in diagnoses.to_pylist():
        codes.setdefault(row["member_id"], []).append(row["icd10"])
    engine, persons = HHSHCCEngine("2022"), people.to_pylist()

    def work() -> None:
        for person in persons:
            engine.profile(
                codes[person["member_id"]],
                age=BENEFIT_YEAR - person["birth_date"].year,
                sex=person["sex"],
                enroll_months=person["duration"],
                plate=person["metal"][0].upper(),
            )

    return members / machine.seconds(work, runs)


def run(
    members: Annotated[int, typer.Option(help="members scored")] = 1_000_000,
    runs: Annotated[int, typer.Option(help="runs, of which the median counts")] = 5,
    out: Annotated[Path | None, typer.Option(help="file; benchmarks/results/hcc-<date>.md where left out")] = None,
) -> None:
    """Measure members a second of V28, V24 and HHS-HCC, and write the table."""
    process = psutil.Process()
    process.cpu_affinity([process.cpu_affinity()[0]])
    pa.set_cpu_count(1)
    described = machine.describe()
    lines = ["# CMS-HCC and HHS-HCC on one core", "", f"{members:,} members with {CODES} codes each.", ""]
    lines += ["| model | way | members/s | to the peer |", "|---|---|---|---|"]
    for model in YEARS:
        other = peer(model, 2000, runs)
        for way, rate in measure(model, members, runs).items():
            lines.append(f"| {model} | {way} | {rate:,.0f} | {rate / other:,.0f} |")
        lines.append(f"| {model} | hccinfhir 0.4.0 | {other:,.0f} | 1 |")
    other = peer_hhs(2000, runs)
    for way, rate in measure_hhs(members, runs).items():
        lines.append(f"| HHS-HCC {BENEFIT_YEAR} | {way} | {rate:,.0f} | {rate / other:,.0f} |")
    lines.append(f"| HHS-HCC 2022 | hccpy 0.1.5 | {other:,.0f} | 1 |")
    peak = process.memory_info().rss
    lines += ["", f"Resident at the end: {peak / 1e9:.2f} GB, inputs included.", ""]
    lines += ["| machine | |", "|---|---|", *(f"| {name} | {value} |" for name, value in described.items())]
    path = out or RESULTS / f"hcc-{dt.date.today().isoformat()}.md"
    path.write_text("\n".join(lines) + "\n")
    typer.echo(path.read_text())


if __name__ == "__main__":
    typer.run(run)
