"""Member-months from enrolment changes: the weight of every figure a month, retroactive changes included.

Changes are taken in the order in which they happened. An enrolment covers the member from its day on, a termination
ends that from its day on, and an update says what holds of a covered member from its day on: it never covers anybody.
So a retroactive termination ends what was said of later days before it, and a later enrolment begins anew.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from engine.domain.age import civil
from engine.finance.money import FinanceError

ENROLL, UPDATE, TERMINATE = range(3)
ACTIONS = ("enroll", "update", "terminate")
_NONE = -1
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Changes:
    """Enrolment changes, a row each, in any order: whose (a number from 0 on), when it happened (`time_us`, and
    `offset` among those of one instant), the first day it holds since 1970-01-01, what (of ACTIONS), and what is so
    from then on (`about`, a number that the caller gives, such as of a plan in a rating area)."""

    member: Integers
    time_us: Integers
    offset: Integers
    effective: Integers
    action: Integers
    about: Integers

    def known_by(self, time_us: int) -> "Changes":
        """Those that had happened by then."""
        kept = self.time_us <= time_us
        return Changes(*(getattr(self, name)[kept] for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class MemberMonths:
    """Covered days by member, month and `about`: a row each, in that order; months are counted from 1970-01."""

    member: Integers
    month: Integers
    about: Integers
    days: Integers

    def months(self) -> NDArray[np.float64]:
        """Member-months: covered days over the days of the month."""
        first = self.month.astype("M8[M]").astype("M8[D]")
        length = ((self.month + 1).astype("M8[M]").astype("M8[D]") - first).astype(np.float64)
        return np.asarray(self.days / length)

    def by_about(self, numbers: int) -> NDArray[np.float64]:
        """Member-months of each `about` below `numbers`."""
        return np.asarray(np.bincount(self.about, self.months(), minlength=numbers), np.float64)


@njit(cache=True, nogil=True)
def _month_of(day: int) -> int:
    year, month, _ = civil(day)
    return int((year - 1970) * 12 + month - 1)


@njit(cache=True, nogil=True)
def _apply(starts: Integers, abouts: Integers, n: int, effective: int, action: int, about: int) -> int:
    """A change to a member's stretches, each from its start to the next one's; returns how many there are.

    A stretch of `about` _NONE is without cover. The last one has no end.
    """
    at = 0
    while at < n and starts[at] < effective:
        at += 1
    if action != UPDATE:
        starts[at], abouts[at] = effective, about if action == ENROLL else _NONE
        return at + 1
    if at == n or starts[at] != effective:  # what begins earlier goes on from here by itself
        for k in range(n, at, -1):
            starts[k], abouts[k] = starts[k - 1], abouts[k - 1]
        starts[at], abouts[at] = effective, abouts[at - 1] if at > 0 else _NONE
        n += 1
    for k in range(at, n):
        if abouts[k] != _NONE:
            abouts[k] = about
    return n


@njit(cache=True, nogil=True)
def _lay_out(starts: Integers, abouts: Integers, n: int, who: int, first: int, end: int, out: Any, at: int) -> int:
    """Writes a member's covered days from day `first` up to `end` as rows; neighbours of one month and about together.

    Where `out` is empty the rows are counted only. Returns where they end.
    """
    begun = at
    for k in range(n):
        if abouts[k] == _NONE:
            continue
        day, stop = max(starts[k], first), end if k + 1 == n else min(starts[k + 1], end)
        while day < stop:
            month = _month_of(day)
            until = min(stop, _first_of(month + 1))
            if at > begun and out.shape[1] > 0 and out[1, at - 1] == month and out[2, at - 1] == abouts[k]:
                out[3, at - 1] += until - day
            else:
                if out.shape[1] > 0:
                    out[0, at], out[1, at], out[2, at], out[3, at] = who, month, abouts[k], until - day
                at += 1
            day = until
    return at


@njit(cache=True, nogil=True)
def _first_of(month: int) -> int:
    """The day since 1970-01-01 on which a month begins, months since 1970-01."""
    year, of_year = 1970 + month // 12, month % 12 + 1
    from_march = (of_year + 9) % 12
    years = year - (from_march >= 10)
    return years * 365 + years // 4 - years // 100 + years // 400 + (from_march * 306 + 5) // 10 - 719_468


@njit(cache=True, nogil=True)
def _fold(
    member: Integers,
    effective: Integers,
    action: Integers,
    about: Integers,
    order: Integers,
    first: int,
    end: int,
    most: int,
    out: Any,
) -> int:
    """All members' rows; with an empty `out` only how many there may be at most."""
    starts, abouts = np.empty(most, np.int64), np.empty(most, np.int64)
    i, rows = 0, 0
    while i < len(order):
        who, n = member[order[i]], 0
        while i < len(order) and member[order[i]] == who:
            row = order[i]
            n = _apply(starts, abouts, n, effective[row], action[row], about[row])
            i += 1
        rows = _lay_out(starts, abouts, n, who, first, end, out, rows)
    return rows


def member_months(changes: Changes, first_month: int, last_month: int) -> MemberMonths:
    """The covered days of all members in the months from the first to the last, counted from 1970-01.

    Raises FinanceError for an action that is none.
    """
    if len(changes.action) and not (changes.action.min() >= 0 and changes.action.max() < len(ACTIONS)):
        raise FinanceError("action", f"an action is not one of {', '.join(ACTIONS)}")
    order = np.lexsort((changes.offset, changes.time_us, changes.member)).astype(np.int64)
    most = 2 * int(np.bincount(changes.member).max()) + 2 if len(order) else 2
    columns = (changes.member, changes.effective, changes.action, changes.about, order)
    bounds = (int(_first_of(first_month)), int(_first_of(last_month + 1)), most)
    room = _fold(*columns, *bounds, np.empty((4, 0), np.int64))
    out = np.empty((4, room), np.int64)
    rows = _fold(*columns, *bounds, out) if room else 0
    return MemberMonths(*out[:, :rows])
