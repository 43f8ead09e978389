"""How many of something a load wants: quick up, slow down, and still where it is nearly right.

Pure: what a decision depends on is its arguments, time included. `decide` is called every few seconds with the state it
gave the last time.
"""

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Scaling:
    """The limits of one kind of unit, shards or simulation workers. Seconds unless named otherwise.

    - `fewest`, `most`: bounds of the number.
    - `slack`: the share of a unit's capacity kept free when the number is chosen. Between full and free of that share
      nothing changes (hysteresis), so a load that wavers by less never moves the number twice.
    - `up_after`, `down_after`: how long a number must have been too small, or too large, before it changes.
    - `cool_down`: least time between a change and a following step down.
    - `most_up`: largest factor of one step up. A step down takes away half of what is too much, at least one.

    Raises ValueError naming the limit that cannot be.
    """

    fewest: int
    most: int
    slack: float
    up_after: float
    down_after: float
    cool_down: float
    most_up: float

    def __post_init__(self) -> None:
        if not 0 <= self.fewest <= self.most or self.most < 1:
            raise ValueError(f"fewest {self.fewest} and most {self.most}: 0 <= fewest <= most and most >= 1 are wanted")
        if not 0 < self.slack < 1:
            raise ValueError(f"slack {self.slack}: a share between 0 and 1 is wanted")
        if min(self.up_after, self.down_after, self.cool_down) < 0:
            raise ValueError("up_after, down_after and cool_down must not be negative")
        if self.most_up <= 1:
            raise ValueError(f"most_up {self.most_up}: a factor above 1 is wanted")


@dataclass(frozen=True, slots=True)
class Scaled:
    """A number of units, when it last changed, and since when it has been too small or too large (None: it is not)."""

    units: int
    changed_at: float = -math.inf
    small_since: float | None = None
    large_since: float | None = None


def decide(scaling: Scaling, state: Scaled, load: float, now: float) -> Scaled:
    """The next state. `load` is in units of full capacity: 2.5 fills two and a half. Raises ValueError below zero."""
    if not load >= 0:
        raise ValueError(f"load {load}: a number of at least 0 is wanted")
    wanted = wanted_units(scaling, load)
    inside = min(max(state.units, scaling.fewest), scaling.most)
    if inside != state.units:
        return Scaled(inside, now)
    if load > state.units and wanted > state.units:
        since = now if state.small_since is None else state.small_since
        if now - since < scaling.up_after:
            return replace(state, small_since=since, large_since=None)
        step = max(math.floor(max(state.units, 1) * scaling.most_up), state.units + 1)
        return Scaled(min(wanted, step), now)
    if wanted < state.units:
        since = now if state.large_since is None else state.large_since
        if now - since < scaling.down_after or now - state.changed_at < scaling.cool_down:
            return replace(state, small_since=None, large_since=since)
        return Scaled(state.units - math.ceil((state.units - wanted) / 2), now)
    return replace(state, small_since=None, large_since=None)


def wanted_units(scaling: Scaling, load: float) -> int:
    """The number that carries the load with the slack left free, within the bounds."""
    return min(max(math.ceil(load / (1 - scaling.slack) - 1e-9), scaling.fewest), scaling.most)


@dataclass(frozen=True, slots=True)
class ShardCapacity:
    """What one shard carries: records a second, bytes of member state, and within how many seconds a lag is to go."""

    records_per_second: float
    state_bytes: float
    drain_seconds: float

    def load(self, arriving: float, lag: float, state_bytes: float) -> float:
        """Shards filled by `arriving` records a second with `lag` records behind the log, or by the state: the more."""
        rate = (arriving + lag / self.drain_seconds) / self.records_per_second
        return max(rate, state_bytes / self.state_bytes)


@dataclass(frozen=True, slots=True)
class SimulationCapacity:
    """Within how many seconds the batches that wait are to be done."""

    finish_seconds: float

    def load(self, pending: int, batch_seconds: float) -> float:
        """Workers filled by batches not finished, each of which takes one worker `batch_seconds`.

        Never more than one worker a batch.
        """
        return min(float(pending), pending * batch_seconds / self.finish_seconds)
