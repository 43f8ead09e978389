"""The columnar state of one partition's members, and the pure functions that events apply to it.

Everything is kept so that the order of arrival does not matter: sums are integers (thousandths of the metric's unit,
cents), the latest value is decided by event time, and windows are counted back from the member's latest event day. The
same set of events gives the same state in any order and any batch size, as long as the member was enrolled first. What
is taken back leaves the state as it was: sums are signed, and what was said counts how often (see `facts`).

Memory: 387 bytes a member, the id, and 16 to 24 for its index; 60 for one with readings and 256 for each metric they
are of; 28 for one with claims, 104 for each service category and up to 16 for each diagnosis and year; 100 for one with
laboratory results and 32 for each test. `nbytes` tells it of a state.
"""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.domain.batch import TextColumn
from engine.domain.duplicates import DuplicateWindow
from engine.domain.metrics import LAB_TESTS, METRICS
from engine.domain.packed_arrays import MAGIC, pack, unpack
from engine.domain.pending import Pending
from engine.scoring import commercial, facts, state_kernels
from engine.scoring.facts import Facts
from engine.scoring.features import BASE_FEATURES
from engine.scoring.known_kernel import Live
from engine.scoring.member_index import MemberIndex
from engine.scoring.sparse import Sparse, grown
from engine.scoring.state_kernels import DAYS, METRIC_WIDTH, MONTHS, NO_DAY, RESULT_WIDTH, TIME, count_of, sum_of

CATEGORIES = 7
WINDOWS: tuple[int, ...] = (1, 7, 30)
NEVER = np.iinfo(np.int64).min
_SUMMED = np.array([metric.daily == "sum" for metric in METRICS])


@dataclass(frozen=True, slots=True)
class _Field:
    dtype: str
    shape: tuple[int, ...] = ()
    fill: float = 0


_FIELDS: dict[str, _Field] = {
    "birth_day": _Field("i4"),
    "male": _Field("?"),
    "active": _Field("?"),
    "commercial": _Field("?"),
    "metal": _Field("i1", fill=commercial.SILVER),
    "enrolled_at": _Field("i8", fill=NEVER),
    "since_day": _Field("i4", fill=2**31 - 1),
    "general_health": _Field("i1"),
    "mental_health": _Field("i1"),
    "reported_at": _Field("i8", fill=NEVER),
    "conditions": _Field("i4"),
    "head_day": _Field("i4", fill=NO_DAY),
    "forecast": _Field("f8", fill=np.nan),
    "forecast_day": _Field("i4", fill=NO_DAY),
    "head_month": _Field("i4", fill=NO_DAY),
    "ccs": _Field("u8", (2, 2)),
    "hhs_ccs": _Field("u8", (2, 3)),
    "rxcs": _Field("i4", (2,)),
    "cc_year": _Field("i4", fill=NO_DAY),
    "watermark": _Field("i8", fill=NEVER),
    "scored_as_of": _Field("i8", fill=NEVER),
    "base_as_of": _Field("i8", fill=NEVER),
    "base_cost": _Field("f8", (3,), np.nan),
    "contributions": _Field("f4", (len(BASE_FEATURES),)),
    "category": _Field("i1", fill=-1),
    "told_score": _Field("f8", fill=np.nan),
    "told_cost": _Field("f8", fill=np.nan),
    "told_urgency": _Field("i1"),
    "told_day": _Field("i4", fill=NO_DAY),
}
"""Columns by name. NEVER and NaN mean "not known"; `base_cost` is mean, lower and upper in dollars.

`since_day` is the earliest effective date of an enrolment. `forecast` is the median of the steps forecast on the days
before `forecast_day`, which is not a day once a reading has changed those. `conditions` are the bits of the facts of
that kind. `ccs` [years, words] are the condition categories of the year of service `cc_year` and of the year before
it, as `diagnosed` has read them from the diagnoses; of members of a `commercial` line so are `hhs_ccs`, those of HHS,
and `rxcs`, the drug classes as bits. `metal` is the level of their plan. `category` is that of the last score, and the
columns `told_` are of the last row of the score history, see `emission`.
"""
_LATER = frozenset({"told_score", "told_cost", "told_urgency", "told_day", "commercial", "metal", "hhs_ccs", "rxcs"})
"""Columns that snapshots of before them lack: nothing is told yet, and nobody's line of business is known."""
_DERIVED: dict[str, _Field] = {
    "hazard": _Field("f8", fill=np.nan),
    "hazard_from": _Field("i8"),
    "hazard_until": _Field("i8", fill=NEVER),
}
"""Columns that follow from the others, in no snapshot: physiology's log hazard of the latest laboratory results and the
base features, and the as-of times, from the first up to the second, of which it holds."""


