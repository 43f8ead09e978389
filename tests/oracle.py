"""What the shards should have made of a log: one event after the other, in plain dictionaries, slowly and simply.

Shares the declarations with the engine (record tables, code sets, catalogue) and the scorer's public face, nothing of
what streams, keeps state or commits.
"""

import datetime as dt
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from kafka import KafkaConsumer, TopicPartition
from kafka.partitioner.default import murmur2

from engine.domain.claims import SERVICE_CATEGORIES, conditions_of, lab_conditions, service_category
from engine.domain.codes import Spelling
from engine.domain.events import (
    AMOUNTS,
    CONDITIONS,
    ENROLLMENT,
    KIND_OF_TOPIC,
    LAB,
    METALS,
    READING,
    SCORING_COMMAND,
    EventKind,
)
from engine.domain.metrics import LAB_TESTS, METRICS
from engine.scoring import commercial
from engine.scoring.behavior import COMPONENTS
from engine.scoring.features import BASE_FEATURES
from engine.scoring.health_score import HealthScorer, category_name, heard
from engine.scoring.measures import MEASURE_OF_TEST
from engine.scoring.physiology import MEASURES
from engine.scoring.risk_factors import Grounds
from engine.scoring.score_kernel import Known
from engine.scoring.steps_forecast import SERIES, DailySeries
from engine.scoring.told import score_columns, told_row
from engine.scoring.vitals import VITALS
from tests.oracle_hcc import DAY_US, EPOCH, admit, commercial_categories, recent_categories

TEN_MINUTES_MS = 600_000
Place = tuple[str, int]


@dataclass(frozen=True)
class LogRecord:
    """A record as the broker holds it."""

    topic: str
    partition: int
    offset: int
    taken_ms: int
    payload: bytes | None


