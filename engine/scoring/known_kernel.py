"""The kernel from the live columns of a partition to what the score stands on: one pass, member by member."""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from engine.domain.age import civil, years_completed
from engine.domain.metrics import METRICS
from engine.scoring.behavior import METRICS_WORN
from engine.scoring.score_kernel import Known
from engine.scoring.state_kernels import DAYS, MONTHS, TIME, VALUE, count_of, sum_of
from engine.scoring.vitals import VITAL_METRICS

_US_PER_DAY = 86_400_000_000
_SUMMED = np.array([metric.daily == "sum" for metric in METRICS])
Integers = NDArray[np.int64]
Shorts = NDArray[np.int32]
Blocks = tuple[Shorts, NDArray[np.int32], Integers]
"""`row_of`, `block_of` and `blocks` of values by member and kind, see `sparse`."""


class Live(NamedTuple):
    """Columns of a partition's state, see `member_state`, and its readings and costs."""

    birth_day: Shorts
    male: NDArray[np.bool_]
    commercial: NDArray[np.bool_]
    metal: NDArray[np.int8]
    since_day: Shorts
    general_health: NDArray[np.int8]
    mental_health: NDArray[np.int8]
    conditions: Shorts
    head_month: Shorts
    forecast: NDArray[np.float64]
    ccs: NDArray[np.uint64]
    hhs_ccs: NDArray[np.uint64]
    rxcs: NDArray[np.int32]
    cc_year: Shorts
    base_cost: NDArray[np.float64]
    base_as_of: Integers
    readings: Blocks
    costs: Blocks


@njit(cache=True, nogil=True)
def _month(packed: Integers, summed: bool) -> tuple[float, int]:
    """Mean of a metric's days, a sum's by day and any other's by reading, NaN without one; and the days with any."""
    total, readings, days = np.int64(0), np.int64(0), 0
    for k in range(DAYS):
        count = count_of(packed[k])
        total += sum_of(packed[k])
        readings += count
        days += count > 0
    n = days if summed else readings
    return total / 1000.0 / n if n > 0 else np.nan, days


@njit(cache=True, nogil=True)
def _cared_for(live: Live, slot: int, as_of_us: int) -> bool:
    """Whether there are claims, or costs of them, in the 12 calendar months up to that of the instant."""
    row_of, block_of, blocks = live.costs
    row = row_of[slot]
    if row == 0:
        return False
    year, calendar_month, _ = civil(as_of_us // _US_PER_DAY)
    month, head = (year - 1970) * 12 + calendar_month - 1, np.int64(live.head_month[slot])
    cents, priced = np.int64(0), block_of.shape[1] - 1  # the last category has no features of its own
    for kind in range(block_of.shape[1]):
        block = block_of[row, kind]
        for back in range(MONTHS if block > 0 else 0):
            if month - 12 < head - back <= month:
                packed = blocks[block, (head - back) % MONTHS]
                if kind < priced and packed != 0:
                    return True
                cents += sum_of(packed)
    return bool(cents != 0)


@njit(cache=True, nogil=True, inline="always")
def _recent(latest: np.uint64, earlier: np.uint64, now: bool, before: bool) -> np.uint64:
    """Of a word of the latest year and of the year before it, what a score may know."""
    return (latest if now else np.uint64(0)) | (earlier if before else np.uint64(0))


@njit(cache=True, nogil=True)
def gather(live: Live, slots: Integers, out: Known) -> None:
    """What is known of the members in `slots` into `out`, whose `as_of_us` is given; all of it but the hazard."""
    row_of, block_of, blocks = live.readings
    values = blocks.view(np.float64)
    for i in range(len(slots)):
        slot, as_of = slots[i], out.as_of_us[i]
        for k in range(3):
            out.base_cost[i, k] = live.base_cost[slot, k]
        based = live.base_as_of[slot]
        out.age[i] = years_completed(np.int64(live.birth_day[slot]), based // _US_PER_DAY)
        out.male[i] = 1.0 if live.male[slot] else 0.0
        told = live.general_health[slot] > 0 or live.mental_health[slot] > 0 or live.conditions[slot] != 0
        out.heard[i] = told or _cared_for(live, slot, based)
        out.forecast[i] = live.forecast[slot]
        day = as_of // _US_PER_DAY
        out.observed_days[i] = day - live.since_day[slot]
        behind = civil(day)[0] - np.int64(live.cc_year[slot])
        now, before = 0 <= behind <= 1, -1 <= behind <= 0
        for word in range(out.ccs.shape[1]):
            out.ccs[i, word] = _recent(live.ccs[slot, 0, word], live.ccs[slot, 1, word], now, before)
        out.commercial[i], out.metal[i] = live.commercial[slot], live.metal[slot]
        if live.commercial[slot]:
            for word in range(out.hhs_ccs.shape[1]):
                out.hhs_ccs[i, word] = _recent(live.hhs_ccs[slot, 0, word], live.hhs_ccs[slot, 1, word], now, before)
            out.rxcs[i] = (live.rxcs[slot, 0] if now else 0) | (live.rxcs[slot, 1] if before else 0)
        else:
            out.hhs_ccs[i], out.rxcs[i] = 0, 0
        row = row_of[slot]
        for k in range(len(METRICS_WORN)):
            block = block_of[row, METRICS_WORN[k]]
            out.month[i, k], out.days[i, k] = np.nan, 0
            if block > 0:
                out.month[i, k], out.days[i, k] = _month(blocks[block], _SUMMED[METRICS_WORN[k]])
        for k in range(len(VITAL_METRICS)):
            block = block_of[row, VITAL_METRICS[k]]
            out.vital_time[i, k] = blocks[block, TIME]
            out.vital_value[i, k] = values[block, VALUE] if block > 0 and blocks[block, TIME] != 0 else np.nan