class PartitionState:
    """Members of one partition as columns: `state["base_cost"][slot]`. Slots are given in order of enrolment.

    `models` names the models its scores come from, as the last change of champion in the log did; "" before the first.
    """

    def __init__(self, partition: int, window: DuplicateWindow | None = None) -> None:
        self.partition = partition
        self.seq = 0
        self.watermark_us = NEVER
        self.models = ""
        self._index = MemberIndex()
        self.window = window or DuplicateWindow()
        self.pending = Pending()
        self._columns: dict[str, NDArray[Any]] = {
            n: np.zeros((0, *f.shape), f.dtype) for n, f in (_FIELDS | _DERIVED).items()
        }
        self._readings = Sparse(len(METRICS), METRIC_WIDTH)
        self._results = Sparse(len(LAB_TESTS), RESULT_WIDTH)
        self._costs = Sparse(CATEGORIES, MONTHS)
        self.facts = Facts()

    def __len__(self) -> int:
        return len(self._index)

    @property
    def latest_event_us(self) -> int | None:
        """The partition's watermark; None before its first event: commands and dead letters have no event time."""
        return None if self.watermark_us == NEVER else self.watermark_us

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._columns[name]

    def enrol(self, members: TextColumn) -> NDArray[np.int64]:
        """The members' slots, new for those who are."""
        before = len(self)
        slots = self._index.add(members)
        self._reserve(len(self))
        for name, field in (_FIELDS | _DERIVED).items():
            self._columns[name][before : len(self)] = field.fill
        return slots

    def slots_of(self, members: TextColumn) -> NDArray[np.int64]:
        """The members' slots; -1 for one who is not enrolled here."""
        return self._index.find(members)

    def slot_of(self, member_id: str) -> int | None:
        """The member's slot; None for one who is not enrolled here."""
        slot = int(self._index.find(TextColumn.of([member_id]))[0])
        return slot if slot >= 0 else None

    def ids(self, slots: NDArray[np.int64]) -> TextColumn:
        """Who is in these slots."""
        return self._index.ids(slots)

    def _reserve(self, members: int) -> None:
        if members > len(self._columns["male"]):
            for name, column in self._columns.items():
                self._columns[name] = grown(column, members)
        for sparse in (self._readings, self._results, self._costs):
            sparse.reserve(len(self._columns["male"]))
        self.facts.reserve(len(self._columns["male"]))

    def see(self, slots: NDArray[np.int64], times_us: NDArray[np.int64]) -> None:
        """Moves the members' watermarks, and the partition's, up to the latest event time."""
        if len(slots):
            np.maximum.at(self._columns["watermark"], slots, times_us)
            self.watermark_us = max(self.watermark_us, int(times_us.max()))

    def add_readings(
        self,
        slots: NDArray[np.int64],
        metrics: NDArray[np.int64],
        times_us: NDArray[np.int64],
        values: NDArray[np.float64],
        local_us: NDArray[np.int64] | None = None,
        signs: NDArray[np.int8] | None = None,
    ) -> int:
        """Applies readings: equally long columns of slot, index into METRICS, event time and value.

        `local_us` are the times by the members' clocks where those are not UTC's, `signs` are -1 for what is taken
        back. Returns how many were older than the latest one of their member and metric.
        """
        if len(slots):
            where = self._readings.own(slots, metrics)
            columns = (self._columns[name] for name in ("head_day", "forecast_day", "watermark"))
            local = times_us if local_us is None else local_us
            newest, late = state_kernels.add_readings(
                *_parts(self._readings), *columns, slots, where, times_us, local, values, _given(signs, len(slots))
            )
            self.watermark_us = max(self.watermark_us, int(newest))
            return int(late)
        return 0

    def add_labs(
        self,
        slots: NDArray[np.int64],
        tests: NDArray[np.int64],
        times_us: NDArray[np.int64],
        values: NDArray[np.float64],
        signs: NDArray[np.int8] | None = None,
    ) -> None:
        """Keeps each test's latest two results, of two at one time the higher: columns of slot, index into LAB_TESTS.

        A result taken back (sign -1) is that of its time and value; the one before it is then the latest again.
        """
        where = self._results.own(slots, tests)
        state_kernels.add_results(self._results.blocks, where, times_us, values, _given(signs, len(slots)))
        self._columns["hazard_until"][slots] = NEVER
        self.see(slots, times_us)

    def add_costs(
        self,
        slots: NDArray[np.int64],
        categories: NDArray[np.int64],
        days: NDArray[np.int64],
        cents: NDArray[np.int64],
        counts: NDArray[np.int8] | None = None,
    ) -> None:
        """Applies claim costs: slot, index of the service category, day of service since 1970-01-01, signed cents.

        `counts` are the lines that each adds: 1, 0 of an amount that changes an earlier line, -1 of one taken back.
        """
        months = days.view("M8[D]").astype("M8[M]").astype(np.int64)
        where = self._costs.own(slots, categories)
        state_kernels.add_costs(
            *_parts(self._costs),
            self._columns["head_month"],
            slots,
            where,
            self._months(slots),
            months,
            cents,
            _given(counts, len(slots)),
        )

    def note(self, slots: NDArray[np.int64], keys: NDArray[np.int64], signs: NDArray[np.int8]) -> None:
        """Says facts of members (sign 1), or takes them back (-1), and keeps the bits of their conditions."""
        self.facts.add(slots, keys, signs)
        self.facts.conditions(np.unique(slots), self._columns["conditions"])

    def _months(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """The months since 1970-01 in which something was seen of the members last; NO_DAY where nothing was."""
        watermark = self._columns["watermark"][slots]
        months = np.where(watermark == NEVER, 0, watermark).view("M8[us]").astype("M8[M]").astype(np.int64)
        return np.where(watermark == NEVER, NO_DAY, months)

    def windows(
        self, slots: NDArray[np.int64], windows: tuple[int, ...] = WINDOWS
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Rolling features [members, metrics, windows of so many days], back from the latest reading's day.

        Of a summed metric the mean daily sum over the days that have readings, of the others the mean reading; NaN
        where the window has none. With them the days [members, metrics] of the last 30 that have a reading.
        """
        means = np.empty((len(slots), len(METRICS), len(windows)))
        days = np.empty((len(slots), len(METRICS)), np.int64)
        head_day = self._columns["head_day"]
        state_kernels.window_means(*_parts(self._readings), head_day, slots, _SUMMED, np.array(windows), means, days)
        return means, days

    def complete_days(
        self, slots: NDArray[np.int64], heads: NDArray[np.int64], metrics: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Ends [members], days and values [rows, metrics] of the days before `heads`; see the kernel of this name."""
        room = len(slots) * (DAYS - 1)
        ends, days, values = np.empty(len(slots), np.int64), np.empty(room, np.int64), np.empty((room, len(metrics)))
        summed = _SUMMED[metrics]
        state_kernels.complete_days(*_parts(self._readings), slots, heads, metrics, summed, ends, days, values)
        rows = int(ends[-1]) if len(ends) else 0
        return ends, days[:rows], values[:rows]

    def daily(self, slots: NDArray[np.int64], metric: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Sums in thousandths of the unit and counts [members, DAYS] of a metric; day d stands at d modulo DAYS."""
        packed = self._readings.of(slots, metric)[:, :DAYS]
        return sum_of(packed), count_of(packed)

    def latest_readings(self, slots: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Event time and value [members, metrics] of the latest reading; 0 and NaN where there is none."""
        return self._latest(self._readings, TIME, slots)

    def tested(self, slots: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which members have a laboratory result."""
        return np.asarray(self._results.row_of[slots] > 0)

    def latest_results(self, slots: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Event time and value [members, tests] of the latest laboratory result; 0 and NaN where there is none."""
        return self._latest(self._results, 0, slots)

    def _latest(
        self, sparse: Sparse, at: int, slots: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        times, values = np.empty((len(slots), sparse.kinds), np.int64), np.empty((len(slots), sparse.kinds))
        state_kernels.latest(*_parts(sparse), at, slots, times, values)
        return times, values

    def monthly_costs(self, slots: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Cents and claims [members, categories, MONTHS]; month m since 1970-01 stands at m modulo MONTHS."""
        packed = self._costs.of(slots)
        return sum_of(packed), count_of(packed)

    def yearly_costs(
        self, slots: NDArray[np.int64], as_of_us: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Dollars and numbers of claims [members, categories] in the 12 months up to that of `as_of_us`."""
        months = as_of_us.view("M8[us]").astype("M8[M]").astype(np.int64)
        cents, counts = np.empty((len(slots), CATEGORIES), np.int64), np.empty((len(slots), CATEGORIES), np.int64)
        state_kernels.yearly_costs(*_parts(self._costs), self._columns["head_month"], slots, months, cents, counts)
        return cents / 100.0, counts

    def live(self) -> Live:
        """What the score stands on, as it is: a change of state shows in it, until a member is enrolled."""
        columns = (self._columns[name] for name in Live._fields[:-2])
        return Live._make((*columns, _parts(self._readings), _parts(self._costs)))

    def nbytes(self) -> int:
        """Bytes that the members and the duplicate window take."""
        columns = sum(column[: len(self)].nbytes for column in self._columns.values())
        sparse = sum(part.nbytes() for part in (self._readings, self._results, self._costs))
        return columns + sparse + self.facts.nbytes() + self._index.nbytes() + self.window.nbytes()

    def dump(self) -> bytes:
        """The state as bytes for `load`. Equal states dump equal arrays: what no score asks for is forgotten first."""
        self._settle()
        ids = self.ids(np.arange(len(self)))
        arrays: dict[str, Any] = {name: self._columns[name][: len(self)] for name in _FIELDS}
        arrays |= {f"window_{name}": values for name, values in self.window.dump().items()}
        arrays |= {f"pending_{name}": values for name, values in self.pending.dump().items()}
        for name, sparse in self._sparse().items():
            arrays |= sparse.dump(name, len(self), filled=sparse is not self._readings)
        arrays |= self.facts.dump(len(self))
        arrays |= {"ids": ids.data[: int(ids.lengths.sum())], "id_lengths": ids.lengths.astype(np.uint16)}
        arrays["models"] = np.array(self.models.encode(), "S")
        arrays["meta"] = np.array([self.partition, self.seq, self.watermark_us], np.int64)
        return pack(arrays)

    def _settle(self) -> None:
        """Forgets costs, diagnoses and categories of before what a score can ask for: it is never of a time that lies
        before the latest event's."""
        months = self._months(np.arange(len(self)))
        columns = (self._columns[name] for name in ("head_month", "ccs", "hhs_ccs", "rxcs", "cc_year"))
        state_kernels.settle(*_parts(self._costs), *columns, months)
        self.facts.drop_before(months // 12 + 1970 - 1)

    def _sparse(self) -> dict[str, Sparse]:
        return {"readings": self._readings, "results": self._results, "costs": self._costs}

    @classmethod
    def load(cls, payload: bytes) -> "PartitionState":
        """The state that `dump` wrote, be it as npz before it was packed arrays.

        Raises ValueError or KeyError when the bytes are of another layout.
        """
        with _arrays_of(payload) as arrays:
            partition, seq, watermark = (int(value) for value in arrays["meta"])
            state = cls(partition, DuplicateWindow.load(arrays["window_young"], arrays["window_old"]))
            state.seq, state.watermark_us = seq, watermark
            state.models = arrays["models"].item().decode()
            state.pending = Pending.load(*(arrays[f"pending_{name}"] for name in ("numbers", "lengths", "texts")))
            lengths = arrays["id_lengths"].astype(np.int64)
            state._index.add(TextColumn(arrays["ids"], np.cumsum(lengths) - lengths, lengths))
            state._reserve(len(lengths))
            for name, field in _FIELDS.items():
                of_before = name in _LATER and name not in arrays
                state._columns[name][: len(lengths)] = field.fill if of_before else arrays[name]
            for name, field in _DERIVED.items():
                state._columns[name][: len(lengths)] = field.fill
            for name, sparse in state._sparse().items():
                sparse.load(name, arrays)
            if "facts" in arrays:
                state.facts.load(arrays["facts_lengths"], arrays["facts"])
            else:
                state._note_bits()
        return state

    def _note_bits(self) -> None:
        """Says as facts what a snapshot of before these has as bits; from it nothing can be taken back."""
        n = len(self)
        bits = self._columns["conditions"][:n].astype("<i4").view(np.uint8).reshape(n, -1)
        slots, which = np.nonzero(np.unpackbits(bits, axis=1, bitorder="little"))
        keys = [facts.key(facts.CONDITION, i) for i in which.tolist()]
        words = np.ascontiguousarray(self._columns["ccs"][:n], "<u8").view(np.uint8).reshape(n, 2, -1)
        owners, behind, held = np.nonzero(np.unpackbits(words, axis=2, bitorder="little"))
        years = (self._columns["cc_year"][owners] - behind).tolist()
        keys += [facts.key(facts.CATEGORY, bit, year) for bit, year in zip(held.tolist(), years, strict=True)]
        every = np.concatenate([slots, owners])
        self.facts.add(every, np.array(keys, np.int64), np.ones(len(every), np.int8))


@contextmanager
def _arrays_of(payload: bytes) -> Iterator[Mapping[str, NDArray[Any]]]:
    if payload.startswith(MAGIC):
        yield unpack(payload)
    else:
        with np.load(io.BytesIO(payload), allow_pickle=False) as arrays:
            yield arrays


def _given(signs: NDArray[np.int8] | None, n: int) -> NDArray[np.int8]:
    return np.ones(n, np.int8) if signs is None else signs


def _parts(sparse: Sparse) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
    """What the kernels take."""
    return sparse.row_of, sparse.block_of, sparse.blocks
