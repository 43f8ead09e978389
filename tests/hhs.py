"""Shorthands for tests of HHS-HCC: one person at a time."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from engine.scoring.hcc.hhs.score import HhsScores, score
from engine.scoring.hcc.hhs.trace import Person, Trace, trace

COLUMNS = pa.schema([("member_id", pa.string()), ("icd10", pa.string()), ("service_date", pa.date32())])
Diagnosis = str | tuple[str, str]


def dated(codes: Sequence[Diagnosis], year: int) -> list[tuple[str, dt.date]]:
    """Codes with their days, mid-June where none is said: E119, or (E119, 09-30)."""
    given = [code if isinstance(code, tuple) else (code, "06-15") for code in codes]
    return [(code, dt.date.fromisoformat(f"{year}-{day}")) for code, day in given]


def one(
    sex: str, age: int, codes: Sequence[Diagnosis] = (), ndc: Sequence[str] = (), year: int = 2025, **more: Any
) -> HhsScores:
    """Scores one person at all metals: of this age all year long but for newborns, silver, enrolled twelve months."""
    report = more.pop("report", False)
    born = f"{year - age}-01-02"
    fields = {"sex": sex, "birth_date": born, "age_last": age, "metal": "silver", "duration": 12} | more
    members = {"member_id": ["p"], **{name: [value] for name, value in fields.items()}}
    rows = [{"member_id": "p", "icd10": code, "service_date": day} for code, day in dated(codes, year)]
    drugs = {"member_id": ["p"] * len(ndc), "ndc": pa.array(list(ndc), pa.string())} if ndc else None
    return score(members, pa.Table.from_pylist(rows, COLUMNS), year, drugs, all_metals=True, report=report)


def at(result: HhsScores, metal: str = "silver") -> float:
    """The person's score at a metal, before cost sharing."""
    found: float = result.table()[f"score_{metal}"][0].as_py()
    return found


def variables(result: HhsScores) -> set[str]:
    """The variables of the person's ledger."""
    return set(result.ledger()["variable"].to_pylist())


def traced(result: HhsScores, codes: Sequence[Diagnosis] = (), ndc: Sequence[str] = ()) -> Trace:
    """The trace of the same person."""
    people, year = result.persons, result.model.benefit_year
    born = dt.date(1970, 1, 1) + dt.timedelta(int(people.born[0]))
    person = Person(born, int(people.age_last[0]), bool(people.female[0]), int(people.duration[0]))
    return trace(result.model, person, dated(codes, year), [("ndc", code) for code in ndc])
