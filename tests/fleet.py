"""Several shards in processes of their own on one log and one database, whose partitions move while they work."""

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from engine.domain.events import SourceEvent
from engine.storage.placement import Placement
from engine.streams.producer import EventProducer
from engine.streams.topics import PARTITIONS
from tests.shard_process import Mutant, ShardProcess, committed, plan
from tests.waiting import PATIENCE, wait_for


class Fleet:
    """Shards by name. `kills` counts what was killed, by us or by itself at a failpoint."""

    def __init__(self, url: str, bootstrap: str, folder: Path, **other: float) -> None:
        self.url, self.bootstrap, self._folder = url, bootstrap, folder
        self._other = {"look_seconds": 0.2, "poll_records": 100} | other
        self.placement = Placement(url, PARTITIONS)
        self.running: dict[str, ShardProcess] = {}
        self.kills = 0
        self._starts: Counter[str] = Counter()

    def start(self, name: str, partitions: Sequence[int] = (), failpoint: str = "", mutant: Mutant = None) -> None:
        """Starts a shard; `partitions` are its own where nobody has them yet."""
        work = plan(name, self.url, self.bootstrap, partitions, **self._other)
        self.running[name] = ShardProcess(work, self._folder, failpoint, mutant=mutant)
        self._starts[name] += 1

    def wait_ready(self, name: str) -> None:
        """Waits until the process started last has recovered what was assigned to it; the ones before had, too."""
        wait_for(lambda: self.log(name).count("event='shard ready'") >= self._starts[name], f"{name} to be ready")

    def starts(self, name: str) -> int:
        """How many processes of the shard were started."""
        return self._starts[name]

    def kill(self, name: str) -> None:
        """kill -9."""
        self.running[name].kill()
        self.kills += 1

    def wait_dead(self, name: str) -> None:
        """Waits until the shard has killed itself."""
        code = self.running[name].wait()
        assert code == -signal.SIGKILL, f"{name} ended with {code}: {self.log(name)[-2000:]}"
        self.kills += 1

    def wait_placed(self) -> None:
        """Waits until every lease is where it is assigned, and every shard has recovered what it holds."""

        def placed() -> bool:
            return not self.placement.misplaced() and all(
                status.held == len(status.assigned) for status in self.placement.shards()
            )

        try:
            wait_for(placed, "the partitions to move")
        except AssertionError as error:
            for shard in self.running.values():
                if shard.running:
                    shard.send(signal.SIGUSR1)  # has its threads' stacks in its log
            time.sleep(1)
            logs = "\n".join(f"{name}: {self.log(name)[-1500:]}" for name in self.running)
            raise AssertionError(f"{error}: {self.placement.shards()}\n{logs}") from None

    def log(self, name: str) -> str:
        """What the shard's processes have logged."""
        return self.running[name].log.read_text()

    def finish(self) -> None:
        """Stops all shards, which must end well."""
        for shard in self.running.values():
            shard.ask_to_stop()
        for name, shard in self.running.items():
            assert shard.wait() == 0, f"{name}: {self.log(name)[-2000:]}"
        self.placement.close()

    def end(self) -> None:
        """Kills what still runs, whatever became of the test."""
        for shard in self.running.values():
            if shard.running:
                shard.send(signal.SIGCONT)
                shard.kill()
        self.placement.close()


class Load:
    """Produces events in the background, in the order given, a hundredth at a time; enrolments go first.

    It stays a few hundredths ahead of what is committed, so that a slow machine is no idle one, and pauses `pause`
    seconds between two. The rest is produced at once when `finish` is called.
    """

    def __init__(self, url: str, bootstrap: str, events: Sequence[SourceEvent], pause: float = 0.3) -> None:
        self._url, self._bootstrap, self._events, self._pause = url, bootstrap, events, pause
        self._error: BaseException | None = None
        self._hurry = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            with EventProducer(self._bootstrap) as producer:
                size = -(-len(self._events) // 100)
                for first in range(0, len(self._events), size):
                    producer.send_all(self._events[first : first + size])
                    self._hurry.wait(self._pause)
                    while not self._hurry.is_set() and sum(committed(self._url).values()) < first - 4 * size:
                        self._hurry.wait(self._pause)
        except BaseException as error:  # noqa: BLE001 - the test's own thread must hear of it
            self._error = error

    @property
    def producing(self) -> bool:
        """False once everything is produced."""
        return self._thread.is_alive()

    def finish(self) -> None:
        """Waits for the last event."""
        self._hurry.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        if self._error is not None:
            raise self._error


def some_of(chance: random.Random, partitions: Sequence[int], least: int = 1) -> list[int]:
    """A random part of the partitions, at least `least`."""
    return sorted(chance.sample(list(partitions), chance.randint(least, max(least, len(partitions)))))
