"""`vitanexus hcc`: clinical risk by CMS-HCC and HHS-HCC, for files of members and diagnoses."""

import csv
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from cluster.commands import hcc_files, hhs
from cluster.commands.described import Check, tell_columns
from cluster.commands.ray_session import ray_session

if TYPE_CHECKING:
    import pyarrow as pa

    from engine.scoring.hcc.score import HccScores

hcc = typer.Typer(
    help="Clinical risk of members from their diagnoses: CMS-HCC (Medicare) and HHS-HCC (commercial cover).",
    no_args_is_help=True,
)
_console = Console(highlight=False)

Members = Annotated[
    Path,
    typer.Option(
        help="Parquet or CSV: member_id, birth_date or age, sex, orec; and if there are any dual, new_enrollee, snp, "
        "lti, ltimcaid, nemcaid. For hhs: member_id, sex, birth_date, age_last or last_day, metal, duration or days, "
        "csr; or CMS's own names, such as ENROLID"
    ),
]
Diagnoses = Annotated[
    Path, typer.Option(help="Parquet or CSV: member_id, icd10, for hhs service_date, too; in any order")
]
Model = Annotated[
    Literal["v28", "v24", "blend", "hhs"],
    typer.Option(help="CMS-HCC model, blend weighs both as the year pays; hhs for individual and small group cover"),
]
BenefitYear = Annotated[int | None, typer.Option(help="hhs: benefit year, 2021 to 2025")]
Drugs = Annotated[Path | None, typer.Option(help="hhs: Parquet or CSV: member_id, ndc or hcpcs, fill_date if known")]
PaymentYear = Annotated[int, typer.Option(help="payment year: age counts on its 1 February")]
OnError = Annotated[
    Literal["stop", "report"], typer.Option(help="stop at what cannot be used, or report it and score the rest")
]
Mce = Annotated[bool, typer.Option("--mce/--no-mce", help="apply the Medicare Code Editor's age edits, as CMS does")]


@hcc.command("score")
def score(
    members: Members,
    diagnoses: Diagnoses,
    out: Annotated[Path | None, typer.Option(help="Parquet or CSV to write, one row a member")] = None,
    model: Model = "v28",
    payment_year: PaymentYear = 2026,
    benefit_year: BenefitYear = None,
    drugs: Drugs = None,
    metal: Annotated[
        Literal["own", "platinum", "gold", "silver", "bronze", "catastrophic", "all"],
        typer.Option(help="hhs: level at which everybody is scored; all adds a column each"),
    ] = "own",
    all_segments: Annotated[bool, typer.Option("--all-segments", help="score everybody in all nine segments")] = False,
    ledger: Annotated[Path | None, typer.Option(help="file to write what each score is made of")] = None,
    on_error: OnError = "stop",
    errors: Annotated[Path | None, typer.Option(help="CSV for `report`; OUT.errors.csv where left out")] = None,
    mce: Mce = True,
    workers: Annotated[int, typer.Option(help="Ray workers; 0 scores in this process", min=0)] = 0,
    address: Annotated[str, typer.Option(help="Ray cluster; empty starts one here for --workers")] = "",
    check: Check = False,
) -> None:
    """Score members: segment, HCCs, raw, normalised and payment score; hhs: metal, HCCs, drug classes, score.

    Example: vitanexus hcc score --members m.parquet --diagnoses d.parquet --payment-year 2026 --out raf.parquet
    Example: vitanexus hcc score --model hhs --benefit-year 2025 --members m.csv --diagnoses d.csv --drugs n.csv
    --out scores.parquet
    """
    from engine.scoring.hcc.score import blend

    if model == "hhs":
        files, told_year = hhs.Files(members, diagnoses, drugs), hhs.year(benefit_year)
        with ray_session(workers, address) as held:
            hhs.score(files, told_year, metal, out, ledger, on_error, errors, check, held)
        return
    table = hcc_files.read(members)
    if check:
        _check(table, diagnoses, "v28" if model == "blend" else model, payment_year)
        return
    if out is None:
        raise typer.BadParameter("say which file to write", param_hint="--out")
    with ray_session(workers, address) as held:
        scores = {
            name: _score(name, table, diagnoses, payment_year, all_segments, mce, on_error == "report", held)
            for name in _models(model, payment_year)
        }
    if model == "blend":
        hcc_files.write(blend(scores.get("v24"), scores["v28"]), out)
    else:
        hcc_files.write(scores[model].table(), out)
    if ledger is not None:
        hcc_files.write(_ledger(scores), ledger)
    first = next(iter(scores.values()))
    typer.echo(f"{len(first.members):,} members scored with {' and '.join(scores)} for {payment_year}: {out}")
    _tell(scores, on_error == "report", errors or out.with_name(out.name + ".errors.csv"))


