"""The exporters of the OpenTelemetry SDK, as agents use them."""

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from headgate_processors.errors import OverloadError, PermanentError, TransientError
from headgate_processors.otlp.port import Signal
from headgate_processors.testing.ingest import ITEM, MemoryIngest
from headgate_processors.testing.waiting import PATIENCE_S


def exporters(running) -> dict[str, SpanExporter]:
    """A span exporter for each protocol, with gzip."""
    return {
        "grpc": GrpcSpanExporter(
            endpoint=f"http://{running.grpc}", insecure=True, compression=grpc.Compression.Gzip, timeout=PATIENCE_S
        ),
        "http": HttpSpanExporter(
            endpoint=f"http://{running.http}/v1/traces", compression=Compression.Gzip, timeout=PATIENCE_S
        ),
    }


def finished_spans(items: range):
    """Spans that the SDK ended, with a number each."""
    memory = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("tests")
    for item in items:
        tracer.start_span("work", attributes={ITEM: item}).end()
    return memory.get_finished_spans()


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_spans_of_an_sdk_arrive(start, protocol) -> None:
    """What an agent's exporter sends with gzip is what the ingest gets."""
    ingest = MemoryIngest()
    exporter = exporters(start(ingest))[protocol]
    assert SpanExportResult.SUCCESS == exporter.export(finished_spans(range(20)))
    exporter.shutdown()
    assert list(range(20)) == ingest.items(Signal.TRACES)
    request = ExportTraceServiceRequest.FromString(ingest.taken[0].body)
    assert "tests" == request.resource_spans[0].scope_spans[0].scope.name


@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize(
    "error",
    [
        TransientError("later"),
        pytest.param(OverloadError("full", retry_after_s=1), marks=pytest.mark.slow),
        pytest.param(OSError("disk"), marks=pytest.mark.slow),
    ],
)
def test_an_sdk_sends_again_what_may_be_sent_again(start, protocol, error) -> None:
    """After a failure that is not its fault the SDK sends again, and the spans are there."""
    ingest = MemoryIngest(plan=lambda call: error if call == 0 else None)
    exporter = exporters(start(ingest))[protocol]
    assert SpanExportResult.SUCCESS == exporter.export(finished_spans(range(3)))
    exporter.shutdown()
    assert (2, [0, 1, 2]) == (ingest.calls, ingest.items(Signal.TRACES))


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_an_sdk_does_not_send_again_what_is_its_fault(start, protocol) -> None:
    """A permanent refusal ends the matter after one call."""
    ingest = MemoryIngest(plan=lambda _: PermanentError("no"))
    exporter = exporters(start(ingest))[protocol]
    assert SpanExportResult.FAILURE == exporter.export(finished_spans(range(3)))
    exporter.shutdown()
    assert 1 == ingest.calls


def test_logs_of_an_sdk_arrive(start) -> None:
    """A log record that is emitted is there when the exporter returns."""
    ingest = MemoryIngest()
    provider = LoggerProvider(shutdown_on_exit=False)
    exporter = HttpLogExporter(endpoint=f"http://{start(ingest).http}/v1/logs", timeout=PATIENCE_S)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    provider.get_logger("tests").emit(body="hello", attributes={ITEM: 7})
    provider.shutdown()
    assert [7] == ingest.items(Signal.LOGS)
