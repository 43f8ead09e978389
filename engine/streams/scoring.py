"""Scores members of partitions' states: the one function under the stream and the batches."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.domain.batch import Rows, grouped
from engine.scoring.health_score import HealthScorer, joined
from engine.scoring.member_features import base_features, known, renew_forecasts
from engine.scoring.member_state import NEVER, PartitionState
from engine.streams.outputs import Place, score_rows

_TOGETHER = 10_000
"""Members scored at once. Most of what a score costs in a small batch does not depend on how many there are."""


class Marked(NamedTuple):
    """Members of one partition to score as of `as_of_us` [slots]; `based` are those to predict the base of anew.

    `slots` rise, and so do `based`, which are among them. `asked`: by a command, so that each has a row.
    """

    state: PartitionState
    slots: NDArray[np.int64]
    based: NDArray[np.int64]
    as_of_us: NDArray[np.int64]
    asked: bool = False


def score_members(scorer: HealthScorer, parts: Sequence[Marked]) -> list[tuple[Rows, Rows]]:
    """Scores the members and writes that into their states; returns score rows and outbox rows of each part.

    A member's score does not depend on who is scored beside.
    """
    found: list[tuple[Rows, Rows]] = []
    for group in grouped(parts, [len(part.slots) for part in parts], _TOGETHER):
        gathered = []
        for state, slots, based, as_of_us, _ in group:
            renew_base(scorer, state, based, as_of_us[np.searchsorted(slots, based)])
            renew_forecasts(state, slots, scorer.models.behavior)
            gathered.append(known(state, slots, as_of_us, scorer.models.physiology))
        places = [Place(part.state, part.slots, part.as_of_us, part.asked) for part in group]
        found += score_rows(scorer, places, joined(gathered))
    return found


def renew_base(
    scorer: HealthScorer, state: PartitionState, slots: NDArray[np.int64], as_of_us: NDArray[np.int64]
) -> None:
    """Makes the base predictions of the members anew, as of the given instants."""
    if not len(slots):
        return
    features = base_features(state, slots, as_of_us)
    prediction = scorer.base.predict(features)
    state["base_cost"][slots] = np.stack([prediction.mean, prediction.lower_90, prediction.upper_90], axis=1)
    state["contributions"][slots] = scorer.base.contributions(features)
    state["base_as_of"][slots] = as_of_us
    state["hazard_until"][slots] = NEVER  # it stands on age, sex and self-rated health too, and on the model
