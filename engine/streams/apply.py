"""Applies accepted events to a partition's state, kind by kind, and collects the rows to store."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.domain.batch import Rows, TextColumn
from engine.domain.claims import SERVICE_CATEGORIES, conditions_of, lab_conditions, service_category
from engine.domain.events import CONDITIONS, DEFAULT_TENANT, MARKET, METALS, EventKind
from engine.domain.metrics import LAB_INDEX, METRIC_INDEX
from engine.scoring import commercial, facts
from engine.scoring.diagnosed import renew_categories
from engine.scoring.member_state import PartitionState
from engine.scoring.state_kernels import NO_DAY
from engine.streams.codec import days_since_1970
from engine.streams.readings import EVENT_ID, MEMBER, SOURCE, Readings, codes, units

_PHARMACY = SERVICE_CATEGORIES.index("pharmacy")
_US_PER_MINUTE = 60_000_000
_CONDITION_INDEX = {code: i for i, code in enumerate(CONDITIONS)}
_AS_ENROLLED = ("member_id", "sex", "region", "line_of_business", "policy_id", "cohort_id", *(c.name for c in MARKET))
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
    columns |= {"time": found.times_ms * 1000, "kafka_offset": found.offsets, "utc_offset_min": found.utc_offsets}
    columns |= dict(zip(("sign", "adjusts", "revision"), found.change_columns(), strict=True))
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
            dates = (getattr(event, name) for event in events)
            columns[name] = [None if date is None else days_since_1970(date) for date in dates]
        else:
            columns[name] = [getattr(event, name) for event in events]
    return Rows(columns)


def _slots(state: PartitionState, events: list[Any]) -> NDArray[np.int64]:
    return state.slots_of(TextColumn.of([event.member_id for event in events]))


def _times(events: list[Any]) -> NDArray[np.int64]:
    return np.fromiter((event.time for event in events), np.int64, len(events)) * 1000


def _signs(events: list[Any]) -> NDArray[np.int8]:
    """1 for what is new, -1 for what is taken back, 0 for an amount added to what is there."""
    return np.fromiter((1 if event.sign is None else event.sign for event in events), np.int8, len(events))


class _Notes:
    """Facts of members on their way to the state."""

    def __init__(self) -> None:
        self._notes: list[tuple[int, int, int]] = []

    def add(self, slot: int, key: int, sign: int) -> None:
        """Says a fact, or takes it back; a code or year that no fact can have says nothing."""
        if key != facts.NO_KEY:
            self._notes.append((slot, key, sign))

    def put(self, state: PartitionState) -> None:
        """Into the state."""
        if self._notes:
            slots, keys, signs = np.array(self._notes, np.int64).T
            state.note(slots, keys, signs.astype(np.int8))


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
        state["commercial"][slot] = event.line_of_business in commercial.LINES
        state["metal"][slot] = commercial.SILVER if event.metal is None else METALS.index(event.metal)
    state["enrolled_at"][slots[newest]] = times[newest]
    state.see(slots, times)
    renew_categories(state, slots[newest])  # they hang on age, sex and line of business
    touched.base(slots[newest])
    latest = [events[i] for i in newest.tolist()]
    columns: dict[str, Any] = {name: [getattr(event, name) for event in latest] for name in _AS_ENROLLED}
    columns |= {n: [days_since_1970(getattr(event, n)) for event in latest] for n in ("birth_date", "effective_date")}
    columns |= {"active": [event.action != "terminate" for event in latest]}
    tenants = [event.tenant_id or DEFAULT_TENANT for event in latest]
    rows["members"] = Rows(columns | {"partition": [state.partition] * len(latest), "tenant_id": tenants})
    rows["policies"] = Rows({name: columns[name] for name in ("policy_id", "line_of_business", "cohort_id")})


def _newest(slots: NDArray[np.int64], times_us: NDArray[np.int64], known_us: NDArray[np.int64]) -> NDArray[np.int64]:
    """Index of each member's latest event, of two at one time the later one, unless a later one is known already."""
    order = np.lexsort((times_us, slots))
    last = np.append(slots[order][1:] != slots[order][:-1], True)
    latest = np.sort(order[last])
    return np.asarray(latest[times_us[latest] >= known_us[slots[latest]]])


def _claims(state: PartitionState, events: list[Any], rows: dict[str, Rows], touched: Touched) -> None:
    providers = Rows.of(("provider_id", "first_service"))
    for event in events:
        if event.provider_id is not None:
            providers.append(provider_id=event.provider_id, first_service=days_since_1970(event.service_date))
    rows["providers"] = providers
    slots = _slots(state, events)
    state.see(slots, _times(events))
    touched.score(slots)
    counted = [i for i, event in enumerate(events) if event.status != "denied"]
    if counted:
        _care(state, slots[counted], [events[i] for i in counted])


