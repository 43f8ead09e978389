"""The events of a schedule: a few members of a synthetic population, with what producers do to them."""

import datetime as dt
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import msgspec

from engine.domain.events import AMOUNTS, CLAIM, ENROLLMENT, LAB, PHARMACY, READING, SCORING_COMMAND, SourceEvent
from engine.domain.population import Population
from engine.errors import InvalidRecordError
from engine.interop.synthetic import month
from engine.streams.codec import decode
from engine.streams.topics import partition_of

START = dt.date(2024, 3, 1)
AS_OF_MS = int(dt.datetime(2024, 4, 1, tzinfo=dt.UTC).timestamp() * 1000)
_SIGNED = (CLAIM, PHARMACY, LAB, READING)
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Produced:
    """A record to be produced; a payload of None is a null value, and `marker` an offset without a record."""

    topic: str
    partition: int
    payload: bytes | None
    marker: bool = False


@cache
def _pool() -> dict[int, dict[str, list[SourceEvent]]]:
    """Events by partition and member, each member's enrolment first."""
    population = Population.generate(20240301, 300, START)
    pool: dict[int, dict[str, list[SourceEvent]]] = defaultdict(lambda: defaultdict(list))
    for event in month(population, START, days=4, claims=900, duplicate_rate=0.0, invalid_rate=0.02):
        pool[partition_of(event.member_id)][event.member_id].append(event)
    return {partition: dict(members) for partition, members in pool.items() if len(members) >= 3}


def partitions(chance: random.Random) -> list[int]:
    """The partitions that the schedule uses."""
    return sorted(chance.sample(sorted(_pool()), chance.randint(2, 4)))


def workload(chance: random.Random, used: list[int]) -> list[Produced]:
    """What producers send, in order: of most members the enrolment before anything else, the rest in any order.

    Some enrolments are late, among the member's other events or after them all, and some never come.
    """
    streams: list[Iterator[SourceEvent]] = []
    for partition in used:
        members = _pool()[partition]
        for member in chance.sample(sorted(members), chance.randint(1, 3)):
            enrolment, *others = members[member]
            rest = chance.sample(others, min(len(others), chance.randint(5, 25)))
            rest += [_changed(enrolment, chance, i) for i in range(chance.choice([0, 0, 1, 2]))]
            chance.shuffle(rest)
            _correct(rest, chance)
            enrolled = chance.choice(["first", "first", "late", "last", "never"])
            at = {"first": 0, "late": chance.randrange(len(rest)), "last": len(rest)}.get(enrolled)
            if at is None:
                rest = [event for event in rest if event.kind is not ENROLLMENT]
            else:
                rest.insert(at, enrolment)
            streams.append(iter(rest))
    produced: list[Produced] = []
    while streams:
        stream = chance.choice(streams)
        event = next(stream, None)
        if event is None:
            streams.remove(stream)
        else:
            produced.append(record(event))
    return _spoiled(chance, produced, used)


def record(event: SourceEvent, partition: int | None = None) -> Produced:
    """The event as its producer writes it."""
    home = partition_of(event.member_id) if partition is None else partition
    return Produced(event.kind.topic, home, _encode({"v": 1, **event.fields}))


def _changed(enrolment: SourceEvent, chance: random.Random, i: int) -> SourceEvent:
    changes = {
        "event_id": f"change-{i}-{enrolment.member_id}",
        "time": int(enrolment.fields["time"]) + chance.randint(1, 3 * 86_400_000),  # type: ignore[call-overload]
        "action": chance.choice(["update", "terminate"]),
        "birth_date": "1950-02-03",
    }
    return SourceEvent(ENROLLMENT, enrolment.fields | changes)


def _correct(events: list[SourceEvent], chance: random.Random) -> None:
    """Takes some events back, in place: a reading or result after it came, a claim or fill before or after.

    Of claims some get another price, some are denied, and some readings are by the clock of another zone.
    """
    for i, event in enumerate(events):
        if event.kind is READING and chance.random() < 0.2:
            events[i] = SourceEvent(READING, event.fields | {"v": 2, "utc_offset_min": chance.choice([-600, 0, 330])})
        elif event.kind is CLAIM and chance.random() < 0.1:
            events[i] = SourceEvent(CLAIM, event.fields | {"v": 2, "status": chance.choice(["denied", "paid"])})
    tested: set[object] = set()
    for event in list(events):
        if chance.random() < 0.85 or event.kind not in _SIGNED or not _is_sound(event):
            continue
        if event.kind is LAB and event.fields["test"] in tested:
            continue  # the state knows one result behind the latest
        tested.add(event.fields.get("test"))
        after = events.index(event) + 1
        change = {"v": 2, "sign": -1, "adjusts": event.fields["event_id"], "revision": 1}
        cents = {name: event.fields.get(name) for name in AMOUNTS if event.fields.get(name) is not None}
        if event.kind in (CLAIM, PHARMACY) and chance.random() < 0.5:
            more = {name: chance.randint(-5_000, 5_000) for name in cents} | {
                "event_id": f"p{event.fields['event_id']}"
            }
            events.insert(
                chance.randint(0, len(events)), SourceEvent(event.kind, event.fields | change | {"sign": 0} | more)
            )
            continue
        first = 0 if event.kind in (CLAIM, PHARMACY) else after
        back = {name: -amount for name, amount in cents.items()} | {"event_id": f"b{event.fields['event_id']}"}
        events.insert(chance.randint(first, len(events)), SourceEvent(event.kind, event.fields | change | back))


def _is_sound(event: SourceEvent) -> bool:
    try:
        decode(event.kind, _encode(event.fields), AS_OF_MS)
    except InvalidRecordError:
        return False
    return True


def _spoiled(chance: random.Random, produced: list[Produced], used: list[int]) -> list[Produced]:
    """With events sent twice, soon or late, with what no schema allows, and with transaction markers between them."""
    for _ in range(chance.randint(2, 15)):
        at = chance.randrange(len(produced))
        again = min(len(produced), at + 1 + chance.choice([0, 2, 10, 60]))
        produced.insert(again, produced[at])
    for _ in range(chance.randint(0, 6)):
        kind, partition = chance.choice([READING, CLAIM, ENROLLMENT]), chance.choice(used)
        payload = chance.choice([None, b"", b"{", b"[]", b'{"v": 1}', b"\xff\xfe"])
        produced.insert(chance.randrange(len(produced) + 1), Produced(kind.topic, partition, payload))
    for _ in range(chance.randint(0, 4)):
        kind, partition = chance.choice([READING, CLAIM]), chance.choice(used)
        produced.insert(chance.randrange(len(produced) + 1), Produced(kind.topic, partition, None, marker=True))
    return produced


def command(partition: int, name: str, time_ms: int = AS_OF_MS) -> Produced:
    """A scoring command."""
    fields = {"v": 1, "event_id": f"{name}-{partition}", "source": "test", "member_id": "*", "time": time_ms}
    return Produced(SCORING_COMMAND.topic, partition, _encode(fields))
