"""The readings' kernel takes what msgspec takes, to the same bits, and leaves the rest: so both ways are one."""

import json
import random

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.domain.batch import joined
from engine.domain.duplicates import digest
from engine.domain.events import READING
from engine.domain.metrics import METRIC_INDEX, METRICS
from engine.errors import InvalidRecordError
from engine.streams import readings
from engine.streams.apply import reading_rows
from engine.streams.codec import EARLIEST_MS, FUTURE_TOLERANCE_MS, decode
from engine.streams.readings import EVENT_ID, MEMBER, SOURCE, codes, parse, units
from engine.streams.records import RecordBatch

TAKEN = 1_735_689_600_000
SOUND = {"v": 1, "event_id": "e1", "source": "fitbit", "member_id": "M0000001", "time": TAKEN - 5, "metric": "steps"}
SOUND |= {"value": 12.5, "unit": "count"}


def batch(*values: bytes | None) -> RecordBatch:
    return RecordBatch.of(READING.topic, 3, range(7, 7 + len(values)), [TAKEN] * len(values), values, 7 + len(values))


def by_kernel(value: bytes) -> bool:
    """Whether the kernel takes the record by itself."""
    one = batch(value)
    n = len(one)
    texts, done = np.zeros((n, 3, 2), np.int64), np.zeros(n, bool)
    numbers = (np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n), np.zeros(n, np.uint64), np.zeros(n))
    parse(one.data, one.starts, one.lengths, one.timestamps_ms, *numbers, texts, done)
    return bool(done[0])


def last(*values: bytes) -> tuple[object, ...]:
    """What is read, or refused, of the last record of a batch."""
    found, refused = readings.read(batch(*values))
    if refused and refused[-1][0] == len(values) - 1:
        return refused[-1][1].reason, refused[-1][1].field
    numbers = (found.times_ms[-1], found.metrics[-1], found.values[-1].tobytes(), found.digests[-1])
    numbers += (found.utc_offsets[-1].tobytes(), found.signs()[-1], *(str(c[-1]) for c in found.change_columns()))
    return *numbers, *(found.text(which)[len(found) - 1] for which in (EVENT_ID, SOURCE, MEMBER))


def agree(value: bytes) -> None:
    """What is read of the record is what msgspec reads, or refuses, of it, whatever record stood before."""
    assert last(json.dumps(SOUND).encode(), value) == last(value, value) == last(value)
    found, refused = readings.read(batch(value))
    try:
        event = decode(READING, value, TAKEN)
    except InvalidRecordError as error:
        assert len(found) == 0 and [(i, e.reason, e.field) for i, e in refused] == [(0, error.reason, error.field)]
        return
    assert not refused and len(found) == 1
    assert (found.times_ms[0], found.metrics[0]) == (event.time, METRIC_INDEX[event.metric])
    assert found.values[0].tobytes() == np.float64(event.value).tobytes()
    assert found.digests[0] == digest(event.source, event.event_id)
    assert [found.text(which)[0] for which in (EVENT_ID, SOURCE, MEMBER)] == [
        event.event_id,
        event.source,
        event.member_id,
    ]
    assert (codes(found.metrics)[0], units(found.metrics)[0]) == (event.metric, event.unit)
    ahead = found.utc_offsets[0]
    assert (None if np.isnan(ahead) else ahead) == event.utc_offset_min
    assert found.signs()[0] == (1 if event.sign is None else event.sign)
    sign, adjusts, revision = found.change_columns()
    told = [None if np.isnan(sign[0]) else sign[0], None if np.isnan(revision[0]) else revision[0]]
    assert told == [event.sign, event.revision]
    assert (None if adjusts.lengths[0] < 0 else adjusts[0]) == event.adjusts


