"""Partitions that move between shards under load, with kills, freezes and everything: the totals are the oracle's."""

import datetime as dt
import random
import re
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest

from actors.supervisor import Watch
from engine.domain.events import SourceEvent
from engine.domain.placement import balance
from engine.scoring.health_score import HealthScorer
from tests.fleet import Fleet, Load, some_of
from tests.integration.test_shard_faults import AS_OF_MS, FAILPOINTS, events, produce
from tests.shard_process import ALL, check_all, committed, log_ends, settle, wait_committed, wait_total
from tests.waiting import wait_for

GIVING = ("before-give-up", *FAILPOINTS, "before-release", "after-release")
TAKING = ("after-acquire", "after-recover")


@pytest.fixture
def fleet(request: pytest.FixtureRequest, embedded_bootstrap: str, database: str, tmp_path: Path) -> Iterator[Fleet]:
    # long leases: on a busy machine a shard that is only slow must not be taken for one that is gone
    made = Fleet(database, embedded_bootstrap, tmp_path, lease_seconds=getattr(request, "param", 60.0))
    yield made
    made.end()


def finish_and_check(fleet: Fleet, scorer: HealthScorer) -> None:
    fleet.wait_placed()
    settle(fleet.url, fleet.bootstrap, AS_OF_MS)
    fleet.finish()
    check_all(fleet.url, fleet.bootstrap, scorer)


def names(count: int) -> list[str]:
    return [f"shard-{i}" for i in range(count)]


def tenures(fleet: Fleet) -> dict[int, list[tuple[dt.datetime, dt.datetime]]]:
    """By partition, from when to when each shard says it had it; it says so inside its lease."""
    line = re.compile(r"timestamp='(\S+)Z' level='info' event='(takes|gives up)'.* partitions=\[([\d, ]*)\]")
    found = defaultdict(list)
    for name in fleet.running:
        since: dict[int, dt.datetime] = {}
        for when, event, partitions in line.findall(fleet.log(name)):
            for partition in map(int, partitions.split(",")):
                if event == "takes":
                    since[partition] = dt.datetime.fromisoformat(when)
                else:
                    found[partition].append((since.pop(partition), dt.datetime.fromisoformat(when)))
        assert not since, f"{name} never gave up {sorted(since)}"
    return found


def test_four_to_eight_to_four_under_load(fleet: Fleet, scorer: HealthScorer) -> None:
    batch = events(60, 6)
    placed = balance({}, names(4), len(ALL))
    for name in names(4):
        fleet.start(name, [p for p in ALL if placed[p] == name])
    load = Load(fleet.url, fleet.bootstrap, batch)
    wait_total(fleet.url, 100)
    fleet.placement.want(names(8))
    for name in names(8)[4:]:
        fleet.start(name)
    fleet.placement.settle(names(8), [])
    fleet.wait_placed()
    assert load.producing
    assert Counter(len(status.leased) for status in fleet.placement.shards()) == {8: 8}
    before = sum(committed(fleet.url).values())
    wait_total(fleet.url, before + 100)
    fleet.placement.want(names(4))
    fleet.placement.settle(names(8), [])
    fleet.wait_placed()
    assert load.producing
    for name in names(8)[4:]:
        assert fleet.running[name].finish() == 0
        assert fleet.placement.forget(name)
    load.finish()
    finish_and_check(fleet, scorer)
    had = tenures(fleet)
    assert set(had) == set(ALL)
    moves = 0
    for partition, spans in had.items():
        spans.sort()
        moves += len(spans) - 1
        assert all(end <= begin for (_, end), (begin, _) in pairwise(spans)), partition
    assert moves == 64


def halves(fleet: Fleet) -> None:
    """Two shards with half of the partitions each, at rest with commits behind them that no snapshot has."""
    fleet.start("shard-0", ALL[:32])
    fleet.start("shard-1", ALL[32:])


