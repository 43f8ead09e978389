"""Reads what a scenario names: the scenario file, portfolios, loss files and triangles."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml
from numpy.typing import NDArray
from pyarrow import csv, parquet

from simulations.errors import SpecError
from simulations.experience import Experience
from simulations.portfolio import Column, Labels, Portfolio, synthetic
from simulations.scenario import (
    IbnrScenario,
    PoolScenario,
    PremiumTerms,
    Scenario,
    SyntheticPortfolio,
    ViewPortfolio,
    parse,
)
from simulations.triangles import Triangle, from_lines

Floats = NDArray[np.float64]


def read_scenario(path: Path, changes: dict[str, object]) -> tuple[Scenario, dict[str, Any]]:
    """The scenario of a YAML file with `changes` in place of its keys, and the document. Raises SpecError."""
    try:
        document = yaml.safe_load(path.read_text())
    except OSError as error:
        raise SpecError(str(path), f"cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise SpecError(str(path), f"is not YAML: {' '.join(str(error).split())}") from error
    if isinstance(document, dict):
        document |= changes
    return parse(document), document


def sha256(path: Path) -> str:
    """Hash of a file, for the manifest."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Inputs:
    """The files of one scenario, relative to its own; remembers their hashes."""

    def __init__(self, folder: Path, database: str = "") -> None:
        self._folder = folder
        self._database = database
        self.hashes: dict[str, str] = {}

    def _table(self, name: str, field: str) -> pa.Table:
        path = self._folder / name
        if not path.is_file():
            raise SpecError(field, f"{path} is not a file")
        self.hashes[name] = sha256(path)
        try:
            return csv.read_csv(path) if path.suffix == ".csv" else parquet.read_table(path)
        except pa.ArrowInvalid as error:
            raise SpecError(field, f"{path} cannot be read: {error}") from error

    def portfolio(self, scenario: PoolScenario) -> Portfolio:
        """The portfolio: synthetic, a Parquet or CSV file, or a view of the database."""
        given = scenario.portfolio
        if isinstance(given, SyntheticPortfolio):
            return synthetic(given.synthetic.members, given.synthetic.seed)
        if isinstance(given, ViewPortfolio):
            return _portfolio(self._view(given.view), given.view)
        return _portfolio(self._table(given, "portfolio"), given)

    def _view(self, name: str) -> pa.Table:
        import psycopg
        from psycopg import sql

        if not self._database:
            raise SpecError("portfolio.view", f"{name!r} needs a database: set VITANEXUS_POSTGRES_URL")
        try:
            with psycopg.connect(self._database) as connection:
                cursor = connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(*name.split("."))))
                names = [column.name for column in cursor.description or ()]
                rows = cursor.fetchall()
        except psycopg.Error as error:
            raise SpecError("portfolio.view", f"{name!r} cannot be read: {str(error).strip()}") from error
        return pa.table({column: [row[i] for row in rows] for i, column in enumerate(names)})

    def losses(self, name: str, column: str) -> Floats:
        """The losses of an empirical severity."""
        table = self._table(name, "severity.file")
        if column not in table.column_names:
            raise SpecError("severity.column", f"{name} has no column {column!r}; it has {table.column_names}")
        return np.asarray(table[column].to_numpy(), np.float64)

    def experience(self, terms: PremiumTerms) -> Experience | None:
        """The past claims of the groups, where the terms name them."""
        spec, field = terms.experience, "premium.experience"
        if spec is None:
            return None
        table = self._table(spec.file, f"{field}.file")
        return Experience(
            _labels(table, spec.group, f"{field}.group"),
            _labels(table, spec.period, f"{field}.period"),
            _numbers(table, spec.claims, f"{field}.claims"),
            _numbers(table, spec.member_years, f"{field}.member_years"),
        )

    def triangle(self, scenario: IbnrScenario) -> tuple[Triangle, Floats | None]:
        """The development triangle and, where the scenario names it, the exposure of its origins."""
        if scenario.claims is not None:
            return _from_claims(scenario, self._table(scenario.claims, "claims")), None
        assert scenario.triangle is not None
        if isinstance(scenario.triangle, tuple):
            return _from_rows(scenario.triangle, scenario.cumulative), None
        return _from_cells(scenario, self._table(scenario.triangle, "triangle"))


def _portfolio(table: pa.Table, source: str) -> Portfolio:
    columns: dict[str, Column] = {}
    for name in table.column_names:
        values = table[name].combine_chunks()
        kind = values.type
        if (
            pa.types.is_integer(kind)
            or pa.types.is_floating(kind)
            or pa.types.is_boolean(kind)
            or pa.types.is_decimal(kind)
        ):
            columns[name] = np.asarray(pc.cast(values, pa.float64()).to_numpy(zero_copy_only=False), np.float64)
        else:
            columns[name] = _labels(table, name, "portfolio")
    if table.num_rows == 0:
        raise SpecError("portfolio", f"{source} has no rows")
    return Portfolio(columns, table.num_rows, source)


