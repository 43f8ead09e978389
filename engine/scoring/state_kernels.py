"""What events do to the columns of a partition's members: kernels over `sparse` blocks, each independent of order.

Sums and counts share a word: sum x 2^20 + count, in thousandths of the metric's unit or in cents. What is taken back is
subtracted, so either may be negative until what it belongs to comes. A day of a metric (or a month of a cost category)
holds up to 2^19 - 1 readings and a sum below 2^43, and stays there beyond: 1 Hz readings of the largest value fill a
sixth.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

DAYS = 30
MONTHS = 13
TIME, VALUE = DAYS, DAYS + 1
"""Where a metric's block holds its latest reading: behind its days, the event time and the value's bits."""
METRIC_WIDTH = DAYS + 2
RESULT_WIDTH = 4
"""A test's block holds its latest result, time and value's bits, and the one before it."""
NO_DAY = -(2**31)
COUNT_BITS = 20
MOST_COUNT = (1 << (COUNT_BITS - 1)) - 1
MOST_SUM = (1 << 43) - 1
_US_PER_DAY = 86_400_000_000
Blocks = NDArray[np.int32]
Integers = NDArray[np.int64]
Reals = NDArray[np.float64]


@njit(cache=True, nogil=True)
def by_slot(slots: Integers) -> Integers:
    """Places of the slots in rising order of slot, those of one slot in the order they are in."""
    counts = np.zeros(slots.max() + 2 if len(slots) else 1, np.int64)
    for slot in slots:
        counts[slot + 1] += 1
    begins = np.cumsum(counts)
    out = np.empty(len(slots), np.int64)
    for i in range(len(slots)):
        out[begins[slots[i]]] = i
        begins[slots[i]] += 1
    return out


@njit(cache=True, nogil=True)
def sum_of(packed: Any) -> Any:
    """The sum in packed words."""
    return (packed + (MOST_COUNT + 1)) >> COUNT_BITS


@njit(cache=True, nogil=True)
def count_of(packed: Any) -> Any:
    """The count in packed words."""
    return ((packed + (MOST_COUNT + 1)) & ((1 << COUNT_BITS) - 1)) - (MOST_COUNT + 1)


@njit(cache=True, nogil=True)
def _added(packed: int, amount: int, count: int) -> int:
    """The packed sum and count with more to both."""
    total = min(max(sum_of(packed) + amount, -MOST_SUM), MOST_SUM)
    return int((total << COUNT_BITS) + min(max(count_of(packed) + count, -MOST_COUNT), MOST_COUNT))


@njit(cache=True, nogil=True)
def add_readings(
    row_of: Blocks,
    block_of: NDArray[np.int32],
    blocks: Integers,
    head_day: Blocks,
    forecast_day: Blocks,
    watermark: Integers,
    slots: Integers,
    where: Blocks,
    times_us: Integers,
    local_us: Integers,
    values: Reals,
    signs: NDArray[np.int8],
) -> tuple[np.int64, int]:
    """Adds readings to blocks `where` [n] of the members, in place, or takes them back (sign -1); returns the latest
    event time, and how many were older than the latest one of their member and metric.

    `local_us` are the times by the members' clocks, by which days are counted. A reading older than the 30 days moves
    the latest value at most. Where the latest one is taken back none is known until the next.
    """
    bits = blocks.reshape(-1)
    reals = bits.view(np.float64)
    width, newest, late = blocks.shape[1], np.int64(-(2**63)), 0
    for i in range(len(slots)):
        slot, time, sign = slots[i], times_us[i], np.int64(signs[i])
        day, head = local_us[i] // _US_PER_DAY, np.int64(head_day[slot])
        if day > head and sign > 0:
            row = row_of[slot]
            for kind in range(block_of.shape[1]):
                block = block_of[row, kind]
                if block > 0:
                    for k in range(min(day - head, DAYS)):
                        blocks[block, (day - k) % DAYS] = 0
            head_day[slot] = day
            head = day
        begin = where[i] * width
        if head >= day > head - DAYS:
            if day < head:
                forecast_day[slot] = NO_DAY
            at = begin + day % DAYS
            bits[at] = _added(bits[at], sign * np.int64(np.rint(values[i] * 1000.0)), sign)
        if sign < 0:
            if time == bits[begin + TIME] and values[i] == reals[begin + VALUE]:
                bits[begin + TIME], bits[begin + VALUE] = 0, 0
        elif time > bits[begin + TIME] or (time == bits[begin + TIME] and values[i] > reals[begin + VALUE]):
            bits[begin + TIME] = time
            reals[begin + VALUE] = values[i]
        else:
            late += time < bits[begin + TIME]
        watermark[slot] = max(watermark[slot], time)
        newest = max(newest, time)
    return newest, late


@njit(cache=True, nogil=True)
def _is_later(time: int, value: float, bits: Integers, reals: Reals, at: int) -> bool:
    """Whether a result is later than the one that stands there; of two at one time the higher."""
    return bool(time > bits[at] or (time == bits[at] and value > reals[at + 1]))


@njit(cache=True, nogil=True)
def add_results(blocks: Integers, where: Blocks, times_us: Integers, values: Reals, signs: NDArray[np.int8]) -> None:
    """Keeps the latest two laboratory results in blocks `where` [n], in place, or takes one back (sign -1)."""
    bits = blocks.reshape(-1)
    reals = bits.view(np.float64)
    for i in range(len(where)):
        at, time, value = RESULT_WIDTH * np.int64(where[i]), times_us[i], values[i]
        before = at + 2
        if signs[i] > 0:
            if _is_later(time, value, bits, reals, at):
                bits[before], bits[before + 1] = bits[at], bits[at + 1]
                bits[at], reals[at + 1] = time, value
            elif _is_later(time, value, bits, reals, before):
                bits[before], reals[before + 1] = time, value
        elif time == bits[at] and value == reals[at + 1]:
            bits[at], bits[at + 1] = bits[before], bits[before + 1]
            bits[before], bits[before + 1] = 0, 0
        elif time == bits[before] and value == reals[before + 1]:
            bits[before], bits[before + 1] = 0, 0


@njit(cache=True, nogil=True)
def window_means(
    row_of: Blocks,
    block_of: NDArray[np.int32],
    blocks: Integers,
    head_day: Blocks,
    slots: Integers,
    summed: NDArray[np.bool_],
    windows: Integers,
    means: Reals,
    days: Integers,
) -> None:
    """Means over the last days, rising `windows` of them, into means [slots, metrics, windows], NaN without a reading.

    `days` [slots, metrics] gets how many of the last DAYS have any.
    """
    for i in range(len(slots)):
        head = np.int64(head_day[slots[i]])
        row = row_of[slots[i]]
        for m in range(means.shape[1]):
            block = block_of[row, m]
            if block == 0:
                means[i, m, :] = np.nan
                days[i, m] = 0
                continue
            total, n, w, some = np.int64(0), np.int64(0), 0, 0
            for back in range(DAYS):
                packed = blocks[block, (head - back) % DAYS]
                count = count_of(packed)
                total += sum_of(packed)
                n += np.int64(count > 0) if summed[m] else count
                some += count > 0
                if w < len(windows) and back + 1 == windows[w]:
                    means[i, m, w] = total / 1000.0 / n if n > 0 else np.nan
                    w += 1
            days[i, m] = some


@njit(cache=True, nogil=True)
def complete_days(
    row_of: Blocks,
    block_of: NDArray[np.int32],
    blocks: Integers,
    slots: Integers,
    heads: Integers,
    metrics: Integers,
    summed: NDArray[np.bool_],
    ends: Integers,
    days: Integers,
    values: Reals,
) -> None:
    """The days before `heads` [slots], from the first with a reading of any of the metrics, one slot after the other.

    Only of slots with a reading of the first metric there; those of slot i end at `ends[i]`. `days` [rows] and `values`
    [rows, metrics], which have room for DAYS - 1 a slot, get each day and its sum or mean, NaN without a reading.
    """
    end = 0
    for i in range(len(slots)):
        row, head, known = row_of[slots[i]], heads[i], False
        first = head
        for m in range(len(metrics)):
            block = block_of[row, metrics[m]]
            if block == 0:
                if m == 0:
                    break  # most members: no reading of the metric that is asked for
                continue
            for back in range(1, DAYS):
                if count_of(blocks[block, (head - back) % DAYS]) > 0:
                    known |= m == 0
                    first = min(first, head - back)
            if not known:
                break
        if known:
            for day in range(first, head):
                days[end] = day
                for m in range(len(metrics)):
                    block = block_of[row, metrics[m]]
                    packed = blocks[block, day % DAYS] if block != 0 else 0
                    count = count_of(packed)
                    amount = sum_of(packed) / 1000.0 / (1 if summed[m] else max(count, 1))
                    values[end, m] = amount if count > 0 else np.nan
                end += 1
        ends[i] = end


@njit(cache=True, nogil=True)
def latest(
    row_of: Blocks,
    block_of: NDArray[np.int32],
    blocks: Integers,
    at: int,
    slots: Integers,
    times_us: Integers,
    values: Reals,
) -> None:
    """Time and value that stand at columns `at` and `at` + 1 of each member's blocks, into [slots, kinds].

    0 and NaN where there is none.
    """
    reals = blocks.view(np.float64)
    for i in range(len(slots)):
        row = row_of[slots[i]]
        for kind in range(block_of.shape[1]):
            block = block_of[row, kind]
            times_us[i, kind] = blocks[block, at]
            values[i, kind] = reals[block, at + 1] if block > 0 and blocks[block, at] != 0 else np.nan


@njit(cache=True, nogil=True)
def add_costs(
    row_of: Blocks,
    block_of: NDArray[np.int32],
    blocks: Integers,
    head_month: Blocks,
    slots: Integers,
    where: Blocks,
    seen: Integers,
    months: Integers,
    cents: Integers,
    counts: NDArray[np.int8],
) -> None:
    """Adds cents and `counts` of claim lines to blocks `where` [n] of 13 months, in place; months count from 1970-01.

    The last month is the latest of those of service and of those in which something was `seen` of the member: what is
    taken back leaves no trace in it that the taking back itself would not.
    """
    for i in range(len(slots)):
        slot, month = slots[i], months[i]
        _go_on(row_of, block_of, blocks, head_month, slot, max(month, seen[i]))
        if month > np.int64(head_month[slot]) - MONTHS:
            at = month % MONTHS
            blocks[where[i], at] = _added(blocks[where[i], at], cents[i], np.int64(counts[i]))


@njit(cache=True, nogil=True)
def _go_on(
    row_of: Blocks, block_of: NDArray[np.int32], blocks: Integers, head_month: Blocks, slot: int, month: int
) -> None:
    """Makes `month` a member's last where it is later, and forgets the months that are then too old."""
    head, row = np.int64(head_month[slot]), row_of[slot]
    if month > head:
        for kind in range(block_of.shape[1]):
            block = block_of[row, kind]
            if block > 0:
                for k in range(MONTHS if month - head > MONTHS else month - head):
                    blocks[block, (month - k) % MONTHS] = 0
        head_month[slot] = month