@st.composite
def objects(draw: st.DrawFn) -> bytes:
    """Readings as producers write them: any order, spacing and number format; sound, or with one thing wrong."""
    metric = draw(st.sampled_from(METRICS))
    value = draw(
        st.one_of(
            st.floats(metric.low, metric.high).map(repr),
            st.decimals(metric.low, metric.high, places=draw(st.integers(0, 12))).map(lambda d: format(d, "f")),
            st.integers(int(metric.low), int(metric.high)).map(str),
            st.sampled_from(["-0", "-0.0", "1e2", "01", "1.", ".5", "NaN", "null", '"3"', "1E400", "9" * 30]),
        )
    )
    word = st.text(st.characters(codec="utf-8"), max_size=70) | st.sampled_from(["e1", "fitbit", "M0000001"])
    fields = {name: json.dumps(given) for name, given in SOUND.items()}
    fields |= {"metric": json.dumps(metric.code), "unit": json.dumps(metric.unit), "value": value}
    for name in draw(st.sets(st.sampled_from(["event_id", "source", "member_id"]))):
        fields[name] = json.dumps(draw(word), ensure_ascii=draw(st.booleans()))
    times = (0, EARLIEST_MS - 1, EARLIEST_MS, TAKEN, TAKEN + FUTURE_TOLERANCE_MS, TAKEN + FUTURE_TOLERANCE_MS + 1)
    fields["time"] = draw(st.sampled_from([*map(str, times), "1.5e12", "1735689600000.0", "-5"]))
    if draw(st.booleans()):
        fields["v"] = draw(st.sampled_from(["1", "2", "2"]))
        fields["utc_offset_min"] = draw(st.sampled_from(["-720", "840", "0", "841", "-721", "60.0", "null", '"60"']))
        if draw(st.booleans()):
            fields["sign"] = draw(st.sampled_from(["1", "-1", "0", "null"]))
            fields["adjusts"] = draw(st.sampled_from(['"e0"', "null", '""']))
            fields["revision"] = draw(st.sampled_from(["1", "null", "-1"]))
    wrong = draw(st.sampled_from(["", "", "missing", "unknown", "twice", "unit", "v"]))
    pairs = list(fields.items())
    if wrong == "missing":
        pairs.pop(draw(st.integers(0, 7)))
    elif wrong == "unknown":
        pairs.append((draw(st.sampled_from(["x", "Value", "event-id", ""])), "1"))
    elif wrong == "twice":
        pairs.append(draw(st.sampled_from(pairs)))
    elif wrong in ("unit", "v"):
        pairs = [(name, {"unit": '"furlong"', "v": "3"}[wrong] if name == wrong else text) for name, text in pairs]
    space = st.sampled_from(["", " ", "\n\t", "\r "])
    gap = [draw(space) for _ in range(4)]
    inside = ("," + gap[0]).join(f'"{name}"{gap[1]}:{gap[2]}{text}' for name, text in draw(st.permutations(pairs)))
    return f"{gap[3]}{{{inside}{gap[0]}}}{gap[1]}".encode()


_MINUS_ZERO = (
    b'{"v":1,"event_id":"e","source":"s","member_id":"M","time":631152000000,'
    b'"metric":"steps","value":%s,"unit":"count"}'
)


@given(objects())
@example(_MINUS_ZERO % b"-0")
@example(_MINUS_ZERO % b"-0.0")
@settings(max_examples=1500)
def test_whatever_producers_write_is_read_as_msgspec_reads_it(value: bytes) -> None:
    agree(value)


@given(st.integers(0, 2**32), st.integers(1, 4))
@example(0, 1)
@settings(max_examples=1500)
def test_broken_bytes_are_read_as_msgspec_reads_them(seed: int, edits: int) -> None:
    chance, raw = random.Random(seed), bytearray(json.dumps(SOUND).encode())
    for _ in range(edits):
        at, kind = chance.randrange(len(raw)), chance.randrange(3)
        byte = chance.choice([*b'{}[]":,\\.-+eE0123456789 \n\x00\x1f\x7f', 0xC3, 0xFF, chance.randrange(256)])
        if kind == 0:
            raw[at] = byte
        elif kind == 1:
            raw.insert(at, byte)
        else:
            del raw[at]
    agree(bytes(raw))


