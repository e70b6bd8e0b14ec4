"""Export requests from JSON to protobuf and back: OTLP JSON is protobuf's, but for ids in hexadecimal."""

import base64
import binascii
from collections.abc import Mapping
from itertools import islice
from typing import Any

import orjson
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from headgate_processors.errors import PermanentError
from headgate_processors.otlp.port import Encoding, Signal

REQUESTS: Mapping[Signal, Any] = {
    Signal.TRACES: ExportTraceServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
    Signal.METRICS: ExportMetricsServiceRequest,
}
LEVELS: Mapping[Signal, tuple[str, str, str]] = {
    Signal.TRACES: ("resource_spans", "scope_spans", "spans"),
    Signal.LOGS: ("resource_logs", "scope_logs", "log_records"),
    Signal.METRICS: ("resource_metrics", "scope_metrics", "metrics"),
}
TRACE_ID_KEYS = frozenset({"traceId", "trace_id"})
ID_KEYS = TRACE_ID_KEYS | {"spanId", "span_id", "parentSpanId", "parent_span_id"}


def records_of(request: Any, signal: Signal, *, at_most: int) -> list[Any]:
    """The first spans, log records or metrics of a parsed request."""
    resources, scopes, records = LEVELS[signal]
    every = (
        record
        for resource in getattr(request, resources)
        for scope in getattr(resource, scopes)
        for record in getattr(scope, records)
    )
    return list(islice(every, at_most))


def to_protobuf(body: bytes, *, signal: Signal, encoding: Encoding) -> bytes:
    """The request in protobuf.

    An id that is not hexadecimal becomes an id of a wrong length, so that whoever receives it refuses
    that one record.

    Raises:
        PermanentError: it is no request of this signal.
    """
    if encoding == "protobuf":
        return body
    message = REQUESTS[signal]()
    try:
        ParseDict(_with_ids(orjson.loads(body), _base64_id), message, ignore_unknown_fields=True)
    except (ParseError, ValueError, TypeError, AttributeError, RecursionError) as error:
        text = f"not a request of {signal}: {error}"
        raise PermanentError(text) from error
    serialized: bytes = message.SerializeToString()
    return serialized


def json_tree(body: bytes, *, signal: Signal, encoding: Encoding) -> dict[str, Any]:
    """The request as a tree of OTLP JSON.

    Raises:
        PermanentError: it is no request of this signal.
    """
    try:
        if encoding == "json":
            tree = orjson.loads(body)
        else:
            message = REQUESTS[signal].FromString(body)
            tree = _with_ids(MessageToDict(message, use_integers_for_enums=True), _hex_id)
    except (DecodeError, ValueError, RecursionError) as error:
        text = f"not a request of {signal}: {error}"
        raise PermanentError(text) from error
    if not isinstance(tree, dict):
        text = f"not a request of {signal}: a JSON {type(tree).__name__}"
        raise PermanentError(text)
    return tree


def _with_ids(node: Any, convert: Any) -> Any:
    if isinstance(node, list):
        return [_with_ids(item, convert) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: convert(item) if key in ID_KEYS and isinstance(item, str) else _with_ids(item, convert)
        for key, item in node.items()
    }


def _base64_id(text: str) -> str:
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = text.encode()
    return base64.b64encode(raw).decode("ascii")


def _hex_id(text: str) -> str:
    return binascii.hexlify(base64.b64decode(text)).decode("ascii")
