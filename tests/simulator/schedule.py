"""One seed, one schedule: shards started, killed, frozen and moved while events arrive; then rest, and the oracle."""

import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import psycopg

from actors.pace import ShardPlan
from actors.ports import Ports
from actors.shard_loop import ShardLoop
from engine.domain.events import EVENT_KINDS
from engine.errors import StorageError, StreamError
from engine.scoring.health_score import HealthScorer
from engine.scoring.member_state import PartitionState
from tests.simulator.kafka import TAKEN_MS, FakeBroker, FakeLog
from tests.simulator.mutants import Mutant
from tests.simulator.postgres import FakePostgres, FakeStore
from tests.simulator.workload import Produced, command, partitions, workload
from tests.simulator.world import DeadError, Faults, Process, World, logged_to
from tests.stored import Stored, check, messages

_REST_SECONDS = 100.0
PENDING_SECONDS = 3600.0
EXPECTED_ENDS = (StorageError, StreamError, psycopg.OperationalError, psycopg.InterfaceError)
"""With what a loop may end so that it is started again; anything else is a defect of the code."""


class SimulatedFuture(Future[Any]):
    """A future whose waiter lets the others run."""

    def __init__(self, world: World, process: Process) -> None:
        super().__init__()
        self._world, self._process = world, process

    def result(self, timeout: float | None = None) -> Any:
        """Waits in virtual time."""
        self._world.alive(self._process)
        if not self.done():
            self._world.wait(self.done)
        return super().result(0)


class SimulatedWorker:
    """`Worker` as another task, or at once in the caller."""

    def __init__(self, world: World, process: Process, beside: bool) -> None:
        self._world, self._process, self._beside = world, process, beside
        self._underway: SimulatedFuture | None = None

    def submit(self, action: Callable[[], Any]) -> "Future[Any]":
        """Takes up the action; its outcome or error is the future's."""
        future = SimulatedFuture(self._world, self._process)

        def run() -> None:
            try:
                outcome = action()
            except Exception as error:  # noqa: BLE001 - it is the future's
                future.set_exception(error)
            else:
                future.set_result(outcome)

        if self._beside:
            self._underway = future
            self._world.spawn(f"{self._process.name} worker", run, self._process)
        else:
            run()
        return future

    def close(self) -> None:
        """Ends after what it has taken up."""
        self._world.alive(self._process)
        if self._underway is not None and not self._underway.done():
            self._world.wait(self._underway.done)


class SimulatedClock:
    """`Clock` of one process: virtual seconds since it was born."""

    def __init__(self, world: World, process: Process) -> None:
        self._world, self._process = world, process

    def now(self) -> float:
        """Seconds that only grow."""
        return self._world.now - self._process.born

    def sleep(self, seconds: float) -> None:
        """Returns after so many virtual seconds."""
        self._world.alive(self._process)
        self._world.sleep(seconds)


@dataclass
class Running:
    """A shard process of a plan."""

    plan: ShardPlan
    process: Process
    loop: ShardLoop
    token: str


