"""DDL from the record tables, for plain PostgreSQL and for TimescaleDB, and the same tables for SQLAlchemy Core.

A time series is a hypertable where the TimescaleDB extension is installed, and a table partitioned by month with a BRIN
index on its time otherwise. Both take the same COPY and answer the same queries.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from engine.domain.records import Column, Record
from engine.domain.tables import TABLES

SERIES_MARK = "/* time series: {} */"
_SA_TYPES: dict[str, sa.types.TypeEngine[Any]] = {
    "text": sa.Text(),
    "bigint": sa.BigInteger(),
    "integer": sa.Integer(),
    "smallint": sa.SmallInteger(),
    "double precision": sa.Double(),
    "boolean": sa.Boolean(),
    "timestamptz": sa.DateTime(timezone=True),
    "date": sa.Date(),
    "text[]": postgresql.ARRAY(sa.Text()),
    "jsonb": postgresql.JSONB(),
    "bytea": sa.LargeBinary(),
    "numeric(16,2)": sa.Numeric(16, 2),
}


def _core_table(record: Record, metadata: sa.MetaData) -> sa.Table:
    columns = [sa.Column(c.name, _SA_TYPES[c.sql], primary_key=c.name in record.key) for c in record]
    return sa.Table(record.name, metadata, *columns)


METADATA = sa.MetaData()
CORE: dict[str, sa.Table] = {record.name: _core_table(record, METADATA) for record in TABLES}
"""SQLAlchemy Core tables by name, for queries. DDL is not taken from them."""


def _column_ddl(column: Column) -> str:
    words = [f'"{column.name}"', column.sql]
    if column.sql == "bytea":
        words.append("STORAGE EXTERNAL")  # packed columns: compressing them again costs more than it saves
    if column.default == "identity":
        words.append("GENERATED ALWAYS AS IDENTITY")
    elif column.default:
        words.append(f"DEFAULT {column.default}")
    if not column.nullable:
        words.append("NOT NULL")
    if column.choices and column.name not in ("metric", "unit", "test"):
        choices = ", ".join(f"'{choice}'" for choice in column.choices)
        words.append(f'CHECK ("{column.name}" IN ({choices}))')
    return " ".join(words)


def table_ddl(record: Record) -> list[str]:
    """Statements that create `record`; a time series carries a mark which `apply` turns into either back end's form."""
    lines = [f"    {_column_ddl(column)}" for column in record]
    if record.key:
        lines.append("    PRIMARY KEY ({})".format(", ".join(f'"{name}"' for name in record.key)))
    mark = f" {SERIES_MARK.format(record.time)}" if record.time else ""
    statements = ["CREATE TABLE {} (\n{}\n){}".format(record.name, ",\n".join(lines), mark)]
    for index in record.indexes:
        columns = ", ".join(f'"{name}"' for name in index)
        statements.append(f"CREATE INDEX {record.name}_{'_'.join(index)}_idx ON {record.name} ({columns})")
    return statements


def baseline() -> str:
    """The whole schema as one script, statements separated by semicolons at line ends."""
    return ";\n\n".join(statement for record in TABLES for statement in table_ddl(record)) + ";\n"


def has_timescale(connection: sa.Connection) -> bool:
    """True where the TimescaleDB extension is installed in this database."""
    return bool(connection.scalar(sa.text("SELECT count(*) FROM pg_extension WHERE extname = 'timescaledb'")))


def has_policies(connection: sa.Connection) -> bool:
    """True where TimescaleDB runs under its own licence, which has columnstore, policies and continuous aggregates."""
    licence = sa.text("SELECT current_setting('timescaledb.license', true) = 'timescale'")
    return has_timescale(connection) and bool(connection.scalar(licence))


def apply(connection: sa.Connection, script: str) -> None:
    """Runs a script of `table_ddl` statements on the back end this database has."""
    timescale = has_timescale(connection)
    head, _, tail = SERIES_MARK.partition("{}")
    for statement in filter(None, (part.strip() for part in script.split(";\n"))):
        if head not in statement:
            connection.execute(sa.text(statement))
            continue
        body, _, rest = statement.partition(head)
        time = rest.removesuffix(tail)
        name = body.split()[2]
        if timescale:
            connection.execute(sa.text(body))
            connection.execute(
                sa.text("SELECT create_hypertable(CAST(:name AS regclass), by_range(:time, INTERVAL '1 month'))"),
                {"name": name, "time": time},
            )
        else:
            connection.execute(sa.text(f'{body} PARTITION BY RANGE ("{time}")'))
            connection.execute(sa.text(f'CREATE INDEX {name}_{time}_brin ON {name} USING brin ("{time}")'))
