"""What the readers of wearable files share: enrollments first, then the readings as they happened."""

from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter

from engine.domain.events import SourceEvent
from engine.interop.demographics import Known, SyntheticDemographics
from engine.interop.shape import day_of, reading

Reading = tuple[int, str, str, float | str]
"""Milliseconds since 1970-01-01 UTC, person as the file names them, metric, value."""


def stream(
    source: str,
    readings: Iterable[Reading],
    known: Mapping[str, Known],
    demographics: SyntheticDemographics,
) -> Iterator[SourceEvent]:
    """One enrollment a person, from the day of the first reading, then every reading in event-time order.

    The files are ordered by person, a live feed by time. The rows are therefore held as tuples and sorted,
    some 200 bytes a reading; events are made one at a time. Readings of one instant keep the order of the
    files. The id of a reading is made of metric, person and time, which names the file's row: a row that
    the file repeats repeats its id.
    """
    ordered = sorted(readings, key=itemgetter(0))
    first: dict[str, int] = {}
    for time, person, _, _ in ordered:
        first.setdefault(person, time)
    for person, time in first.items():
        yield demographics.enroll(f"{source}-{person}", known.get(person, Known()), day_of(time))
    for time, person, metric, value in ordered:
        yield reading(source, f"{metric}-{person}-{time}", f"{source}-{person}", time, metric, value)