def _check(members: "pa.Table", diagnoses: Path, model: str, payment_year: int) -> None:
    from engine.scoring.hcc.score import HccScorer

    tell_columns("members", members)
    told = hcc_files.read(diagnoses)
    tell_columns("diagnoses", told)
    scorer = HccScorer.of(members, model, payment_year, report=True)
    scorer.add(told)
    found = scorer.finish()
    reasons = Counter((refusal.column, refusal.reason) for refusal in found.refused)
    typer.echo(f"{len(found.members):,} members can be scored with {model} for {payment_year}")
    for (column, reason), number in reasons.most_common():
        typer.echo(f"{number:,} values of {column} cannot be used: {reason}")
    _tell({model: found}, False, Path())


@hcc.command("explain")
def explain(
    member: Annotated[str, typer.Option(help="member_id")],
    members: Members,
    diagnoses: Diagnoses,
    model: Annotated[Literal["v28", "v24", "hhs"], typer.Option(help="CMS-HCC model, or hhs")] = "v28",
    payment_year: PaymentYear = 2026,
    benefit_year: BenefitYear = None,
    drugs: Drugs = None,
    mce: Mce = True,
    check: Check = False,
) -> None:
    """Show how one member's diagnoses become HCCs and a score.

    Example: vitanexus hcc explain --member 1EG4-TE5-MK72 --members members.parquet --diagnoses diagnoses.parquet
    """
    import pyarrow.compute as pc

    from engine.errors import HccError
    from engine.scoring.hcc.score import HccScorer
    from engine.scoring.hcc.trace import trace

    if model == "hhs":
        hhs.explain(hhs.Files(members, diagnoses, drugs), hhs.year(benefit_year), member, check)
        return
    person = hcc_files.read(members)
    if check:
        _check(person, diagnoses, model, payment_year)
        return
    codes = hcc_files.read(diagnoses)
    person = person.filter(pc.equal(pc.cast(person["member_id"], "string"), member))
    codes = codes.filter(pc.equal(pc.cast(codes["member_id"], "string"), member))
    if not person.num_rows:
        raise HccError(f"member_id {member!r} is not in {members}")
    scorer = HccScorer.of(person, model, payment_year, mce=mce)
    scorer.add(codes)
    scores = scorer.finish()
    age, female = int(scores.members.age[0]), bool(scores.members.female[0])
    row = scores.table().to_pylist()[0]
    _console.print(
        f"[bold]{member}[/bold]: {'female' if female else 'male'}, {age} on 1 February {payment_year}, "
        f"{row['segment']}, CMS-HCC {scores.model.name}"
    )
    steps = Table("ICD-10-CM", "CC", "HCC", "CMS label", "why")
    for line in trace(scores.model, codes["icd10"].to_pylist(), age, female, mce=mce):
        steps.add_row(line.icd10, _number(line.cc), _number(line.hcc), line.label, line.note)
    _console.print(steps)
    parts = Table("variable", "label", "coefficient")
    for entry in scores.ledger().to_pylist():
        name = entry["variable"]
        label = scores.model.labels[int(name[3:])] if name.startswith("HCC") and name[3:].isdigit() else ""
        parts.add_row(name, label, f"{entry['coefficient']:.3f}")
    parts.add_section()
    parts.add_row("raw score", "", f"{row['raw_score']:.3f}")
    parts.add_row("normalised", f"by {scores.model.year(payment_year).normalisation}", f"{row['normalized_score']:.3f}")
    parts.add_row("payment score", "less the coding intensity adjustment", f"{row['payment_score']:.3f}")
    _console.print(parts)


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _models(model: str, payment_year: int) -> list[str]:
    if model != "blend":
        return [model]
    from engine.scoring.hcc.model import load_model

    return ["v28"] if load_model("v28", payment_year).year(payment_year).blend == 1.0 else ["v28", "v24"]


def _score(
    name: str,
    members: "pa.Table",
    diagnoses: Path,
    year: int,
    all_segments: bool,
    mce: bool,
    report: bool,
    workers: int,
) -> "HccScores":
    from engine.errors import HccError
    from engine.scoring.hcc.score import HccScorer

    if not diagnoses.is_file():
        raise HccError(f"{diagnoses} cannot be read: it is {'a folder' if diagnoses.is_dir() else 'not a file'}")
    scorer = HccScorer.of(members, name, year, mce=mce, report=report)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        if workers:
            from actors.hcc import collect

            task = progress.add_task(f"{name}: diagnoses over Ray", total=None)
            collect(scorer, diagnoses, workers, progress=lambda rows: progress.advance(task, rows))
        else:
            task = progress.add_task(f"{name}: diagnoses", total=hcc_files.size(diagnoses))
            for part in hcc_files.parts(diagnoses):
                scorer.add(part)
                progress.advance(task, part.num_rows)
    return scorer.finish(all_segments=all_segments)


