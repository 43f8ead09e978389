"""A month in the life of the synthetic population, as events: the business's MVP load, made up but not made
easy.

Everyone enrolls, then day by day and in event-time order come wearable readings, claims, fills, laboratory
results and self reports, with a small share of duplicates and of readings that cannot be. Each draw is a
function of (seed, purpose, member index) as in engine.domain.population, so that a member's readings are
the same in a population of any size and at any rate of faults. Claims, fills, blood draws and reports are
counted for the population and shared out over it.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from engine.domain.events import LINES_OF_BUSINESS, READING, REGIONS, SCHEMA_VERSION, SourceEvent
from engine.domain.metrics import METRIC_INDEX, METRICS
from engine.domain.population import SEXES, Floats, Ints, Population, normals, uniforms
from engine.errors import InvalidRecordError
from engine.interop import encounters
from engine.interop.shape import MS_PER_DAY, day_ms, enrollment

SOURCE = "synthetic"
_CHUNK = 20_000
_MINUTE = 60_000
_CLOCK = 5 * _MINUTE  # members' devices report up to this much after the minute of the schedule

# (metric, minute of the day), the first as many as there are readings a day; steps are sums since the last
_SCHEDULE: tuple[tuple[str, int], ...] = (
    ("steps", 780),
    ("steps", 1290),
    ("resting_heart_rate", 425),
    ("sleep_minutes", 420),
    ("heart_rate", 870),
    ("hrv_rmssd", 430),
    ("spo2", 435),
    ("active_minutes", 1296),
    ("respiratory_rate", 440),
    ("body_temperature", 1110),
    ("sedentary_minutes", 1302),
    ("calories", 1308),
    ("weight", 446),
    ("systolic_bp", 452),
    ("diastolic_bp", 458),
    ("glucose", 464),
)
MOST_READINGS = 100
# Spread of a member's days about their own mean: of its logarithm, or in the metric's unit
_SPREAD_OF_LOG = {
    "steps": 0.35,
    "active_minutes": 0.5,
    "sedentary_minutes": 0.08,
    "calories": 0.1,
    "sleep_minutes": 0.15,
    "hrv_rmssd": 0.15,
}
_STEPS_OF_PART = 0.15  # and of the logarithm of each part of a day's steps
_SPREAD = {
    "heart_rate": 8.0,
    "resting_heart_rate": 1.8,
    "spo2": 0.7,
    "respiratory_rate": 0.8,
    "body_temperature": 0.15,
    "weight": 0.4,
    "systolic_bp": 7.0,
    "diastolic_bp": 5.0,
    "glucose": 15.0,
}
_DECIMALS = {"hrv_rmssd": 1, "spo2": 1, "respiratory_rate": 1, "body_temperature": 1, "weight": 1}

Fields = dict[str, object]


@dataclass(slots=True)
class Tally:
    """What a month has yielded so far; pass it to `month` to know. `good` counts sound events by kind,
    first copies only, `invalid` those that cannot be used by the fault put in."""

    good: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    invalid: Counter[str] = field(default_factory=Counter)

    @property
    def events(self) -> int:
        """All events yielded: good + duplicates + invalid."""
        return self.good.total() + self.duplicates + self.invalid.total()


def _spoil(**wrong: object) -> Callable[[Fields], Fields]:
    return lambda fields: fields | wrong


def _lose_unit(fields: Fields) -> Fields:
    return {name: value for name, value in fields.items() if name != "unit"}


def _a_century_on(fields: Fields) -> Fields:
    time = fields["time"]
    assert isinstance(time, int)
    return fields | {"time": time + 36_525 * MS_PER_DAY}


FAULTS: tuple[tuple[str, Callable[[Fields], Fields]], ...] = (
    ("impossible value", _spoil(metric="heart_rate", value=900.0, unit="bpm")),
    ("unknown unit", _spoil(unit="furlong")),
    ("unknown metric", _spoil(metric="aura")),
    ("not a number", _spoil(value="n/a")),
    ("missing unit", _lose_unit),
    ("unknown member", _spoil(member_id="X0000000")),
    ("future time", _a_century_on),
)
"""Name of each fault and what it does to the fields of a sound reading."""


def month(
    population: Population,
    start: date,
    *,
    days: int = 30,
    readings_per_day: int = 10,
    claims: int = 1_000,
    fills: int | None = None,
    labs: int | None = None,
    self_reports: int | None = None,
    duplicate_rate: float = 0.002,
    invalid_rate: float = 0.000_5,
    tally: Tally | None = None,
) -> Iterator[SourceEvent]:
    """Events of `days` days from `start` (UTC): enrollments at its midnight, then each day's events by time.

    Each member sends exactly `readings_per_day` sound readings a day. `claims` counts claims of one line
    each, `fills` prescriptions (one a member unless given), `labs` blood draws with a result of every
    laboratory test (one for five members), `self_reports` questionnaires (one for four members). Beside
    every reading an impossible one follows with probability `invalid_rate`; any event but an enrollment is
    sent again at the end of its day with probability `duplicate_rate`. A count, rate or start out of range
    raises InvalidRecordError, before anything is yielded.
    """
    n = len(population)
    counts = {
        "claims": claims,
        "fills": n if fills is None else fills,
        "labs": n // 5 if labs is None else labs,
        "self_reports": n // 4 if self_reports is None else self_reports,
    }
    _check(
        population,
        start,
        days,
        readings_per_day,
        counts,
        {"duplicate": duplicate_rate, "invalid": invalid_rate},
    )
    return _month(
        _Feed(population, readings_per_day, invalid_rate, duplicate_rate, Tally() if tally is None else tally),
        start,
        encounters.draw(population, start, days, counts),
        days,
    )


def _check(
    population: Population,
    start: date,
    days: int,
    readings_per_day: int,
    counts: dict[str, int],
    rates: dict[str, float],
) -> None:
    if start < population.as_of:
        raise InvalidRecordError(
            "out_of_range",
            "start",
            f"start {start} is before {population.as_of}, the day the population is as of",
        )
    bounds: list[tuple[str, float, float, float]] = [
        ("days", days, 1, 3660),
        ("readings_per_day", readings_per_day, 0, MOST_READINGS),
    ]
    bounds += [(name, count, 0, 10**9 if len(population) else 0) for name, count in counts.items()]
    bounds += [(f"{name}_rate", rate, 0, 1) for name, rate in rates.items()]
    for name, value, low, high in bounds:
        if not low <= value <= high:
            raise InvalidRecordError("out_of_range", name, f"{name} {value} is not between {low} and {high}")


@dataclass(slots=True)
class _Feed:
    """The population's devices: who reads what at which minute, and how often they fail."""

    population: Population
    readings_per_day: int
    invalid_rate: float
    duplicate_rate: float
    tally: Tally
    members: list[str] = field(init=False)
    slots: tuple[tuple[str, int], ...] = field(init=False)
    offsets: Ints = field(init=False)
    order: NDArray[np.intp] = field(init=False)

    def __post_init__(self) -> None:
        self.members = self.population.member_id.tolist()
        self.slots = schedule(self.readings_per_day)
        clock = (uniforms(self.population.seed, "clock", len(self.members)) * _CLOCK).astype(np.int64)
        minutes = np.array([minute for _, minute in self.slots], dtype=np.int64)
        offsets = (minutes * _MINUTE + clock).ravel()
        self.order = np.argsort(offsets, kind="stable")
        self.offsets = offsets[self.order]


