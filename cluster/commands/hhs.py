"""What `vitanexus hcc` does for HHS-HCC: files of members, diagnoses and drugs to scores, and why they are so."""

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table

from cluster.commands import hcc_files
from cluster.commands.described import tell_columns

if TYPE_CHECKING:
    import pyarrow as pa

    from engine.scoring.hcc.hhs.score import HhsScorer, HhsScores

_console = Console(highlight=False)


@dataclass(frozen=True)
class Files:
    """The files a command is told."""

    members: Path
    diagnoses: Path
    drugs: Path | None

    def read(self, diagnosed: bool = True) -> "tuple[pa.Table, pa.Table | None, pa.Table | None]":
        """Members, diagnoses unless they are not wanted, and drugs if there are any, under our names of columns."""
        from engine.scoring.hcc.hhs.people import renamed

        def table(path: Path) -> "pa.Table":
            return renamed(hcc_files.read(path, every=True))

        diagnoses = table(self.diagnoses) if diagnosed else None
        return table(self.members), diagnoses, table(self.drugs) if self.drugs is not None else None


def year(benefit_year: int | None) -> int:
    """The benefit year, which has to be said."""
    if benefit_year is None:
        raise typer.BadParameter("say which benefit year, such as 2025", param_hint="--benefit-year")
    return benefit_year


def score(
    files: Files,
    benefit_year: int,
    metal: str,
    out: Path | None,
    ledger: Path | None,
    on_error: str,
    errors: Path | None,
    check: bool,
    workers: int = 0,
) -> None:
    """Scores the members of the files, and tells what was left out; with `workers` diagnoses go over Ray."""
    from engine.scoring.hcc.hhs.score import HhsScorer

    members, diagnoses, drugs = files.read(diagnosed=not workers)
    if check:
        for name, table in (("members", members), ("diagnoses", diagnoses), ("drugs", drugs)):
            if table is not None:
                tell_columns(name, table)
    elif out is None:
        raise typer.BadParameter("say which file to write", param_hint="--out")
    own = "" if metal in ("own", "all") else metal
    report = check or on_error == "report"
    scorer = HhsScorer.of(members, benefit_year, metal=own, report=report)
    if workers:
        from actors.hcc import collect

        collect(scorer, files.diagnoses, workers)
    found = _finished(scorer, diagnoses, drugs, metal == "all")
    if out is None or check:
        reasons = Counter((refusal.column, refusal.reason) for refusal in found.refused)
        typer.echo(f"{len(found.persons):,} members can be scored with HHS-HCC for {benefit_year}")
        for (column, reason), number in reasons.most_common():
            typer.echo(f"{number:,} values of {column} cannot be used: {reason}")
        _tell(found)
        return
    hcc_files.write(found.table(), out)
    if ledger is not None:
        hcc_files.write(found.ledger(), ledger)
    typer.echo(f"{len(found.persons):,} members scored with HHS-HCC {found.model.version} for {benefit_year}: {out}")
    _tell(found)
    if report:
        _write_errors(found, errors or out.with_name(out.name + ".errors.csv"))


def _finished(
    scorer: "HhsScorer", diagnoses: "pa.Table | None", drugs: "pa.Table | None", all_metals: bool = False
) -> "HhsScores":
    if diagnoses is not None:
        scorer.add(diagnoses)
    if drugs is not None:
        scorer.add_drugs(drugs)
    return scorer.finish(all_metals=all_metals)


def _tell(found: "HhsScores") -> None:
    """What does not count, by reason, and what a reader should look at."""
    counted = Counter(zip(found.excluded["kind"].to_pylist(), found.excluded["reason"].to_pylist(), strict=True))
    for (kind, reason), number in counted.most_common():
        typer.echo(f"{number:,} {kind} codes do not count: each {reason}")
    for note, number in Counter(found.notes()["note"].to_pylist()).most_common():
        typer.echo(f"{number:,} members: {note}")


def _write_errors(found: "HhsScores", path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["member_id", "column", "value", "reason"])
        writer.writerows((r.member_id, r.column, r.value, r.reason) for r in found.refused)
        writer.writerows(tuple(row.values()) for row in found.excluded.to_pylist())
    typer.echo(f"{len(found.refused):,} members refused, {found.excluded.num_rows:,} codes excluded: {path}")


