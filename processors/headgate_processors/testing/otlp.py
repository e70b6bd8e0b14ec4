"""OTLP export requests for tests, built from plain dicts.

    request = traces_request([{"name": "chat", "attributes": {"gen_ai.usage.input_tokens": 7}}],
                             resource={"service.name": "fixer"})
    body = to_protobuf(request)          # or to_json(request)
    both = joined(request, other)        # one request with the resources of both

The keys of a record are the columns of `WIRE` in `headgate_processors.schema`, attributes and events
as Python values instead of JSON. Ids are hexadecimal text, times are nanoseconds since the epoch.
What a dict leaves out gets a fixed default, so the same arguments give the same bytes.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypeVar, cast

import orjson
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import (
    AnyValue,
    ArrayValue,
    InstrumentationScope,
    KeyValue,
    KeyValueList,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    Exemplar,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
    Summary,
    SummaryDataPoint,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

Value: TypeAlias = "str | bool | int | float | bytes | Sequence[Value] | Mapping[str, Value] | None"
Attributes: TypeAlias = "Mapping[str, Value] | Sequence[tuple[str, Value]]"
Fields: TypeAlias = Mapping[str, Any]
Request: TypeAlias = ExportTraceServiceRequest | ExportLogsServiceRequest | ExportMetricsServiceRequest
_Request = TypeVar("_Request", bound=Message)

START_UNIX_NANO = 1_794_000_000_000_000_000
SECOND_NS = 1_000_000_000
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
_ID_FIELDS = frozenset({"traceId", "spanId", "parentSpanId"})


def any_value(value: Value) -> AnyValue:
    """The OTLP form of a Python value; None is a value that is not set."""
    match value:
        case None:
            return AnyValue()
        case bool():
            return AnyValue(bool_value=value)
        case str():
            return AnyValue(string_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case bytes():
            return AnyValue(bytes_value=value)
        case Mapping():
            return AnyValue(kvlist_value=KeyValueList(values=key_values(value)))
        case _:
            return AnyValue(array_value=ArrayValue(values=[any_value(item) for item in value]))


def key_values(attributes: Attributes) -> list[KeyValue]:
    """Attributes in order; pairs instead of a mapping may repeat a key."""
    pairs = attributes.items() if isinstance(attributes, Mapping) else attributes
    return [KeyValue(key=key, value=any_value(value)) for key, value in pairs]


def span_message(fields: Fields, *, ordinal: int = 0) -> Span:
    """One span; `ordinal` makes the default span id differ from its neighbours'."""
    start = fields.get("start_time_unix_nano", START_UNIX_NANO + ordinal * SECOND_NS)
    return Span(
        trace_id=bytes.fromhex(fields.get("trace_id", TRACE_ID)),
        span_id=bytes.fromhex(fields.get("span_id", f"{ordinal + 1:016x}")),
        parent_span_id=bytes.fromhex(fields.get("parent_span_id") or ""),
        trace_state=fields.get("trace_state") or "",
        flags=fields.get("flags", 0),
        name=fields.get("name", "span"),
        kind=_enum(Span.SpanKind, "SPAN_KIND_", fields.get("kind", "INTERNAL")),
        start_time_unix_nano=start,
        end_time_unix_nano=fields.get("end_time_unix_nano", start + SECOND_NS) or 0,
        status=Status(
            code=_enum(Status.StatusCode, "STATUS_CODE_", fields.get("status_code", "UNSET")),
            message=fields.get("status_message") or "",
        ),
        attributes=key_values(fields.get("attributes", {})),
        dropped_attributes_count=fields.get("dropped_attributes_count", 0),
        events=[_event(event, start) for event in fields.get("events") or ()],
        links=[_link(link) for link in fields.get("links") or ()],
    )


def log_message(fields: Fields, *, ordinal: int = 0) -> LogRecord:
    """One log record; without a body it has none."""
    time = fields.get("time_unix_nano", START_UNIX_NANO + ordinal * SECOND_NS)
    record = LogRecord(
        time_unix_nano=time,
        observed_time_unix_nano=fields.get("observed_time_unix_nano", time) or 0,
        severity_number=cast(Any, fields.get("severity_number") or 0),
        severity_text=fields.get("severity_text") or "",
        event_name=fields.get("event_name") or "",
        trace_id=bytes.fromhex(fields.get("trace_id") or ""),
        span_id=bytes.fromhex(fields.get("span_id") or ""),
        flags=fields.get("flags", 0),
        attributes=key_values(fields.get("attributes", {})),
        dropped_attributes_count=fields.get("dropped_attributes_count", 0),
    )
    if "body" in fields:
        record.body.CopyFrom(any_value(fields["body"]))
    return record