def _care(state: PartitionState, slots: NDArray[np.int64], events: list[Any]) -> None:
    """The costs and diagnoses of claim lines that are not denied."""
    signs = _signs(events)
    categories = [service_category(e.claim_type, e.place_of_service, e.bill_type, e.revenue_center) for e in events]
    days = [days_since_1970(e.service_date) for e in events]
    kinds, served, cents = (np.array(column, np.int64) for column in (categories, days, _amounts(events)))
    state.add_costs(slots, kinds, served, cents, signs)
    notes = _Notes()
    for slot, event, sign in zip(slots.tolist(), events, signs.tolist(), strict=True):
        year, place = event.service_date.year, (event.claim_type, event.bill_type, event.procedure)
        kind = facts.ADMITTED if commercial.admits(*place, event.discharge_status) else facts.DIAGNOSIS
        if sign and event.procedure is not None and commercial.drug_class("hcpcs", event.procedure):
            notes.add(slot, facts.key(facts.HCPCS, facts.code_number(event.procedure), year), sign)
        for code in event.diagnoses if sign else ():
            number = facts.code_number(code)
            if number != facts.NO_KEY:
                notes.add(slot, facts.key(kind, number, year), sign)
            for condition in conditions_of(code):
                notes.add(slot, facts.key(facts.CONDITION, condition), sign)
    notes.put(state)
    renew_categories(state, slots)


def _amounts(events: list[Any]) -> list[int]:
    """Cents of claim lines and fills: allowed, else paid, else none yet."""
    return [(e.paid_cents or 0) if e.allowed_cents is None else e.allowed_cents for e in events]


def _fills(state: PartitionState, events: list[Any], rows: dict[str, Rows], touched: Touched) -> None:
    slots = _slots(state, events)
    state.see(slots, _times(events))
    days = [days_since_1970(e.fill_date) for e in events]
    categories = np.full(len(events), _PHARMACY, np.int64)
    amounts, signs, notes = np.array(_amounts(events), np.int64), _signs(events), _Notes()
    state.add_costs(slots, categories, np.array(days, np.int64), amounts, signs)
    for slot, event, sign in zip(slots.tolist(), events, signs.tolist(), strict=True):
        if sign and commercial.drug_class("ndc", event.ndc):
            notes.add(slot, facts.key(facts.NDC, int(event.ndc), event.fill_date.year), sign)
    notes.put(state)
    own = np.unique(slots[state["commercial"][slots]])
    if len(own):
        renew_categories(state, own)
        touched.score(own)


def _labs(state: PartitionState, events: list[Any], rows: dict[str, Rows], touched: Touched) -> None:
    slots, signs, notes = _slots(state, events), _signs(events), _Notes()
    for slot, event, sign in zip(slots.tolist(), events, signs.tolist(), strict=True):
        condition = lab_conditions(event.test, event.value)
        if condition is not None:
            notes.add(slot, facts.key(facts.CONDITION, condition), sign)
    notes.put(state)
    tests = np.fromiter((LAB_INDEX[event.test] for event in events), np.int64, len(events))
    values = np.fromiter((event.value for event in events), np.float64, len(events))
    state.add_labs(slots, tests, _times(events), values, signs)


def _reports(state: PartitionState, events: list[Any], rows: dict[str, Rows], touched: Touched) -> None:
    slots, notes = _slots(state, events), _Notes()
    for slot, event in zip(slots.tolist(), events, strict=True):
        for code in event.conditions:
            notes.add(slot, facts.key(facts.CONDITION, _CONDITION_INDEX[code]), 1)
        if event.time * 1000 >= state["reported_at"][slot]:
            state["reported_at"][slot] = event.time * 1000
            state["general_health"][slot] = event.general_health or 0
            state["mental_health"][slot] = event.mental_health or 0
    notes.put(state)
    touched.base(slots)
    state.see(slots, _times(events))


def _readings(state: PartitionState, events: list[Any], rows: dict[str, Rows], touched: Touched) -> None:
    metrics = np.fromiter((METRIC_INDEX[event.metric] for event in events), np.int64, len(events))
    values = np.fromiter((event.value for event in events), np.float64, len(events))
    slots, times = _slots(state, events), _times(events)
    ahead = np.fromiter((event.utc_offset_min or 0 for event in events), np.int64, len(events))
    touched.late += state.add_readings(slots, metrics, times, values, times + ahead * _US_PER_MINUTE, _signs(events))
    touched.score(slots)


def apply_readings(state: PartitionState, found: Readings, slots: NDArray[np.int64], touched: Touched) -> None:
    """Applies accepted readings of members in these slots, and marks them."""
    times, signs = found.times_ms * 1000, found.signs()
    ahead = np.nan_to_num(found.utc_offsets).astype(np.int64) * _US_PER_MINUTE
    touched.late += state.add_readings(slots, found.metrics, times, found.values, times + ahead, signs)
    touched.score(slots)


def _commands(state: PartitionState, events: list[Any], rows: dict[str, Rows], touched: Touched) -> None:
    if events:
        touched.batch_as_of_us = max(event.time for event in events) * 1000
        touched.base(np.arange(len(state)))
    for event in events:
        if event.models is not None:
            state.models = event.models
            state["forecast_day"][: len(state)] = NO_DAY


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
