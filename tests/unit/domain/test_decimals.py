"""Amounts that were kept as float32 are read as they were written."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.domain.decimals import shortest


@given(st.integers(-13_107_200, 13_107_200), st.integers(-8_192_000, 8_192_000))
def test_cents_and_thousandths_come_back(cents: int, thousandths: int) -> None:
    assert shortest(np.array([cents / 100], np.float32), 2).tolist() == [cents / 100]
    assert shortest(np.array([thousandths / 1000], np.float32), 3).tolist() == [thousandths / 1000]


def test_no_more_decimals_than_a_number_was_written_with() -> None:
    kept = np.array([[23_099.7, 88_123.7], [300_000.05, np.nan]], np.float32)
    found = shortest(kept, 3)
    assert found[0].tolist() == [23_099.7, 88_123.7]
    assert found[1, 0] == 300_000.06  # what a float32 carries of it
    assert np.isnan(found[1, 1])
