import datetime as dt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.domain.age import completed_years

DAYS = st.dates(dt.date(1880, 1, 1), dt.date(2100, 1, 1))


@pytest.mark.parametrize(
    ("born", "on", "years"),
    [
        ("1961-11-27", "2026-11-27", 65),  # 23,741 days; by 365.25 days a year 64
        ("1961-11-26", "2026-11-27", 65),
        ("1961-11-28", "2026-11-27", 64),
        ("2025-03-01", "2026-03-01", 1),  # 365 days
        ("2024-02-29", "2025-02-28", 0),
        ("2024-02-29", "2025-03-01", 1),
        ("2024-02-29", "2028-02-29", 4),
        ("1969-12-31", "1969-12-31", 0),
        ("1960-01-31", "2026-02-01", 66),
    ],
)
def test_a_year_is_completed_as_the_birthday_begins(born: str, on: str, years: int) -> None:
    assert completed_years(dt.date.fromisoformat(born), dt.date.fromisoformat(on)) == years


@given(DAYS, DAYS)
def test_the_calendar_says_the_same(born: dt.date, on: dt.date) -> None:
    expected = on.year - born.year - ((on.month, on.day) < (born.month, born.day))
    assert completed_years(born, on) == expected
    many = completed_years(np.array([born, on], "M8[D]"), np.array([on, on], "M8[D]"))
    assert many.tolist() == [expected, 0]
