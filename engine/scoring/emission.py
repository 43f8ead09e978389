"""The rule of emission: which scores are worth a row of history and a `scores.updated`.

The state follows every reading, and so does what `GET .../score` answers. A row is written when the score says
something new since the member's last row: another category, another class of NEWS2, the score or the cost moved by as
much as the rules name, or the first score of a day of event time. What somebody has asked for (a scoring command) is
always written. A care alert is a change of category, so it is never later for it.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from engine.scoring.health_score import ScoringRules
from engine.scoring.member_state import PartitionState
from engine.scoring.score_kernel import Scored

_US_PER_DAY = 86_400_000_000
Reals = NDArray[np.float64]


@njit(cache=True, nogil=True)
def _new(
    slots: NDArray[np.int64],
    score: Reals,
    cost: Reals,
    category: NDArray[np.int64],
    urgency: NDArray[np.int64],
    day: NDArray[np.int64],
    told_score: Reals,
    told_cost: Reals,
    told_category: NDArray[np.int8],
    told_urgency: NDArray[np.int8],
    told_day: NDArray[np.int32],
    least_score: float,
    least_share: float,
) -> NDArray[np.bool_]:
    """Which of the scores [n] of the members in `slots` say something new. NaN, a score not known, moves by nothing."""
    new = np.empty(len(slots), np.bool_)
    for i in range(len(slots)):
        s = slots[i]
        new[i] = (
            day[i] > told_day[s]
            or category[i] != told_category[s]
            or urgency[i] != told_urgency[s]
            or abs(score[i] - told_score[s]) >= least_score
            or abs(cost[i] - told_cost[s]) >= least_share * told_cost[s]
        )
    return new


@dataclass(frozen=True, slots=True)
class Emission:
    """What the rule compares: of the members in `slots` scores, NEWS2's class and the day of event time."""

    slots: NDArray[np.int64]
    scores: Scored
    urgency: NDArray[np.int64]
    day: NDArray[np.int64]

    @classmethod
    def of(
        cls, rules: ScoringRules, slots: NDArray[np.int64], scores: Scored, as_of_us: NDArray[np.int64]
    ) -> "Emission":
        """The class of NEWS2 is what it calls for: 0 nothing, 1 High, 2 Critical."""
        urgency = np.searchsorted((rules.news2_high, rules.news2_critical), scores.news2, side="right")
        return cls(slots, scores, urgency.astype(np.int64), as_of_us // _US_PER_DAY)

    def new(self, rules: ScoringRules, state: PartitionState) -> NDArray[np.bool_]:
        """Which of them say something new against each member's last row, which the state remembers."""
        return np.asarray(
            _new(
                self.slots,
                self.scores.score,
                np.ascontiguousarray(self.scores.cost[:, 0]),
                self.scores.category,
                self.urgency,
                self.day,
                state["told_score"],
                state["told_cost"],
                state["category"],
                state["told_urgency"],
                state["told_day"],
                rules.emit_score,
                rules.emit_cost,
            )
        )

    def told(self, state: PartitionState, which: NDArray[np.int64]) -> None:
        """Has the state remember the rows of these as written."""
        slots = self.slots[which]
        state["told_score"][slots], state["told_cost"][slots] = self.scores.score[which], self.scores.cost[which, 0]
        state["told_urgency"][slots], state["told_day"][slots] = self.urgency[which], self.day[which]
