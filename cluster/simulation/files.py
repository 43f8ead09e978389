"""Reads what a scenario names: the scenario file, portfolios, loss files and triangles."""

import datetime as dt
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml
from numpy.typing import NDArray
from pyarrow import csv, parquet

from cluster.simulation import triangle_files, yaml12
from cluster.simulation.columns import labels, numbers
from simulations.errors import SpecError
from simulations.experience import Experience
from simulations.portfolio import Column, Portfolio, synthetic
from simulations.scenario import (
    IbnrScenario,
    PoolScenario,
    PremiumScenario,
    PremiumTerms,
    Scenario,
    SyntheticPortfolio,
    ViewPortfolio,
    parse,
)
from simulations.triangles import Triangle

Floats = NDArray[np.float64]


def read_scenario(path: Path, changes: dict[str, object]) -> tuple[Scenario, dict[str, Any]]:
    """The scenario of a YAML file with `changes` in place of its keys, and the document. Raises SpecError."""
    try:
        document = yaml12.load(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise SpecError(str(path), f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SpecError(str(path), f"is not text in UTF-8: {error}") from error
    except yaml.YAMLError as error:
        raise SpecError(str(path), f"is not YAML: {_told(error)}") from error
    if isinstance(document, dict):
        document |= changes
    return parse(document), document


def _told(error: yaml.YAMLError) -> str:
    return " ".join(str(error).replace('in "<unicode string>", ', "").split())


def sha256(path: Path) -> str:
    """Hash of a file, for the manifest."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Inputs:
    """The files of one scenario, relative to its own; remembers them and their hashes, and notes what it left out."""

    def __init__(self, folder: Path, database: str = "") -> None:
        self._folder = folder
        self._database = database
        self.hashes: dict[str, str] = {}
        self.notes: list[str] = []
        self.tables: dict[str, pa.Table] = {}

    def _table(self, name: str, field: str, texts: Sequence[str] = ()) -> pa.Table:
        """The rows of a CSV or Parquet file; in CSV the columns `texts` are text from the first byte on."""
        path = self._folder / name
        if not path.is_file():
            raise SpecError(field, f"{path} is {'a folder, not a file' if path.is_dir() else 'not a file'}")
        self.hashes[name] = sha256(path)
        try:
            if path.suffix.lower() == ".csv":
                types = csv.ConvertOptions(column_types=dict.fromkeys(texts, pa.string()))
                table = csv.read_csv(path, convert_options=types)
            else:
                table = parquet.read_table(path)
            twice = [column for column, times in Counter(table.column_names).items() if times > 1]
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise SpecError(field, f"{path} cannot be read: {error}") from error
        if twice:
            raise SpecError(field, f"{path} has the column {twice[0]!r} more than once")
        self.tables[name] = table
        return table

    def portfolio(self, scenario: PoolScenario) -> Portfolio:
        """The portfolio: synthetic, a Parquet or CSV file, or a view of the database."""
        given, texts = scenario.portfolio, _label_columns(scenario)
        if isinstance(given, SyntheticPortfolio):
            return synthetic(given.synthetic.members, given.synthetic.seed)
        if isinstance(given, ViewPortfolio):
            return _portfolio(self._view(given.view), given.view)
        return _portfolio(self._table(given, "portfolio", texts), given)

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
        digest = hashlib.sha256(repr(names).encode())
        for row in rows:
            digest.update(repr(row).encode())
        self.hashes[name] = digest.hexdigest()
        return pa.table({column: _column([row[i] for row in rows]) for i, column in enumerate(names)})

    def losses(self, name: str, column: str) -> Floats:
        """The losses of an empirical severity."""
        return numbers(self._table(name, "severity.file"), column, "severity.column")

    def experience(self, terms: PremiumTerms) -> Experience | None:
        """The past claims of the groups, where the terms name them."""
        spec, field = terms.experience, "premium.experience"
        if spec is None:
            return None
        table = self._table(spec.file, f"{field}.file", (spec.group, spec.period))
        return Experience(
            labels(table, spec.group, f"{field}.group"),
            labels(table, spec.period, f"{field}.period"),
            numbers(table, spec.claims, f"{field}.claims"),
            numbers(table, spec.member_years, f"{field}.member_years"),
        )

    def triangle(self, scenario: IbnrScenario) -> tuple[Triangle, Floats | None]:
        """The development triangle and, where the scenario names it, the exposure of its origins."""
        if scenario.claims is not None:
            return triangle_files.from_claims(scenario, self._table(scenario.claims, "claims"), self.notes), None
        assert scenario.triangle is not None
        if isinstance(scenario.triangle, tuple):
            return triangle_files.from_rows(scenario.triangle, scenario.cumulative), None
        return triangle_files.from_cells(scenario, self._table(scenario.triangle, "triangle"))


def _label_columns(scenario: PoolScenario) -> tuple[str, ...]:
    """The columns that hold names, whatever they look like: 010 is an area, and 1000001 an employer."""
    premium = scenario.premium if isinstance(scenario, PremiumScenario) else None
    named = (scenario.group_by, premium and premium.area, premium and premium.tier)
    return tuple(name for name in named if name)


_PLAIN = (str, int, float, Decimal, dt.date)


def _column(values: list[Any]) -> pa.Array:
    """A column of a database's rows; of types that are neither texts, numbers nor dates (a uuid, JSON) as text."""
    if all(value is None or isinstance(value, _PLAIN) for value in values):
        return pa.array(values)
    return pa.array([None if value is None else str(value) for value in values])


class _Columns(Mapping[str, Column]):
    """The columns of a table, each made ready when it is asked for: what nobody asks for may hold anything."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self._made: dict[str, Column] = {}

    def __getitem__(self, name: str) -> Column:
        if name not in self._made:
            kind = self._table.schema.field(name).type  # KeyError where there is no such column
            numeric = any(is_kind(kind) for is_kind in _NUMERIC)
            self._made[name] = _floats(self._table[name]) if numeric else labels(self._table, name, "portfolio")
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._table.column_names)

    def __len__(self) -> int:
        return self._table.num_columns


_NUMERIC = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal)


def _floats(values: pa.ChunkedArray) -> Floats:
    return np.asarray(pc.cast(values.combine_chunks(), pa.float64()).to_numpy(zero_copy_only=False), np.float64)


def _portfolio(table: pa.Table, source: str) -> Portfolio:
    if table.num_rows == 0:
        raise SpecError("portfolio", f"{source} has no rows")
    return Portfolio(_Columns(table), table.num_rows, source)
