"""Events that wait for their member: none lost, none twice, in order, within bounds, and the same from a snapshot."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.domain.pending import Held, Pending

HELD = st.builds(
    Held,
    member_id=st.sampled_from(["a", "b", "ü", "c" * 64]),
    topic=st.sampled_from(["t1", "t2"]),
    kafka_offset=st.integers(0, 10**12),
    taken_ms=st.integers(0, 100),
    cluster_id=st.just("here"),
    payload=st.binary(max_size=20),
)


def filled(events: list[Held], most_events: int = 10_000, most_bytes: int = 4 << 20) -> Pending:
    pending = Pending(most_events, most_bytes)
    for event in events:
        pending.hold(event)
    return pending


def event(offset: int, member: str = "a", taken_ms: int = 0, cluster: str = "here", size: int = 10) -> Held:
    return Held(member, "t1", offset, taken_ms, cluster, b"x" * size)


@given(
    st.lists(HELD, unique_by=lambda e: (e.topic, e.kafka_offset)), st.integers(0, 100), st.sets(st.sampled_from("ab"))
)
def test_every_event_leaves_once(events: list[Held], until_ms: int, members: set[str]) -> None:
    pending = filled(events)
    released = pending.release(sorted(members))
    expired = pending.expire(until_ms)
    assert {e.member_id for e in released} <= members
    assert released == sorted(released, key=lambda e: (e.topic, e.kafka_offset))
    assert all(e.taken_ms <= until_ms for e in expired)
    kept = len(pending)
    rest = pending.expire(100)
    assert len(rest) == kept and all(e.taken_ms > until_ms for e in rest)
    assert len(pending) == 0 and not any(e.member_id in pending for e in events)
    key = repr
    assert sorted([*released, *expired, *rest], key=key) == sorted(events, key=key)


@given(st.lists(HELD, unique_by=lambda e: (e.topic, e.kafka_offset)))
def test_a_snapshot_keeps_every_event(events: list[Held]) -> None:
    pending = filled(events)
    again = Pending.load(**pending.dump())
    assert len(again) == len(pending)
    for name, array in pending.dump().items():
        np.testing.assert_array_equal(again.dump()[name], array)
    assert again.expire(100) == pending.expire(100)


def test_there_is_room_for_so_many_events_and_bytes() -> None:
    pending = Pending(most_events=3, most_bytes=25)
    assert [pending.hold(event(n)) for n in range(3)] == [True, True, False], "the third is a byte too many"
    assert pending.hold(event(3, size=5))
    assert not pending.hold(event(4, size=0))
    assert [e.kafka_offset for e in pending.release(["a"])] == [0, 1, 3]
    assert pending.hold(event(5, size=25))


def test_events_of_another_log_are_told_apart() -> None:
    pending = filled([event(1), event(1, cluster="there"), event(2, "b", cluster="there")])
    assert [(e.cluster_id, e.kafka_offset) for e in pending.of_other_logs("here")] == [("there", 1), ("there", 2)]
    assert "a" in pending and "b" not in pending
