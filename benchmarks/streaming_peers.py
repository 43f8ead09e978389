"""Peers of the shard on one topic: count and sum of the readings of each member, from the first event to the last.

    python -m benchmarks.streaming_peers confluent|quix|bytewax BOOTSTRAP TOPIC EVENTS

Each runs in a process of its own and prints one line of JSON: the events it took and the seconds from the first of
them to the last. None of them commits to a database: `confluent` keeps a plain dict, `quix` its state store (RocksDB,
without a changelog topic), `bytewax` its stateful map without recovery.
"""

import json
import sys
import tempfile
import time
from typing import Any

import msgspec


class Reading(msgspec.Struct):
    """The fields of a reading that the aggregate needs."""

    member_id: str
    value: float


class _Clock:
    """Counts events and knows when the first and the last of them came."""

    def __init__(self) -> None:
        self.events = 0
        self.first = 0.0

    def count(self, events: int = 1) -> None:
        if not self.events:
            self.first = time.perf_counter()
        self.events += events

    def tell(self) -> None:
        sys.stdout.write(json.dumps({"events": self.events, "seconds": time.perf_counter() - self.first}) + "\n")
        sys.stdout.flush()


def confluent(bootstrap: str, topic: str, events: int) -> None:
    """confluent-kafka in batches, msgspec, and a dict."""
    from confluent_kafka import Consumer

    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"confluent-{time.time()}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([topic])
    decode, clock, state = msgspec.json.Decoder(Reading).decode, _Clock(), dict[str, list[float]]()
    while clock.events < events:
        messages = consumer.consume(10_000, 1.0)
        if not messages:
            continue
        clock.count(len(messages))
        for message in messages:
            reading = decode(message.value())
            kept = state.get(reading.member_id)
            if kept is None:
                kept = state[reading.member_id] = [0.0, 0.0]
            kept[0] += 1
            kept[1] += reading.value
    clock.tell()
    consumer.close()


def quix(bootstrap: str, topic: str, events: int) -> None:
    """Quix Streams with its state store."""
    from quixstreams import Application

    clock = _Clock()

    def update(reading: dict[str, Any], state: Any) -> None:
        clock.count()
        count, total = state.get("kept", (0, 0.0))
        state.set("kept", (count + 1, total + reading["value"]))

    with tempfile.TemporaryDirectory() as folder:
        application = Application(
            broker_address=bootstrap,
            consumer_group=f"quix-{time.time()}",
            auto_offset_reset="earliest",
            state_dir=folder,
            use_changelog_topics=False,
            loglevel="ERROR",
        )
        source = application.dataframe(application.topic(topic, value_deserializer="json", key_deserializer="str"))
        source.apply(update, stateful=True)
        application.run(count=events, timeout=60)
        clock.tell()


def bytewax(bootstrap: str, topic: str, _: int) -> None:
    """Bytewax with a stateful map, to the end of the topic."""
    import bytewax.operators as op
    from bytewax.connectors.kafka import operators as kop
    from bytewax.dataflow import Dataflow
    from bytewax.testing import TestingSink, run_main

    clock, decode = _Clock(), msgspec.json.Decoder(Reading).decode

    def keyed(message: Any) -> tuple[str, float]:
        clock.count()
        reading = decode(message.value)
        return reading.member_id, reading.value

    def update(kept: tuple[int, float] | None, value: float) -> tuple[tuple[int, float], None]:
        count, total = kept or (0, 0.0)
        return (count + 1, total + value), None

    flow = Dataflow("peer")
    source = kop.input("in", flow, brokers=[bootstrap], topics=[topic], tail=False, batch_size=1000)
    kept = op.stateful_map("kept", op.map("keyed", source.oks, keyed), update)
    op.output("out", op.filter("none", kept, lambda _: False), TestingSink([]))
    run_main(flow)
    clock.tell()


PEERS = {"confluent": confluent, "quix": quix, "bytewax": bytewax}

if __name__ == "__main__":
    PEERS[sys.argv[1]](sys.argv[2], sys.argv[3], int(sys.argv[4]))
