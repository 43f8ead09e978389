"""A snapshot is due by what replaying would cost beside writing it, and within its bounds."""

from hypothesis import given
from hypothesis import strategies as st

from actors.snapshots import MOST_REPLAYED, Snapshots


def commits_until_due(size: int, records: int, most: int = 500) -> int:
    snapshots = Snapshots(most)
    snapshots.taken(0, size)
    for commits in range(1, 10_000):
        snapshots.add(0, records)
        if snapshots.due(0):
            return commits
    raise AssertionError("never due")


def test_a_large_state_is_written_more_rarely_than_a_small_one() -> None:
    assert commits_until_due(100_000, 10) < commits_until_due(10_000_000, 10) < commits_until_due(50_000_000, 10)


def test_the_bounds_hold_whatever_the_size() -> None:
    assert commits_until_due(10**12, 1) == 500
    assert commits_until_due(10**12, 10_000) == MOST_REPLAYED // 10_000
    assert commits_until_due(0, 1, most=4) == 4


@given(st.integers(0, 10**9), st.integers(0, 100_000), st.integers(0, 100_000))
def test_more_records_are_never_written_later(size: int, few: int, more: int) -> None:
    assert commits_until_due(size, few + more) <= commits_until_due(size, few)


def test_behind_until_the_next_snapshot() -> None:
    snapshots = Snapshots(500)
    snapshots.taken(7, 10)
    assert not snapshots.behind(7)
    snapshots.add(7, 1)
    assert snapshots.behind(7)
    snapshots.taken(7, 10)
    assert not snapshots.behind(7)
