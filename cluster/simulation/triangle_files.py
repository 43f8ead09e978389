"""Development triangles from rows, cells and claims. Every amount of a file has its place, or the file is refused.

Missing and zero are told apart: of payments a cell that is not there is one in which nothing was paid, of cumulative
amounts it is one that is missing. Periods stand apart by their own numbers: a year without claims is a year.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cluster.simulation.columns import days, numbers
from simulations.errors import SpecError
from simulations.scenario import IbnrScenario
from simulations.triangles import Triangle, from_lines

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
MOST_PERIODS = 600
_MOST_AGE = 1e9


def from_rows(rows: Sequence[Sequence[float]], cumulative: bool) -> Triangle:
    """The rows of a scenario, the oldest origin first."""
    grid = np.full((len(rows), len(rows)), np.nan)
    for i, row in enumerate(rows):
        grid[i, : len(row)] = row
    return Triangle(_accumulated(grid, cumulative), tuple(str(i + 1) for i in range(len(rows))))


def from_cells(scenario: IbnrScenario, table: pa.Table) -> tuple[Triangle, Floats | None]:
    """The cells of a file (origin, development, value) and, where it is named, the exposure of the origins.

    Several payments of one cell are added up; several cumulative amounts of one are refused. Raises SpecError.
    """
    names = scenario.columns
    if not table.num_rows:
        raise SpecError("triangle", "the file has no rows")
    origin = numbers(table, names.origin, "columns.origin")
    development = numbers(table, names.development, "columns.development")
    value = numbers(table, names.value, "columns.value")
    row, origins = _origins(origin, names.origin)
    column, developments = _developments(development, names.development, len(origins))
    if scenario.cumulative or len(origins) > 2 * len(np.unique(row)):  # most years empty: these are no years
        _refuse_gaps(row, origins, column, developments)
    n = len(origins)
    beyond = np.flatnonzero(row + column >= n)
    if beyond.size:
        at = beyond[0]
        raise SpecError(
            "triangle",
            f"row {at + 1}: origin {origin[at]:g}, development {development[at]:g} lies beyond the diagonal of {n} "
            f"origins and {len(developments)} developments: is an origin after {origins[-1]} missing?",
        )
    if len(developments) != n and scenario.cumulative:
        raise SpecError("triangle", f"{n} origins and {len(developments)} developments: a triangle has as many of each")
    grid = np.full((n, n), np.nan if scenario.cumulative else 0.0)
    if scenario.cumulative:
        _refuse_repeated(row, column, origin, development)
        grid[row, column] = value
    else:
        np.add.at(grid, (row, column), value)
    triangle = Triangle(_accumulated(grid, scenario.cumulative), origins)
    if scenario.exposure is None:
        return triangle, None
    return triangle, _exposure(row, numbers(table, scenario.exposure, "exposure"), origins)


_CALENDARS = ((100, 12, 190001, 220013, "month"), (10, 4, 19001, 22005, "quarter"))
"""Codes of a year and a part of it: base of the part, parts a year, the range of the codes, and what they are."""


def _origins(values: Floats, name: str) -> tuple[Ints, tuple[str, ...]]:
    """Each row's origin as its place from the oldest on, and the names of all: 202401, 20241, years, or numbers."""
    field, whole = "columns.origin", bool(np.all(values == np.floor(values)))
    for base, parts, low, high, what in _CALENDARS:
        if not (whole and np.all((values >= low) & (values < high))):
            continue
        odd = np.flatnonzero((values % base < 1) | (values % base > parts))
        if odd.size:
            raise SpecError(field, f"column {name!r}, row {odd[0] + 1}: {values[odd[0]]:g} is no {what}")
        places, first, count = _places(values // base * parts + values % base - 1, 1.0, name, field)
        periods = range(int(first), int(first) + count)
        return places, tuple(str(at // parts * base + at % parts + 1) for at in periods)
    step = 1.0 if whole else _step(np.diff(np.unique(values)))
    places, first, count = _places(values, step, name, field)
    return places, tuple(_shown(first + step * k) for k in range(count))


def _developments(values: Floats, name: str, origins: int) -> tuple[Ints, tuple[str, ...]]:
    """Each row's development as its place, and the names of all.

    Ages are whole numbers of one step (12, 24, 36), or begin within the first (3, 15, 27), where that makes a triangle.
    """
    known = np.unique(values)
    steps = (_step(known[known != 0]), _step(np.diff(known)))
    spans = [round((known[-1] - known[0]) / step) + 1 for step in steps]
    step = steps[1] if spans[0] > origins and spans[1] == origins else steps[0]
    places, first, count = _places(values, step, name, "columns.development")
    return places, tuple(_shown(first + step * k) for k in range(count))


def _step(values: Floats) -> float:
    """The largest step of which all the values are multiples, in thousandths; 1 where there are none, or no periods."""
    if not len(values) or np.abs(values).max() > _MOST_AGE:
        return 1.0
    return float(np.gcd.reduce(np.rint(np.abs(values) * 1000).astype(np.int64)) or 1000) / 1000


def _places(values: Floats, step: float, name: str, field: str) -> tuple[Ints, float, int]:
    """Each value's number of steps from the least, that least value, and how many places there are."""
    places = np.rint((values - values.min()) / step)
    count = int(places.max()) + 1
    if count > MOST_PERIODS:
        raise SpecError(field, f"column {name!r} spans {count:,} periods of {step:g}; at most {MOST_PERIODS} are taken")
    return places.astype(np.int64), float(values.min()), count


def _shown(number: float) -> str:
    return repr(round(float(number), 6)).removesuffix(".0")


def _refuse_gaps(row: Ints, origins: tuple[str, ...], column: Ints, developments: tuple[str, ...]) -> None:
    for what, places, names in (("origin", row, origins), ("development", column, developments)):
        missing = sorted({*range(len(names))} - set(places.tolist()))
        if missing:
            raise SpecError("triangle", f"{what} {names[missing[0]]} is missing between {names[0]} and {names[-1]}")


def _refuse_repeated(row: Ints, column: Ints, origin: Floats, development: Floats) -> None:
    _, first, times = np.unique(np.stack([row, column]), axis=1, return_index=True, return_counts=True)
    if (times > 1).any():
        at = int(first[times > 1][0])
        raise SpecError(
            "triangle",
            f"origin {origin[at]:g}, development {development[at]:g} is given {times.max()} times: cumulative amounts "
            "are not added up (payments are, with cumulative: false)",
        )


def _exposure(row: Ints, given: Floats, origins: tuple[str, ...]) -> Floats:
    exposure = np.zeros(len(origins))
    for place, name in enumerate(origins):
        told = np.unique(given[row == place])
        if len(told) != 1:
            raise SpecError("exposure", f"origin {name} has {len(told)} exposures; it must have one")
        exposure[place] = told[0]
    return exposure


def _accumulated(grid: Floats, cumulative: bool) -> Floats:
    """The grid [n, n], as cumulative amounts, with NaN where the future is."""
    if cumulative:
        return grid
    n = len(grid)
    return np.where(np.add.outer(np.arange(n), np.arange(n)) < n, np.cumsum(grid, axis=1), np.nan)


def from_claims(scenario: IbnrScenario, table: pa.Table, notes: list[str]) -> Triangle:
    """Paid amounts by period of service and lag to payment, up to the last period paid in, or the day `as_of`.

    Lines that are not paid yet, and payments after `as_of`, are left out, and said in `notes`. Raises SpecError.
    """
    names, unit = scenario.columns, "M8[M]" if scenario.grain == "monthly" else "M8[Y]"
    served_on = days(table, names.service_date, "columns.service_date")
    paid_on = days(table, names.paid_date, "columns.paid_date")
    amount = numbers(table, names.amount or "amount", "columns.amount")
    undated = np.flatnonzero(np.isnat(served_on))
    if undated.size:
        row = int(undated[0]) + 1
        raise SpecError("columns.service_date", f"column {names.service_date!r}, row {row} is empty: of which period?")
    early = np.flatnonzero(paid_on < served_on)
    if early.size:
        raise SpecError("claims", f"row {early[0] + 1}: paid before it was served")
    paid_already = ~np.isnat(paid_on)
    if not paid_already.all():
        notes.append(
            f"{int((~paid_already).sum()):,} claim lines have no {names.paid_date}: nothing is paid on them yet"
        )
    last_day = None if scenario.as_of is None else _last_day(scenario.as_of)
    if last_day is not None:
        later = paid_already & (paid_on > last_day)
        if later.any():
            notes.append(f"{int(later.sum()):,} payments after {last_day} are left out")
        paid_already &= ~later
    if not paid_already.any():
        raise SpecError("claims", f"no payment{'' if last_day is None else f' up to {last_day}'}")
    service, paid = (on[paid_already].astype(unit).astype(np.int64) for on in (served_on, paid_on))
    last = int(paid.max()) if last_day is None else int(last_day.astype(unit).astype(np.int64))
    first = int(service.min())
    size = last - first + 1
    if size > MOST_PERIODS:
        raise SpecError(
            "claims", f"{size:,} periods from the first service to the last payment: at most {MOST_PERIODS}"
        )
    cumulative = from_lines(service - first, paid - service, amount[paid_already], size)
    shown = np.datetime_as_string(np.arange(first, last + 1).astype(unit), unit=unit[3])
    return Triangle(cumulative, tuple(shown.tolist()))


def _last_day(as_of: str) -> np.datetime64:
    """The last day of a year, a month or a day."""
    try:
        begun = np.datetime64(as_of)
    except ValueError as error:
        raise SpecError("as_of", f"{as_of!r} is no day of the calendar") from error
    return (begun + 1).astype("M8[D]") - np.timedelta64(1, "D")
