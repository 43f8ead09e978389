"""The shapes foreign records are poured into: flat JSON objects with the envelope of engine.domain.events."""

from datetime import UTC, date, datetime

from engine.domain.events import ENROLLMENT, READING, SCHEMA_VERSION, SourceEvent
from engine.domain.metrics import METRICS

MS_PER_DAY = 86_400_000
UNIT_OF: dict[str, str] = {metric.code: metric.unit for metric in METRICS}
_EPOCH = date(1970, 1, 1)


def day_ms(day: date) -> int:
    """Milliseconds from 1970-01-01 to midnight UTC of `day`."""
    return (day - _EPOCH).days * MS_PER_DAY


def day_of(ms: int) -> date:
    """The UTC day of an instant in milliseconds since 1970-01-01."""
    return datetime.fromtimestamp(ms // 1000, UTC).date()


def reading(source: str, event_id: str, member_id: str, time: int, metric: str, value: float | str) -> SourceEvent:
    """A wearable reading in the metric's own unit; a value that is no number is passed on as text."""
    return SourceEvent(
        READING,
        {
            "v": SCHEMA_VERSION,
            "event_id": event_id,
            "source": source,
            "member_id": member_id,
            "time": time,
            "metric": metric,
            "value": value,
            "unit": UNIT_OF[metric],
        },
    )


def enrollment(
    source: str,
    event_id: str,
    member_id: str,
    *,
    action: str,
    effective_date: date,
    birth_date: str,
    sex: str,
    region: str,
    line_of_business: str,
    policy_id: str,
    cohort_id: str,
    **market: object,
) -> SourceEvent:
    """An enrollment change; it happens at midnight UTC of the day from which it holds.

    `market` are fields of engine.domain.events.MARKET; those that are None are left out.
    """
    return SourceEvent(
        ENROLLMENT,
        {
            "v": SCHEMA_VERSION,
            "event_id": event_id,
            "source": source,
            "member_id": member_id,
            "time": day_ms(effective_date),
            "action": action,
            "birth_date": birth_date,
            "sex": sex,
            "region": region,
            "line_of_business": line_of_business,
            "policy_id": policy_id,
            "cohort_id": cohort_id,
            "effective_date": effective_date.isoformat(),
            **{name: value for name, value in market.items() if value is not None},
        },
    )