@njit(cache=True, nogil=True)
def settle(
    row_of: Blocks,
    block_of: NDArray[np.int32],
    blocks: Integers,
    head_month: Blocks,
    ccs: NDArray[np.uint64],
    hhs_ccs: NDArray[np.uint64],
    rxcs: Blocks,
    cc_year: Blocks,
    months: Integers,
) -> None:
    """Forgets costs and condition categories that no score can ask for any more, now that something was seen of each
    member in `months` [members]."""
    for slot in range(len(months)):
        row, costs = row_of[slot], False
        if row > 0:
            _go_on(row_of, block_of, blocks, head_month, slot, months[slot])
            for kind in range(block_of.shape[1]):
                costs |= blocks[block_of[row, kind]].any()
        if not costs:
            head_month[slot] = NO_DAY
        year = months[slot] // 12 + 1970
        ahead = year - np.int64(cc_year[slot])
        if months[slot] != NO_DAY and ahead > 0:
            if ahead == 1:
                ccs[slot, 1], hhs_ccs[slot, 1], rxcs[slot, 1] = ccs[slot, 0], hhs_ccs[slot, 0], rxcs[slot, 0]
            else:
                ccs[slot, 1, :], hhs_ccs[slot, 1, :], rxcs[slot, 1] = 0, 0, 0
            ccs[slot, 0, :], hhs_ccs[slot, 0, :], rxcs[slot, 0] = 0, 0, 0
            cc_year[slot] = year


@njit(cache=True, nogil=True)
def yearly_costs(
    row_of: Blocks,
    block_of: NDArray[np.int32],
    blocks: Integers,
    head_month: Blocks,
    slots: Integers,
    months: Integers,
    cents: Integers,
    counts: Integers,
) -> None:
    """Cents and claims [slots, kinds] in the 12 months up to and with each of `months`."""
    for i in range(len(slots)):
        row, head = row_of[slots[i]], np.int64(head_month[slots[i]])
        for kind in range(block_of.shape[1]):
            block = block_of[row, kind]
            total, n = np.int64(0), np.int64(0)
            if block > 0:
                for back in range(MONTHS):
                    month = head - back
                    if months[i] - 12 < month <= months[i]:
                        packed = blocks[block, month % MONTHS]
                        total += sum_of(packed)
                        n += count_of(packed)
            cents[i, kind], counts[i, kind] = total, n
