"""JSON events in, checked values out. The decoders derive from the record tables of engine.domain.events."""

import datetime as dt
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from engine.domain.events import AMOUNTS, CLAIM, FIRST_VERSION, LAB, MAX_ID, READING, SCORING_COMMAND, EventKind
from engine.domain.metrics import LAB_TESTS, METRICS
from engine.domain.model_set import ModelSet
from engine.domain.records import Column
from engine.errors import InvalidRecordError, ModelError

FUTURE_TOLERANCE_MS = 10 * 60 * 1000
"""How far an event may be ahead of the moment the broker took it: device clocks drift by minutes, not by hours."""
EARLIEST_MS = 631_152_000_000
"""1990-01-01: no wearable and no claim of ours is older."""
MAX_PAYLOAD = 1 << 20
"""Longest event in bytes; a longer one is a dead letter of which the first bytes are kept."""
MAX_LIST = 100

_EPOCH_DAY = dt.date(1970, 1, 1).toordinal()
_AT = re.compile(r"`\$\.?(?P<at>[^`]*)`$")
_FIELD = re.compile(r"field `(?P<field>[^`]*)`")
_JSON_TYPES: dict[str, Any] = {
    "text": Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID)],
    "bigint": int,
    "integer": int,
    "smallint": int,
    "double precision": float,
    "boolean": bool,
    "timestamptz": int,
    "date": dt.date,
    "text[]": Annotated[
        list[Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID)]], msgspec.Meta(max_length=MAX_LIST)
    ],
}
Check = Callable[[Any, int], None]


def days_since_1970(date: dt.date) -> int:
    """The date as the record tables keep it."""
    return date.toordinal() - _EPOCH_DAY


def _refuse(reason: str, column: Column, value: object, expected: str) -> InvalidRecordError:
    return InvalidRecordError(reason, column.name, f"{column.name} is {value!r}: {expected}")


def _check_column(column: Column, value: Any) -> None:
    if value is None:
        return
    if column.choices and value not in column.choices:
        raise _refuse(f"unknown_{column.name}", column, value, f"must be one of {', '.join(column.choices)}")
    if column.low is not None and value < column.low:
        raise _refuse("out_of_range", column, value, f"must be at least {column.low:g} {column.unit}".rstrip())
    if column.high is not None and value > column.high:
        raise _refuse("out_of_range", column, value, f"must be at most {column.high:g} {column.unit}".rstrip())


def _check_measured(code_column: str, kind: EventKind) -> Callable[[Any], None]:
    """The check of a value against the catalogue's unit and possible range."""
    catalogue = {m.code: (m.unit, m.low, m.high) for m in (METRICS if kind is READING else LAB_TESTS)}
    value_column, unit_column = kind.schema["value"], kind.schema["unit"]

    def check(event: Any) -> None:
        code = getattr(event, code_column)
        unit, low, high = catalogue[code]
        if event.unit != unit:
            raise _refuse("wrong_unit", unit_column, event.unit, f"{code} is measured in {unit}")
        if not low <= event.value <= high:
            raise _refuse("out_of_range", value_column, event.value, f"{code} lies between {low:g} and {high:g} {unit}")

    return check


def _check_version(kind: EventKind) -> Callable[[Any], None]:
    """The check that an event of version 1 has what version 1 has, and no amount below 0."""
    required = tuple(kind.schema[name] for name in kind.once_required)
    amounts = tuple(column for column in kind.schema if column.name in AMOUNTS)

    def check(event: Any) -> None:
        if event.v != FIRST_VERSION:
            return
        for column in kind.added:
            if getattr(event, column.name) is not None:
                message = f"{column.name} is of version 2 of {kind.name}, and the event says version 1"
                raise InvalidRecordError("unknown_field", column.name, message)
        for column in required:
            if getattr(event, column.name) is None:
                message = f"{kind.name} of version 1 lacks {column.name}"
                raise InvalidRecordError("missing_field", column.name, message)
        for column in amounts:
            cents = getattr(event, column.name)
            if cents is not None and cents < 0:
                raise _refuse("out_of_range", column, cents, "must be at least 0 cents in version 1")

    return check


def _check_sign(kind: EventKind) -> Callable[[Any], None]:
    """The check that an event that changes an earlier one names it, and that a charge is of its sign.

    Other amounts may be of either: Medicare pays less than nothing where the deductible is more than the payment.
    """
    amounts = tuple(column for column in kind.schema if column.name in AMOUNTS)
    charges = tuple(column for column in amounts if column.name == "charge_cents")
    sign_column, adjusts_column = kind.schema["sign"], kind.schema["adjusts"]

    def check(event: Any) -> None:
        sign = 1 if event.sign is None else event.sign
        if sign == 0 and not amounts:
            raise _refuse("out_of_range", sign_column, sign, "must be 1 or -1")
        if sign == 1 and event.adjusts is not None:
            raise _refuse(
                "out_of_range", sign_column, event.sign, f"must be 0 or -1 where {adjusts_column.name} is given"
            )
        if sign != 1 and event.adjusts is None:
            raise InvalidRecordError("missing_field", "adjusts", f"sign is {sign}: adjusts must name the earlier event")
        for column in charges:
            cents = getattr(event, column.name)
            if cents is not None and sign * cents < 0:
                bound = "at least 0 of a new line" if sign == 1 else "at most 0 of a line taken back"
                raise _refuse("out_of_range", column, cents, f"must be {bound}")

    return check


