"""Who is alive, who is dead and who is gone, by what shards say and by their sessions."""

from actors.supervisor import Watch
from engine.storage.placement import ShardStatus


def status(name: str, silent: float | None, connected: bool = True) -> ShardStatus:
    return ShardStatus(name, "active", silent, connected, (), (), None, 0, 0, 0)


def test_who_has_no_session_at_two_turns_is_gone() -> None:
    watch = Watch(1.0, 30.0)
    both = [status("a", 0.1), status("b", 0.2, connected=False)]
    assert watch.turn(both, 100.0) == ({"a", "b"}, set(), set())
    assert watch.turn(both, 100.5) == ({"a", "b"}, set(), {"b"})
    back = [status("a", 0.1), status("b", 0.1)]
    assert watch.turn(back, 101.0)[2] == set()
    assert watch.turn(both, 101.5)[2] == set(), "its time begins anew"


def test_who_was_never_there_is_not_gone() -> None:
    watch = Watch(1.0, 30.0)
    for now in (0.0, 1.0, 2.0):
        assert watch.turn([status("a", None, connected=False)], now)[2] == set()


def test_while_postgresql_is_away_nobody_is_dead_or_gone() -> None:
    watch = Watch(1.0, 30.0)
    assert watch.turn([status("a", 0.1, connected=False)], 0.0)[2] == set()
    watch.blind()
    assert watch.turn([status("a", 60.0, connected=False)], 60.0) == (set(), set(), set())
    assert watch.turn([status("a", 91.0, connected=False)], 91.0) == (set(), {"a"}, {"a"})
