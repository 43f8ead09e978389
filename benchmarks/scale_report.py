"""The page of `benchmarks.scale`: what each size cost, what bounds it, and how many nodes a size wants."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.capacity import Capacity, Check, Node


@dataclass
class Figures:
    """What one size cost; seconds, bytes."""

    members: int
    load: float = 0.0
    loaded_bytes: int = 0
    resident: int = 0
    readings: float = 0.0
    batch: float = 0.0
    dump: float = 0.0
    snapshot_bytes: int = 0
    restore: float = 0.0
    reserve: float = 0.0
    sustained: float = 0.0
    grown: int = 0

    def row(self) -> str:
        """A row of the table."""
        n = self.members
        cells = (
            f"{n:,}",
            f"{n / self.load:,.0f}/s",
            f"{self.loaded_bytes / n:,.0f} B",
            f"{self.resident / 2**30:.2f} GiB",
            f"{self.readings:,.0f}/s",
            f"{n / self.batch:,.0f}/s ({self.batch:.1f} s)",
            f"{self.dump:.2f} s ({self.snapshot_bytes / n:,.0f} B)",
            f"{self.restore:.2f} s",
            f"{self.reserve:.2f} s",
        )
        return "| " + " | ".join(cells) + " |"


_HEAD = (
    "members | enrolled and scored | state a member | resident | readings | nightly batch "
    "| snapshots into PostgreSQL (a member) | restored from there | reserve, 10,000 scenarios"
)


_NIGHT_SECONDS = 4 * 3600
_SIZES = ((100_000, 500.0), (1_000_000, 5_000.0), (10_000_000, 50_000.0))
"""Members and events a second for which the page says what they want."""


def page(
    found: Sequence[Figures],
    capacity: Capacity,
    checks: Sequence[Check],
    wearing: float,
    rows: bool,
    described: dict[str, str],
    picture: Path,
) -> str:
    """Everything as Markdown; draws the plot."""
    plot(found, picture)
    lines = ["# Scale", "", f"| {_HEAD} |", "|" + "---|" * (_HEAD.count("|") + 1), *(each.row() for each in found)]
    lines += ["", f"One process, 64 partitions; {wearing:.0%} of the members wear a device of three metrics. "]
    lines[-1] += f"Rows of members and scores committed while measuring: {'yes' if rows else 'no'}."
    lines += [
        f"Sustained at {each.members:,}: {each.sustained:,.0f} readings/s, grown by {each.grown / 2**20:,.0f} MiB."
        for each in found
        if each.sustained
    ]
    lines += ["", f"![cost a member against size]({picture.name})", "", "## What bounds each size", ""]
    lines += ["| members | bound |", "|---|---|", *(f"| {each.members:,} | {_bound(each)} |" for each in found)]
    lines += ["", "## Capacity", "", *capacity.told(), ""]
    lines += ["| members | events/s | nodes | by memory | by events | PostgreSQL a year |", "|---|---|---|---|---|---|"]
    for members, events in _SIZES:
        want = capacity.needed(members, events, Node())
        bounds = f"{want.nodes} | {want.by_memory} | {want.by_events}"
        lines.append(f"| {members:,} | {events:,.0f} | {bounds} | {want.postgres / 1e9:,.0f} GB |")
    if checks:
        lines += ["", "Checked against node processes on this machine, the same members shared out among them:", ""]
        lines += [
            "| node processes | resident each, foretold | measured | readings/s, foretold | measured |",
            "|---|---|---|---|---|",
        ]
        lines += [each.row() for each in checks]
    lines += ["", *(f"- {name}: {value}" for name, value in described.items())]
    return "\n".join(lines) + "\n"


def _bound(each: Figures) -> str:
    """What of this machine runs out first as members grow: its memory, or the night in which everybody is scored."""
    memory = psutil.virtual_memory().total
    share, what = max(
        (each.batch / _NIGHT_SECONDS, f"the night ({_NIGHT_SECONDS / 3600:.0f} h for the batch)"),
        (each.resident / memory, f"memory ({memory / 2**30:.0f} GiB)"),
    )
    return f"{share:.1%} of {what}; readings at {each.readings:,.0f}/s of one core"


def plot(found: Sequence[Figures], path: Path) -> None:
    """Microseconds and bytes a member against the number of members."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    sizes = [each.members for each in found]
    figure, (time_axis, byte_axis) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for label, cost in (
        ("enrolled and scored", [each.load / each.members for each in found]),
        ("nightly batch", [each.batch / each.members for each in found]),
        ("snapshot", [each.dump / each.members for each in found]),
        ("restore", [each.restore / each.members for each in found]),
    ):
        time_axis.plot(sizes, [1e6 * value for value in cost], marker="o", label=label)
    byte_axis.plot(sizes, [each.loaded_bytes / each.members for each in found], marker="o", label="state")
    byte_axis.plot(sizes, [each.snapshot_bytes / each.members for each in found], marker="o", label="snapshot")
    time_axis.set(title="time", ylabel="microseconds a member", yscale="log")
    byte_axis.set(title="memory", ylabel="bytes a member", ylim=(0, None))
    for axis in (time_axis, byte_axis):
        axis.set(xscale="log", xlabel="members")
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    figure.savefig(path, dpi=130)
    plt.close(figure)
