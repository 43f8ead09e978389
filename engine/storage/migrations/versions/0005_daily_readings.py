"""Readings by day: a continuous aggregate of TimescaleDB's own licence, otherwise a table and the days that are due.

Readings that are stored are summed up by the first `vitanexus series keep`, which takes as long as reading them once.
"""

from pathlib import Path

from alembic import op

from engine.storage import schema

revision = "0005"
down_revision = "0004"

_DUE = """
CREATE TABLE rollups_due (
    "series" text NOT NULL,
    "day" timestamptz NOT NULL
)
"""
_STORED = """
INSERT INTO rollups_due (series, day)
SELECT DISTINCT 'readings', date_trunc('day', time, 'UTC') FROM readings
"""
_AGGREGATE = """
CREATE MATERIALIZED VIEW readings_daily WITH (timescaledb.continuous) AS
SELECT time_bucket(INTERVAL '1 day', time) AS day, member_id, metric, count(*) AS readings, sum(value) AS total,
    min(value) AS lowest, max(value) AS highest
FROM readings GROUP BY 1, 2, 3 WITH NO DATA
"""


def upgrade() -> None:
    """The aggregate, or the tables."""
    connection = op.get_bind()
    op.execute(_DUE)
    if schema.has_policies(connection):
        op.execute(_AGGREGATE)
    else:
        schema.apply(connection, Path(__file__).with_suffix(".sql").read_text())
        op.execute(_STORED)
