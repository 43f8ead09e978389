"""How a shard comes to the state its commits left: the snapshot, then the same batches once more, writing nothing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from actors.durable import Durable
from actors.pace import Place, ShardPlan
from actors.ports import Ports
from actors.snapshots import MOST_REPLAYED, Snapshots
from engine.domain.batch import Recovered, TopicIdentity, grouped
from engine.domain.events import ENROLLMENT, KIND_OF_TOPIC
from engine.errors import StreamError
from engine.logs import get_logger
from engine.scoring.member_state import PartitionState
from engine.streams.judge import judge
from engine.streams.processor import Processor
from engine.streams.reader import RecordReader, check_held
from engine.streams.records import RecordBatch

_ASK_AGAIN_SECONDS = 0.2


class Recovery:
    """Brings partitions into `processor` and their next offsets into `positions`. The store must have their leases."""

    def __init__(
        self,
        plan: ShardPlan,
        ports: Ports,
        durable: Durable,
        processor: Processor,
        snapshots: Snapshots,
        positions: dict[Place, int],
    ) -> None:
        self._plan = plan
        self._ports = ports
        self._durable = durable
        self._processor = processor
        self._snapshots = snapshots
        self._positions = positions
        self._log = get_logger(shard=plan.name)

    def recover(
        self,
        partitions: Sequence[int],
        reader: RecordReader,
        identities: Mapping[str, TopicIdentity],
        look: Callable[[], None],
    ) -> None:
        """Recovers the partitions, some at a time: what is replayed together is at most about MOST_REPLAYED records.

        `look` is called now and then, so that leases stay. Raises StreamError where the log no longer holds what must
        be read.
        """
        places = [(topic, partition) for topic in KIND_OF_TOPIC for partition in partitions]
        starts = self._starts(reader, places, look)
        behind: list[Recovered] = []
        outdated: list[PartitionState] = []
        for partition in partitions:
            recovered = self._recovered(partition)
            self._adopt(recovered, starts, identities)
            state = self._processor.states[partition]
            # other rules or code than the snapshot's; other models come by the log
            if recovered.snapshot is not None and recovered.model_version != self._processor.scorer(state).version:
                outdated.append(state)
            if recovered.commits:
                behind.append(replace(recovered, snapshot=None))
            look()
        check_held(starts, {place: self._positions[place] for place in places})
        sizes = [self._to_replay(recovered) for recovered in behind]
        for together in grouped(behind, sizes, MOST_REPLAYED):
            self._replay(reader, together, identities, look)
        for state in outdated:
            self._processor.renew_all(state)

    def _starts(self, reader: RecordReader, places: Sequence[Place], look: Callable[[], None]) -> dict[Place, int]:
        """Where each log begins; asked again while the broker does not serve it, as one that has just started or whose
        topics are new may not for a while. Bounded by the plan's `retry_seconds`."""
        clock = self._ports.clock
        deadline = clock.now() + self._plan.retry_seconds
        while True:
            try:
                return reader.begin_offsets(places)
            except StreamError as error:
                if clock.now() > deadline:
                    raise
                self._log.warning("broker away, waiting", error=str(error))
            look()
            clock.sleep(_ASK_AGAIN_SECONDS)

    def _recovered(self, partition: int) -> Recovered:
        return self._durable.ask(lambda: self._ports.store.recover(partition))

    def _to_replay(self, recovered: Recovered) -> int:
        """Records between the partition's snapshot and its last commit."""
        ends = recovered.commits[-1].items()
        return sum(max(0, end - self._positions[topic, recovered.partition]) for topic, end in ends)

    def _adopt(
        self, recovered: Recovered, starts: Mapping[Place, int], identities: Mapping[str, TopicIdentity]
    ) -> None:
        partition = recovered.partition
        anew = [t for t, known in recovered.identities.items() if known != identities[t]]
        if anew and recovered.commits:
            raise StreamError(
                f"partition {partition}: topic {anew[0]!r} was made anew, but {len(recovered.commits)} commits since "
                "the last snapshot must be replayed from its former log; restore that log or empty the database"
            )
        if anew:
            self._durable.ask(lambda: self._ports.store.forget_offsets(partition))
        state = PartitionState(partition) if recovered.snapshot is None else PartitionState.load(recovered.snapshot)
        self._processor.states[partition] = state
        self._snapshots.taken(partition, len(recovered.snapshot or b""))
        for topic in KIND_OF_TOPIC:
            known = None if anew else recovered.snapshot_offsets.get(topic)
            self._positions[topic, partition] = starts[topic, partition] if known is None else known

    def _replay(
        self,
        reader: RecordReader,
        behind: Sequence[Recovered],
        identities: Mapping[str, TopicIdentity],
        look: Callable[[], None],
    ) -> None:
        """Applies what was committed after the snapshots once more, in the same batches, without writing anything."""
        ends = {(t, r.partition): offset for r in behind for t, offset in r.commits[-1].items()}
        held = self._read_up_to(reader, {p: end for p, end in ends.items() if self._positions[p] < end}, look)
        for recovered in behind:
            for boundary, expired_ms in zip(recovered.commits, recovered.expired_ms, strict=True):
                judged = []
                for topic, stop in boundary.items():
                    place = (topic, recovered.partition)
                    if stop > self._positions[place]:
                        judged.append(judge(held[place].between(self._positions[place], stop)))
                cluster = identities[ENROLLMENT.topic].cluster_id
                self._processor.process(judged, self._positions, cluster, replaying=True, expired_ms=expired_ms)
                self._positions.update({(topic, recovered.partition): stop for topic, stop in boundary.items()})
                self._snapshots.add(recovered.partition, sum(part.records for part in judged))
                look()
        self._log.info("replayed", partitions=len(behind), commits=sum(len(r.commits) for r in behind))

    def _read_up_to(
        self, reader: RecordReader, ends: Mapping[Place, int], look: Callable[[], None]
    ) -> dict[Place, RecordBatch]:
        held = {place: [RecordBatch.of(*place, [], [], [], self._positions[place])] for place in ends}
        reader.assign({place: self._positions[place] for place in ends})
        clock, patience = self._ports.clock, self._plan.retry_seconds
        deadline = clock.now() + patience
        while any(held[place][-1].next_offset < end for place, end in ends.items()):
            for batch in reader.poll(self._plan.poll_records, 500):
                place = (batch.topic, batch.partition)
                held[place].append(batch)
                deadline = clock.now() + patience
            look()
            if clock.now() > deadline:
                late = {place: (held[place][-1].next_offset, end) for place, end in ends.items()}
                raise StreamError(f"{self._plan.name}: the broker does not deliver committed events again: {late}")
        return {place: RecordBatch.joined(batches) for place, batches in held.items()}
