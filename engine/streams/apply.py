"""Applies accepted events to a partition's state, kind by kind, and collects the rows to store."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.domain.age import completed_years
from engine.domain.batch import Rows, TextColumn
from engine.domain.claims import SERVICE_CATEGORIES, conditions_of, lab_conditions, service_category
from engine.domain.events import CONDITIONS, DEFAULT_TENANT, EventKind
from engine.domain.metrics import LAB_INDEX, METRIC_INDEX
from engine.scoring.clinical import categories_of
from engine.scoring.member_state import PartitionState
from engine.scoring.state_kernels import NO_DAY
from engine.streams.codec import days_since_1970
from engine.streams.readings import EVENT_ID, MEMBER, SOURCE, Readings, codes, units

_PHARMACY = SERVICE_CATEGORIES.index("pharmacy")
_CONDITION_INDEX = {code: i for i, code in enumerate(CONDITIONS)}
_AS_ENROLLED = ("member_id", "sex", "region", "line_of_business", "policy_id", "cohort_id")
"""Columns of `members` as the event has them."""


class Touched:
    """Members of a partition whose score must follow a batch, and the moment of a scoring command."""

    def __init__(self) -> None:
        self._scored: list[NDArray[np.int64]] = []
        self._based: list[NDArray[np.int64]] = []
        self.batch_as_of_us: int | None = None
        self.late = 0

    def score(self, slots: NDArray[np.int64]) -> None:
        """Marks members whose score must follow."""
        self._scored.append(slots)

    def base(self, slots: NDArray[np.int64]) -> None:
        """Marks members whose base prediction must be made anew, and their score with it."""
        self._based.append(slots)

    def slots(self, members: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The marked of so many members, rising: those to score, and of them those to base anew."""
        marked, based = np.zeros(members, np.bool_), np.zeros(members, np.bool_)
        for slots in self._scored:
            marked[slots] = True
        for slots in self._based:
            based[slots] = True
        return np.flatnonzero(marked | based), np.flatnonzero(based)


def reading_rows(partition: int, found: Readings) -> Rows:
    """Accepted readings as columns of their table."""
    texts = {"event_id": EVENT_ID, "source": SOURCE, "member_id": MEMBER}
    columns: dict[str, Any] = {name: found.text(which) for name, which in texts.items()}
    columns |= {"metric": codes(found.metrics), "unit": units(found.metrics), "value": found.values}
    columns |= {"time": found.times_ms * 1000, "kafka_offset": found.offsets}
    return Rows(columns | {"partition": np.full(len(found), partition)})


def event_rows(kind: EventKind, partition: int, events: Sequence[Any], offsets: Sequence[int]) -> Rows:
    """Accepted events of any other kind as columns of their table."""
    columns: dict[str, Any] = {}
    for column in kind.stored:
        name = column.name
        if name == "partition":
            columns[name] = [partition] * len(events)
        elif name == "kafka_offset":
            columns[name] = list(offsets)
        elif column.sql == "timestamptz":
            columns[name] = [getattr(event, name) * 1000 for event in events]
        elif column.sql == "date":
            columns[name] = [days_since_1970(getattr(event, name)) for event in events]
        else:
            columns[name] = [getattr(event, name) for event in events]
    return Rows(columns)


def _slots(state: PartitionState, events: list[Any]) -> NDArray[np.int64]:
    return state.slots_of(TextColumn.of([event.member_id for event in events]))


def _times(events: list[Any]) -> NDArray[np.int64]:
    return np.fromiter((event.time for event in events), np.int64, len(events)) * 1000


def _enrolments(state: PartitionState, events: list[Any], rows: dict[str, Rows], touched: Touched) -> None:
    slots = state.enrol(TextColumn.of([event.member_id for event in events]))
    times = _times(events)
    effective = np.fromiter((days_since_1970(event.effective_date) for event in events), np.int32, len(events))
    np.minimum.at(state["since_day"], slots, effective)
    newest = _newest(slots, times, state["enrolled_at"])
    for i, slot in zip(newest.tolist(), slots[newest].tolist(), strict=True):
        event = events[i]
        state["birth_day"][slot] = days_since_1970(event.birth_date)
        state["male"][slot] = event.sex == "male"
        state["active"][slot] = event.action != "terminate"
    state["enrolled_at"][slots[newest]] = times[newest]
    touched.base(slots[newest])
    latest = [events[i] for i in newest.tolist()]
    columns: dict[str, Any] = {name: [getattr(event, name) for event in latest] for name in _AS_ENROLLED}
    columns |= {n: [days_since_1970(getattr(event, n)) for event in latest] for n in ("birth_date", "effective_date")}
    columns |= {"active": [event.action != "terminate" for event in latest]}
    tenants = [event.tenant_id or DEFAULT_TENANT for event in latest]
    rows["members"] = Rows(columns | {"partition": [state.partition] * len(latest), "tenant_id": tenants})
    rows["policies"] = Rows({name: columns[name] for name in ("policy_id", "line_of_business", "cohort_id")})
    state.see(slots, times)


def _newest(slots: NDArray[np.int64], times_us: NDArray[np.int64], known_us: NDArray[np.int64]) -> NDArray[np.int64]:
    """Index of each member's latest event, of two at one time the later one, unless a later one is known already."""
    order = np.lexsort((times_us, slots))
    last = np.append(slots[order][1:] != slots[order][:-1], True)
    latest = np.sort(order[last])
    return np.asarray(latest[times_us[latest] >= known_us[slots[latest]]])


