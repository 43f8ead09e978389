"""From the live columns of a partition to the inputs of the score."""

import numpy as np
from numpy.typing import NDArray

from engine.domain.events import CONDITIONS
from engine.scoring.features import BASE_FEATURES, FEATURE_INDEX
from engine.scoring.health_score import ScoreInputs
from engine.scoring.member_state import PartitionState

_US_PER_DAY = 86_400_000_000
_DAYS_PER_YEAR = 365.25
_COSTS = ("cost_inpatient", "cost_emergency", "cost_outpatient", "cost_office", "cost_pharmacy", "cost_home_health")
_COUNTS = ("n_inpatient", "n_emergency", "n_outpatient", "n_office", "n_pharmacy", "n_home_health")


def base_features(state: PartitionState, slots: NDArray[np.int64], as_of_us: NDArray[np.int64]) -> NDArray[np.float32]:
    """The base-risk model's features of the members as of the given instants, float32 [members, BASE_FEATURES].

    A condition that neither a claim, a lab result nor the member has named counts as absent; self-rated health that was
    never given is not known (NaN).
    """
    out = np.full((len(slots), len(BASE_FEATURES)), np.nan, np.float32)
    out[:, FEATURE_INDEX["age"]] = np.floor((as_of_us // _US_PER_DAY - state["birth_day"][slots]) / _DAYS_PER_YEAR)
    out[:, FEATURE_INDEX["male"]] = state["male"][slots]
    dollars, counts = state.yearly_costs(slots, as_of_us)
    out[:, FEATURE_INDEX["cost_total"]] = dollars.sum(axis=1)
    for i, (cost, count) in enumerate(zip(_COSTS, _COUNTS, strict=True)):
        out[:, FEATURE_INDEX[cost]] = dollars[:, i]
        out[:, FEATURE_INDEX[count]] = counts[:, i]
    for code in ("general_health", "mental_health"):
        answer = state[code][slots].astype(np.float32)
        out[:, FEATURE_INDEX[code]] = np.where(answer > 0, answer, np.nan)
    bits = state["conditions"][slots]
    for i, code in enumerate(CONDITIONS):
        out[:, FEATURE_INDEX[code]] = (bits >> i) & 1
    return out


def score_inputs(state: PartitionState, slots: NDArray[np.int64], as_of_us: NDArray[np.int64]) -> ScoreInputs:
    """What the score is made of, with the base prediction as the state holds it."""
    return ScoreInputs(
        base_cost=state["base_cost"][slots],
        contributions=state["contributions"][slots],
        features=base_features(state, slots, state["base_as_of"][slots]),
        month=state.windows(slots)[:, :, -1],
        days=state.reading_days(slots),
        last_value=state["last_value"][slots],
        last_time=state["last_time"][slots],
        ccs=state.recent_categories(slots, as_of_us),
        as_of_us=as_of_us,
    )
