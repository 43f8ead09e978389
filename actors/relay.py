"""The outbox relay: publishes what the shards committed, in order, and deletes what the broker has acknowledged."""

import threading
from collections import Counter
from collections.abc import Callable, Iterable

import ray

from actors.cluster_metrics import ClusterMetrics
from actors.lasting import keep_loaded
from actors.metric_list import PUBLISHED
from actors.metrics import counter
from actors.names import RELAY
from engine import logs
from engine.errors import StorageError, StreamError
from engine.storage.outbox import OutboxMessage, OutboxStore
from engine.streams.producer import EventProducer
from engine.streams.score_messages import unpack
from engine.streams.topics import SCORES_UPDATED

_BATCH = 500
_IDLE_SECONDS = 1.0
_PAUSE_SECONDS = 0.5


class RelayLoop:
    """Delivery is at least once: a crash between acknowledgement and deletion publishes a message again.

    Consumers of `care.alerts` tell repeats by `alert_id`, of `scores.updated` by member_id and seq. `report` is told
    topic and number of what was published.
    """

    def __init__(
        self, postgres_url: str, bootstrap: str, report: Callable[[str, int], None] = lambda topic, number: None
    ) -> None:
        self._postgres_url = postgres_url
        self._bootstrap = bootstrap
        self._report = report
        self._stop = threading.Event()
        self._log = logs.get_logger(part=RELAY)
        self.published = 0

    def stop(self) -> None:
        """Asks `run` to return after the batch under way."""
        self._stop.set()

    def run(self) -> None:
        """Works until stopped; while PostgreSQL or the broker is away it waits and connects again."""
        while not self._stop.is_set():
            try:
                self._work()
            except (StorageError, StreamError) as error:
                self._log.warning("relay waits", error=str(error))
                self._stop.wait(_PAUSE_SECONDS)

    def _work(self) -> None:
        store = OutboxStore(self._postgres_url)
        try:
            with EventProducer(self._bootstrap, linger_ms=0) as producer:
                leading = False
                keep_loaded()
                while not self._stop.is_set():
                    leading = leading or store.lead()
                    messages = store.take(_BATCH) if leading else []
                    sent: Counter[str] = Counter()
                    for message in messages:
                        for key, payload in _unfolded(message):
                            producer.send_bytes(message.topic, key, payload)
                            sent[message.topic] += 1
                    if messages:
                        producer.flush()
                        store.delete(messages)
                        self.published += sent.total()
                        for topic, number in sent.items():
                            self._report(topic, number)
                    else:
                        store.wait(_IDLE_SECONDS)
        finally:
            store.close()


def _unfolded(message: OutboxMessage) -> Iterable[tuple[str, bytes]]:
    """Key and payload of the messages in an outbox row."""
    return unpack(message.payload) if message.topic == SCORES_UPDATED else [(message.key, message.payload)]


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=0)
class OutboxRelay:
    """The relay as a named actor, which also tells the figures of the whole."""

    def __init__(self, postgres_url: str, bootstrap: str, log_level: str) -> None:
        logs.configure(log_level)
        published = counter(PUBLISHED)
        self._loop = RelayLoop(postgres_url, bootstrap, lambda topic, number: published.inc(number, {"topic": topic}))
        self._figures = ClusterMetrics(postgres_url)
        self._thread = threading.Thread(target=self._loop.run, name=RELAY, daemon=True)
        self._thread.start()
        threading.Thread(target=self._figures.run, name="cluster-metrics", daemon=True).start()

    def published(self) -> int:
        """Messages published since this process began."""
        return self._loop.published

    def stop(self) -> None:
        """Finishes the batch under way."""
        self._figures.stop()
        self._loop.stop()
        self._thread.join(timeout=10)