def metric_message(fields: Fields) -> Metric:
    """One metric of `type` `gauge` (default), `sum`, `histogram`, `exponential_histogram` or `summary`.

    `points` holds the data points: `value`; or `count`, `sum`, `min`, `max` with `bucket_counts` and
    `explicit_bounds`, with `scale`, `zero_count`, `positive` and `negative`, or with `quantiles` (pairs).
    """
    kind = fields.get("type", "gauge")
    points = [_POINTS[kind](point, ordinal) for ordinal, point in enumerate(fields.get("points", ()))]
    data = _METRIC_DATA[kind](data_points=points)
    temporality = fields.get("aggregation_temporality")
    if temporality is not None:
        data.aggregation_temporality = AggregationTemporality.Value(f"AGGREGATION_TEMPORALITY_{temporality.upper()}")
    if fields.get("is_monotonic") is not None:
        data.is_monotonic = fields["is_monotonic"]
    return Metric(
        name=fields.get("name", "metric"),
        description=fields.get("description") or "",
        unit=fields.get("unit") or "",
        **{kind: data},
    )


def traces_request(
    spans: Sequence[Fields],
    *,
    resource: Attributes = (),
    scope: str = "",
    scope_version: str = "",
    scope_attributes: Attributes = (),
    schema_url: str = "",
) -> ExportTraceServiceRequest:
    """Spans of one resource and one scope."""
    group = ScopeSpans(
        scope=_scope(scope, scope_version, scope_attributes),
        spans=[span_message(span, ordinal=ordinal) for ordinal, span in enumerate(spans)],
        schema_url=schema_url,
    )
    return ExportTraceServiceRequest(resource_spans=[ResourceSpans(resource=_resource(resource), scope_spans=[group])])


def logs_request(
    records: Sequence[Fields],
    *,
    resource: Attributes = (),
    scope: str = "",
    scope_version: str = "",
    scope_attributes: Attributes = (),
    schema_url: str = "",
) -> ExportLogsServiceRequest:
    """Log records of one resource and one scope."""
    group = ScopeLogs(
        scope=_scope(scope, scope_version, scope_attributes),
        log_records=[log_message(record, ordinal=ordinal) for ordinal, record in enumerate(records)],
        schema_url=schema_url,
    )
    return ExportLogsServiceRequest(resource_logs=[ResourceLogs(resource=_resource(resource), scope_logs=[group])])


def metrics_request(
    metrics: Sequence[Fields],
    *,
    resource: Attributes = (),
    scope: str = "",
    scope_version: str = "",
    scope_attributes: Attributes = (),
    schema_url: str = "",
) -> ExportMetricsServiceRequest:
    """Metrics of one resource and one scope."""
    group = ScopeMetrics(
        scope=_scope(scope, scope_version, scope_attributes),
        metrics=[metric_message(metric) for metric in metrics],
        schema_url=schema_url,
    )
    return ExportMetricsServiceRequest(
        resource_metrics=[ResourceMetrics(resource=_resource(resource), scope_metrics=[group])]
    )


def joined(first: _Request, *others: _Request) -> _Request:
    """One request with the resources of all, in order."""
    request = type(first)()
    for part in (first, *others):
        request.MergeFrom(part)
    return request


def to_protobuf(request: Message) -> bytes:
    """The request as a client posts it with `application/x-protobuf`."""
    return request.SerializeToString()


def to_json(request: Message) -> bytes:
    """The request as a client posts it with `application/json`: hexadecimal ids, enums as numbers."""
    return orjson.dumps(_hex_ids(MessageToDict(request, use_integers_for_enums=True)))


