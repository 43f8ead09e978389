"""An OpenTelemetry collector on loopback that keeps the spans it is sent."""

import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Seen:
    """A span as it came, with the process it came from; `error` is its status's text, events are in `events`."""

    name: str
    trace: str
    span: str
    parent: str
    process: int
    attributes: dict[str, str]
    error: str
    events: str


class Collector:
    """Takes OTLP over HTTP at `endpoint` until it is closed."""

    def __init__(self) -> None:
        spans = self.spans = list[Seen]()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if not self.path.endswith("/v1/traces"):  # Ray sends its metrics to the same endpoint
                    body = b""
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    told = {each.key: each.value for each in resource.resource.attributes}
                    spans.extend(
                        Seen(
                            span.name,
                            span.trace_id.hex(),
                            span.span_id.hex(),
                            span.parent_span_id.hex(),
                            told["process.pid"].int_value,
                            {each.key: str(each.value) for each in span.attributes},
                            span.status.message,
                            str(list(span.events)),
                        )
                        for scope in resource.scope_spans
                        for span in scope.spans
                    )
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def of(self, trace: str) -> list[Seen]:
        """The spans of one trace."""
        return [span for span in self.spans if span.trace == trace]

    def close(self) -> None:
        """Stops listening."""
        self._server.shutdown()
        self._server.server_close()
