"""What events of version 2 say: adjustments, dates, who gave the care; plans and markets; the clocks of readings.

A continuous aggregate of readings is made anew, so that readings taken back leave its sums; the next `vitanexus series
keep` fills it.
"""

from alembic import op

from engine.storage import schema

revision = "0007"
down_revision = "0006"

_SIGNED = {"sign": "smallint", "adjusts": "text", "revision": "smallint"}
_MARKET = {
    "state": "text",
    "rating_area": "text",
    "plan_id": "text",
    "metal": "text CHECK (metal IN ('platinum', 'gold', 'silver', 'bronze', 'catastrophic'))",
    "csr_variant": "smallint",
    "subscriber_id": "text",
}
_ADDED = {
    "members": _MARKET,
    "enrollment_changes": _MARKET,
    "claims": {
        "status": "text CHECK (status IN ('accepted', 'priced', 'paid', 'denied'))",
        "received_date": "date",
        "through_date": "date",
        "paid_date": "date",
        "units": "double precision",
        "modifiers": "text[]",
        "rendering_id": "text",
        "taxonomy": "text",
        "drg": "text",
        "discharge_status": "text",
        "frequency_code": "text",
        **_SIGNED,
    },
    "pharmacy_fills": {"paid_date": "date", **_SIGNED},
    "lab_results": _SIGNED,
    "readings": {"utc_offset_min": "smallint", **_SIGNED},
}
_AGGREGATE = """
CREATE MATERIALIZED VIEW readings_daily WITH (timescaledb.continuous) AS
SELECT time_bucket(INTERVAL '1 day', time) AS day, member_id, metric, sum(coalesce(sign, 1)) AS readings,
    sum(value * coalesce(sign, 1)) AS total, min(value) AS lowest, max(value) AS highest
FROM readings GROUP BY 1, 2, 3 HAVING sum(coalesce(sign, 1)) > 0 WITH NO DATA
"""


def upgrade() -> None:
    """The columns, all of which may be null; a line that is not priced has no paid amount."""
    for table, columns in _ADDED.items():
        op.execute(f"ALTER TABLE {table} " + ", ".join(f"ADD COLUMN {name} {sql}" for name, sql in columns.items()))
    for table in ("claims", "pharmacy_fills"):
        op.execute(f"ALTER TABLE {table} ALTER COLUMN paid_cents DROP NOT NULL")
    if schema.has_policies(op.get_bind()):
        op.execute("DROP MATERIALIZED VIEW readings_daily")
        op.execute(_AGGREGATE)
