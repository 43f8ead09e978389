"""A shard's figures on Ray's metrics endpoint, in Prometheus' form."""

from actors import metric_list as known
from actors.metrics import counter, gauge, histogram
from actors.pace import BatchReport


class ShardMetrics:
    """Takes the report of each committed batch. Only what goes by label of a partition grows with their number."""

    def __init__(self, shard: str) -> None:
        self._shard = {"shard": shard}
        self._events = counter(known.EVENTS)
        self._records = histogram(known.BATCH_RECORDS)
        self._seconds = histogram(known.BATCH_SECONDS)
        self._commit = histogram(known.COMMIT_SECONDS)
        self._lag = gauge(known.PARTITION_LAG)
        self._watermark = gauge(known.WATERMARK)
        self._members = gauge(known.MEMBERS)
        self._state_bytes = gauge(known.STATE_BYTES)
        self._pending = gauge(known.PENDING)
        self._late = counter(known.LATE)

    def __call__(self, report: BatchReport) -> None:
        """Adds the batch to the figures."""
        for outcome, events in report.outcomes.items():
            if events:
                self._events.inc(events, {**self._shard, "outcome": outcome})
        if report.late:
            self._late.inc(report.late, self._shard)
        self._records.observe(report.records, self._shard)
        self._seconds.observe(report.seconds, self._shard)
        self._commit.observe(report.commit_seconds, self._shard)
        for (topic, partition), behind in report.lag.items():
            self._lag.set(behind, {**self._shard, "topic": topic, "partition": str(partition)})
        for partition, watermark_us in report.watermarks_us.items():
            self._watermark.set(watermark_us / 1e6, {**self._shard, "partition": str(partition)})
        self._members.set(report.members, self._shard)
        self._state_bytes.set(report.state_bytes, self._shard)
        self._pending.set(report.pending, self._shard)