def test_a_record_is_not_taken_for_one_like_the_record_before() -> None:
    sound = json.dumps(SOUND).encode()
    for value in (sound[:-1], sound + b"{", sound + b" ", sound + sound[:6]):
        assert last(sound, value) == last(value)
    ahead = json.dumps(SOUND | {"v": 2, "utc_offset_min": 60}).encode()
    assert last(ahead, sound) == last(sound) != last(sound, ahead) == last(ahead)
    broken = b'{"time": %d, x' % SOUND["time"]
    twice = sound.replace(b'{"v": 1', b'{"time": %d' % SOUND["time"])
    assert last(sound, broken, twice) == last(twice)


def test_the_kernel_itself_takes_what_is_usual() -> None:
    usual = [json.dumps(SOUND), json.dumps(SOUND, separators=(",", ":")), json.dumps(SOUND, indent=1)]
    usual.append(json.dumps(dict(reversed(SOUND.items())) | {"value": 7}))
    usual += [json.dumps(SOUND | {"v": 2}), json.dumps(SOUND | {"v": 2, "utc_offset_min": -300})]
    usual.append(json.dumps({"utc_offset_min": 0} | SOUND | {"v": 2}))
    assert all(by_kernel(value.encode()) for value in usual)
    left = [SOUND | {"member_id": "Zoë"}, SOUND | {"value": 1e-7}, SOUND | {"value": 2e5}, SOUND | {"more": 1}]
    assert not any(by_kernel(json.dumps(value).encode()) for value in left)
    assert not by_kernel(json.dumps([SOUND]).encode()) and not by_kernel(b"[" * 100_000)


def test_the_compiled_kernel_is_its_python() -> None:
    values = [json.dumps(SOUND | {"event_id": f"e{i}", "value": i / 8}).encode() for i in range(20)]
    values += [b"{}", b"", json.dumps(SOUND | {"unit": "bpm"}).encode()]
    one, outcomes = batch(*values), []
    for call in (parse, parse.py_func):
        n = len(one)
        out = (np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n), np.zeros(n, np.uint64), np.zeros(n))
        texts, done = np.zeros((n, 3, 2), np.int64), np.zeros(n, bool)
        call(one.data, one.starts, one.lengths, one.timestamps_ms, *out, texts, done)
        outcomes.append((*out, texts, done))
    for compiled, python in zip(*outcomes, strict=True):
        np.testing.assert_array_equal(compiled, python)
    assert outcomes[0][-1].sum() == 20


def test_no_value_an_empty_and_a_huge_one_are_refused_by_name() -> None:
    huge = json.dumps(SOUND | {"event_id": "x" * (2 << 20)}).encode()
    found, refused = readings.read(batch(None, json.dumps(SOUND).encode(), b"", huge))
    assert [(i, error.reason) for i, error in refused] == [(0, "empty"), (2, "malformed_json"), (3, "too_large")]
    assert found.offsets.tolist() == [8] and json.loads(found.payload(0)) == SOUND


def test_changes_stay_with_their_readings_and_stand_in_their_rows() -> None:
    back = SOUND | {"v": 2, "event_id": "e9", "sign": -1, "adjusts": "e1", "revision": 2}
    found, _ = readings.read(batch(*(json.dumps(each).encode() for each in (SOUND, back, SOUND | {"event_id": "e2"}))))
    kept = found.taken(np.array([2, 1])).followed_by(found.taken(np.array([0])))
    assert kept.signs().tolist() == [1, -1, 1]
    plain, _ = readings.read(batch(*[json.dumps(SOUND).encode()] * 2))
    rows = {
        name: joined([reading_rows(3, each).columns[name] for each in (kept, plain)]) for name in READING.stored.names
    }
    np.testing.assert_array_equal(rows["sign"], [np.nan, -1, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(rows["revision"], [np.nan, 2, np.nan, np.nan, np.nan])
    assert (rows["adjusts"].lengths.tolist(), rows["adjusts"][1]) == ([-1, 2, -1, -1, -1], "e1")


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.code)
def test_bounds_of_every_metric(metric: object) -> None:
    code, unit, low, high = (getattr(metric, name) for name in ("code", "unit", "low", "high"))
    for value in (low, high, low - 0.001, high + 0.001):
        agree(json.dumps(SOUND | {"metric": code, "unit": unit, "value": value}).encode())
