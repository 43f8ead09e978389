"""Which partitions a shard holds: it follows their assignment in PostgreSQL, giving up and taking while it works."""

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from actors.durable import Durable
from actors.pace import Place, ShardPlan
from actors.ports import Ports
from actors.recovery import Recovery
from actors.snapshots import Snapshots
from engine.domain.batch import PartitionCommit, TopicIdentity
from engine.domain.events import KIND_OF_TOPIC
from engine.logs import get_logger
from engine.storage.failpoint import failpoint
from engine.streams.processor import Processor
from engine.streams.reader import RecordReader

_LAST_BYTES = 64 << 20
"""How much of the last snapshots is committed, and held in memory, at once."""


class Ownership:
    """What is assigned to the shard, what it has leases of, and what it has recovered and reads (`held`).

    A partition is given up in this order: the batch under way is committed, then its state, then the lease goes back.
    The next owner, who asks for the lease at every look, loads that state and has nothing to replay. Every look,
    renewal and commit is fenced: a process that another has succeeded ends at the first of them. `shown` is told what
    is held before anything of it is given back.
    """

    def __init__(
        self,
        plan: ShardPlan,
        ports: Ports,
        durable: Durable,
        recovery: Recovery,
        processor: Processor,
        snapshots: Snapshots,
        positions: dict[Place, int],
        shown: Callable[[frozenset[int]], None],
    ) -> None:
        self._plan = plan
        self._ports = ports
        self._durable = durable
        self._recovery = recovery
        self._processor = processor
        self._snapshots = snapshots
        self._positions = positions
        self._shown = shown
        self._log = get_logger(shard=plan.name)
        self.held: frozenset[int] = frozenset()
        self._leased: set[int] = set()
        self._assigned: frozenset[int] = frozenset()
        self._looked = self._tried = -math.inf
        self.renewed = ports.clock.now()
        self.behind: dict[Place, int] = {}
        self.state_bytes = 0

    def enter(self) -> None:
        """Makes this process the one of its name, and looks for the first time."""
        self._durable.ask(lambda: self._ports.store.enter(self._plan.partitions))
        self.look()

    @property
    def complete(self) -> bool:
        """True where it holds what is assigned to it."""
        return self.held == self._assigned

    def members(self) -> int:
        """Number of members of the partitions held."""
        return sum(len(state) for state in list(self._processor.states.values()))

    def look(self) -> None:
        """Learns what is assigned, and renews the leases, each when it is due. The store must be free."""
        clock, store = self._ports.clock, self._ports.store
        # who has nothing to do is who steps in for another, and should hear of it soon
        pause = self._plan.look_seconds if self.held or self._assigned else self._plan.look_seconds / 4
        if clock.now() - self._looked >= pause:
            told = len(self.held), self.members(), sum(self.behind.values())
            self._assigned = frozenset(self._durable.asked(lambda: store.assigned(*told)))
            self.state_bytes = sum(state.nbytes() for state in list(self._processor.states.values()))
            self._looked = clock.now()
        if self._leased and clock.now() - self.renewed > self._plan.lease_seconds / 3:
            self._durable.asked(lambda: store.renew(sorted(self._leased)))
            self.renewed = clock.now()

    def follow(self, reader: RecordReader, identities: Mapping[str, TopicIdentity]) -> bool:
        """Gives up and takes what the latest look says; True where `held` has changed, and readers must follow.

        `reader` is used for replay. What another owner still has is asked for again after the next look.
        """
        before = self.held
        gone, wanted = self.held - self._assigned, self._assigned - self.held
        if gone:
            self.give_up(gone, identities)
        if wanted and self._looked > self._tried:
            self._tried = self._looked
            self._take(wanted, reader, identities)
        if self.held != before:
            self._looked = -math.inf  # says what it holds at once
        return self.held != before

    def give_up(self, partitions: Collection[int], identities: Mapping[str, TopicIdentity]) -> None:
        """Commits the states of the partitions, gives their leases back, and forgets them, some at a time."""
        self._durable.settle()
        self.held -= frozenset(partitions)
        self._shown(self.held)
        failpoint("before-give-up")
        ready: list[int] = []
        commits: list[PartitionCommit] = []
        for partition in sorted(partitions):
            ready.append(partition)
            if self._snapshots.behind(partition):
                commits.append(self._last_commit(partition))
            if sum(len(commit.snapshot or b"") for commit in commits) >= _LAST_BYTES:
                self._release(ready, commits, identities)
                ready, commits = [], []
        self._release(ready, commits, identities)

    def snapshot(self, commit: PartitionCommit) -> None:
        """Adds the partition's state to its commit. A commit that fails ends the shard, so it counts from now on."""
        commit.snapshot = self._processor.states[commit.partition].dump()
        self._snapshots.taken(commit.partition, len(commit.snapshot))

    def _last_commit(self, partition: int) -> PartitionCommit:
        state = self._processor.states[partition]
        state.seq += 1
        commit = PartitionCommit(
            partition,
            state.seq,
            {topic: self._positions[topic, partition] for topic in KIND_OF_TOPIC},
            {},
            watermark_us=state.latest_event_us,
            members=len(state),
            model_version=self._processor.scorer(state).version,
        )
        self.snapshot(commit)
        return commit

    def _release(self, partitions: list[int], commits: list[PartitionCommit], identities: Mapping[str, Any]) -> None:
        if commits:
            self._durable.commit(commits, identities, lambda _: None)
            self._durable.settle()
        failpoint("before-release")
        if partitions:
            self._log.info("gives up", partitions=partitions, snapshots=len(commits))
            self._durable.ask(lambda: self._ports.store.release(partitions))
        failpoint("after-release")
        self._leased -= set(partitions)
        for partition in partitions:
            self._processor.states.pop(partition)
            self._snapshots.drop(partition)
        for place in [place for place in self._positions if place[1] in partitions]:
            del self._positions[place]
            self.behind.pop(place, None)
        self.look()

    def _take(self, wanted: Collection[int], reader: RecordReader, identities: Mapping[str, TopicIdentity]) -> None:
        got = self._durable.ask(lambda: self._ports.store.acquire(sorted(wanted)))
        if len(got) < len(wanted):
            self._log.info("waits", partitions=sorted(set(wanted) - set(got)))
        if not got:
            return
        failpoint("after-acquire")
        self._leased |= set(got)
        self._recovery.recover(got, reader, identities, self.look)
        failpoint("after-recover")
        self.held |= frozenset(got)
        self._shown(self.held)
        self._log.info("takes", partitions=got, members=self.members())
