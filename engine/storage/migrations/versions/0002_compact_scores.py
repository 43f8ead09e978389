"""Score rows of numbers; their words stand once in model_sets, and the view `scores` puts them together.

The layout of `details` is that of engine/storage/score_rows.py. Rows that are stored are carried over: one INSERT
writes each anew, so the migration takes as long as reading and writing the history once, and its space until then.
"""

from pathlib import Path
from typing import cast

import psycopg
from alembic import op

from engine.storage import schema
from engine.storage.months import ensure_months

revision = "0002"
down_revision = "0001"

_LISTS = ("components", "risk_factors", "hccs", "interventions")

_READERS = """
CREATE FUNCTION score_words(details bytea, list integer, words text[]) RETURNS text[]
LANGUAGE sql IMMUTABLE AS $$
    WITH RECURSIVE lists (list, at) AS (
        SELECT 0, 0 UNION ALL SELECT lists.list + 1, at + 1 + get_byte(details, at) FROM lists WHERE lists.list < $2
    )
    SELECT ARRAY(
        SELECT words[1 + get_byte(details, at + i)] FROM generate_series(1, get_byte(details, at)) AS i ORDER BY i
    ) FROM lists WHERE lists.list = $2
$$;
COMMENT ON FUNCTION score_words IS 'Words of a list in the details of a score row: 0 components, 1 risk factors, ..';
CREATE FUNCTION score_numbers(details bytea, which integer, digits integer) RETURNS float8[]
LANGUAGE sql IMMUTABLE AS $$
    WITH bits AS (
        SELECT n, get_byte(details, at) * 16777216::bigint + get_byte(details, at + 1) * 65536
            + get_byte(details, at + 2) * 256 + get_byte(details, at + 3) AS b
        FROM generate_series(1, get_byte(details, 1 + get_byte(details, 0))) AS n,
            LATERAL (SELECT length(details) - 8 * get_byte(details, 1 + get_byte(details, 0)) + 8 * (n - 1) + 4 * which
                AS at) AS place
    )
    SELECT ARRAY(
        SELECT CASE
            WHEN (b >> 23) & 255 = 255 THEN NULL
            ELSE round((CASE WHEN b >> 31 = 1 THEN -1 ELSE 1 END * CASE WHEN (b >> 23) & 255 = 0 THEN 0 ELSE
                (8388608 + (b & 8388607)) * power(2::float8, (((b >> 23) & 255) - 150)::float8) END)::numeric, digits)
        END::float8 FROM bits ORDER BY n
    )
$$;
COMMENT ON FUNCTION score_numbers IS 'Of each risk factor in the details of a score row: 0 dollars, 1 values';
"""

_VIEW = """
CREATE VIEW scores AS SELECT s.member_id, s.as_of, s.score,
    (ARRAY['Insufficient data', 'Low', 'Moderate', 'High', 'Critical'])[s.category + 2] AS category,
    s.predicted_cost, s.cost_lower_90, s.cost_upper_90, nullif(s.news2, -1) AS news2, {},
    score_numbers(s.details, 0, 2) AS factor_dollars, score_numbers(s.details, 1, 3) AS factor_values,
    m.model_version, s.partition, s.seq, s.scored_at
FROM score_rows AS s JOIN model_sets AS m USING (model_set)
""".format(", ".join(f"score_words(s.details, {i}, m.{name}) AS {name}" for i, name in enumerate(_LISTS)))

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
        f"ARRAY(SELECT DISTINCT w FROM scores AS s, unnest(s.{name}) AS w "
        "WHERE s.model_version = v.model_version ORDER BY w)"
        for name in _LISTS
    ),
    "SELECT DISTINCT model_version FROM scores ORDER BY 1",
)

_ROWS = """
INSERT INTO score_rows (as_of, score, predicted_cost, cost_lower_90, cost_upper_90, seq, scored_at, category, news2,
    model_set, partition, member_id, details)
SELECT s.as_of, s.score, s.predicted_cost, s.cost_lower_90, s.cost_upper_90, s.seq, s.scored_at,
    coalesce(array_position('{{Low,Moderate,High,Critical}}'::text[], s.category), 0) - 1, coalesce(s.news2, -1),
    m.model_set, s.partition, s.member_id,
    {} || pg_temp.packed(s.factor_dollars, s.factor_values)
FROM scores AS s JOIN model_sets AS m USING (model_version)
""".format(" || ".join(f"pg_temp.packed(s.{name}, m.{name})" for name in _LISTS))

_MONTHS = "SELECT DISTINCT extract(year FROM m) * 12 + extract(month FROM m) - 1 - 1970 * 12 FROM " + (
    "(SELECT date_trunc('month', as_of AT TIME ZONE 'UTC') AS m FROM scores) AS s"
)


def upgrade() -> None:
    """Makes the new tables, with the months that are stored; writes each row anew; puts the view in the old place."""
    bind = op.get_bind()
    schema.apply(bind, Path(__file__).with_suffix(".sql").read_text())
    months = [int(month) for (month,) in bind.exec_driver_sql(_MONTHS).fetchall()]
    connection = cast("psycopg.Connection[tuple[object, ...]]", bind.connection.driver_connection)
    ensure_months(connection, "score_rows", sorted(months))
    for statement in (_PACKERS, _SETS, _ROWS, "DROP TABLE scores", _READERS, _VIEW):
        connection.execute(statement)