def schedule(readings_per_day: int) -> tuple[tuple[str, int], ...]:
    """Metric and minute of the day of each of a day's readings; past the schedule, heart rate."""
    extra = max(0, readings_per_day - len(_SCHEDULE))
    more = tuple(("heart_rate", 480 + i * 780 // extra) for i in range(extra))
    return (_SCHEDULE + more)[:readings_per_day]


def _month(feed: _Feed, start: date, plan: encounters.Plan, days: int) -> Iterator[SourceEvent]:
    for event in _enrollments(feed.population, start):
        feed.tally.good[event.kind.name] += 1
        yield event
    for number in range(days):
        day = start + timedelta(days=number)
        again: list[SourceEvent] = []
        midnight, at = day_ms(day), 0
        readings = _readings(feed, day, _values(feed, day), again)
        encountered = list(plan.events(number))
        retry = uniforms(feed.population.seed, f"duplicate encounter {day}", len(encountered))[:, 0]
        for event, u in zip(encountered, retry.tolist(), strict=True):
            time = event.fields["time"]
            assert isinstance(time, int)
            until = int(np.searchsorted(feed.offsets, time - midnight, side="right"))
            yield from readings(at, until)
            at = max(at, until)
            feed.tally.good[event.kind.name] += 1
            if u < feed.duplicate_rate:
                again.append(event)
            yield event
        yield from readings(at, len(feed.offsets))
        for event in again:
            feed.tally.duplicates += 1
            yield event


def _enrollments(population: Population, start: date) -> Iterator[SourceEvent]:
    births = np.datetime_as_string(population.birth_date).tolist()
    policies, cohorts = population.policy_id.tolist(), population.cohort_id.tolist()
    for i, member in enumerate(population.member_id.tolist()):
        yield enrollment(
            SOURCE,
            f"enroll-{member}",
            member,
            action="enroll",
            effective_date=start,
            birth_date=births[i],
            sex=SEXES[population.sex[i]],
            region=REGIONS[population.region[i]],
            line_of_business=LINES_OF_BUSINESS[population.line_of_business[i]],
            policy_id=policies[i],
            cohort_id=cohorts[i],
        )


def _values(feed: _Feed, day: date) -> Floats:
    """The day's values, shape (members, readings a day): the member's mean and the day's draw, rounded."""
    population, slots = feed.population, feed.slots
    n = len(population)
    draws = normals(population.seed, f"reading {day}", n, max(1, len(slots)))
    walk = normals(population.seed, f"steps {day}", n)[:, 0]
    parts = sum(metric == "steps" for metric, _ in slots)
    values = np.empty((n, len(slots)))
    for k, (metric, _) in enumerate(slots):
        index = METRIC_INDEX[metric]
        mean, bounds = population.baseline[:, index], METRICS[index]
        sigma = _SPREAD_OF_LOG.get(metric, 0.0)
        if metric == "steps":
            spread = (sigma**2 + _STEPS_OF_PART**2) / 2
            value = mean * np.exp(sigma * walk + _STEPS_OF_PART * draws[:, k] - spread) / parts
        elif sigma:
            value = mean * np.exp(sigma * draws[:, k] - sigma**2 / 2)
        else:
            value = mean + _SPREAD[metric] * draws[:, k]
        values[:, k] = np.round(np.clip(value, bounds.low, bounds.high), _DECIMALS.get(metric, 0))
    return values


def _readings(
    feed: _Feed, day: date, values: Floats, again: list[SourceEvent]
) -> Callable[[int, int], Iterator[SourceEvent]]:
    """A function that yields the day's readings from one place of its time order up to another."""
    seed, shape, width = feed.population.seed, values.shape, max(1, values.shape[1])
    fault = uniforms(seed, f"fault {day}", shape[0], width)[:, : shape[1]].ravel()[feed.order]
    retry = uniforms(seed, f"duplicate {day}", shape[0], width)[:, : shape[1]].ravel()[feed.order]
    flat, midnight, stamp = values.ravel(), day_ms(day), day.strftime("%Y%m%d")
    heads = [(metric, METRICS[METRIC_INDEX[metric]].unit) for metric, _ in feed.slots]
    members = feed.members

    def upto(first: int, last: int) -> Iterator[SourceEvent]:
        for low in range(first, last, _CHUNK):
            cut = slice(low, min(low + _CHUNK, last))
            who, what = np.divmod(feed.order[cut], width)
            times = (feed.offsets[cut] + midnight).tolist()
            events = [
                _event(members[i], f"r-{members[i]}-{stamp}-{k}", time, heads[k], value)
                for i, k, time, value in zip(
                    who.tolist(), what.tolist(), times, flat[feed.order[cut]].tolist(), strict=True
                )
            ]
            faulty = np.flatnonzero(fault[cut] < feed.invalid_rate).tolist()
            again.extend(events[j] for j in np.flatnonzero(retry[cut] < feed.duplicate_rate).tolist())
            feed.tally.good[READING.name] += len(events)
            at = 0
            for j in faulty:
                yield from events[at : j + 1]
                yield _faulty(feed, events[j], fault[low + j])
                at = j + 1
            yield from events[at:]

    return upto


def _event(member: str, event_id: str, time: int, head: tuple[str, str], value: float) -> SourceEvent:
    metric, unit = head
    return SourceEvent(
        READING,
        {
            "v": SCHEMA_VERSION,
            "event_id": event_id,
            "source": SOURCE,
            "member_id": member,
            "time": time,
            "metric": metric,
            "value": value,
            "unit": unit,
        },
    )


def _faulty(feed: _Feed, event: SourceEvent, u: float) -> SourceEvent:
    """A spoilt copy of a reading under an id of its own; which fault is where u falls below the rate."""
    name, spoil = FAULTS[min(int(u / feed.invalid_rate * len(FAULTS)), len(FAULTS) - 1)]
    feed.tally.invalid[name] += 1
    return SourceEvent(READING, spoil(event.fields) | {"event_id": f"x{event.fields['event_id']}"})
