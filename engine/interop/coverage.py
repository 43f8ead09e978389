"""Spans of coverage, as eligibility files have them, into changes of enrolment.

A person's spans may follow one another, overlap, lie within each other (two plans at once) or never end. Covered is
who is covered by any. What is told of the person on a day is what the span says that began last; so a span that ends
while another goes on ends nothing, and leaves what the other says.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

OPEN = date.max
"""The last day of a span that has none."""
_DAY = timedelta(days=1)


@dataclass(frozen=True, order=True, slots=True)
class Span:
    """Coverage from the first day to the last, both included, and what it says of the person."""

    first: date
    last: date
    about: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """A person joins, changes or leaves on a day."""

    action: Literal["enroll", "update", "terminate"]
    effective: date
    about: tuple[str, ...]


def changes(spans: Iterable[Span], horizon: date) -> Iterator[Change]:
    """The changes of one person's enrolment, in order of time.

    Coverage until `horizon`, the last day that the file knows of, or OPEN, is not known to end. Each span's beginning
    is told, whether it changes anything or not; its end only where coverage ends or another span then speaks.
    """
    ordered = sorted(set(spans))
    days = sorted({span.first for span in ordered} | {span.last + _DAY for span in ordered if span.last < OPEN})
    before: Span | None = None
    for day in days:
        covering = [span for span in ordered if span.first <= day <= span.last]
        now = max(covering, default=None)
        if before is None:
            assert now is not None
            yield Change("enroll", day, now.about)
        elif now is None:
            if day <= horizon:
                yield Change("terminate", day, before.about)
        elif any(span.first == day for span in covering) or now.about != before.about:
            yield Change("update", day, now.about)
        before = now
