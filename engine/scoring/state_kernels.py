"""What events do to the columns of a partition's members: kernels over `sparse` blocks, each independent of order.

Sums and counts share a word: sum x 2^20 + count, in thousandths of the metric's unit or in cents. A day of a metric (or
a month of a cost category) holds up to 2^20 - 1 readings and a sum below 2^43 and stays there beyond, which for sums of
values that are never negative comes out the same in any order: 1 Hz readings of the largest value fill a twelfth.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

DAYS = 30
MONTHS = 13
TIME, VALUE = DAYS, DAYS + 1
"""Where a metric's block holds its latest reading: behind its days, the event time and the value's bits."""
METRIC_WIDTH = DAYS + 2
NO_DAY = -(2**31)
COUNT_BITS = 20
MOST_COUNT = (1 << COUNT_BITS) - 1
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
def _added(packed: int, amount: int) -> int:
    """The packed sum and count with one more value."""
    total = min(max((packed >> COUNT_BITS) + amount, -MOST_SUM), MOST_SUM)
    return (total << COUNT_BITS) + min((packed & MOST_COUNT) + 1, MOST_COUNT)


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
    values: Reals,
) -> tuple[np.int64, int]:
    """Adds readings to blocks `where` [n] of the members, in place; returns the latest event time, and how many were
    older than the latest one of their member and metric.

    A reading older than the 30 days moves the latest value at most.
    """
    bits = blocks.reshape(-1)
    reals = bits.view(np.float64)
    width, newest, late = blocks.shape[1], np.int64(-(2**63)), 0
    for i in range(len(slots)):
        slot, time = slots[i], times_us[i]
        day, head = time // _US_PER_DAY, np.int64(head_day[slot])
        if day > head:
            row = row_of[slot]
            for kind in range(block_of.shape[1]):
                block = block_of[row, kind]
                if block > 0:
                    for k in range(min(day - head, DAYS)):
                        blocks[block, (day - k) % DAYS] = 0
            head_day[slot] = day
            head = day
        begin = where[i] * width
        if day > head - DAYS:
            if day < head:
                forecast_day[slot] = NO_DAY
            at = begin + day % DAYS
            bits[at] = _added(bits[at], np.int64(np.rint(values[i] * 1000.0)))
        if time > bits[begin + TIME] or (time == bits[begin + TIME] and values[i] > reals[begin + VALUE]):
            bits[begin + TIME] = time
            reals[begin + VALUE] = values[i]
        else:
            late += time < bits[begin + TIME]
        watermark[slot] = max(watermark[slot], time)
        newest = max(newest, time)
    return newest, late


@njit(cache=True, nogil=True)
def add_results(blocks: Integers, where: Blocks, times_us: Integers, values: Reals) -> None:
    """Keeps the latest laboratory result in blocks `where` [n] of (time, value's bits), in place."""
    bits = blocks.reshape(-1)
    reals = bits.view(np.float64)
    for i in range(len(where)):
        at = 2 * where[i]
        if times_us[i] > bits[at] or (times_us[i] == bits[at] and values[i] > reals[at + 1]):
            bits[at] = times_us[i]
            reals[at + 1] = values[i]


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
                count = packed & MOST_COUNT
                total += packed >> COUNT_BITS
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
                if blocks[block, (head - back) % DAYS] & MOST_COUNT > 0:
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
                    count = packed & MOST_COUNT
                    amount = (packed >> COUNT_BITS) / 1000.0 / (1 if summed[m] else max(count, 1))
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
    months: Integers,
    cents: Integers,
) -> None:
    """Adds claim costs to blocks `where` [n] of 13 months, in place; months count from 1970-01."""
    for i in range(len(slots)):
        slot, month = slots[i], months[i]
        head = np.int64(head_month[slot])
        if month > head:
            row = row_of[slot]
            for kind in range(block_of.shape[1]):
                block = block_of[row, kind]
                if block > 0:
                    for k in range(min(month - head, MONTHS)):
                        blocks[block, (month - k) % MONTHS] = 0
            head_month[slot] = month
            head = month
        if month > head - MONTHS:
            blocks[where[i], month % MONTHS] = _added(blocks[where[i], month % MONTHS], cents[i])


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
                        total += packed >> COUNT_BITS
                        n += packed & MOST_COUNT
            cents[i, kind], counts[i, kind] = total, n


@njit(cache=True, nogil=True)
def add_categories(
    ccs: NDArray[np.uint64],
    cc_year: Blocks,
    slots: Integers,
    years: Integers,
    added: NDArray[np.uint64],
) -> None:
    """Unites the categories with the members' own of the same year, in place; older than two years changes nothing."""
    for i in range(len(slots)):
        slot, year = slots[i], years[i]
        ahead = year - np.int64(cc_year[slot])
        if ahead > 0:
            for word in range(2):
                ccs[slot, 1, word] = ccs[slot, 0, word] if ahead == 1 else np.uint64(0)
                ccs[slot, 0, word] = np.uint64(0)
            cc_year[slot] = year
            ahead = 0
        if ahead >= -1:
            for word in range(2):
                ccs[slot, -ahead, word] |= added[i, word]
