"""Which shard each partition belongs to: pure functions, the same for the same input, with as few moves as can be."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from engine.errors import PlacementError


def in_order(shards: Sequence[str]) -> list[str]:
    """Names in the order of the numbers in them: shard-2 before shard-10."""
    return sorted(set(shards), key=lambda name: [(len(n), n) if n.isdigit() else (0, n) for n in _words(name)])


def _words(name: str) -> list[str]:
    return re.findall(r"\d+|\D+", name)


def spread(current: Mapping[int, str], shards: Sequence[str], partitions: int) -> dict[int, str]:
    """Every one of `partitions` on one of `shards`: those that are on one stay, the others go where fewest are.

    Raises PlacementError without a shard.
    """
    names = _some(shards)
    placed = {p: name for p, name in current.items() if name in names and p < partitions}
    load = Counter(placed.values())
    for partition in range(partitions):
        if partition not in placed:
            placed[partition] = min(names, key=lambda name: (load[name], names.index(name)))
            load[placed[partition]] += 1
    return dict(sorted(placed.items()))


def balance(current: Mapping[int, str], shards: Sequence[str], partitions: int) -> dict[int, str]:
    """As `spread`, with the shares equal, or one apart: the fewest moves that can make them so.

    Raises PlacementError without a shard.
    """
    names = _some(shards)
    owned: dict[str, list[int]] = {name: [] for name in names}
    for partition in sorted(current):
        if current[partition] in owned and partition < partitions:
            owned[current[partition]].append(partition)
    least, larger = divmod(partitions, len(names))
    largest = sorted(names, key=lambda name: (-len(owned[name]), names.index(name)))
    share = {name: least + (rank < larger) for rank, name in enumerate(largest)}
    kept = {partition: name for name in names for partition in owned[name][: share[name]]}
    missing = [name for name in names for _ in range(share[name] - len(owned[name]))]
    free = (partition for partition in range(partitions) if partition not in kept)
    return dict(sorted({**kept, **dict(zip(free, missing, strict=True))}.items()))


def decide(
    states: Mapping[str, str],
    current: Mapping[int, str],
    alive: Collection[str],
    dead: Collection[str],
    partitions: int,
) -> tuple[dict[str, str], dict[int, str]]:
    """What a supervisor makes of what it sees: the states that change, and the whole placement.

    A joining shard that is alive becomes active and everything is balanced; else only what lies on a shard that is
    dead, drained, leaving or gone is spread over the active ones. A dead shard joins again once it is alive. While no
    shard can take anything, nothing moves. The very first placement waits for nobody but the dead.
    """
    active = [name for name, state in states.items() if state == "active" and name not in dead]
    joined = [name for name, state in states.items() if state == "joining" and name in alive and name not in dead]
    if not current:
        joined = [name for name, state in states.items() if state == "joining" and name not in dead]
    if not active and not joined:
        return {}, dict(current)
    changed = dict.fromkeys(joined, "active")
    changed |= {name: "joining" for name, state in states.items() if state == "active" and name in dead}
    place = balance if joined else spread
    return changed, place(current, [*active, *joined], partitions)


def _some(shards: Sequence[str]) -> list[str]:
    names = in_order(shards)
    if not names:
        raise PlacementError("no shard is left to take the partitions: add one with `vitanexus shards scale`")
    return names
