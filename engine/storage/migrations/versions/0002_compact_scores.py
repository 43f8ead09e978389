"""Score rows of numbers; their words stand once in model_sets. Rows that are stored are carried over.

The layout of `details` is that of engine/storage/score_rows.py. One INSERT writes every row, so the migration takes as
long as reading and writing the score history once, and its space until it is done.
"""

from pathlib import Path
from typing import cast

import psycopg
from alembic import op

from engine.storage import schema

revision = "0002"
down_revision = "0001"

_LISTS = ("components", "risk_factors", "hccs", "interventions")

_PACKERS = """
CREATE FUNCTION pg_temp.packed(items text[], words text[]) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT set_byte('\\x00'::bytea, 0, count(*)::integer)
        || coalesce(string_agg(set_byte('\\x00'::bytea, 0, array_position(words, item) - 1), ''::bytea ORDER BY n), '')
    FROM unnest(items) WITH ORDINALITY AS i(item, n)
$$;
CREATE FUNCTION pg_temp.packed(dollars float8[], amounts float8[]) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(string_agg(
        float4send(coalesce(d, 'NaN')::real) || float4send(coalesce(v, 'NaN')::real), ''::bytea ORDER BY n), '')
    FROM unnest(dollars, amounts) WITH ORDINALITY AS i(d, v, n)
$$;
"""

_SETS = "INSERT INTO model_sets (model_version, {}) SELECT v.model_version, {} FROM ({}) AS v".format(
    ", ".join(_LISTS),
    ", ".join(
        f"ARRAY(SELECT DISTINCT w FROM scores_in_words AS s, unnest(s.{name}) AS w "
        "WHERE s.model_version = v.model_version ORDER BY w)"
        for name in _LISTS
    ),
    "SELECT DISTINCT model_version FROM scores_in_words ORDER BY 1",
)

_ROWS = """
INSERT INTO scores (as_of, score, predicted_cost, cost_lower_90, cost_upper_90, seq, scored_at, category, news2,
    model_set, partition, member_id, details)
SELECT s.as_of, s.score, s.predicted_cost, s.cost_lower_90, s.cost_upper_90, s.seq, s.scored_at,
    coalesce(array_position('{{Low,Moderate,High,Critical}}'::text[], s.category), 0) - 1, coalesce(s.news2, -1),
    m.model_set, s.partition, s.member_id,
    {} || pg_temp.packed(s.factor_dollars, s.factor_values)
FROM scores_in_words AS s JOIN model_sets AS m USING (model_version)
""".format(" || ".join(f"pg_temp.packed(s.{name}, m.{name})" for name in _LISTS))

_MONTHS = "SELECT DISTINCT extract(year FROM m) * 12 + extract(month FROM m) - 1 - 1970 * 12 FROM " + (
    "(SELECT date_trunc('month', as_of AT TIME ZONE 'UTC') AS m FROM scores_in_words) AS s"
)


def upgrade() -> None:
    """Sets the old table aside, makes the new one and its months, and writes every row anew."""
    bind = op.get_bind()
    indexes = "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'scores'::regclass"
    for (index,) in bind.exec_driver_sql(indexes).fetchall():
        bind.exec_driver_sql(f"DROP INDEX {index}")
    children = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'scores'::regclass"
    if not schema.has_timescale(bind):  # the months of the new table take these names
        for (month,) in bind.exec_driver_sql(children).fetchall():
            bind.exec_driver_sql(f"ALTER TABLE {month} RENAME TO {month}_in_words")
    bind.exec_driver_sql("ALTER TABLE scores RENAME TO scores_in_words")
    schema.apply(bind, Path(__file__).with_suffix(".sql").read_text())
    months = [int(month) for (month,) in bind.exec_driver_sql(_MONTHS).fetchall()]
    connection = cast("psycopg.Connection[tuple[object, ...]]", bind.connection.driver_connection)
    schema.ensure_months(connection, "scores", sorted(months))
    for statement in (_PACKERS, _SETS, _ROWS, "DROP TABLE scores_in_words"):
        connection.execute(statement)