def _claims(state: PartitionState, events: list[Any], rows: dict[str, Rows], touched: Touched) -> None:
    slots = _slots(state, events)
    categories = [service_category(e.claim_type, e.place_of_service, e.bill_type, e.revenue_center) for e in events]
    amounts = [e.paid_cents if e.allowed_cents is None else e.allowed_cents for e in events]
    days = [days_since_1970(e.service_date) for e in events]
    state.add_costs(slots, *(np.array(column, np.int64) for column in (categories, days, amounts)))
    providers = Rows.of(("provider_id", "first_service"))
    for slot, event, day in zip(slots.tolist(), events, days, strict=True):
        for code in event.diagnoses:
            _name_conditions(state, slot, conditions_of(code))
        if event.provider_id is not None:
            providers.append(provider_id=event.provider_id, first_service=day)
    rows["providers"] = providers
    _categories(state, slots, events, np.array(days, np.int64))
    touched.score(slots)
    state.see(slots, _times(events))


def _categories(state: PartitionState, slots: NDArray[np.int64], events: list[Any], days: NDArray[np.int64]) -> None:
    """The condition categories of the diagnoses, edited for the age on 1 February after the year of service."""
    years = days.view("M8[D]").astype("M8[Y]").astype(np.int64) + 1970
    counted_on = (years + 1 - 1970).astype("M8[Y]").astype("M8[D]") + np.timedelta64(31, "D")
    age = np.clip(completed_years(state["birth_day"][slots].astype("M8[D]"), counted_on), 0, None)
    female = (~state["male"][slots]).astype(np.int8)
    state.add_categories(slots, years, categories_of([e.diagnoses for e in events], age.astype(np.int16), female))


def _fills(state: PartitionState, events: list[Any], rows: dict[str, Rows], touched: Touched) -> None:
    slots = _slots(state, events)
    amounts = [e.paid_cents if e.allowed_cents is None else e.allowed_cents for e in events]
    days = [days_since_1970(e.fill_date) for e in events]
    categories = np.full(len(events), _PHARMACY, np.int64)
    state.add_costs(slots, categories, np.array(days, np.int64), np.array(amounts, np.int64))
    state.see(slots, _times(events))


def _labs(state: PartitionState, events: list[Any], rows: dict[str, Rows], touched: Touched) -> None:
    slots = _slots(state, events)
    for slot, event in zip(slots.tolist(), events, strict=True):
        condition = lab_conditions(event.test, event.value)
        if condition is not None:
            _name_conditions(state, slot, (condition,))
    tests = np.fromiter((LAB_INDEX[event.test] for event in events), np.int64, len(events))
    values = np.fromiter((event.value for event in events), np.float64, len(events))
    state.add_labs(slots, tests, _times(events), values)


def _reports(state: PartitionState, events: list[Any], rows: dict[str, Rows], touched: Touched) -> None:
    slots = _slots(state, events)
    for slot, event in zip(slots.tolist(), events, strict=True):
        _name_conditions(state, slot, tuple(_CONDITION_INDEX[code] for code in event.conditions))
        if event.time * 1000 >= state["reported_at"][slot]:
            state["reported_at"][slot] = event.time * 1000
            state["general_health"][slot] = event.general_health or 0
            state["mental_health"][slot] = event.mental_health or 0
    touched.base(slots)
    state.see(slots, _times(events))


def _readings(state: PartitionState, events: list[Any], rows: dict[str, Rows], touched: Touched) -> None:
    metrics = np.fromiter((METRIC_INDEX[event.metric] for event in events), np.int64, len(events))
    values = np.fromiter((event.value for event in events), np.float64, len(events))
    _add_readings(state, _slots(state, events), metrics, _times(events), values, touched)


def apply_readings(state: PartitionState, found: Readings, slots: NDArray[np.int64], touched: Touched) -> None:
    """Applies accepted readings of members in these slots, and marks them."""
    _add_readings(state, slots, found.metrics, found.times_ms * 1000, found.values, touched)


def _add_readings(
    state: PartitionState,
    slots: NDArray[np.int64],
    metrics: NDArray[np.int64],
    times_us: NDArray[np.int64],
    values: NDArray[np.float64],
    touched: Touched,
) -> None:
    touched.late += state.add_readings(slots, metrics, times_us, values)
    touched.score(slots)


def _commands(state: PartitionState, events: list[Any], rows: dict[str, Rows], touched: Touched) -> None:
    if events:
        touched.batch_as_of_us = max(event.time for event in events) * 1000
        touched.base(np.arange(len(state)))
    for event in events:
        if event.models is not None:
            state.models = event.models
            state["forecast_day"][: len(state)] = NO_DAY


def _name_conditions(state: PartitionState, slot: int, conditions: tuple[int, ...]) -> None:
    for condition in conditions:
        state["conditions"][slot] |= 1 << condition


Applier = Callable[[PartitionState, list[Any], dict[str, Rows], Touched], None]
_APPLIERS: dict[str, Applier] = {
    "enrollment.change": _enrolments,
    "claim.submitted": _claims,
    "pharmacy.fill": _fills,
    "lab.result": _labs,
    "self.report": _reports,
    "wearable.reading": _readings,
    "scoring.command": _commands,
}


def apply_events(
    state: PartitionState, kind: EventKind, events: list[Any], rows: dict[str, Rows], touched: Touched
) -> None:
    """Applies accepted events of one kind, in order; adds rows of other tables and marks the members to score."""
    if events:
        _APPLIERS[kind.name](state, events, rows, touched)