def explain(files: Files, benefit_year: int, member: str, check: bool) -> None:
    """Prints how one member's diagnoses and drugs become HCCs, drug classes, variables and a score."""
    import pyarrow.compute as pc

    from engine.errors import HccError
    from engine.scoring.hcc.hhs.score import HhsScorer

    if check:
        score(files, benefit_year, "own", None, None, "report", None, check=True)
        return
    members, diagnoses, drugs = (
        table if table is None else table.filter(pc.equal(pc.cast(table["member_id"], "string"), member))
        for table in files.read()
    )
    assert members is not None and diagnoses is not None
    if not members.num_rows:
        raise HccError(f"member_id {member!r} is not in {files.members}")
    found = _finished(HhsScorer.of(members, benefit_year, report=True), diagnoses, drugs)
    if found.refused:
        raise HccError(str(found.refused[0]))
    _show(found, member, diagnoses, drugs)


def _show(found: "HhsScores", member: str, diagnoses: "pa.Table", drugs: "pa.Table | None") -> None:
    import datetime as dt

    from engine.scoring.hcc.hhs.score import drug_code
    from engine.scoring.hcc.hhs.trace import Person, trace
    from engine.scoring.hcc.reading import Reader

    people, row = found.persons, found.table().to_pylist()[0]
    born = dt.date(1970, 1, 1) + dt.timedelta(int(people.born[0]))
    person = Person(born, int(people.age_last[0]), bool(people.female[0]), int(people.duration[0]))
    days = Reader(diagnoses, "diagnoses").days("service_date", diagnoses["service_date"].combine_chunks())
    dates = [None if day != day else dt.date(1970, 1, 1) + dt.timedelta(int(day)) for day in days.tolist()]
    taken = [
        (kind, drug_code(kind, code) or code)
        for kind in ("ndc", "hcpcs")
        if drugs is not None and kind in drugs.column_names
        for code in drugs[kind].drop_null().to_pylist()
    ]
    told = trace(found.model, person, zip(diagnoses["icd10"].to_pylist(), dates, strict=True), taken)
    _console.print(
        f"[bold]{member}[/bold]: {'female' if person.female else 'male'}, {person.age_last} on the last day, "
        f"{row['model']} model, {row['metal']}, {person.duration} months, HHS-HCC {found.model.version} of "
        f"{found.model.benefit_year}"
    )
    steps = Table("code", "day", "CC", "counts as", "CMS label", "why")
    for line in told.lines:
        day = "" if line.day is None else str(line.day)
        steps.add_row(line.code, day, line.cc or "", line.counts or "", line.label, line.note)
    _console.print(steps)
    parts = Table("variable", "label", "coefficient")
    for entry in found.ledger().to_pylist():
        parts.add_row(entry["variable"], found.model.label_of(entry["variable"]), f"{entry['coefficient']:.3f}")
    parts.add_section()
    parts.add_row("score", f"at {row['metal']}", f"{row['score']:.3f}")
    parts.add_row("with cost sharing", f"factor {people.csr[0] / 100:.2f}", f"{row['csr_score']:.5f}")
    _console.print(parts)
    for note in (*told.notes, *found.notes()["note"].to_pylist()):
        _console.print(note)


def plrs(files: Files, enrolments: Path, benefit_year: int, out: Path, each: Path | None, report: bool) -> None:
    """Writes plan liability risk scores, and where asked each enrolment's score."""
    from engine.scoring.hcc.hhs.plrs import enrolments as enrolled
    from engine.scoring.hcc.hhs.plrs import liability
    from engine.scoring.hcc.hhs.score import HhsScorer

    members, diagnoses, drugs = files.read()
    scorer = HhsScorer.of(members, benefit_year, enrolled=False, report=report)
    scored = _finished(scorer, diagnoses, drugs)
    found = enrolled(scorer, hcc_files.read(enrolments, every=True))
    table = liability(found)
    hcc_files.write(table, out)
    if each is not None:
        hcc_files.write(found.table(), each)
    typer.echo(f"{len(found.days):,} enrolments in {table.num_rows:,} plans by rating area and metal: {out}")
    _tell(scored)
    if report:
        _write_errors(scored, out.with_name(out.name + ".errors.csv"))


def select(
    claims: Path, enrolments: Path, supplements: Path | None, benefit_year: int, out: Path, rejected: Path
) -> None:
    """Writes the diagnoses of the claims that count, and the claims that do not."""
    from engine.scoring.hcc.hhs import edge

    more = None if supplements is None else hcc_files.read(supplements, every=True)
    tables = (hcc_files.read(path, every=True) for path in (claims, enrolments))
    found = edge.select(*tables, benefit_year, more)
    hcc_files.write(found.diagnoses, out)
    hcc_files.write(found.rejected, rejected)
    typer.echo(f"{found.diagnoses.num_rows:,} diagnoses count: {out}")
    for rule, number in Counter(found.rejected["rule"].to_pylist()).most_common():
        typer.echo(f"{number:,} do not, {rule}: {edge.REASONS[rule]}")
