"""Scores members of a partition's state: the one function under the stream and the batches."""

import numpy as np
from numpy.typing import NDArray

from engine.domain.batch import Rows
from engine.scoring.health_score import HealthScorer
from engine.scoring.member_features import base_features, renew_forecasts, score_inputs
from engine.scoring.member_state import PartitionState
from engine.streams.outputs import score_rows


def score_members(
    scorer: HealthScorer,
    state: PartitionState,
    slots: NDArray[np.int64],
    based: NDArray[np.int64],
    as_of_us: NDArray[np.int64],
) -> tuple[Rows, Rows]:
    """Scores the members as of `as_of_us` [slots] and writes that into the state; returns score rows and outbox rows.

    `based`, rising and among the rising `slots`, are those whose base prediction is made anew.
    """
    renew_base(scorer, state, based, as_of_us[np.searchsorted(slots, based)])
    renew_forecasts(state, slots, scorer.models.behavior)
    return score_rows(scorer, state, slots, as_of_us, score_inputs(state, slots, as_of_us))


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
