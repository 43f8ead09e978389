"""Amounts of a claim and amounts of its lines: files repeat the first on every line, and adding them up is wrong.

An institutional bill is priced as a whole; flat files then carry its payment, and often its charge, on each of its
lines. Which amounts are so is a property of the source and the amount: it is declared, in `amount_levels.csv` beside
the source's files, or, for institutional claims, read off the file itself, where the claims of several lines repeat
the amount on all of them. What is settled either way is held against every claim. An amount of the claim then stands on
its first line, and the others carry 0, so that the sum of the lines is the claim's.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from engine.domain.events import SourceEvent
from engine.errors import SourceError
from engine.interop.table import rows
from engine.logs import get_logger

Level = Literal["claim", "line"]
LEVELS_FILE = "amount_levels.csv"
COLUMNS = ("data_source", "claim_type", "amount", "level")
FIELDS: Mapping[str, str] = {
    "charge_amount": "charge_cents",
    "allowed_amount": "allowed_cents",
    "paid_amount": "paid_cents",
}
"""The amounts of a file, and the event's field of each."""
Key = tuple[str, str, str]
"""Source as the events name it, claim type, amount."""


def declared(file: Path, source_of: Callable[[str], str], events: Iterable[SourceEvent]) -> dict[Key, Level]:
    """The levels a file declares for the events, by their source; none where there is no such file.

    `source_of` makes the events' source from the file's data_source. Raises SourceError, naming the line, for a word
    that is none, a data_source or claim type that no event has, and an amount declared twice.
    """
    found: dict[Key, Level] = {}
    if not file.is_file():
        return found
    kinds = {(str(event.fields["source"]), str(event.fields["claim_type"])) for event in events}
    for at, (data_source, claim_type, amount, level) in rows(file, COLUMNS):
        where = f"{file.name} line {at}"
        if amount not in FIELDS:
            raise SourceError(f"{where}: amount is {amount!r}; it must be one of {', '.join(FIELDS)}")
        if level not in ("claim", "line"):
            raise SourceError(f"{where}: level is {level!r}; it must be claim or line")
        source = source_of(data_source)
        if (source, claim_type) not in kinds:
            raise SourceError(f"{where}: data_source {data_source!r} has no claims of claim_type {claim_type!r}")
        if found.setdefault((source, claim_type, amount), "claim" if level == "claim" else "line") != level:
            raise SourceError(f"{where}: {amount} of {claim_type} claims of {data_source} is declared both ways")
    return found


def carried_once(events: Sequence[SourceEvent], levels: Mapping[Key, Level]) -> None:
    """Puts amounts of the claim on its first line, in place; the other lines then carry 0.

    Raises SourceError where a claim breaks what was declared for it, and where a file's own claims disagree.
    """
    claims: defaultdict[tuple[str, str], dict[str, list[SourceEvent]]] = defaultdict(lambda: defaultdict(list))
    for event in events:
        place = str(event.fields["source"]), str(event.fields["claim_type"])
        claims[place][str(event.fields["claim_id"])].append(event)
    for (source, claim_type), of_id in sorted(claims.items()):
        sorted_lines = (sorted(lines, key=_line) for lines in of_id.values())
        several = [lines for lines in sorted_lines if _line(lines[0]) != _line(lines[-1])]
        for amount, field in FIELDS.items():
            key = (source, claim_type, amount)
            level = levels.get(key)
            if level is None and claim_type == "institutional":
                level = _read_off(key, several)
            if level == "claim":
                _carry(key, field, several)


def _read_off(key: Key, claims: Iterable[list[SourceEvent]]) -> Level:
    """The level the claims themselves show; where they disagree by half or more, it must be declared."""
    field = FIELDS[key[2]]
    repeated = differing = 0
    for lines in claims:
        values = {_amount(line, field) for line in lines}
        if values <= {None, 0}:
            continue
        repeated += len(values) == 1
        differing += len(values) > 1
    if not repeated or differing > repeated:
        return "line"
    source, claim_type, amount = key
    if differing:
        raise SourceError(
            f"{amount} of {claim_type} claims of {source}: {repeated:,} claims of several lines repeat it on each, "
            f"{differing:,} do not; say in {LEVELS_FILE} ({', '.join(COLUMNS)}) whether it is of the claim or the line"
        )
    get_logger(source=source).warning(
        "an amount of the claim is repeated on its lines: counted once a claim",
        amount=amount,
        claim_type=claim_type,
        claims=repeated,
        otherwise=f"declare it as of the line in {LEVELS_FILE}",
    )
    return "claim"


def _carry(key: Key, field: str, claims: Iterable[list[SourceEvent]]) -> None:
    for lines in claims:
        values = {_amount(line, field) for line in lines} - {None, 0}
        if len(values) > 1:
            raise SourceError(
                f"claim {lines[0].fields['claim_id']} of {key[0]}: {key[2]} is of the claim, and its lines differ: "
                f"{', '.join(map(str, sorted(values, key=str)))} cents"
            )
        for line in lines:
            if _line(line) == _line(lines[0]):  # a line given twice is one event, and stays alike
                line.fields[field] = next(iter(values), line.fields[field])
            elif line.fields[field] is not None:
                line.fields[field] = 0


def _amount(event: SourceEvent, field: str) -> object:
    return event.fields[field]


def _line(event: SourceEvent) -> tuple[bool, int, str]:
    line = event.fields["line"]
    return (False, line, "") if isinstance(line, int) else (True, 0, str(line))
