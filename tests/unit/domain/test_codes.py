import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.domain import codes

SPELLINGS = (
    codes.diagnosis,
    codes.procedure,
    codes.ndc,
    codes.place_of_service,
    codes.bill_type,
    codes.revenue_center,
)


@pytest.mark.parametrize(
    ("spelling", "text", "expected"),
    [
        (codes.diagnosis, "e11.9", "E119"),
        (codes.diagnosis, " I25.2 ", "I252"),
        (codes.diagnosis, "s72.001a", "S72001A"),
        (codes.procedure, "j1885 ", "J1885"),
        (codes.ndc, "00093721410", "00093721410"),
        (codes.ndc, "0093-7214-10", "00093721410"),  # 4-4-2
        (codes.ndc, "50242-040-62", "50242004062"),  # 5-3-2
        (codes.ndc, "60575-4112-1", "60575411201"),  # 5-4-1
        (codes.ndc, "0093721410", "0093721410"),  # ten digits without dashes: which segment is short is not known
        (codes.place_of_service, "2", "02"),
        (codes.place_of_service, "11", "11"),
        (codes.bill_type, "0131", "131"),
        (codes.bill_type, "13i", "13I"),
        (codes.revenue_center, "450", "0450"),
        (codes.revenue_center, "PR10", "PR10"),
    ],
)
def test_one_spelling(spelling: codes.Spelling, text: str, expected: str) -> None:
    assert spelling(text) == expected


@pytest.mark.parametrize("spelling", SPELLINGS)
@given(st.text(max_size=12))
def test_spelling_twice_changes_nothing(spelling: codes.Spelling, text: str) -> None:
    once = spelling(text)
    assert spelling(once) == once
