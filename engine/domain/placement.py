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
    gone: Collection[str] = (),
) -> tuple[dict[str, str], dict[int, str]]:
    """What a supervisor makes of what it sees: the states that change, and the whole placement.

    Where a shard is dead, or `gone`, its process having ended, one that stands by and is alive takes all that it had,
    and it stands by itself from then on. Without one, who is gone is waited for: its next process will be back before
    anybody else could be ready.

    A joining shard that is alive becomes active and everything is balanced; else only what lies on a shard that is
    dead, drained, leaving or gone is spread over the active ones. A dead shard joins again once it is alive. While no
    shard can take anything, nothing moves. The very first placement waits for nobody but the dead.
    """
    lost = [name for name in in_order(list(states)) if states[name] == "active" and (name in dead or name in gone)]
    ready = [name for name in in_order(list(states)) if name in alive and name not in gone]
    spare = [name for name in ready if states[name] == "standby"]
    if lost and spare:
        heir = dict(zip(lost, spare, strict=False))
        swapped = dict.fromkeys(heir, "standby") | dict.fromkeys(heir.values(), "active")
        inherited = {partition: heir.get(name, name) for partition, name in current.items()}
        changed, placed = decide({**states, **swapped}, inherited, alive, dead, partitions, gone)
        return swapped | changed, placed
    active = [name for name, state in states.items() if state == "active" and name not in dead]
    coming = [name for name, state in states.items() if state == "joining" and name not in dead and name not in gone]
    joined = [name for name in coming if name in alive] if current else coming
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
