"""Writes events and messages to Kafka: JSON, keyed by member, acknowledged by all replicas."""

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any

import msgspec
from kafka import KafkaProducer

from engine.domain.events import ENROLLMENT, SCHEMA_VERSION, EventKind, SourceEvent
from engine.streams.client import BOOTSTRAP_MS, broker_errors
from engine.streams.topics import PARTITIONS, partition_of

_BATCH_BYTES = 1 << 20
_LINGER_MS = 20
_IN_FLIGHT_CHECK = 20_000


class EventProducer:
    """Sends to the partition of the member. `flush` returns once the broker has acknowledged everything sent before.

    Delivery is at least once: a retry after a lost acknowledgement may write an event twice, and the shard drops it by
    its (source, event_id). Use as a context manager; raises StreamError when the broker stays away for two minutes.
    """

    def __init__(self, bootstrap: str, linger_ms: int = _LINGER_MS) -> None:
        self._bootstrap = bootstrap
        self._encode = msgspec.json.Encoder().encode
        self._partitions: dict[str, int] = {}
        self._pending: list[Any] = []
        self._enrolling: set[str] = set()
        with broker_errors(bootstrap, "connect a producer"):
            self._producer = KafkaProducer(
                bootstrap_servers=bootstrap,
                acks="all",
                linger_ms=linger_ms,
                batch_size=_BATCH_BYTES,
                max_request_size=16 * _BATCH_BYTES,
                metrics_enabled=False,
                bootstrap_timeout_ms=BOOTSTRAP_MS,
            )

    def __enter__(self) -> "EventProducer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._producer.close(timeout=10 if error is None else 1)

    def send(self, event: SourceEvent) -> None:
        """Sends one event; its schema version is added here.

        An event waits until its member's enrolment, where that was sent just before, is acknowledged: the shard finds
        the enrolment of every event that was acknowledged after it.
        """
        if event.kind is ENROLLMENT:
            self._enrolling.add(event.member_id)
        elif event.member_id in self._enrolling:
            self.flush()
        self.send_message(event.kind.topic, event.member_id, {"v": SCHEMA_VERSION, **event.fields})

    def send_to(self, kind: EventKind, partition: int, fields: Mapping[str, object]) -> None:
        """Sends an event that is about a whole partition, such as a scoring command."""
        payload = self._encode({"v": SCHEMA_VERSION, **fields})
        self.send_bytes(kind.topic, str(fields["member_id"]), payload, partition)

    def send_message(self, topic: str, key: str, message: Mapping[str, object]) -> None:
        """Sends a JSON message to the partition of the member named by `key`."""
        self.send_bytes(topic, key, self._encode(message))

    def send_bytes(self, topic: str, key: str, payload: bytes, partition: int | None = None) -> None:
        """Sends raw bytes, as a faulty producer might; `partition` overrides the key's."""
        if partition is None:
            partition = self._partitions.get(key, -1)
            if partition < 0:
                partition = self._partitions[key] = partition_of(key)
        with broker_errors(self._bootstrap, f"produce to {topic}"):
            self._pending.append(
                self._producer.send(topic, key=key.encode(), value=payload, partition=partition % PARTITIONS)
            )
        if len(self._pending) >= _IN_FLIGHT_CHECK:
            self.flush()

    def send_all(self, events: Iterable[SourceEvent]) -> int:
        """Sends the events, waits for their acknowledgement, and returns how many they were."""
        count = 0
        for event in events:
            self.send(event)
            count += 1
        self.flush()
        return count

    def flush(self) -> None:
        """Waits until everything sent is acknowledged. Raises StreamError for the first message that was not."""
        with broker_errors(self._bootstrap, "produce"):
            self._producer.flush(timeout=120)
            for future in self._pending:
                future.get(timeout=10)
        self._pending.clear()
        self._enrolling.clear()
