"""Spans over OTLP, by OpenTelemetry's conventions for generative AI. `gateway.tracing` says when this is loaded."""

import asyncio
from collections.abc import Callable

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gateway.asgi import RequestHeaders
from gateway.tracing import Described, context_of


class ExportedSpan:
    def __init__(self, span: trace.Span, propagator: TraceContextTextMapPropagator) -> None:
        self._span = span
        self.headers: dict[str, str] = {}
        propagator.inject(self.headers, trace.set_span_in_context(span))

    def end(self, described: Callable[[], Described]) -> None:
        name, status, attributes = described()
        self._span.update_name(name)
        self._span.set_attributes({"http.response.status_code": status, **attributes})
        if status >= 500:
            self._span.set_attribute("error.type", str(status))
            self._span.set_status(trace.StatusCode.ERROR)
        self._span.end()


class OtlpTracing:
    """url: an OTLP/HTTP receiver of traces. Exports in a thread of its own."""

    def __init__(self, url: str) -> None:
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": "graft-gateway"}), shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=url)))
        self._tracer = self._provider.get_tracer("graft")
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, headers: RequestHeaders) -> ExportedSpan:
        """A span under the client's, if it has one."""
        parent = self._propagator.extract(context_of(headers))
        span = self._tracer.start_span("generation", parent, kind=trace.SpanKind.SERVER)
        return ExportedSpan(span, self._propagator)

    async def close(self) -> None:
        """What was not exported yet is now."""
        await asyncio.to_thread(self._provider.shutdown)
