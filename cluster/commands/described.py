"""What `--check` prints: a file by column, and events by kind, before any work is done."""

import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    import pyarrow as pa

    from engine.domain.events import SourceEvent

Check = Annotated[bool, typer.Option("--check", help="only read the files; say what they hold")]
_console = Console(highlight=False)
_FEW = 12
"""A column of texts with at most so many values is one of codes, and they are shown."""


def tell_columns(name: str, table: "pa.Table") -> None:
    """Prints each column: its type, how many rows hold something, how many values, and from which to which.

    Of texts only the values of a short list of codes are shown, each there several times, and of numbers none of a
    column whose name ends in id: these may name people.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    shown = Table("column", "type", "filled", "values", "from", "to", title=f"{name}: {table.num_rows:,} rows")
    for field in table.schema:
        column = table[field.name]
        filled = f"{column.length() - column.null_count:,}"
        try:
            count = pc.count_distinct(column, mode="only_valid").as_py()
            values, low, high = f"{count:,}", "", ""
            if pa.types.is_string(field.type) or pa.types.is_dictionary(field.type):
                if 0 < count <= _FEW and count < column.length() - column.null_count:
                    low = ", ".join(sorted(str(value) for value in pc.unique(column).drop_null().to_pylist()))
            elif count and not field.name.lower().endswith("id"):
                ends = pc.min_max(column).as_py()
                low, high = str(ends["min"]), str(ends["max"])
        except pa.ArrowNotImplementedError:  # lists and the like, which nobody asks for
            values, low, high = "", "", ""
        shown.add_row(field.name, str(field.type), filled, values, low, high)
    _console.print(shown)


def tell_files(*files: Path) -> None:
    """Prints the columns of each file, CSV by its name or Parquet."""
    from engine.learning.arrow_files import csv_of_texts, parquet_table

    for file in files:
        tell_columns(file.name, (csv_of_texts if file.suffix == ".csv" else parquet_table)(file, ()))


def tell_survey(folder: Path, year: int) -> None:
    """Prints the columns of the survey's file of a year, once it can be read as one."""
    from engine.learning.meps import read_meps

    read_meps(folder, year)
    tell_files(folder / f"meps_{year}.parquet")


def tell_meps(folder: Path, year: int) -> None:
    """Prints the columns of the survey's files of a year and the next, and how many persons are in both."""
    from engine.learning.meps import link, read_meps

    linked = len(link(read_meps(folder, year), read_meps(folder, year + 1))[0])
    tell_files(*(folder / f"meps_{each}.parquet" for each in (year, year + 1)))
    _console.print(f"{linked:,} persons are in both years, by dupersid and panel")


def tell_events(events: "Iterable[SourceEvent]") -> None:
    """Prints what a source's files hold by kind, and what a shard would refuse of it, by reason and field."""
    from engine.domain.events import EVENT_KINDS
    from engine.errors import InvalidRecordError
    from engine.interop.shape import day_of
    from engine.streams.codec import decode

    taken_ms = int(time.time() * 1000)
    counts: Counter[str] = Counter()
    times: defaultdict[str, list[int]] = defaultdict(list)
    members: defaultdict[str, set[str]] = defaultdict(set)
    refused: Counter[tuple[str, str, str]] = Counter()
    for event in events:
        kind = event.kind.name
        counts[kind] += 1
        members[kind].add(event.member_id)
        when = event.fields["time"]
        if isinstance(when, int):
            times[kind].append(when)
        try:
            decode(event.kind, json.dumps(event.fields).encode(), taken_ms)
        except InvalidRecordError as error:
            refused[kind, error.reason, error.field] += 1
    shown = Table("event", "number", "members", "from", "to", "refused")
    for kind in (each.name for each in EVENT_KINDS if counts[each.name]):
        span = [str(day_of(end)) for end in (min(times[kind]), max(times[kind]))] if times[kind] else ["", ""]
        wrong = sum(number for (of, _, _), number in refused.items() if of == kind)
        shown.add_row(kind, f"{counts[kind]:,}", f"{len(members[kind]):,}", *span, f"{wrong:,}")
    _console.print(shown)
    for (kind, reason, field), number in refused.most_common():
        _console.print(f"{number:,} of {kind} would be dead letters: {reason} of {field or 'the event'}")
