import datetime as dt

import pytest

from serve_apps.records import record_of
from serve_apps.scoring import ScoreRequest

NOON = dt.datetime(2026, 11, 27, 12, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("born", "years"), [("1961-11-26", 65), ("1961-11-27", 65), ("1961-11-28", 64), ("2025-11-27", 1)]
)
def test_a_year_of_age_is_completed_on_the_birthday(born: str, years: int) -> None:
    record = record_of(ScoreRequest.model_validate({"birth_date": born, "sex": "female"}), NOON)
    assert record.features["age"] == years


def test_codes_have_one_spelling() -> None:
    body = {"birth_date": "1961-11-27", "sex": "female", "diagnoses": ["e11.9", "I25.2", "i509"]}
    assert list(record_of(ScoreRequest.model_validate(body), NOON).diagnoses) == ["E119", "I252", "I509"]
