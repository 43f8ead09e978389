"""Published development triangles, as the chainladder package carries them."""

import csv
from importlib import resources

import numpy as np

from simulations.triangles import Triangle


def published(name: str) -> Triangle:
    """The cumulative triangle `name` (genins, raa, mw2008)."""
    with (resources.files("chainladder") / "utils" / "data" / f"{name}.csv").open() as lines:
        rows = [(int(row["origin"]), int(row["development"]), float(row["values"])) for row in csv.DictReader(lines)]
    origins = sorted({origin for origin, _, _ in rows})
    n = len(origins)
    grid = np.full((n, n), np.nan)
    for origin, development, value in rows:
        grid[origins.index(origin), development - origin] = value
    return Triangle(grid, tuple(map(str, origins)))
