"""The size of a micro-batch follows what was committed within the target time, and stays within its bounds."""

from hypothesis import given
from hypothesis import strategies as st

from actors.pace import Pace


def settle(rate: float, behind: int = 0, most: int = 200_000, target: float = 0.5) -> int:
    """Where the pace comes to rest when `rate` records a second are committed of full batches with `behind` more."""
    pace = Pace(most, target, 2.0)
    for _ in range(40):
        pace.took(pace.records, pace.records / rate, behind)
    return pace.records


def test_full_batches_take_the_target_time() -> None:
    assert 45_000 < settle(100_000) < 55_000
    assert settle(10_000_000) == 200_000
    assert settle(1) == 500


def test_a_shard_that_is_behind_works_to_the_longer_time() -> None:
    assert 180_000 < settle(100_000, behind=10**6) <= 200_000
    assert 45_000 < settle(100_000, behind=10_000) < 55_000


def test_a_batch_that_was_not_full_says_nothing() -> None:
    pace = Pace(200_000, 0.5, 2.0)
    before = pace.records
    pace.took(10, 0.001, 0)
    assert pace.records == before
    pace.took(10, 5.0, 0)
    assert pace.records < before


@given(st.lists(st.tuples(st.integers(0, 10**6), st.floats(0, 100), st.integers(0, 10**7)), max_size=50))
def test_the_size_stays_within_its_bounds(batches: list[tuple[int, float, int]]) -> None:
    pace = Pace(200_000, 0.5, 2.0)
    for records, seconds, behind in batches:
        pace.took(records, seconds, behind)
        assert 500 <= pace.records <= 200_000