def _ledger(scores: "dict[str, HccScores]") -> "pa.Table":
    import pyarrow as pa

    parts = []
    for name, part in scores.items():
        table = part.ledger()
        if len(scores) > 1:
            table = table.append_column("model", pa.array([name] * table.num_rows))
        parts.append(table)
    return pa.concat_tables([part.unify_dictionaries() for part in parts])


def _tell(scores: "dict[str, HccScores]", report: bool, errors: Path) -> None:
    for name, part in scores.items():
        if part.unmapped.num_rows:
            codes = part.unmapped["icd10"].unique()
            shown = ", ".join(codes[:5].to_pylist())
            typer.echo(f"{name}: {len(codes):,} codes carry no HCC, such as {shown}")
    if not report:
        return
    refused = {refusal: None for part in scores.values() for refusal in part.refused}
    with errors.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["member_id", "column", "value", "reason"])
        writer.writerows((r.member_id, r.column, r.value, r.reason) for r in refused)
    typer.echo(f"{len(refused):,} members refused: {errors}")


@hcc.command("plrs")
def plrs(
    members: Annotated[Path, typer.Option(help="Parquet or CSV: member_id, sex, birth_date, age_last or last_day")],
    enrolments: Annotated[
        Path,
        typer.Option(
            help="Parquet or CSV: member_id, plan_id, rating_area, metal, days; and if there are any csr, duration, "
            "age_last, and billable or family_id with relationship"
        ),
    ],
    diagnoses: Diagnoses,
    benefit_year: Annotated[int, typer.Option(help="benefit year, 2021 to 2025")],
    out: Annotated[Path, typer.Option(help="Parquet or CSV to write, a row a plan, rating area and metal")],
    drugs: Drugs = None,
    each: Annotated[Path | None, typer.Option(help="file to write each enrolment's score and months to")] = None,
    on_error: OnError = "stop",
) -> None:
    """Plan liability risk scores (HHS-HCC), which the risk adjustment transfer takes, over billable member months.

    Example: vitanexus hcc plrs --benefit-year 2025 --members m.csv --enrolments e.csv --diagnoses d.csv --out plrs.csv
    """
    hhs.plrs(hhs.Files(members, diagnoses, drugs), enrolments, benefit_year, out, each, on_error == "report")


@hcc.command("select")
def select(
    claims: Annotated[
        Path,
        typer.Option(
            help="Parquet or CSV: claim_id, member_id, bill_type (empty for a professional claim), through_date, "
            "discharge_status, service_codes and icd10 with spaces between, and if there are any voids"
        ),
    ],
    enrolments: Annotated[Path, typer.Option(help="Parquet or CSV: member_id, start, end")],
    benefit_year: Annotated[int, typer.Option(help="benefit year, 2021 to 2025")],
    out: Annotated[Path, typer.Option(help="diagnoses to write: member_id, icd10, service_date")],
    rejected: Annotated[Path, typer.Option(help="claims that do not count, to write, each with its reason")],
    supplements: Annotated[Path | None, typer.Option(help="supplemental diagnoses: claim_id, icd10")] = None,
) -> None:
    """Select the claims whose diagnoses count for HHS-HCC, by the rules of CMS's EDGE server.

    Example: vitanexus hcc select --benefit-year 2025 --claims c.csv --enrolments e.csv --out d.csv --rejected r.csv
    """
    hhs.select(claims, enrolments, supplements, benefit_year, out, rejected)


@hcc.command("tables")
def tables(
    source: Annotated[Path, typer.Argument(help="folder with table_1.json to table_12.parquet of CMS's DIY software")],
    benefit_year: Annotated[int, typer.Option(help="the benefit year they are of")],
    out: Annotated[Path, typer.Option(help="folder to write, such as engine/scoring/hcc/tables/hhs/2026")],
) -> None:
    """Turn CMS's tables of an HHS-HCC benefit year into the layout that the engine reads.

    Example: vitanexus hcc tables cy2026 --benefit-year 2026 --out engine/scoring/hcc/tables/hhs/2026
    """
    from engine.scoring.hcc.hhs.convert import convert

    for name, rows in convert(source, benefit_year, out).items():
        typer.echo(f"{out / name}: {rows:,} rows")
