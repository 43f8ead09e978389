"""The durable side of a shard at work: one commit under way at most, tried again while PostgreSQL is away."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import TypeVar

import psycopg

from actors.pace import ShardPlan
from actors.ports import Ports
from engine.domain.batch import PartitionCommit, TopicIdentity
from engine.errors import LeaseLostError, StorageError
from engine.logs import get_logger

T = TypeVar("T")
_RETRY_FIRST, _RETRY_MOST = 0.1, 2.0


class Durable:
    """A store whose connection may be lost, with its commits beside the loop, one after the other.

    The store has one user at a time: whoever needs it calls `settle` first, which every method here does.
    """

    def __init__(self, plan: ShardPlan, ports: Ports) -> None:
        self._plan = plan
        self._ports = ports
        self._store = ports.store
        self._log = get_logger(shard=plan.name)
        self._underway: Future[float] | None = None

    def commit(
        self,
        commits: Sequence[PartitionCommit],
        identities: Mapping[str, TopicIdentity],
        committed: Callable[[float], None],
    ) -> None:
        """Commits the batches beside the loop, once those before are; `committed` gets the transaction's seconds."""
        self.settle()

        def action() -> float:
            started = self._ports.clock.now()
            self.retry(lambda: self._store.commit(commits, identities), lambda: self._store.is_committed(commits[0]))
            seconds = self._ports.clock.now() - started
            committed(seconds)
            return seconds

        self._underway = self._ports.worker.submit(action)

    def settle(self) -> None:
        """Waits until nothing is under way. Raises what the commit raised."""
        if self._underway is not None:
            underway, self._underway = self._underway, None
            underway.result()

    def settled(self) -> bool:
        """True where nothing is under way."""
        return self._underway is None or self._underway.done()

    def known_events(self, table: str, keys: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], tuple[int, int]]:
        """Of the keys, those stored, the commit under way included."""
        return self.ask(lambda: self._store.known_events(table, keys))

    def ask(self, question: Callable[[], T]) -> T:
        """What the store answers, once nothing is under way; asked again after a lost connection."""
        self.settle()
        return self.asked(question)

    def asked(self, question: Callable[[], T]) -> T:
        """As `ask`, for a caller that has the store already: what runs beside the loop after a commit."""
        answers: list[T] = []
        self.retry(lambda: answers.append(question()))
        return answers[-1]

    def retry(self, action: Callable[[], None], done: Callable[[], bool] = lambda: False) -> None:
        """Runs `action` until it succeeds; after a lost connection asks `done` whether it had. Bounded."""
        clock = self._ports.clock
        deadline, pause, lost = clock.now() + self._plan.retry_seconds, _RETRY_FIRST, False
        while True:
            try:
                if lost:
                    self._store.reconnect()
                    if done():
                        return
                action()
                return
            except (psycopg.OperationalError, psycopg.InterfaceError, StorageError) as error:
                if isinstance(error, LeaseLostError):
                    raise
                if clock.now() > deadline:
                    raise StorageError(
                        f"{self._plan.name}: PostgreSQL stayed away for {self._plan.retry_seconds:g} s: {error}"
                    ) from error
                self._log.warning("postgres away, trying again", error=str(error).strip())
                lost = True
                clock.sleep(pause)
                pause = min(2 * pause, _RETRY_MOST)