def _check_stay(event: Any) -> None:
    if event.through_date is not None and event.through_date < event.service_date:
        message = f"through_date is {event.through_date}: must not lie before service_date {event.service_date}"
        raise InvalidRecordError("out_of_range", "through_date", message)


def _check_models(event: Any) -> None:
    if event.models is not None:
        try:
            ModelSet.parse(event.models)
        except ModelError as error:
            raise InvalidRecordError("unknown_models", "models", str(error)) from error


@dataclass(frozen=True, slots=True)
class _Decoder:
    decode: Callable[[bytes], Any]
    spelled: tuple[Column, ...]
    checked: tuple[Column, ...]
    past_dates: tuple[Column, ...]
    rules: tuple[Callable[[Any], None], ...]


def _decoder(kind: EventKind) -> _Decoder:
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for column in kind.schema:
        json_type = _JSON_TYPES[column.sql]
        fields.append((column.name, json_type | None, None) if column.nullable else (column.name, json_type))
    struct = msgspec.defstruct(kind.name.replace(".", "_"), fields, forbid_unknown_fields=True, kw_only=True, gc=False)
    bounded = tuple(c for c in kind.schema if c.choices or c.low is not None or c.high is not None)
    own = {
        READING.name: _check_measured("metric", READING),
        LAB.name: _check_measured("test", LAB),
        CLAIM.name: _check_stay,
        SCORING_COMMAND.name: _check_models,
    }.get(kind.name)
    signed = any(column.name == "sign" for column in kind.added)
    rules = (_check_version(kind), *([_check_sign(kind)] if signed else []), *([own] if own else []))
    return _Decoder(
        msgspec.json.Decoder(struct).decode,
        tuple(c for c in kind.schema if c.spelling is not None),
        bounded,
        tuple(c for c in kind.schema if c.sql == "date" and c.name != "effective_date"),
        rules,
    )


_DECODERS: dict[str, _Decoder] = {}


def decode(kind: EventKind, payload: bytes | None, taken_ms: int) -> Any:
    """The event as an object with the schema's columns as attributes: `time` in ms, dates as datetime.date.

    `taken_ms` is the record's own timestamp: what lies beyond it is the future, whatever our clock says, so a replay
    judges as the first reading did. Raises InvalidRecordError with a stable reason and the offending field.
    """
    if payload is None:
        raise InvalidRecordError("empty", "", "the record has no value")
    if len(payload) > MAX_PAYLOAD:
        raise InvalidRecordError("too_large", "", f"the event has {len(payload)} bytes, more than {MAX_PAYLOAD}")
    decoder = _DECODERS.get(kind.name)
    if decoder is None:
        decoder = _DECODERS[kind.name] = _decoder(kind)
    try:
        event = decoder.decode(payload)
    except msgspec.ValidationError as error:
        raise _explain(error) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRecordError("malformed_json", "", f"not a JSON object of UTF-8 text: {error}") from error
    if b"\\u0000" in payload:
        raise InvalidRecordError("malformed_text", "", "a text holds the character U+0000, which cannot be stored")
    for column in decoder.spelled:
        given = getattr(event, column.name)
        setattr(event, column.name, column.spelled(given))
        if given is not None and not column.nullable and getattr(event, column.name) is None:
            raise _refuse("missing_field", column, given, "must not be blank")
    for column in decoder.checked:
        _check_column(column, getattr(event, column.name))
    _check_time(kind, event, decoder.past_dates, taken_ms)
    for rule in decoder.rules:
        rule(event)
    return event


def _check_time(kind: EventKind, event: Any, past_dates: tuple[Column, ...], taken_ms: int) -> None:
    if not EARLIEST_MS <= event.time <= taken_ms + FUTURE_TOLERANCE_MS:
        reason = "future_time" if event.time > taken_ms else "out_of_range"
        raise _refuse(
            reason, kind.schema["time"], event.time, f"must lie between 1990 and {taken_ms} ms, when it was taken"
        )
    if past_dates:
        latest = (taken_ms + FUTURE_TOLERANCE_MS) // 86_400_000
        for column in past_dates:
            date = getattr(event, column.name)
            if date is None:
                continue
            if days_since_1970(date) > latest:
                raise _refuse("future_date", column, date.isoformat(), "must not lie in the future")
            if date.year < 1880:
                raise _refuse("out_of_range", column, date.isoformat(), "must not lie before 1880")


def _explain(error: msgspec.ValidationError) -> InvalidRecordError:
    message = str(error)
    at, field = _AT.search(message), _FIELD.search(message)
    if "missing required field" in message and field:
        return InvalidRecordError("missing_field", field["field"], message)
    if "unknown field" in message and field:
        return InvalidRecordError("unknown_field", field["field"], message)
    return InvalidRecordError("wrong_type", at["at"] if at else "", message)
