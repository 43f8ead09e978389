"""Topics: one a kind of event and the topics of our own, all with the same number of partitions."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from kafka.partitioner.default import murmur2

from engine.domain.batch import TopicIdentity
from engine.domain.events import KIND_OF_TOPIC
from engine.errors import StreamError, TopicsChangedError
from engine.streams.client import BOOTSTRAP_MS, admin_client

PARTITIONS = 64
"""Logical partitions of every topic. Part of the state's layout: another number is a migration, not a setting."""

_CREATED_SECONDS = 30.0
SCORES_UPDATED = "scores.updated"
CARE_ALERTS = "care.alerts"
DEAD_LETTER_TOPIC = "dead.letters"

INPUT_TOPICS: tuple[str, ...] = tuple(KIND_OF_TOPIC)
"""What a shard consumes, in the order in which a batch applies it."""
OUTPUT_TOPICS: tuple[str, ...] = (SCORES_UPDATED, CARE_ALERTS, DEAD_LETTER_TOPIC)


def partition_of(member_id: str) -> int:
    """The partition that owns the member: murmur2 of the UTF-8 id, as the Java client places a key."""
    return int((murmur2(member_id.encode()) & 0x7FFFFFFF) % PARTITIONS)


def ensure_topics(bootstrap: str) -> None:
    """Creates the topics that are missing. Raises StreamError where one exists with another number of partitions."""
    from kafka.admin import NewTopic

    wanted = [*INPUT_TOPICS, *OUTPUT_TOPICS]
    deadline = time.monotonic() + _CREATED_SECONDS
    with admin_client(bootstrap) as admin:
        present = set(admin.list_topics())
        missing = [name for name in wanted if name not in present]
        if missing:
            admin.create_topics([NewTopic(name, PARTITIONS, -1) for name in missing])
        # a broker acknowledges a topic before its own view of the metadata has it
        while not all(topic["partitions"] for topic in admin.describe_topics(wanted)):
            if time.monotonic() > deadline:
                raise StreamError(f"the broker at {bootstrap} shows new topics without partitions: {missing}")
            time.sleep(0.05)
        described = admin.describe_topics(wanted)
    _check_partitions(described)


def _check_partitions(described: Sequence[Mapping[str, Any]]) -> None:
    for topic in described:
        count = len(topic["partitions"])
        if count != PARTITIONS:
            raise TopicsChangedError(
                f"topic {topic['name']!r} has {count} partitions, not {PARTITIONS}: members would change owners"
            )


def identities(bootstrap: str, timeout_ms: int = BOOTSTRAP_MS) -> dict[str, TopicIdentity]:
    """The identity of every input topic's log: what tells a log made anew from the one our offsets belong to.

    Raises StreamError while the broker is away, and TopicsChangedError where a topic has another number of partitions.
    """
    with admin_client(bootstrap, timeout_ms) as admin:
        cluster = str(admin.describe_cluster()["cluster_id"])
        described = admin.describe_topics(list(INPUT_TOPICS))
    _check_partitions(described)
    return {topic["name"]: TopicIdentity(cluster, str(topic.get("topic_id", ""))) for topic in described}
