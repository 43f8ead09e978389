"""Which interventions of the catalogue fit a member's risk factors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from engine.scoring.risk_factors import FACTOR_CODES, NEWS2, Ranked

MOST = 3


@dataclass(frozen=True, slots=True)
class Intervention:
    """An entry of the catalogue: offered from `minimum_category` on to members whom one of `factors` puts at risk.

    `factors` are codes of risk factors; an empty list fits everyone of the category. `evidence` cites why.
    """

    code: str
    title: str
    factors: tuple[str, ...]
    minimum_category: int
    evidence: str

    def __post_init__(self) -> None:
        unknown = sorted(set(self.factors) - set(FACTOR_CODES))
        if unknown:
            raise ValueError(f"intervention {self.code}: factors {unknown} are not risk factors")


@njit(cache=True, nogil=True)
def _choose(
    which: NDArray[np.int64],
    raises: NDArray[np.bool_],
    category: NDArray[np.int64],
    answers: NDArray[np.bool_],
    least: NDArray[np.int64],
    out: NDArray[np.int64],
) -> None:
    """Indices of entries into out [n, MOST]: those that answer a factor, in order of the factors, then the general."""
    general = answers.shape[1] - 1
    for i in range(len(which)):
        held = 0
        for k in range(which.shape[1] + 1):
            last = k == which.shape[1]
            if not last and (which[i, k] < 0 or not raises[i, k]):
                continue
            factor = general if last else which[i, k]
            for entry in range(len(least)):
                if held < out.shape[1] and category[i] >= least[entry] and answers[entry, factor]:
                    new = True
                    for taken in range(held):
                        new = new and out[i, taken] != entry
                    if new:
                        out[i, held] = entry
                        held += 1


class Catalogue:
    """The entries, ready to be chosen from."""

    def __init__(self, entries: Sequence[Intervention]) -> None:
        self.codes = tuple(entry.code for entry in entries)
        self._least = np.array([entry.minimum_category for entry in entries], np.int64)
        rows = [[code in entry.factors for code in FACTOR_CODES] + [not entry.factors] for entry in entries]
        self._answers = np.array(rows, np.bool_).reshape(len(entries), len(FACTOR_CODES) + 1)

    def recommend(self, factors: Ranked, category: NDArray[np.int64]) -> NDArray[np.int64]:
        """At most MOST entries by member [n, MOST], in the order of the factors they answer; -1 behind the last.

        The general ones come last.
        """
        out = np.full((len(category), MOST), -1, np.int64)
        raises = (factors.dollars > 0) | (factors.which == NEWS2)
        _choose(factors.which, raises, category, self._answers, self._least, out)
        return out