def _hex_ids(node: Any) -> Any:
    if isinstance(node, list):
        return [_hex_ids(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {key: _hex(item) if key in _ID_FIELDS else _hex_ids(item) for key, item in node.items()}


def _hex(text: str) -> str:
    return base64.b64decode(text).hex()


def _enum(wrapper: Any, prefix: str, value: int | str) -> Any:
    return wrapper.Value(prefix + value) if isinstance(value, str) else value


def _resource(attributes: Attributes) -> Resource:
    return Resource(attributes=key_values(attributes))


def _scope(name: str, version: str, attributes: Attributes) -> InstrumentationScope:
    return InstrumentationScope(name=name, version=version, attributes=key_values(attributes))


def _event(fields: Fields, start: int) -> Span.Event:
    return Span.Event(
        name=fields.get("name", "event"),
        time_unix_nano=fields.get("time_unix_nano", start),
        attributes=key_values(fields.get("attributes", {})),
    )


def _link(fields: Fields) -> Span.Link:
    return Span.Link(
        trace_id=bytes.fromhex(fields.get("trace_id", TRACE_ID)),
        span_id=bytes.fromhex(fields.get("span_id", f"{1:016x}")),
        trace_state=fields.get("trace_state") or "",
        attributes=key_values(fields.get("attributes", {})),
    )


def _times(fields: Fields, ordinal: int) -> dict[str, Any]:
    return {
        "start_time_unix_nano": fields.get("start_time_unix_nano", START_UNIX_NANO) or 0,
        "time_unix_nano": fields.get("time_unix_nano", START_UNIX_NANO + (ordinal + 1) * SECOND_NS),
        "attributes": key_values(fields.get("attributes", {})),
        "flags": fields.get("flags", 0),
    }


def _number(value: float) -> dict[str, Any]:
    return {"as_int" if isinstance(value, int) else "as_double": value}


def _number_point(fields: Fields, ordinal: int) -> NumberDataPoint:
    value = _number(fields["value"]) if fields.get("value") is not None else {}
    return NumberDataPoint(**_times(fields, ordinal), **value, exemplars=_exemplars(fields))


def _statistics(fields: Fields) -> dict[str, Any]:
    optional = {name: fields[name] for name in ("sum", "min", "max") if fields.get(name) is not None}
    return {"count": fields.get("count", 0), **optional}


def _histogram_point(fields: Fields, ordinal: int) -> HistogramDataPoint:
    return HistogramDataPoint(
        **_times(fields, ordinal),
        **_statistics(fields),
        bucket_counts=fields.get("bucket_counts", ()),
        explicit_bounds=fields.get("explicit_bounds", ()),
        exemplars=_exemplars(fields),
    )


def _exponential_point(fields: Fields, ordinal: int) -> ExponentialHistogramDataPoint:
    sides: dict[str, Any] = {
        name: ExponentialHistogramDataPoint.Buckets(**fields[name])
        for name in ("positive", "negative")
        if name in fields
    }
    return ExponentialHistogramDataPoint(
        **_times(fields, ordinal),
        **_statistics(fields),
        **sides,
        scale=fields.get("scale", 0),
        zero_count=fields.get("zero_count", 0),
        zero_threshold=fields.get("zero_threshold", 0.0),
        exemplars=_exemplars(fields),
    )


def _summary_point(fields: Fields, ordinal: int) -> SummaryDataPoint:
    return SummaryDataPoint(
        **_times(fields, ordinal),
        count=fields.get("count", 0),
        sum=fields.get("sum", 0.0),
        quantile_values=[
            SummaryDataPoint.ValueAtQuantile(quantile=quantile, value=value)
            for quantile, value in fields.get("quantiles", ())
        ],
    )


def _exemplars(fields: Fields) -> list[Exemplar]:
    return [
        Exemplar(
            time_unix_nano=exemplar.get("time_unix_nano", START_UNIX_NANO),
            trace_id=bytes.fromhex(exemplar.get("trace_id") or ""),
            span_id=bytes.fromhex(exemplar.get("span_id") or ""),
            filtered_attributes=key_values(exemplar.get("attributes", {})),
            **_number(exemplar.get("value", 0)),
        )
        for exemplar in fields.get("exemplars") or ()
    ]


_METRIC_DATA: Mapping[str, Any] = {
    "gauge": Gauge,
    "sum": Sum,
    "histogram": Histogram,
    "exponential_histogram": ExponentialHistogram,
    "summary": Summary,
}
_POINTS: Mapping[str, Any] = {
    "gauge": _number_point,
    "sum": _number_point,
    "histogram": _histogram_point,
    "exponential_histogram": _exponential_point,
    "summary": _summary_point,
}