def armed(fleet: Fleet, name: str, failpoint: str) -> None:
    """Starts the shard anew, so that `failpoint` strikes in the move that follows and not before."""
    fleet.kill(name)
    fleet.start(name, failpoint=failpoint)
    fleet.wait_ready(name)


def test_kill_9_at_every_point_of_a_move(fleet: Fleet, scorer: HealthScorer) -> None:
    """Half a minute: at each point a shard dies, is missed, and comes back."""
    batch = events(60, 4)
    places = [*GIVING, *TAKING]
    parts = [batch[i * len(batch) // len(places) : (i + 1) * len(batch) // len(places)] for i in range(len(places))]
    halves(fleet)
    for place, part in zip(places, parts, strict=True):
        produce(fleet.bootstrap, part)
        wait_committed(fleet.url, log_ends(fleet.bootstrap))
        if place in TAKING:
            fleet.placement.move(ALL, "shard-1")
            fleet.wait_placed()
        armed(fleet, "shard-0", f"{place}:SIGKILL:1")
        fleet.placement.move(ALL[8:24], "shard-0" if place in TAKING else "shard-1")
        fleet.wait_dead("shard-0")
        fleet.start("shard-0")
        fleet.wait_ready("shard-0")
        fleet.placement.move(ALL[:32], "shard-0")
        fleet.placement.move(ALL[32:], "shard-1")
        fleet.wait_placed()
    assert fleet.kills == 2 * len(places)
    finish_and_check(fleet, scorer)


@pytest.mark.parametrize("fleet", [5.0], indirect=True)
@pytest.mark.parametrize("place", ["before-give-up", "before-release", "after-acquire"])
def test_a_zombie_that_wakes_up_after_its_partitions_were_moved(place: str, fleet: Fleet, scorer: HealthScorer) -> None:
    batch = events(60, 4)
    halves(fleet)
    produce(fleet.bootstrap, batch[: len(batch) // 2])
    wait_committed(fleet.url, log_ends(fleet.bootstrap))
    if place == "after-acquire":
        fleet.placement.move(ALL, "shard-1")
        fleet.wait_placed()
    armed(fleet, "shard-0", f"{place}:SIGSTOP:1")
    fleet.placement.move(ALL[8:24], "shard-0" if place == "after-acquire" else "shard-1")
    zombie = fleet.running["shard-0"]
    zombie.wait_frozen()
    fleet.placement.move(ALL[8:24], "shard-1")
    produce(fleet.bootstrap, batch[len(batch) // 2 :])
    wait_for(lambda: not fleet.placement.misplaced(), "the other shard to take the leases")
    wait_total(fleet.url, len(batch) * 3 // 4)
    zombie.send(signal.SIGCONT)
    if place == "before-release":  # all it had to write was written
        fleet.wait_placed()
        assert zombie.running
    else:
        assert zombie.wait() == 1
        assert "fenced" in fleet.log("shard-0")
        fleet.start("shard-0")
    finish_and_check(fleet, scorer)


def supervised(fleet: Fleet, until: Callable[[], bool]) -> None:
    """Turns of a supervisor, until it is so."""
    watch = Watch(0.2, 600.0)

    def turn() -> bool:
        alive, dead, gone = watch.turn(fleet.placement.shards(), time.monotonic())
        fleet.placement.settle(alive, dead, gone)
        return until()

    wait_for(turn, "the supervisor's turns to come to it")


def at(fleet: Fleet, name: str) -> bool:
    """Whether everything has come to the shard."""
    return {s.shard: len(s.leased) for s in fleet.placement.shards() if s.leased} == {name: len(ALL)}


def two_of_which_one_stands_by(fleet: Fleet) -> list[SourceEvent]:
    """shard-0 with everything and shard-1 with nothing, at work; returns events that are still to be produced."""
    batch = events(60, 4)
    fleet.placement.restart(names(2), standby=1)
    for name in names(2):
        fleet.start(name)
    produce(fleet.bootstrap, batch[: len(batch) // 2])
    wait_total(fleet.url, 100)
    states = {status.shard: status.state for status in fleet.placement.shards()}
    assert states == {"shard-0": "active", "shard-1": "standby"}
    return batch[len(batch) // 2 :]


def test_who_stands_by_steps_in_for_who_was_killed_and_they_change_places(fleet: Fleet, scorer: HealthScorer) -> None:
    """Its leases run for a minute yet, and its own next process is not started: nobody else could be so quick."""
    rest = two_of_which_one_stands_by(fleet)
    third = len(rest) // 3
    for number, victim in enumerate(["shard-0", "shard-1", "shard-0"]):
        heir = names(2)[victim == "shard-0"]
        produce(fleet.bootstrap, rest[number * third : (number + 1) * third if number < 2 else len(rest)])
        fleet.kill(victim)
        supervised(fleet, lambda heir=heir: at(fleet, heir))
        states = {status.shard: status.state for status in fleet.placement.shards()}
        assert states == {victim: "standby", heir: "active"}
        fleet.start(victim)
        supervised(fleet, lambda victim=victim: fleet.log(victim).count("event='shard ready'") >= fleet.starts(victim))
    finish_and_check(fleet, scorer)


def test_who_has_lost_its_session_and_wakes_up_after_another_has_stepped_in(fleet: Fleet, scorer: HealthScorer) -> None:
    """Frozen, it keeps its session and is waited for; without one it counts as ended, and is fenced once it is back."""
    rest = two_of_which_one_stands_by(fleet)
    zombie = fleet.running["shard-0"]
    zombie.send(signal.SIGSTOP)
    turns = iter(range(5))
    supervised(fleet, lambda: next(turns) == 4)
    assert at(fleet, "shard-0")
    with psycopg.connect(fleet.url, autocommit=True) as connection:
        query = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'shard-0'"
        assert connection.execute(query).fetchall() == [(True,)]
    produce(fleet.bootstrap, rest)
    supervised(fleet, lambda: at(fleet, "shard-1"))
    wait_total(fleet.url, 200)
    zombie.send(signal.SIGCONT)
    wait_for(lambda: not zombie.running or not zombie_holds(fleet), "the zombie to learn that it holds nothing")
    if not zombie.running:
        assert zombie.wait() == 1 and "fenced" in fleet.log("shard-0")
        fleet.start("shard-0")
    finish_and_check(fleet, scorer)


def zombie_holds(fleet: Fleet) -> bool:
    """Whether shard-0 still says that it holds something."""
    return next(status.held for status in fleet.placement.shards() if status.shard == "shard-0") > 0


def campaign(fleet: Fleet, scorer: HealthScorer, kills: int) -> None:
    """Shards are killed one after the other amid the events just produced, while partitions move at random."""
    chance = random.Random(20240302)
    batch = events(60, 2 + kills // 4)
    for name, part in zip(names(3), (ALL[:20], ALL[20:40], ALL[40:]), strict=True):
        fleet.start(name, part)
    size = len(batch) // (kills + 1)
    assert size > 60
    produce(fleet.bootstrap, batch[:size])
    wait_total(fleet.url, 100)
    for number in range(1, kills + 1):
        if chance.random() < 0.5:
            fleet.placement.move(some_of(chance, ALL), chance.choice(names(3)))
        before = sum(committed(fleet.url).values())
        produce(fleet.bootstrap, batch[number * size :][: len(batch) if number == kills else size])
        wait_total(fleet.url, before + chance.randrange(60))
        time.sleep(chance.random() * 0.2)
        victim = chance.choice(names(3))
        fleet.kill(victim)
        fleet.start(victim)
    assert fleet.kills == kills
    finish_and_check(fleet, scorer)


def test_kills_at_random_while_partitions_move(fleet: Fleet, scorer: HealthScorer) -> None:
    """Half a minute: 36 deaths, with commits before each."""
    campaign(fleet, scorer, 36)


@pytest.mark.slow
def test_200_kills_at_random_while_partitions_move(fleet: Fleet, scorer: HealthScorer) -> None:
    campaign(fleet, scorer, 200)