class Schedule:
    """A seed's schedule. `run` raises AssertionError, or whatever else went wrong."""

    def __init__(self, seed: int, scorer: HealthScorer, mutant: Mutant | None = None) -> None:
        self.world = World(seed)
        self.server = FakePostgres(self.world)
        self.broker = FakeBroker(self.world)
        self._chance = self.world.random
        self._scorer = scorer
        self._used = partitions(self._chance)
        self._events = workload(self._chance, self._used)
        self._produced = 0
        self._shards: dict[str, Running] = {}
        self._everyone: list[Process] = []
        self._restarts = True
        self._settings = self._draw()
        self._mutant = mutant
        if mutant is not None:
            mutant.server(self.server)

    def _draw(self) -> ShardPlan:
        chance = self._chance
        return ShardPlan(
            name="",
            partitions=(),
            postgres_url="",
            bootstrap="",
            lease_seconds=3.0,
            snapshot_every=chance.choice([1, 2, 3, 5, 8, 1000]),
            poll_records=500,
            poll_ms=200,
            retry_seconds=chance.choice([6.0, 20.0]),
            look_seconds=chance.choice([0.1, 1.0]),
            pending_seconds=PENDING_SECONDS,
        )

    def run(self) -> None:
        """Runs the schedule and checks what it has left."""
        with logged_to(self.world):
            self.world.run("director", self._direct)
        assert not self.world.defects, "\n".join(self.world.defects)
        gaps = sum(1 for event in self._events if event.marker)
        check(stored_in(self.server), self.broker.log(), self._scorer, gaps, round(1000 * PENDING_SECONDS))

    # shards

    def _start(self, name: str, owned: Sequence[int]) -> None:
        world = self.world
        process = Process(f"{name}.{len(self._everyone)}", world.now)
        plan = replace(self._settings, name=name, partitions=tuple(owned))
        store = FakeStore(self.server, process, name, plan.lease_seconds)
        ports = Ports(
            FakeLog(self.broker, process),
            store,
            SimulatedClock(world, process),
            SimulatedWorker(world, process, self._chance.random() < 0.7),
            SimulatedWorker(world, process, self._chance.random() < 0.7),
            SimulatedWorker(world, process, self._chance.random() < 0.7),
            lambda: self._fenced(process),
            lambda: None,
            lambda _: None,
        )
        loop = ShardLoop(plan, lambda _: self._scorer, ports)
        if self._mutant is not None:
            self._mutant.loop(loop)
        self._everyone.append(process)
        self._shards[name] = Running(plan, process, loop, store.token)
        world.tell(process.name, f"starts on {list(owned)}")
        world.spawn(process.name, lambda: self._work(process, loop), process)

    def _work(self, process: Process, loop: ShardLoop) -> None:
        try:
            loop.run()
            process.finished = True
            self.world.tell(process.name, "has finished")
        except EXPECTED_ENDS as error:
            self.world.tell(process.name, f"ends: {type(error).__name__}: {error}")
        except Exception as error:  # noqa: BLE001 - a defect, told when the schedule is over
            told = "".join(traceback.format_exception(error, limit=-6))
            self.world.tell(process.name, f"fails: {told}")
            self.world.defects.append(f"{process.name} failed: {told}")
        self.world.end(process)

    def _fenced(self, process: Process) -> NoReturn:
        self.world.count("fenced")
        self.world.tell(process.name, "is fenced")
        self.world.end(process)
        raise DeadError

    def _supervise(self) -> None:
        """Starts again what has ended."""
        while self._restarts:
            for name, running in list(self._shards.items()):
                if not running.process.alive and not running.process.finished:
                    self._start(name, running.plan.partitions)
            self.world.sleep(self._chance.uniform(0.2, 1.5))

    def _move(self) -> None:
        """Another number of shards, each on other partitions, which move while the shards work.

        A shard that was there before goes on, is killed, or is left behind as a zombie and followed by another process
        of its name; one that is wanted no more is asked to stop.
        """
        names = [f"shard-{i}" for i in range(self._chance.randint(1, 3))]
        for partition in self._used:
            self.server.assignments[partition] = self._chance.choice(names)
        self.world.tell("operator", f"assigns {self.server.assignments}")
        for name, running in list(self._shards.items()):
            way = "stop" if name not in names else self._chance.choice(["go on", "go on", "kill", "leave"])
            if way == "stop":
                running.loop.stop()
                self.world.spawn(f"{running.process.name} is asked again", lambda running=running: self._end(running))
            elif way == "kill":
                self.world.end(running.process)
            elif way == "leave" and running.process.alive:
                self._leave_behind(running)
            if way != "go on":
                self.world.tell("operator", f"{way}s {running.process.name}")
                del self._shards[name]
        for name in names:
            if name not in self._shards:
                self._start(name, ())

    def _end(self, running: Running) -> None:
        """What cannot stop by itself, since another has its partitions' leases, is ended after a while."""
        self.world.sleep(30.0)
        if running.process.alive:
            self.world.end(running.process)

    def _leave_behind(self, running: Running) -> None:
        """Freezes it as a machine that is cut off; when it is back, and not fenced by then, it is asked to stop."""
        seconds = self._chance.uniform(1.0, 9.0)
        running.process.frozen_until = self.world.now + seconds

        def ask() -> None:
            self.world.sleep(seconds + self._chance.uniform(0.0, 4.0))
            running.loop.stop()

        self.world.spawn(f"{running.process.name} is back", ask)

    # the course of events

    def _direct(self) -> None:
        world, chance = self.world, self._chance
        world.faults = Faults(
            crash=chance.choice([0.0, 0.003, 0.012]),
            freeze=chance.choice([0.0, 0.0, 0.003, 0.008]),
            lost=chance.choice([0.0, 0.01, 0.05]),
            refused=chance.choice([0.0, 0.02]),
            delay=chance.choice([0.0, 0.2, 0.6]),
            slow=chance.choice([0.0, 0.1]),
        )
        pause = chance.choice([0.02, 0.1, 0.2])
        world.spawn("producer", lambda: self._produce(pause))
        world.spawn("supervisor", self._supervise)
        self._move()
        for _ in range(chance.randint(2, 7)):
            world.sleep(chance.uniform(0.2, 5.0))
            self._disturb()
        world.faults = Faults()
        world.tell("director", "from here on nothing fails")
        self._rest()
        late = chance.choice([0, 1000, round(1000 * PENDING_SECONDS)])  # the last makes up for who never enrols
        for partition in self._used:
            self._send(command(partition, "last"), TAKEN_MS + late)
        self._rest()
        if chance.random() < 0.3:
            for running in self._shards.values():
                world.end(running.process)
            world.sleep(2.0)
            self._rest()
        self._restarts = False
        for running in self._shards.values():
            running.loop.stop()
        self._until(lambda: not any(process.alive for process in self._everyone), "the shards to stop")
        unfinished = [r.process.name for r in self._shards.values() if not r.process.finished]
        assert not unfinished, f"asked to stop, but did not finish: {unfinished}"

    def _disturb(self) -> None:
        chance, world = self._chance, self.world
        what = chance.choice(["move", "move", "store away", "broker away", "clock jumps", "command", "nothing"])
        world.count(what)
        seconds = chance.uniform(0.3, 9.0)
        if what == "move":
            self._move()
        elif what == "store away":
            world.tell("postgres", f"stops for {seconds:.1f} s")
            self.server.go_away(seconds)
        elif what == "broker away":
            world.tell("broker", f"stops for {seconds:.1f} s")
            self.broker.away_until = world.now + seconds
        elif what == "clock jumps":
            self.server.skew += chance.choice([-1, 1]) * seconds
            world.tell("postgres", f"its clock jumps: {self.server.skew:+.1f} s from the others'")
        elif what == "command":
            self._send(command(chance.choice(self._used), f"early-{world.now:.3f}", 1_709_700_000_000))

    def _produce(self, pause: float) -> None:
        while self._produced < len(self._events):
            if not self.broker.away():
                for _ in range(self._chance.randint(1, 6)):
                    if self._produced < len(self._events):
                        self._send(self._events[self._produced])
                        self._produced += 1
            self.world.sleep(self._chance.expovariate(1 / pause))

    def _send(self, event: Produced, taken_ms: int = TAKEN_MS) -> None:
        if event.marker:
            self.broker.append_marker((event.topic, event.partition))
        else:
            self.broker.append((event.topic, event.partition), event.payload, taken_ms)

    def _rest(self) -> None:
        """Waits until all is produced and committed, and every shard that was left behind has found out."""

        def caught_up() -> bool:
            if self._produced < len(self._events) or self.server.away():
                return False
            if any(p.frozen_until > self.world.now for p in self._everyone):
                return False
            current = {running.process for running in self._shards.values()}
            if any(p.alive and p not in current for p in self._everyone):
                return False
            return self._placed() and self._committed(self.broker.ends())

        self._until(caught_up, "everything to be committed")
        self.world.sleep(5.0)  # who has lost leases while PostgreSQL was away finds out at its next renewal
        self._until(caught_up, "everything to be committed and every shard to know what it has")

    def _placed(self) -> bool:
        """Whether every shard is the one of its name and has the leases of what is assigned to it."""
        tokens = {name: running.token for name, running in self._shards.items()}
        server = self.server
        return all(server.entered.get(name) == token for name, token in tokens.items()) and all(
            partition in server.leases and server.leases[partition].token == tokens[server.assignments[partition]]
            for partition in self._used
        )

    def _committed(self, ends: Mapping[tuple[str, int], int]) -> bool:
        offsets = self.server.offsets
        return all(place in offsets and offsets[place].get("next_offset") == end for place, end in ends.items())

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = self.world.now + _REST_SECONDS
        while not condition():
            assert not self.world.defects, "\n".join(self.world.defects)
            assert self.world.now < deadline, f"waited {_REST_SECONDS:g} s for {what}"
            self.world.sleep(0.5)


def stored_in(server: FakePostgres) -> Stored:
    """The tables of the fake as the check wants them."""
    names = ("applied", "duplicates", "dead_letters", "pending", "gaps", "first_offset", "next_offset")
    reading = ("source", "event_id", "member_id", "metric", "value", "unit")
    place = ("topic", "partition", "kafka_offset", "reason")
    rows = server.rows
    return Stored(
        [(*key, *(row[name] for name in names)) for key, row in server.offsets.items()],
        [
            (row["partition"], row["kafka_offset"], row["time"] // 1000, *(row[name] for name in reading))
            for row in rows.get("readings", [])
        ],
        [tuple(row[name] for name in place) for row in rows.get("dead_letters", [])],
        {
            kind.table: [(row["partition"], row["kafka_offset"]) for row in rows.get(kind.table, [])]
            for kind in EVENT_KINDS
        },
        [PartitionState.load(snapshot.payload) for snapshot in server.snapshots.values()],
        [{**row, "as_of_us": row["as_of"]} for row in rows.get("scores", [])],
        messages((row["topic"], row["message_key"], row["payload"]) for row in rows.get("outbox", [])),
    )
