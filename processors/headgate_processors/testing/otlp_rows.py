"""What a decoder must give for a request: rows read the plain way, from the official messages.

Slow and obvious on purpose, and written apart from every decoder: their conformance suite compares
with it. Records that no decoder may keep are left out.
"""

import base64
import json
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from headgate_processors.otlp.port import Decoded
from headgate_processors.schema import WIRE
from headgate_processors.testing.otlp import Request

Row = dict[str, Any]

_INT64_MAX = (1 << 63) - 1
_KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_STATUS_CODES = ("UNSET", "OK", "ERROR")
_TEMPORALITIES = (None, "delta", "cumulative")


def expected_rows(request: Request) -> list[Row]:
    """One dict for each row; the columns that hold JSON are parsed, see `rows_of`."""
    match request:
        case ExportTraceServiceRequest():
            return list(_spans(request))
        case ExportLogsServiceRequest():
            return list(_logs(request))
        case ExportMetricsServiceRequest():
            return list(_points(request))


def rows_of(outcome: Decoded) -> list[Row]:
    """The rows of a decoder, JSON columns parsed, after checking that the batch is sound and of the agreed schema."""
    outcome.batch.validate(full=True)
    assert WIRE[outcome.signal].schema == outcome.batch.schema
    rows = outcome.batch.to_pylist()
    return [{name: _parsed(name, value) for name, value in row.items()} for row in rows]


_JSON_COLUMNS = frozenset(
    {"attributes", "resource_attributes", "scope_attributes", "events", "links", "body", "buckets", "exemplars"}
)


def _parsed(name: str, value: Any) -> Any:
    return json.loads(value) if name in _JSON_COLUMNS and value is not None else value


def _spans(request: ExportTraceServiceRequest) -> Iterator[Row]:
    for group in request.resource_spans:
        for scope in group.scope_spans:
            for span in scope.spans:
                if not _is_id(span.trace_id, 16) or not _is_id(span.span_id, 8):
                    continue
                if len(span.parent_span_id) in {0, 8}:
                    yield _span(span) | _origin(group, scope)


def _span(span: Any) -> Row:
    return {
        "trace_id": span.trace_id.hex(),
        "span_id": span.span_id.hex(),
        "parent_span_id": _id(span.parent_span_id, 8),
        "trace_state": span.trace_state or None,
        "flags": span.flags,
        "name": span.name,
        "kind": _word(_KINDS, span.kind),
        "start_time_unix_nano": _int64(span.start_time_unix_nano),
        "end_time_unix_nano": _int64(span.end_time_unix_nano) or None,
        "status_code": _word(_STATUS_CODES, span.status.code),
        "status_message": span.status.message or None,
        "attributes": _object(span.attributes),
        "events": [_event(event) for event in span.events] or None,
        "links": [_link(link) for link in span.links] or None,
        "dropped_attributes_count": span.dropped_attributes_count,
    }


def _event(event: Any) -> Row:
    return {
        "name": event.name,
        "time_unix_nano": _int64(event.time_unix_nano),
        "attributes": _object(event.attributes),
    }


def _link(link: Any) -> Row:
    return {
        "trace_id": link.trace_id.hex(),
        "span_id": link.span_id.hex(),
        "trace_state": link.trace_state or None,
        "attributes": _object(link.attributes),
    }


def _logs(request: ExportLogsServiceRequest) -> Iterator[Row]:
    for group in request.resource_logs:
        for scope in group.scope_logs:
            for record in scope.log_records:
                yield _log(record) | _origin(group, scope)


def _log(record: Any) -> Row:
    attributes = _object(record.attributes)
    attribute_name = attributes.get("event.name")
    return {
        "time_unix_nano": _int64(record.time_unix_nano or record.observed_time_unix_nano),
        "observed_time_unix_nano": _int64(record.observed_time_unix_nano) or None,
        "severity_number": record.severity_number or None,
        "severity_text": record.severity_text or None,
        "event_name": record.event_name or (attribute_name if isinstance(attribute_name, str) else None) or None,
        "body": _value(record.body),
        "trace_id": _id(record.trace_id, 16),
        "span_id": _id(record.span_id, 8),
        "flags": record.flags,
        "attributes": attributes,
        "dropped_attributes_count": record.dropped_attributes_count,
    }


def _points(request: ExportMetricsServiceRequest) -> Iterator[Row]:
    for group in request.resource_metrics:
        for scope in group.scope_metrics:
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                points = () if kind is None else getattr(metric, kind).data_points
                for point in points:
                    yield _metric(metric, kind) | _point(point) | _READ_POINT[kind](point) | _origin(group, scope)


