"""Member-months: day by day the same as a calendar kept by hand, whatever is known late or out of order."""

import datetime as dt
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.finance import member_months as module
from engine.finance.member_months import ENROLL, TERMINATE, UPDATE, Changes, member_months
from engine.finance.money import FinanceError

BEGIN = (dt.date(2023, 11, 20) - dt.date(1970, 1, 1)).days
FIRST, LAST = (2024 - 1970) * 12, (2024 - 1970) * 12 + 5

change = st.tuples(
    st.integers(0, 2),
    st.integers(0, 50),
    st.integers(0, 260),
    st.sampled_from([ENROLL, UPDATE, TERMINATE]),
    st.integers(0, 3),
)


def changes_of(rows: list[tuple[int, int, int, int, int]]) -> Changes:
    columns = (
        [np.array(column, np.int64) for column in zip(*rows, strict=True)] if rows else [np.empty(0, np.int64)] * 5
    )
    member, time, effective, action, about = columns
    return Changes(member, time, np.arange(len(rows)), effective + BEGIN, action, about)


def by_hand(rows: list[tuple[int, int, int, int, int]]) -> Counter[tuple[int, int, int]]:
    """A calendar of days by member, in which each change is written down as it happens."""
    calendar: dict[int, dict[int, int | None]] = {}
    for member, _, effective, action, about in sorted(rows, key=lambda row: row[1]):
        days = calendar.setdefault(member, dict.fromkeys(range(BEGIN, BEGIN + 500)))
        for day in range(BEGIN + effective, BEGIN + 500):
            if action == ENROLL:
                days[day] = about
            elif action == TERMINATE:
                days[day] = None
            elif days[day] is not None:
                days[day] = about
    found: Counter[tuple[int, int, int]] = Counter()
    for member, days in calendar.items():
        for day, about in days.items():
            date = dt.date(1970, 1, 1) + dt.timedelta(days=day)
            month = (date.year - 1970) * 12 + date.month - 1
            if about is not None and FIRST <= month <= LAST:
                found[member, month, about] += 1
    return found


def counted(rows: list[tuple[int, int, int, int, int]]) -> Counter[tuple[int, int, int]]:
    got = member_months(changes_of(rows), FIRST, LAST)
    found: Counter[tuple[int, int, int]] = Counter()
    for member, month, about, days in zip(got.member, got.month, got.about, got.days, strict=True):
        found[int(member), int(month), int(about)] += int(days)
    return found


@given(st.lists(change, max_size=10))
@settings(max_examples=300, deadline=None)
def test_days_are_those_of_a_calendar_kept_by_hand(rows: list[tuple[int, int, int, int, int]]) -> None:
    assert counted(rows) == by_hand(rows)


def test_the_kernels_are_their_python(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(1)
    rows = [tuple(map(int, row)) for row in chance.integers(0, (3, 50, 260, 3, 4), (60, 5))]
    compiled = counted(rows)
    for name in ("_fold", "_apply", "_lay_out", "_first_of", "_month_of"):
        monkeypatch.setattr(module, name, getattr(module, name).py_func)
    assert counted(rows) == compiled


def test_a_retroactive_termination_takes_months_back() -> None:
    rows = [(0, 0, 0, ENROLL, 0), (0, 1, 100, UPDATE, 1)]
    before = member_months(changes_of(rows), FIRST, LAST)
    assert before.months().sum() == pytest.approx(6)
    after = member_months(changes_of([*rows, (0, 40, 72, TERMINATE, 0)]), FIRST, LAST)  # known late: from 31 January on
    assert after.months().sum() == pytest.approx(30 / 31) and after.by_about(2).tolist() == pytest.approx([30 / 31, 0])
    known = changes_of([*rows, (0, 40, 72, TERMINATE, 0)]).known_by(39)
    assert member_months(known, FIRST, LAST).months().sum() == pytest.approx(6)


def test_an_update_covers_nobody() -> None:
    assert not counted([(0, 0, 0, UPDATE, 1)])
    assert counted([(0, 0, 0, ENROLL, 0), (0, 1, 60, TERMINATE, 0), (0, 2, 10, UPDATE, 2)]) == {(0, FIRST, 2): 18}


def test_every_month_begins_where_the_calendar_says() -> None:
    months = np.arange(-1200, 2400)
    wanted = months.astype("M8[M]").astype("M8[D]").astype(np.int64)
    assert [module._first_of(int(month)) for month in months] == wanted.tolist()


def test_an_action_that_is_none_is_refused() -> None:
    with pytest.raises(FinanceError, match="not one of enroll, update, terminate"):
        member_months(changes_of([(0, 0, 0, 3, 0)]), FIRST, LAST)
