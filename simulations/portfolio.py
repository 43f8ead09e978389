"""The members of a simulation as columns, and the expected counts that follow from them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulations.errors import SpecError
from simulations.kernels.cells import classify, count_cells, sum_cells, synthetic_codes

Floats = NDArray[np.float64]
MAX_CLASSES = 4096
SYNTHETIC_MARKETS = 50
_AGE_BANDS = 10
_SEXES = 2
_TIERS = 2
# Relative use of inpatient care and drugs by age band (0-9, .., 90+), the shape of a commercial and senior population.
_IP_BY_AGE = (0.45, 0.35, 0.70, 0.80, 0.75, 1.00, 1.45, 2.10, 3.00, 3.90)
_RX_BY_AGE = (0.25, 0.35, 0.50, 0.65, 0.90, 1.25, 1.70, 2.10, 2.30, 2.30)


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """A column of texts: codes [n] into names."""

    codes: NDArray[np.int32]
    names: tuple[str, ...]


Column = Floats | Labels


@dataclass(frozen=True, slots=True, eq=False)
class Portfolio:
    """Equally long columns by name, one row a member. `source` names where they came from, for messages."""

    columns: Mapping[str, Column]
    size: int
    source: str

    def number(self, name: str, path: str, *, least: float = 0.0) -> Floats:
        """A numeric column of the portfolio; `path` is the scenario's field that asks for it.

        Raises SpecError for a column that is missing or not numeric, and for the first row that is NaN, infinite or
        below `least`.
        """
        column = self._column(name, path)
        if isinstance(column, Labels):
            raise SpecError(path, f"column {name!r} of {self.source} holds text, a number is needed")
        low = column.min(initial=np.inf)
        if not (low >= least and column.max(initial=-np.inf) < np.inf):
            row = int(np.flatnonzero(~(np.isfinite(column) & (column >= least)))[0])
            raise SpecError(path, f"column {name!r} of {self.source}, row {row + 1}: {column[row]} is not >= {least}")
        return column

    def labels(self, name: str, path: str) -> Labels:
        """A column as texts; numbers become the shortest text that is no other number's."""
        column = self._column(name, path)
        if isinstance(column, Labels):
            return column
        values, codes = np.unique(column, return_inverse=True)
        if np.isnan(values).any():
            row = int(np.flatnonzero(np.isnan(column))[0])
            raise SpecError(path, f"column {name!r} of {self.source}, row {row + 1}: nan names no group")
        return Labels(codes.astype(np.int32), tuple(repr(float(value)).removesuffix(".0") for value in values))

    def _column(self, name: str, path: str) -> Column:
        if name not in self.columns:
            raise SpecError(path, f"{self.source} has no column {name!r}; it has {sorted(self.columns)}")
        return self.columns[name]


def synthetic(members: int, seed: int) -> Portfolio:
    """A portfolio of 40 rating classes (age band, sex, morbidity tier) in 50 markets of unequal size.

    Columns: market, age_band, sex, exposure (member-years, 1), risk_score (mean near 1), ip_rate (inpatient claims a
    member-year, mean near 0.06), op_rate (outpatient facility claims, mean near 0.9), rx_rate (fills, near 9).
    The same (members, seed) gives the same members.
    """
    groups = np.empty(members, np.int32)
    classes = np.empty(members, np.int32)
    kinds = _AGE_BANDS * _SEXES * _TIERS
    synthetic_codes(groups, classes, SYNTHETIC_MARKETS, kinds, np.uint64(seed), np.uint64(0xFFFFFFFF))
    kind = np.arange(kinds)
    age, sex, tier = kind // 4, kind // 2 % 2, kind % 2
    morbidity = np.where(tier == 0, 0.7, 1.3)
    ip = 0.06 * np.array(_IP_BY_AGE)[age] / np.mean(_IP_BY_AGE) * np.where(sex == 0, 1.08, 0.92) * morbidity
    rx = 9.0 * np.array(_RX_BY_AGE)[age] / np.mean(_RX_BY_AGE) * np.where(sex == 0, 1.1, 0.9) * morbidity
    op = 0.9 * 0.5 * (ip / 0.06 + rx / 9.0)
    score = 0.5 * (ip / 0.06 + rx / 9.0)
    columns: dict[str, Column] = {
        "market": Labels(groups, tuple(f"market-{m + 1:02d}" for m in range(SYNTHETIC_MARKETS))),
        "age_band": Labels((classes // 4).astype(np.int32), tuple(f"{10 * a}-{10 * a + 9}" for a in range(10))),
        "sex": Labels((classes // 2 % 2).astype(np.int32), ("female", "male")),
        "exposure": np.ones(members),
        "risk_score": score[classes],
        "ip_rate": ip[classes],
        "op_rate": op[classes],
        "rx_rate": rx[classes],
    }
    return Portfolio(columns, members, f"synthetic({members}, seed {seed})")


@dataclass(frozen=True, slots=True, eq=False)
class Exposure:
    """Expected claims of each member: means [categories, members]; groups: code of each member and names."""

    means: Floats
    groups: NDArray[np.int32]
    names: tuple[str, ...]

    def by_group(self) -> Floats:
        """Expected claims [groups, categories], summed in member order."""
        out = np.zeros((len(self.names), len(self.means)))
        for q, row in enumerate(self.means):
            total = np.zeros(len(self.names))
            sum_cells(self.groups, row, total)
            out[:, q] = total
        return out


@dataclass(frozen=True, slots=True, eq=False)
class Classes:
    """Members with equal expected counts taken together: means [classes, categories], counts [groups, classes]."""

    means: Floats
    counts: NDArray[np.int64]


def classes_of(exposure: Exposure, cap: int = MAX_CLASSES) -> Classes | None:
    """The classes of an exposure, or None where there are more than `cap`."""
    codes = np.empty(exposure.means.shape[1], np.int32)
    distinct = np.empty((cap, len(exposure.means)))
    found = classify(exposure.means, codes, distinct)
    if found > cap:
        return None
    counts = np.zeros((len(exposure.names), found), np.int64)
    count_cells(exposure.groups, codes, counts)
    return Classes(distinct[:found].copy(), counts)
