"""From the live columns of a partition to the inputs of the score."""

import numpy as np
from numpy.typing import NDArray

from engine.domain.age import completed_years
from engine.domain.events import CONDITIONS
from engine.domain.metrics import METRIC_INDEX
from engine.scoring.behavior import COMPONENTS
from engine.scoring.features import BASE_FEATURES, FEATURE_INDEX
from engine.scoring.known_kernel import gather
from engine.scoring.measures import measures, valid
from engine.scoring.member_state import PartitionState
from engine.scoring.physiology import PhysiologyModel
from engine.scoring.risk_factors import Grounds
from engine.scoring.score_kernel import Known
from engine.scoring.state_kernels import NO_DAY
from engine.scoring.steps_forecast import SERIES, DailySeries, StepsForecaster
from engine.scoring.vitals import VITALS

_US_PER_DAY = 86_400_000_000
_COSTS = ("cost_inpatient", "cost_emergency", "cost_outpatient", "cost_office", "cost_pharmacy", "cost_home_health")
_COUNTS = ("n_inpatient", "n_emergency", "n_outpatient", "n_office", "n_pharmacy", "n_home_health")
_SERIES = np.array([METRIC_INDEX[code] for code in SERIES])


def base_features(state: PartitionState, slots: NDArray[np.int64], as_of_us: NDArray[np.int64]) -> NDArray[np.float32]:
    """The base-risk model's features of the members as of the given instants, float32 [members, BASE_FEATURES].

    A condition that neither a claim, a lab result nor the member has named counts as absent; self-rated health that was
    never given is not known (NaN).
    """
    out = np.full((len(slots), len(BASE_FEATURES)), np.nan, np.float32)
    day = (as_of_us // _US_PER_DAY).astype("M8[D]")
    out[:, FEATURE_INDEX["age"]] = completed_years(state["birth_day"][slots].astype("M8[D]"), day)
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


def renew_forecasts(state: PartitionState, slots: NDArray[np.int64], behavior: StepsForecaster) -> None:
    """Forecasts the steps of members whose last complete day, the one before their latest reading's, has changed.

    A day that is under way is no day's total, so the forecast stands on the 29 days before it, from the first with any
    reading; without a known day of steps there is none. A function of those days alone, in whatever order they came.
    """
    head = state["head_day"][slots]
    stale = (state["forecast_day"][slots] != head) & (head != NO_DAY)
    slots, head = slots[stale], head[stale].astype(np.int64)
    if not len(slots):
        return
    ends, days, values = state.complete_days(slots, head, _SERIES)
    found, begins = np.full(len(slots), np.nan), np.concatenate([[0], ends[:-1]])
    walks = ends > begins
    if walks.any():
        series = DailySeries(np.concatenate([[0], ends[walks]]), days, values)
        found[walks] = behavior.forecast(series)[0][ends[walks] - 1]
    state["forecast"][slots], state["forecast_day"][slots] = found, head


def known(
    state: PartitionState, slots: NDArray[np.int64], as_of_us: NDArray[np.int64], physiology: PhysiologyModel
) -> Known:
    """What the score is made of, with the base prediction, the forecast and the hazard as the state holds them."""
    n, worn, vitals = len(slots), len(COMPONENTS), len(VITALS)
    out = Known(
        base_cost=np.empty((n, 3)),
        age=np.empty(n),
        male=np.empty(n),
        heard=np.empty(n, np.bool_),
        month=np.empty((n, worn)),
        days=np.empty((n, worn), np.int64),
        forecast=np.empty(n),
        vital_value=np.empty((n, vitals)),
        vital_time=np.empty((n, vitals), np.int64),
        ccs=np.empty((n, 2), np.uint64),
        commercial=np.empty(n, np.bool_),
        metal=np.empty(n, np.int64),
        hhs_ccs=np.empty((n, 3), np.uint64),
        rxcs=np.empty(n, np.int64),
        hazard=_hazards(state, slots, as_of_us, physiology),
        observed_days=np.empty(n, np.int64),
        as_of_us=as_of_us,
    )
    gather(state.live(), slots, out)
    return out


def grounds(state: PartitionState, slots: NDArray[np.int64]) -> Grounds:
    """What the members' factors are told from, as of the time of their base predictions."""
    return Grounds(base_features(state, slots, state["base_as_of"][slots]), state["contributions"][slots])


def _hazards(
    state: PartitionState, slots: NDArray[np.int64], as_of_us: NDArray[np.int64], physiology: PhysiologyModel
) -> NDArray[np.float64]:
    """Log hazards [n], made anew where results have come or gone since; a reading changes none of their inputs."""
    hazards, tested = np.full(len(slots), np.nan), np.flatnonzero(state.tested(slots))
    if not len(tested):  # without a result there is too little for physiology
        return hazards
    own, at = slots[tested], as_of_us[tested]
    stale = np.flatnonzero((at < state["hazard_from"][own]) | (at >= state["hazard_until"][own]))
    if len(stale):
        anew, then = own[stale], at[stale]
        features = base_features(state, anew, state["base_as_of"][anew])
        times, values = state.latest_results(anew)
        state["hazard"][anew] = physiology.log_hazard(measures(features, values, times, then))
        state["hazard_from"][anew], state["hazard_until"][anew] = valid(times, then)
    hazards[tested] = state["hazard"][own]
    return hazards
