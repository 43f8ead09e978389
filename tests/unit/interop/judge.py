"""Is an event what its record table says? A slow reading of the tables, for the tests of the sources."""

from datetime import date

from engine.domain.events import MAX_ID, SourceEvent
from engine.domain.metrics import LAB_TESTS, METRICS


def fault_of(event: SourceEvent) -> str:
    """The first column the event breaks, or ""."""
    schema = event.kind.schema
    needed = {column.name for column in schema if not column.nullable}
    if not needed <= set(event.fields) <= set(schema.names):
        return "columns"
    for column in schema:
        value = event.fields.get(column.name)
        if value is None:
            if not column.nullable:
                return column.name
        elif column.sql == "text":
            if not isinstance(value, str) or not value or (column.choices and value not in column.choices):
                return column.name
            if column.name.endswith("_id") and len(value) > MAX_ID:
                return column.name
        elif column.sql == "text[]":
            if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
                return column.name
        elif column.sql == "date":
            if not isinstance(value, str) or date.fromisoformat(value).isoformat() != value:
                return column.name
        elif column.dtype in ("i8", "M8[us]"):
            if type(value) is not int or not _inside(value, column.low, column.high):
                return column.name
        elif type(value) not in (float, int) or not _inside(value, column.low, column.high):
            return column.name
    return _of_measure(event)


def _inside(value: float, low: float | None, high: float | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)


def _of_measure(event: SourceEvent) -> str:
    for name, table in (("metric", METRICS), ("test", LAB_TESTS)):
        if name in event.fields:
            measure = next(m for m in table if m.code == event.fields[name])
            if event.fields["unit"] != measure.unit:
                return "unit"
            if not measure.low <= event.fields["value"] <= measure.high:
                return "value"
    return ""
