"""Parts of Serve that do not start the first time."""

import pytest

from cluster.deployment import started
from engine.errors import StackError


class Part:
    """Starts at the `at`th try; says what was done to it."""

    def __init__(self, at: int) -> None:
        self.at, self.done = at, []

    def start(self) -> None:
        self.done.append("start")
        if self.done.count("start") < self.at:
            raise RuntimeError("cancelled before it started running\nTraceback of the inside")

    def clear(self) -> None:
        self.done.append("clear")


@pytest.mark.parametrize(("at", "done"), [(1, ["start"]), (2, ["start", "clear", "start"])])
def test_a_part_that_was_slow_is_started_once_more(at: int, done: list[str]) -> None:
    part = Part(at)
    started("a proxy", part.start, part.clear)
    assert part.done == done


def test_a_part_that_does_not_start_is_named_with_its_log_in_one_line() -> None:
    part = Part(3)
    with pytest.raises(
        StackError, match=r"^a proxy did not start, twice, after \d+ s: cancelled .* its log is in .*serve$"
    ) as told:
        started("a proxy", part.start, part.clear)
    assert "\n" not in str(told.value)
    assert part.done == ["start", "clear", "start"]