def read_log(bootstrap: str, topics: Iterable[str] = tuple(KIND_OF_TOPIC)) -> list[LogRecord]:
    """Everything the topics hold, each partition in order."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, max_partition_fetch_bytes=16 << 20)
    try:
        places = [TopicPartition(topic, p) for topic in topics for p in consumer.partitions_for_topic(topic)]
        ends = {place: end for place, end in consumer.end_offsets(places).items() if end}
        consumer.assign(list(ends))
        consumer.seek_to_beginning()
        records = []
        while any(consumer.position(place) < end for place, end in ends.items()):
            for batch in consumer.poll(timeout_ms=500, max_records=50_000).values():
                records += [LogRecord(r.topic, r.partition, r.offset, r.timestamp, r.value) for r in batch]
        return records
    finally:
        consumer.close()


@dataclass
class Counts:
    """What became of the records of a topic partition."""

    applied: int = 0
    duplicates: int = 0
    dead_letters: int = 0
    pending: int = 0


@dataclass
class Member:
    """What is known of a member."""

    birth: dt.date
    sex: str
    enrolled_ms: int
    action: str
    latest_ms: int
    readings: list[tuple[int, int, str, float]] = field(default_factory=list)  # time, by their clock, metric, value
    heads: list[int] = field(default_factory=list)  # days with a reading, taken back or not
    latest: dict[str, tuple[int, float]] = field(default_factory=dict)  # by metric; of two at one time the higher
    costs: list[tuple[str, int, int, int]] = field(default_factory=list)  # category, month since 1970-01, cents, lines
    said: Counter[str] = field(default_factory=Counter)  # conditions, how often
    since: dt.date = dt.date.max
    labs: dict[str, list[tuple[int, float]]] = field(default_factory=lambda: defaultdict(list))
    diagnoses: Counter[tuple[int, str]] = field(default_factory=Counter)  # year of service and code, how often
    admitted: Counter[tuple[int, str]] = field(default_factory=Counter)  # of those on lines that HHS admits
    drugs: Counter[tuple[int, str, str]] = field(default_factory=Counter)  # year, ndc or hcpcs, code, how often
    line: str = ""
    metal: str = "silver"
    reported_ms: int = -1
    general_health: int | None = None
    mental_health: int | None = None

    @property
    def conditions(self) -> set[str]:
        """The conditions that are still said."""
        return {code for code, times in self.said.items() if times > 0}

    def head_day(self) -> int | None:
        """Day of the latest reading, by the member's clock."""
        return max(self.heads, default=None)

    def daily(self) -> dict[str, dict[int, tuple[int, int]]]:
        """By metric and day of the last 30: the sum in thousandths and the number of readings."""
        head = self.head_day()
        days: dict[str, dict[int, tuple[int, int]]] = defaultdict(dict)
        for _, local, metric, value in self.readings:
            day = local // 86_400_000
            if day > head - 30:
                total, count = days[metric].get(day, (0, 0))
                days[metric][day] = (total + round(value * 1000.0), count + 1)
        return days

    def monthly(self) -> dict[tuple[str, int], tuple[int, int]]:
        """By service category and month of the last 13: cents and number of claims."""
        seen = EPOCH + dt.timedelta(days=self.latest_ms // 86_400_000)
        head = max([(seen.year - 1970) * 12 + seen.month - 1, *(month for _, month, _, _ in self.costs)])
        months: dict[tuple[str, int], tuple[int, int]] = {}
        for category, month, cents, lines in self.costs:
            if month > head - 13:
                total, count = months.get((category, month), (0, 0))
                months[category, month] = (total + cents, count + lines)
        return {place: pair for place, pair in months.items() if pair != (0, 0)}

    def results(self) -> dict[str, tuple[int, float]]:
        """By test the latest result; of two at one time the higher."""
        return {test: max(found) for test, found in self.labs.items() if found}


@dataclass
class Expected:
    """The oracle's answer: counts and dead letters by place, members, applied readings, and commands by partition."""

    counts: dict[Place, Counts] = field(default_factory=lambda: defaultdict(Counts))
    dead: dict[tuple[str, int, int], str] = field(default_factory=dict)
    members: dict[str, Member] = field(default_factory=dict)
    readings: dict[tuple[int, int], dict[str, Any]] = field(default_factory=dict)
    command_ms: dict[int, int] = field(default_factory=dict)

    def total(self) -> Counts:
        """All places together."""
        every = list(self.counts.values())
        return Counts(*(sum(getattr(c, name) for c in every) for name in vars(Counts())))


def recompute(log: Sequence[LogRecord], pending_ms: int = 86_400_000) -> Expected:
    """Replays a log: enrolments first, since events wait for them, then topic by topic, partition by partition.

    An event whose member is never enrolled is pending until its partition has a record later by `pending_ms`; the log
    must not enrol a member as late as that.
    (source, event_id) is a duplicate where the partition has seen it, and for all but readings where anybody has; so
    the log must not name one event of the other kinds in two partitions, where the winner is a matter of time.
    """
    expected = Expected()
    order = list(KIND_OF_TOPIC)
    seen: set[tuple[int, str, str]] = set()
    latest: dict[int, int] = {}
    for record in log:
        latest[record.partition] = max(record.taken_ms, latest.get(record.partition, 0))
    for record in sorted(log, key=lambda r: (order.index(r.topic), r.partition, r.offset)):
        counts = expected.counts[record.topic, record.partition]
        kind = KIND_OF_TOPIC[record.topic]
        event, reason = judge(kind, record)
        if event is not None and kind is not SCORING_COMMAND:
            reason = _misplaced(kind, event, record, expected.members)
        if reason == "unknown_member" and record.taken_ms > latest[record.partition] - pending_ms:
            counts.pending += 1
            continue
        if reason:
            counts.dead_letters += 1
            expected.dead[record.topic, record.partition, record.offset] = reason
            continue
        name = (record.partition, event["source"], event["event_id"])
        if name in seen:
            counts.duplicates += 1
            continue
        seen.add(name)
        counts.applied += 1
        _apply(expected, kind, event, record)
    return expected


def _misplaced(kind: EventKind, event: dict[str, Any], record: LogRecord, members: dict[str, Member]) -> str:
    member = event["member_id"]
    if (murmur2(member.encode()) & 0x7FFFFFFF) % 64 != record.partition:
        return "wrong_partition"
    return "" if kind is ENROLLMENT or member in members else "unknown_member"


def judge(kind: EventKind, record: LogRecord) -> tuple[dict[str, Any] | None, str]:
    """The event, or why it is none. The reason is only as fine as the tests need."""
    payload = record.payload
    if payload is None:
        return None, "empty"
    if len(payload) > 1 << 20:
        return None, "too_large"
    try:
        event = json.loads(payload)
    except (ValueError, UnicodeDecodeError):
        return None, "malformed_json"
    except RecursionError:  # what is nested so deep is no flat object
        return None, "wrong_type"
    if not isinstance(event, dict):
        return None, "wrong_type"
    columns = {column.name: column for column in kind.schema}
    if set(event) - set(columns):
        return None, "unknown_field"
    for name, column in columns.items():
        value = event.get(name)
        if value is None:
            if not column.nullable:
                return None, "missing_field" if name not in event else "wrong_type"
            event[name] = None
        elif not _typed(column.sql, value):
            return None, "wrong_type"
        elif column.choices and value not in column.choices:
            return None, f"unknown_{name}"
        elif (column.low is not None and value < column.low) or (column.high is not None and value > column.high):
            return None, "out_of_range"
        elif column.spelling is not None:
            _spell(event, name, column.spelling)
            if event[name] is None and not column.nullable:
                return None, "missing_field"
    return _plausible(kind, event, record.taken_ms)


def _spell(event: dict[str, Any], name: str, spelling: Spelling) -> None:
    if isinstance(event[name], list):
        event[name] = [spelling(code) for code in event[name] if code.strip()]
    else:
        event[name] = spelling(event[name]) or None


def _versioned(kind: EventKind, event: dict[str, Any]) -> str:
    """What is wrong with version, sign or amounts."""
    if event["v"] == 1:
        if any(event[column.name] is not None for column in kind.added):
            return "unknown_field"
        if kind.table in ("claims", "pharmacy_fills") and event["paid_cents"] is None:
            return "missing_field"
        if any((event.get(name) or 0) < 0 for name in AMOUNTS):
            return "out_of_range"
    if "sign" in event:
        sign = 1 if event["sign"] is None else event["sign"]
        if (sign == 1 and event["adjusts"] is not None) or (sign == 0 and kind in (READING, LAB)):
            return "out_of_range"
        if sign != 1 and event["adjusts"] is None:
            return "missing_field"
        if sign * (event.get("charge_cents") or 0) < 0:
            return "out_of_range"
    return ""


def _plausible(kind: EventKind, event: dict[str, Any], taken_ms: int) -> tuple[dict[str, Any] | None, str]:
    if reason := _versioned(kind, event):
        return None, reason
    if event["time"] > taken_ms + TEN_MINUTES_MS:
        return None, "future_time"
    if event["time"] < 631_152_000_000:
        return None, "out_of_range"
    for name in ("birth_date", "service_date", "fill_date", "received_date", "through_date", "paid_date"):
        if event.get(name) is not None:
            date = dt.date.fromisoformat(event[name])
            if (date - EPOCH).days > (taken_ms + TEN_MINUTES_MS) // 86_400_000:
                return None, "future_date"
            if date.year < 1880:
                return None, "out_of_range"
    if kind in (READING, LAB):
        code = event["metric" if kind is READING else "test"]
        measure = next(m for m in (METRICS if kind is READING else LAB_TESTS) if m.code == code)
        if event["unit"] != measure.unit:
            return None, "wrong_unit"
        if not measure.low <= event["value"] <= measure.high:
            return None, "out_of_range"
    return event, ""


def _typed(sql: str, value: Any) -> bool:
    if sql == "text":
        return isinstance(value, str) and 1 <= len(value) <= 64
    if sql == "text[]":
        return isinstance(value, list) and len(value) <= 100 and all(_typed("text", item) for item in value)
    if sql == "date":
        try:
            return isinstance(value, str) and bool(dt.date.fromisoformat(value))
        except ValueError:
            return False
    if sql == "double precision":
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, int) and not isinstance(value, bool)


