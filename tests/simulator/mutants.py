"""Ways to break exactly-once on purpose. The simulator must find every one of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from actors.shard_loop import ShardLoop
from engine.domain.batch import PartitionCommit
from engine.domain.pending import Pending
from engine.streams.judged import Judged
from engine.streams.processor import Processor
from tests.simulator.postgres import FakePostgres


@dataclass(frozen=True)
class Mutant:
    """A way to break a shard, its store, or both."""

    name: str
    doc: str

    def loop(self, loop: ShardLoop) -> None:
        """Breaks a shard's loop."""
        if self.name == "no-dedupe":
            _no_dedupe(loop._processor)
        elif self.name == "no-replay-suppression":
            _no_suppression(loop._processor)
        elif self.name == "lost-commit-taken-for-none":
            loop._durable._store.is_committed = lambda _: False  # type: ignore[method-assign]
        elif self.name == "snapshot-without-pending":
            _no_pending_in_snapshots(loop._processor)
        elif self.name == "expiry-decided-anew":
            _expiry_decided_anew(loop._processor)

    def server(self, server: FakePostgres) -> None:
        """Breaks the store."""
        server.fenced = self.name != "no-fence"
        server.offsets_in_transaction = self.name != "offsets-apart"
        server.snapshots_with_offsets = self.name != "snapshot-without-offsets"


MUTANTS = {
    mutant.name: mutant
    for mutant in (
        Mutant("no-dedupe", "an event that was applied is applied again when it comes again"),
        Mutant("no-fence", "a commit does not look whether its lease is still its own"),
        Mutant("no-replay-suppression", "what a recovery replays is written once more"),
        Mutant("offsets-apart", "the offsets are committed after the rows, in a transaction of their own"),
        Mutant("snapshot-without-offsets", "a snapshot is stored with the offsets of the one before"),
        Mutant("snapshot-without-pending", "events held for members not enrolled are in no snapshot"),
        Mutant("expiry-decided-anew", "a replay does not let expire what its commits did"),
        Mutant("lost-commit-taken-for-none", "a COMMIT without an answer counts as one that did not happen"),
    )
}


def _no_dedupe(processor: Processor) -> None:
    def none(_state: Any, _part: Judged, _replaying: bool) -> None:
        return None

    processor._drop_duplicates = none  # type: ignore[method-assign]


def _no_suppression(processor: Processor) -> None:
    whole, kept = processor.process, dict[int, list[PartitionCommit]]()

    def process(
        judged: Sequence[Judged],
        positions: Mapping[tuple[str, int], int],
        cluster: str,
        *,
        replaying: bool = False,
        expired_ms: int | None = None,
    ) -> list[PartitionCommit]:
        commits = whole(judged, positions, cluster, replaying=replaying, expired_ms=expired_ms)
        for commit in commits:
            if replaying:
                kept.setdefault(commit.partition, []).append(commit)
                continue
            for former in kept.pop(commit.partition, []):
                for table, rows in former.rows.items():
                    if table in ("readings", "scores", "outbox"):
                        commit.rows[table] = _joined(commit.rows.get(table), rows)
        return commits

    processor.process = process  # type: ignore[method-assign]


def _no_pending_in_snapshots(processor: Processor) -> None:
    whole = processor.process

    def process(*given: Any, **more: Any) -> list[PartitionCommit]:
        commits = whole(*given, **more)
        for state in processor.states.values():
            state.pending.dump = Pending().dump  # type: ignore[method-assign]
        return commits

    processor.process = process  # type: ignore[method-assign]


def _expiry_decided_anew(processor: Processor) -> None:
    whole = processor.process

    def process(*given: Any, expired_ms: int | None = None, **more: Any) -> list[PartitionCommit]:
        return whole(*given, **more)

    processor.process = process  # type: ignore[method-assign]


def _joined(first: Any, second: Any) -> Any:
    if first is None:
        return second
    columns = {name: [*first.columns[name], *values] for name, values in second.columns.items()}
    return type(second)(columns)
