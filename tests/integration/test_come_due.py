"""Predictions that have come due, against claims and fills that stand in the database."""

import datetime as dt

import psycopg

from engine.storage.queries import Queries

DAY = dt.date(2024, 1, 10)


def test_a_prediction_is_held_against_the_year_after_it(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        for month in ("2023-01-01", "2024-01-01", "2024-12-01"):
            first = dt.date.fromisoformat(month)
            last = (first + dt.timedelta(days=40)).replace(day=1)
            connection.execute(
                f"CREATE TABLE score_rows_{first:%Y_%m} PARTITION OF score_rows "
                f"FOR VALUES FROM ('{first}') TO ('{last}')"
            )

        def score(member: str, as_of: str, seq: int, cost: float | None) -> None:
            connection.execute(
                "INSERT INTO score_rows (member_id, as_of, score, category, predicted_cost, cost_lower_90, "
                "cost_upper_90, news2, model_set, partition, details, seq) "
                "VALUES (%s, %s, 50, 1, %s, %s, %s, -1, 1, 1, '\\x00000000', %s)",
                (member, f"{as_of}T12:00:00Z", cost, cost and cost / 2, cost and cost * 2, seq),
            )

        def claim(member: str, offset: int, date: str, paid: int, allowed: int | None) -> None:
            connection.execute(
                "INSERT INTO claims (event_id, source, member_id, time, claim_id, line, claim_type, service_date, "
                "diagnoses, paid_cents, allowed_cents, partition, kafka_offset) "
                "VALUES (%s, 't', %s, %s, 'c', 1, 'professional', %s, '{}', %s, %s, 1, %s)",
                (str(offset), member, f"{date}T00:00:00Z", date, paid, allowed, offset),
            )

        score("a", "2023-01-10", 1, 100.0)  # an older one that has come due as well
        score("a", "2024-01-10", 2, 900.0)
        score("a", "2024-12-20", 3, 5.0)  # not due
        score("b", "2024-01-10", 4, 70.0)
        score("c", "2024-01-10", 5, None)  # insufficient data
        claim("a", 1, "2024-01-10", 77_00, None)  # known then
        claim("a", 2, "2024-01-11", 200_00, 300_00)
        claim("a", 3, "2025-01-09", 50_00, None)  # the 365th day
        claim("a", 4, "2025-01-10", 9_999_00, None)
        connection.execute(
            "INSERT INTO pharmacy_fills (event_id, source, member_id, time, claim_id, line, ndc, fill_date, quantity, "
            "paid_cents, partition, kafka_offset) "
            "VALUES ('f', 't', 'a', '2024-06-01', 'p', 1, '00000000000', '2024-06-01', 30, 1234, 1, 9)"
        )
    assert (DAY + dt.timedelta(days=365)).isoformat() == "2025-01-09"
    found = sorted(zip(*Queries(database, pool_size=1).predictions_that_have_come_due(), strict=True))
    assert found == [(0.0, 70.0, 35.0, 140.0), (362.34, 900.0, 450.0, 1800.0)]