def _labels(table: pa.Table, name: str, field: str) -> Labels:
    if name not in table.column_names:
        raise SpecError(field, f"no column {name!r}; there are {table.column_names}")
    values = table[name].combine_chunks()
    encoded = values if pa.types.is_dictionary(values.type) else pc.cast(values, pa.string()).dictionary_encode()
    if encoded.null_count:
        row = int(np.flatnonzero(np.asarray(pc.is_null(encoded)))[0])
        raise SpecError(field, f"column {name!r}, row {row + 1} is empty")
    return Labels(np.asarray(encoded.indices, np.int32), tuple(str(text) for text in encoded.dictionary.to_pylist()))


def _numbers(table: pa.Table, name: str, field: str) -> Floats:
    if name not in table.column_names:
        raise SpecError(field, f"no column {name!r}; there are {table.column_names}")
    try:
        values = np.asarray(pc.cast(table[name], pa.float64()).to_numpy(), np.float64)
    except pa.ArrowInvalid as error:
        raise SpecError(field, f"column {name!r}: {error}") from error
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        raise SpecError(field, f"column {name!r}, row {row + 1}: {values[row]} is no amount")
    return values


def _from_cells(scenario: IbnrScenario, table: pa.Table) -> tuple[Triangle, Floats | None]:
    names = scenario.columns
    origin = _numbers(table, names.origin, "columns.origin")
    development = _numbers(table, names.development, "columns.development")
    value = _numbers(table, names.value, "columns.value")
    origins, row = np.unique(origin, return_inverse=True)
    developments, column = np.unique(development, return_inverse=True)
    n = len(origins)
    if len(developments) != n:
        raise SpecError("triangle", f"{n} origins and {len(developments)} developments: a triangle has as many of each")
    grid = np.full((n, n), np.nan)
    known = row + column < n
    grid[row[known], column[known]] = value[known]
    exposure = None
    if scenario.exposure is not None:
        exposure = np.zeros(n)
        exposure[row] = _numbers(table, scenario.exposure, "exposure")
    return Triangle(_accumulated(grid, scenario.cumulative), tuple(f"{name:g}" for name in origins)), exposure


def _from_rows(rows: tuple[tuple[float, ...], ...], cumulative: bool) -> Triangle:
    grid = np.full((len(rows), len(rows)), np.nan)
    for i, row in enumerate(rows):
        grid[i, : len(row)] = row
    return Triangle(_accumulated(grid, cumulative), tuple(str(i + 1) for i in range(len(rows))))


def _accumulated(grid: Floats, cumulative: bool) -> Floats:
    """The grid [n, n], as cumulative amounts, with NaN where the future is."""
    if cumulative:
        return grid
    n = len(grid)
    return np.where(np.add.outer(np.arange(n), np.arange(n)) < n, np.nancumsum(grid, axis=1), np.nan)


def _from_claims(scenario: IbnrScenario, table: pa.Table) -> Triangle:
    """Paid amounts by period of service and lag to payment, up to the last period paid in (or `as_of`)."""
    names, unit = scenario.columns, "M8[M]" if scenario.grain == "monthly" else "M8[Y]"
    served_on = _days(table, names.service_date, "columns.service_date")
    paid_on = _days(table, names.paid_date, "columns.paid_date")
    amount = _numbers(table, names.amount or "amount", "columns.amount")
    if (paid_on < served_on).any():
        row = int(np.flatnonzero(paid_on < served_on)[0])
        raise SpecError("claims", f"row {row + 1}: paid before it was served")
    service, paid = (days.astype(unit).astype(np.int64) for days in (served_on, paid_on))
    last = int(np.datetime64(scenario.as_of, unit[3]).astype(np.int64)) if scenario.as_of else int(paid.max())
    first = int(service.min())
    size = last - first + 1
    cumulative = from_lines(service - first, paid - service, amount, size)
    labels = np.datetime_as_string(np.arange(first, last + 1).astype(unit), unit=unit[3])
    return Triangle(cumulative, tuple(labels.tolist()))


def _days(table: pa.Table, name: str | None, field: str) -> NDArray[np.datetime64]:
    if name is None or name not in table.column_names:
        raise SpecError(field, f"no column {name!r}; there are {table.column_names}")
    try:
        days = pc.cast(pc.cast(table[name], pa.date32()), pa.int32()).to_numpy()
    except pa.ArrowInvalid as error:
        raise SpecError(field, f"column {name!r}: {error}") from error
    return np.asarray(days).astype("M8[D]")