def _metric(metric: Any, kind: Any) -> Row:
    data = getattr(metric, kind)
    return {
        "name": metric.name,
        "description": metric.description or None,
        "unit": metric.unit or None,
        "type": kind,
        "aggregation_temporality": _word(_TEMPORALITIES, getattr(data, "aggregation_temporality", 0)),
        "is_monotonic": data.is_monotonic if kind == "sum" else None,
    }


def _point(point: Any) -> Row:
    return {
        "start_time_unix_nano": _int64(point.start_time_unix_nano) or None,
        "time_unix_nano": _int64(point.time_unix_nano),
        "attributes": _object(point.attributes),
        "exemplars": [_exemplar(one) for one in getattr(point, "exemplars", ())] or None,
        "flags": point.flags,
        "value": None,
        "count": None,
        "sum": None,
        "min": None,
        "max": None,
        "buckets": None,
    }


def _number(point: Any) -> Row:
    value = _one_of(point)
    return {"value": None if value is None else float(value)}


def _distribution(point: Any) -> Row:
    optional = {name: getattr(point, name) if point.HasField(name) else None for name in ("sum", "min", "max")}
    return {"count": _int64(point.count), **optional}


def _histogram(point: Any) -> Row:
    buckets = {"bounds": [_double(one) for one in point.explicit_bounds], "counts": list(point.bucket_counts)}
    return {**_distribution(point), "buckets": buckets if point.bucket_counts else None}


def _exponential_histogram(point: Any) -> Row:
    buckets = {
        "scale": point.scale,
        "zero_count": point.zero_count,
        "zero_threshold": _double(point.zero_threshold),
        "positive": {"offset": point.positive.offset, "counts": list(point.positive.bucket_counts)},
        "negative": {"offset": point.negative.offset, "counts": list(point.negative.bucket_counts)},
    }
    return {**_distribution(point), "buckets": buckets}


def _summary(point: Any) -> Row:
    quantiles = [{"quantile": _double(one.quantile), "value": _double(one.value)} for one in point.quantile_values]
    buckets = {"quantiles": quantiles} if quantiles else None
    return {"count": _int64(point.count), "sum": point.sum, "buckets": buckets}


_READ_POINT: dict[Any, Callable[[Any], Row]] = {
    "gauge": _number,
    "sum": _number,
    "histogram": _histogram,
    "exponential_histogram": _exponential_histogram,
    "summary": _summary,
}


def _exemplar(exemplar: Any) -> Row:
    return {
        "time_unix_nano": _int64(exemplar.time_unix_nano),
        "value": _double(_one_of(exemplar)),
        "trace_id": _id(exemplar.trace_id, 16),
        "span_id": _id(exemplar.span_id, 8),
        "attributes": _object(exemplar.filtered_attributes),
    }


def _origin(group: Any, scope: Any) -> Row:
    return {
        "resource_attributes": _object(group.resource.attributes),
        "scope_name": scope.scope.name or None,
        "scope_version": scope.scope.version or None,
        "scope_attributes": _object(scope.scope.attributes) if scope.scope.attributes else None,
        "schema_url": scope.schema_url or group.schema_url or None,
    }


def _object(attributes: Iterable[KeyValue]) -> Row:
    members: Row = {}
    for attribute in attributes:
        members.setdefault(attribute.key, _value(attribute.value))
    return members


def _value(value: AnyValue) -> Any:
    match value.WhichOneof("value"):
        case "array_value":
            return [_value(item) for item in value.array_value.values]
        case "kvlist_value":
            return _object(value.kvlist_value.values)
        case "bytes_value":
            return base64.b64encode(value.bytes_value).decode()
        case "double_value":
            return _double(value.double_value)
        case None | "string_value_strindex":
            return None
        case member:
            return getattr(value, member)


def _double(value: Any) -> Any:
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _one_of(point: Any) -> Any:
    member = point.WhichOneof("value")
    return None if member is None else getattr(point, member)


def _int64(value: int) -> int:
    return min(value, _INT64_MAX)


def _is_id(encoded: bytes, size: int) -> bool:
    return len(encoded) == size and any(encoded)


def _id(encoded: bytes, size: int) -> str | None:
    return encoded.hex() if _is_id(encoded, size) else None


def _word(words: tuple[Any, ...], number: int) -> Any:
    return words[number] if 0 <= number < len(words) else words[0]
