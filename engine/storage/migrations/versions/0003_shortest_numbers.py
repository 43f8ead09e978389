"""The view `scores` says 23,099.7 where a float32 has kept 23,099.69921875: the fewest decimals that are the same."""

from alembic import op

revision = "0003"
down_revision = "0002"

_NUMBERS = """
CREATE OR REPLACE FUNCTION score_numbers(details bytea, which integer, digits integer) RETURNS float8[]
LANGUAGE sql IMMUTABLE SET extra_float_digits = 1 AS $$
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
                (8388608 + (b & 8388607)) * power(2::float8, (((b >> 23) & 255) - 150)::float8) END
            )::float4::text::numeric, digits)
        END::float8 FROM bits ORDER BY n
    )
$$
"""


def upgrade() -> None:
    """Puts the function in the old one's place; no row is written anew."""
    op.get_bind().exec_driver_sql(_NUMBERS)
