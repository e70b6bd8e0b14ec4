"""The bodies of OTLP answers: an export response with `partial_success`, or a `google.rpc.Status`."""

from collections.abc import Mapping

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from headgate_processors.otlp.port import Encoding, Signal
from headgate_processors.receiver.port import Accepted

CONTENT_TYPES: Mapping[Encoding, str] = {"protobuf": "application/x-protobuf", "json": "application/json"}
MAX_MESSAGE_CHARACTERS = 2_000


def export_response(accepted: Accepted, *, signal: Signal, encoding: Encoding = "protobuf") -> bytes:
    """The response to a kept request; `partial_success` is set when records were rejected or there is a message."""
    if not accepted.rejected and not accepted.message:
        return b"" if encoding == "protobuf" else b"{}"
    message = accepted.message[:MAX_MESSAGE_CHARACTERS]
    return _encoded(_partial(signal, accepted.rejected, message), encoding)


def status_response(status: Status, *, encoding: Encoding) -> bytes:
    """The body of a failed HTTP request."""
    return _encoded(status, encoding)


def _partial(signal: Signal, rejected: int, message: str) -> Message:
    match signal:
        case Signal.TRACES:
            traces = ExportTracePartialSuccess(rejected_spans=rejected, error_message=message)
            return ExportTraceServiceResponse(partial_success=traces)
        case Signal.LOGS:
            logs = ExportLogsPartialSuccess(rejected_log_records=rejected, error_message=message)
            return ExportLogsServiceResponse(partial_success=logs)
        case Signal.METRICS:
            points = ExportMetricsPartialSuccess(rejected_data_points=rejected, error_message=message)
            return ExportMetricsServiceResponse(partial_success=points)


def _encoded(message: Message, encoding: Encoding) -> bytes:
    if encoding == "protobuf":
        return message.SerializeToString()
    return MessageToJson(message, indent=None).encode()
