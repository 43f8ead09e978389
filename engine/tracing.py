"""Traces after OpenTelemetry: what a request did here, in the next process, and in PostgreSQL.

Where OTEL_EXPORTER_OTLP_ENDPOINT is set, spans go there by OTLP over HTTP; the other OTEL_ variables are
OpenTelemetry's own, such as OTEL_TRACES_SAMPLER. Where it is not, a span costs next to nothing. A trace crosses
processes as the text of a `traceparent` (W3C Trace Context). No attribute names a member, and statements are without
their values.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_SERVICE = "vitanexus"
_HEADER = "traceparent"


@cache
def _tracer() -> "Tracer | None":
    """This process's tracer, which exports from a thread of its own; None where nobody takes spans."""
    if not os.environ.get(ENDPOINT):
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    # a provider of our own, not the process's: Ray has one for its metrics and may have one for its traces
    provider = TracerProvider(resource=Resource.create({"service.name": _SERVICE, "process.pid": os.getpid()}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider.get_tracer(_SERVICE)


@contextmanager
def span(
    name: str, kind: str = "internal", parent: str = "", attributes: Mapping[str, str | int] | None = None
) -> Iterator[str]:
    """A span for the time of the context, below `parent`, a traceparent, or else below the span under way here.

    `kind` is internal, server or client. An exception marks the span as failed, by its class alone, and goes on. Yields
    the span's own traceparent for what it calls; "" where nobody takes spans.
    """
    tracer = _tracer()
    if tracer is None:
        yield ""
        return
    from opentelemetry.trace import SpanKind, Status, StatusCode
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    propagator = TraceContextTextMapPropagator()
    above = propagator.extract({_HEADER: parent}) if parent else None
    with tracer.start_as_current_span(
        name,
        above,
        SpanKind[kind.upper()],
        attributes,
        record_exception=False,  # an error's text may name a member
        set_status_on_exception=False,
    ) as made:
        propagator.inject(carrier)
        try:
            yield carrier[_HEADER]
        except BaseException as error:
            made.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise


def note(name: str, value: str | int) -> None:
    """An attribute of the span under way."""
    if _tracer() is not None:
        from opentelemetry.trace import get_current_span

        get_current_span().set_attribute(name, value)