def _apply(expected: Expected, kind: EventKind, event: dict[str, Any], record: LogRecord) -> None:
    time = event["time"]
    if kind is SCORING_COMMAND:
        expected.command_ms[record.partition] = max(time, expected.command_ms.get(record.partition, 0))
        return
    name = event["member_id"]
    if kind is ENROLLMENT:
        _enrol(expected.members, name, event)
    member = expected.members[name]
    member.latest_ms = max(member.latest_ms, time)
    sign = 1 if event.get("sign") is None else event["sign"]
    if kind is READING:
        local = time + (event["utc_offset_min"] or 0) * 60_000
        reading = (time, local, event["metric"], float(event["value"]))
        stands, told = member.latest.get(event["metric"]), (time, float(event["value"]))
        if sign == 1:
            member.readings.append(reading)
            member.heads.append(local // 86_400_000)
            member.latest[event["metric"]] = told if stands is None else max(stands, told)
        else:
            member.readings.remove(reading)
            if stands == told:  # until the next one none is known
                del member.latest[event["metric"]]
        expected.readings[record.partition, record.offset] = event
    elif kind.name == "claim.submitted":
        if event["status"] == "denied":
            return
        place = (event["claim_type"], event["place_of_service"], event["bill_type"], event["revenue_center"])
        _cost(member, SERVICE_CATEGORIES[service_category(*place)], event["service_date"], event, sign)
        for code in event["diagnoses"]:
            for i in conditions_of(code):
                member.said[CONDITIONS[i]] += sign
            member.diagnoses[dt.date.fromisoformat(event["service_date"]).year, code] += sign
        admit(member, event, sign)
    elif kind.name == "pharmacy.fill":
        _cost(member, "pharmacy", event["fill_date"], event, sign)
        member.drugs[int(event["fill_date"][:4]), "ndc", event["ndc"]] += sign
    elif kind is LAB:
        condition = lab_conditions(event["test"], event["value"])
        if condition is not None:
            member.said[CONDITIONS[condition]] += sign
        result = (time, float(event["value"]))
        if sign == 1:
            member.labs[event["test"]].append(result)
        else:
            member.labs[event["test"]].remove(result)
    elif kind.name == "self.report":
        member.said.update(event["conditions"])
        if time >= member.reported_ms:
            member.reported_ms = time
            member.general_health, member.mental_health = event["general_health"], event["mental_health"]


def _enrol(members: dict[str, Member], name: str, event: dict[str, Any]) -> None:
    birth, time = dt.date.fromisoformat(event["birth_date"]), event["time"]
    member = members.get(name)
    if member is None:
        members[name] = Member(birth, event["sex"], time, event["action"], time)
    elif time >= member.enrolled_ms:
        member.birth, member.sex, member.enrolled_ms, member.action = birth, event["sex"], time, event["action"]
    if time >= members[name].enrolled_ms:
        members[name].line, members[name].metal = event["line_of_business"], event["metal"] or "silver"
    members[name].since = min(members[name].since, dt.date.fromisoformat(event["effective_date"]))


def _cost(member: Member, category: str, date: str, event: dict[str, Any], sign: int) -> None:
    year, month = int(date[:4]), int(date[5:7])
    cents = event["paid_cents"] if event["allowed_cents"] is None else event["allowed_cents"]
    member.costs.append((category, (year - 1970) * 12 + month - 1, cents or 0, sign))


def feature_row(member: Member, as_of_us: int) -> dict[str, float]:
    """The base-risk model's features by code."""
    today = EPOCH + dt.timedelta(days=as_of_us // DAY_US)
    had = (today.month, today.day) >= (member.birth.month, member.birth.day)
    row = {
        "age": float(today.year - member.birth.year - (not had)),
        "male": float(member.sex == "male"),
        "cost_total": 0.0,
    }
    for category in ("inpatient", "emergency", "outpatient", "office", "pharmacy", "home_health"):
        row[f"cost_{category}"] = row[f"n_{category}"] = 0.0
    month = (today.year - 1970) * 12 + today.month - 1
    for (category, at), (cents, count) in member.monthly().items():
        if month - 12 < at <= month:
            row["cost_total"] += cents / 100
            if category != "other":
                row[f"cost_{category}"] += cents / 100
                row[f"n_{category}"] += count
    row["general_health"] = float(member.general_health or "nan")
    row["mental_health"] = float(member.mental_health or "nan")
    return row | {code: float(code in member.conditions) for code in CONDITIONS}


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


def _forecast(member: Member, scorer: HealthScorer) -> float:
    """Forecast from the complete days of the last 30, from the first with a reading of the series."""
    daily, head = member.daily() if member.readings else {}, member.head_day()
    series = {code: {d: v for d, v in daily.get(code, {}).items() if d < head} for code in SERIES}
    if not series["steps"]:
        return float("nan")
    summed = {metric.code: metric.daily == "sum" for metric in METRICS}
    first = min(day for days in series.values() for day in days)
    values = np.full((head - first, len(SERIES)), np.nan)
    for k, (code, days) in enumerate(series.items()):
        for day, (total, count) in days.items():
            values[day - first, k] = total / 1000 / (1 if summed[code] else count)
    rows = DailySeries(np.array([0, head - first]), np.arange(first, head), values)
    return float(scorer.models.behavior.forecast(rows)[0][-1])


def _measures(member: Member, row: dict[str, float], as_of_us: int) -> np.ndarray:
    """The physiology model's measures: results of the two years up to then."""
    known = {"age": row["age"], "male": row["male"], "health": row["general_health"]}
    for test, (time, value) in member.results().items():
        if test in MEASURE_OF_TEST and as_of_us - 730 * DAY_US < time * 1000 <= as_of_us:
            known[MEASURE_OF_TEST[test]] = value
    return np.array([known.get(measure.code, np.nan) for measure in MEASURES])


@dataclass(frozen=True)
class Score:
    """A member's score as the score history should hold it."""

    as_of_us: int
    score: float | None
    category: str
    cost: tuple[float | None, float | None, float | None]
    news2: int | None
    components: list[str]
    factors: list[str]
    interventions: list[str]


def score(member: Member, command_ms: int, scorer: HealthScorer) -> Score:
    """The member's score after a scoring command: everything that is known, as of the later of both."""
    as_of = 1000 * max(member.latest_ms, command_ms)
    row = feature_row(member, as_of)
    features = np.array([[row[feature.code] for feature in BASE_FEATURES]], np.float32)
    prediction = scorer.base.predict(features)
    daily, latest = member.daily(), member.latest
    month, days = np.full((1, len(COMPONENTS)), np.nan), np.zeros((1, len(COMPONENTS)), np.int64)
    value, time = np.full((1, len(VITALS)), np.nan), np.full((1, len(VITALS)), np.iinfo(np.int64).min)
    for metric in METRICS:
        if metric.code in daily and metric.code in COMPONENTS:
            k = COMPONENTS.index(metric.code)
            total = sum(thousandths for thousandths, _ in daily[metric.code].values()) / 1000
            readings = sum(count for _, count in daily[metric.code].values())
            days[0, k] = len(daily[metric.code])
            month[0, k] = total / (days[0, k] if metric.daily == "sum" else readings)
        if metric.code in latest and metric.code in VITALS:
            k = VITALS.index(metric.code)
            time[0, k], value[0, k] = latest[metric.code][0] * 1000, latest[metric.code][1]
    known = Known(
        base_cost=np.array([[prediction.mean[0], prediction.lower_90[0], prediction.upper_90[0]]]),
        age=np.array([float(row["age"])]),
        male=np.array([float(row["male"])]),
        heard=heard(features),
        month=month,
        days=days,
        forecast=np.array([_forecast(member, scorer)]),
        vital_value=value,
        vital_time=time,
        ccs=recent_categories(member, as_of)[None, :],
        commercial=np.array([member.line in commercial.LINES]),
        metal=np.array([METALS.index(member.metal)]),
        hhs_ccs=commercial_categories(member, as_of)[0][None, :],
        rxcs=np.array([commercial_categories(member, as_of)[1]]),
        hazard=scorer.models.physiology.log_hazard(_measures(member, row, as_of)[None, :]),
        observed_days=np.array([as_of // DAY_US - (member.since - EPOCH).days]),
        as_of_us=np.array([as_of]),
    )
    made = scorer.score(known)
    told = told_row(score_columns(scorer, known, made, Grounds(features, scorer.base.contributions(features))), 0)
    news2 = int(made.news2[0])
    return Score(
        as_of,
        _known(float(made.score[0])),
        category_name(int(made.category[0])),
        tuple(_known(value) for value in made.cost[0].tolist()),
        news2 if news2 >= 0 else None,
        told["components"],
        [factor.code for factor in told["risk_factors"]],
        told["interventions"],
    )
