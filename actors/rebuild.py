"""A partition's state from the events that PostgreSQL keeps of it. Imports neither Ray nor pandas: replicas use it."""

from typing import Any

import psycopg

from engine.domain.events import EVENT_KINDS
from engine.scoring.member_state import PartitionState
from engine.storage.history import stored_events
from engine.streams.apply import Touched, apply_events


def rebuilt(connection: psycopg.Connection[Any], partition: int, member_id: str | None = None) -> PartitionState:
    """The state of a partition from the events that PostgreSQL keeps of it, equal to its shard's in all that scores.

    With that one member alone, where one is named. `connection` is one of `history`.
    """
    state = PartitionState(partition)
    for kind in EVENT_KINDS:
        for events in stored_events(connection, kind, partition, member_id):
            apply_events(state, kind, events, {}, Touched())
    return state
