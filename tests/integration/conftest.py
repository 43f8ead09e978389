"""Which tests share a process where they are spread over several: those of a server that one session shares."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent
SHARED = {"broker": {"kafka_broker", "any_bootstrap"}, "service": {"fed_database"}}
"""Fixtures by group: the one broker, whose topics each test empties; the database that a shard has filled."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Groups of `--dist loadgroup`; without a shared server, a file is one. The longest begin first."""
    ours = [item for item in items if HERE in item.path.parents]
    groups = {item: _group(item) for item in ours}
    for item, group in groups.items():
        item.add_marker(pytest.mark.xdist_group(group))
    if len(ours) == len(items):
        order = [*SHARED]
        items.sort(key=lambda item: order.index(groups[item]) if groups[item] in order else len(order))


def _group(item: pytest.Item) -> str:
    asked = set(getattr(item, "fixturenames", ()))
    return next((name for name, fixtures in SHARED.items() if fixtures & asked), item.path.name)
