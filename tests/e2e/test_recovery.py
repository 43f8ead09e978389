"""kill -9 of a shard actor in the middle of a replay: Ray starts it again, and every total is exact."""

import datetime as dt
import random

import psutil
import psycopg

from engine.domain.events import READING, SourceEvent
from engine.domain.population import Population
from engine.interop import synthetic
from engine.streams.producer import EventProducer
from tests.e2e.conftest import RunningStack
from tests.waiting import wait_for

KILLS = 3


def _renamed(event: SourceEvent) -> SourceEvent:
    """The event for a member of this test's own, whatever other tests have sent."""
    own = {name: f"k-{event.fields[name]}" for name in ("member_id", "event_id")}
    return SourceEvent(event.kind, {**event.fields, **own})


def test_totals_are_exact_after_shards_are_killed(stack: RunningStack) -> None:
    before = {row.topic: row for row in stack.queries.consumed()}
    tally = synthetic.Tally()
    population = Population.generate(23, 200)
    month = synthetic.month(population, dt.date(2025, 2, 1), days=10, duplicate_rate=0.01, tally=tally)
    events = [_renamed(event) for event in month]
    chance = random.Random(5)
    with EventProducer(stack.endpoints.kafka) as producer:
        for part in range(KILLS + 1):
            producer.send_all(events[part :: KILLS + 1] if part else events[: len(population)])
            if part == 0:
                producer.send_all(events[len(population) :: KILLS + 1])
            wait_for(stack.shards, "a process of a shard")
            victim = chance.choice(stack.shards())
            psutil.Process(victim.pid).kill()
    sent = [*events[: len(population)], *events[len(population) :: KILLS + 1]]
    sent += [event for part in range(1, KILLS + 1) for event in events[part :: KILLS + 1]]

    def consumed(topic: str) -> tuple[int, int, int]:
        now = {row.topic: row for row in stack.queries.consumed()}.get(topic)
        then = before.get(topic)
        return tuple(
            (getattr(now, name) if now else 0) - (getattr(then, name) if then else 0)
            for name in ("applied", "duplicates", "dead_letters")
        )

    topics = {event.kind.topic for event in sent}
    wait_for(
        lambda: sum(sum(consumed(topic)) for topic in topics) >= len(sent),
        f"all of {len(sent)} events",
        seen=lambda: {topic: consumed(topic) for topic in topics},
    )
    assert sum(sum(consumed(topic)) for topic in topics) == len(sent)
    with psycopg.connect(stack.endpoints.postgres) as connection:
        rows, distinct = connection.execute(
            "SELECT count(*), count(DISTINCT (source, event_id)) FROM readings WHERE member_id LIKE 'k-%'"
        ).fetchone()
        places = connection.execute(
            "SELECT count(*) FROM (SELECT 1 FROM readings GROUP BY partition, kafka_offset HAVING count(*) > 1) x"
        ).fetchone()[0]
        scored = connection.execute(
            "SELECT count(DISTINCT member_id) FROM scores WHERE member_id LIKE 'k-%'"
        ).fetchone()[0]
    assert rows == distinct == consumed(READING.topic)[0] == tally.good[READING.name]
    assert places == 0
    assert scored == len(population)
