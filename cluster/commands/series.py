"""`vitanexus series`: what the time series hold, and what is done as they age."""

import datetime as dt
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from cluster.commands.stack import DEFAULT, Directory

if TYPE_CHECKING:
    from engine.storage.series import SeriesKeeper

series = typer.Typer(help="Time series: what they hold by month; sum up, compress and drop as they age.")
_console = Console(highlight=False)
Check = Annotated[bool, typer.Option("--check", help="only say what would be done")]


@series.command("list")
def list_months(directory: Directory = DEFAULT) -> None:
    """Show each month of each series: rows about, bytes with indexes, and whether its time is past.

    With TimescaleDB its views `timescaledb_information.chunks` and `.jobs` say the same of chunks and policies.
    """
    keeper = _keeper(directory)
    table = Table("series", "month", "rows about", "MB", "")
    for month in keeper.months():
        size = f"{month.size / 1e6:,.1f}"
        table.add_row(
            month.series, f"{month.first:%Y-%m}", f"{month.rows:,}", size, "past its time" if month.past else ""
        )
    _console.print(table)
    typer.echo(f"{len(keeper.due()):,} days of readings are to be summed up")


@series.command()
def keep(check: Check = False, directory: Directory = DEFAULT) -> None:
    """Sum up the days that have ended, and drop the months that are past their time. To be run once a day.

    Ages are settings: VITANEXUS_SERIES_READINGS_MONTHS, _DAILY_MONTHS, _SCORES_MONTHS, _AUDIT_MONTHS, in months and 0
    for ever; VITANEXUS_SERIES_HOLD=true drops nothing. With TimescaleDB's own licence its policies do the work, and
    this sets them. Example: vitanexus series keep --check
    """
    from engine.storage.series import policies

    keeper = _keeper(directory)
    if keeper.by_policy():
        for statement in policies(keeper.ages) if check else keeper.set_policies():
            typer.echo(statement)
        return
    due = keeper.due()
    if check:
        past = [f"{month.series} {month.first:%Y-%m}" for month in keeper.months() if month.past]
        typer.echo(
            f"would sum up {len(due):,} days of readings and drop {len(past):,} months: {', '.join(past) or '-'}"
        )
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=_console, disable=not _console.is_terminal) as progress:
        task = progress.add_task("summing up days of readings", total=len(due))
        done = keeper.sum_up(lambda _: progress.advance(task))
    gone = keeper.drop()
    typer.echo(f"{done:,} days of readings summed up, {len(gone):,} months dropped: {', '.join(gone) or '-'}")


def _keeper(directory: Directory) -> "SeriesKeeper":
    from cluster.bootstrap import connect
    from engine.settings import load_settings
    from engine.storage.series import Ages, SeriesKeeper

    told = load_settings().series
    months = told.readings_months, told.daily_months, told.scores_months, told.audit_months
    ages = Ages(*months, told.columnstore_days, told.hold)
    return SeriesKeeper(connect(directory, "postgres").postgres, ages, dt.datetime.now(dt.UTC).date())
