"""Topics: one a kind of event and the topics of our own, all with the same number of partitions."""

from kafka.partitioner.default import murmur2

from engine.domain.batch import TopicIdentity
from engine.domain.events import KIND_OF_TOPIC
from engine.errors import StreamError
from engine.streams.client import BOOTSTRAP_MS, admin_client

PARTITIONS = 64
"""Logical partitions of every topic. Part of the state's layout: another number is a migration, not a setting."""

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

    with admin_client(bootstrap) as admin:
        present = set(admin.list_topics())
        missing = [name for name in (*INPUT_TOPICS, *OUTPUT_TOPICS) if name not in present]
        if missing:
            admin.create_topics([NewTopic(name, PARTITIONS, -1) for name in missing])
        for described in admin.describe_topics([*INPUT_TOPICS, *OUTPUT_TOPICS]):
            count = len(described["partitions"])
            if count != PARTITIONS:
                raise StreamError(
                    f"topic {described['name']!r} has {count} partitions, not {PARTITIONS}: members would change owners"
                )


def identities(bootstrap: str, timeout_ms: int = BOOTSTRAP_MS) -> dict[str, TopicIdentity]:
    """The identity of every input topic's log: what tells a log made anew from the one our offsets belong to."""
    with admin_client(bootstrap, timeout_ms) as admin:
        cluster = str(admin.describe_cluster()["cluster_id"])
        described = admin.describe_topics(list(INPUT_TOPICS))
    return {topic["name"]: TopicIdentity(cluster, str(topic.get("topic_id", ""))) for topic in described}
