"""Spans: what they tell a collector, what they never tell, and that nothing is made where nobody takes them."""

from collections.abc import Iterator

import pytest

from engine import tracing
from tests.collector import Collector, Seen
from tests.waiting import wait_for


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    made = Collector()
    monkeypatch.setenv(tracing.ENDPOINT, made.endpoint)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    tracing._tracer.cache_clear()
    yield made
    tracing._tracer.cache_clear()
    made.close()


def seen(collector: Collector, number: int) -> dict[str, Seen]:
    wait_for(lambda: len(collector.spans) >= number, f"{number} spans")
    return {span.name: span for span in collector.spans}


def test_a_span_is_below_the_one_under_way_or_the_one_named(collector: Collector) -> None:
    with tracing.span("asks", "client", attributes={"shards": 2}) as told:
        tracing.note("status", 200)
        with tracing.span("inside"):
            pass
    with tracing.span("answers", "server", told):
        pass
    spans = seen(collector, 3)
    assert spans["inside"].parent == spans["answers"].parent == spans["asks"].span
    assert {span.trace for span in spans.values()} == {told.split("-")[1]}
    assert set(spans["asks"].attributes) == {"shards", "status"}


def test_an_error_marks_the_span_by_its_class_alone(collector: Collector) -> None:
    with pytest.raises(ValueError, match="M0000007"), tracing.span("fails"):
        raise ValueError("member_id is M0000007")
    failed = seen(collector, 1)["fails"]
    assert failed.error == "ValueError" and "M0000007" not in str(failed)


def test_without_a_collector_there_is_no_span(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(tracing.ENDPOINT, raising=False)
    tracing._tracer.cache_clear()
    with tracing.span("asks") as told:
        tracing.note("status", 200)
    assert told == "" and tracing._tracer() is None
