"""One request of each signal that uses every field."""

from headgate_processors.otlp.port import Signal
from headgate_processors.testing.otlp import (
    TRACE_ID,
    Request,
    logs_request,
    metrics_request,
    traces_request,
)


def sample_request(signal: Signal) -> Request:
    """The request; its spans, records or points differ, and some are all but empty."""
    match signal:
        case Signal.TRACES:
            return _traces()
        case Signal.LOGS:
            return _logs()
        case Signal.METRICS:
            return _metrics()


def _traces() -> Request:
    return traces_request(
        [
            {
                "name": "chat",
                "kind": "CLIENT",
                "parent_span_id": "00f067aa0ba902b7",
                "trace_state": "vendor=1",
                "flags": 257,
                "status_code": "ERROR",
                "status_message": "rate limited",
                "attributes": {"gen_ai.usage.input_tokens": 7, "gen_ai.request.temperature": 0.5, "on": True},
                "events": [{"name": "exception", "attributes": {"exception.type": "RateLimitError"}}],
                "links": [{"trace_state": "vendor=2", "attributes": {"why": "retry"}}],
                "dropped_attributes_count": 3,
            },
            {"name": "root"},
        ],
        resource={"service.name": "fixer", "process.pid": 12},
        scope="instrumentation",
        scope_version="1.2",
        scope_attributes={"short_name": "i"},
        schema_url="https://opentelemetry.io/schemas/1.38.0",
    )


def _logs() -> Request:
    return logs_request(
        [
            {
                "body": {"message": "asked", "parts": [1, "two"]},
                "event_name": "user_prompt",
                "severity_number": 9,
                "severity_text": "INFO",
                "trace_id": TRACE_ID,
                "span_id": "00f067aa0ba902b7",
                "flags": 1,
                "attributes": {"prompt_length": 4},
                "dropped_attributes_count": 1,
            },
            {"body": "text"},
            {},
        ],
        resource={"service.name": "claude-code"},
        scope="events",
    )


def _metrics() -> Request:
    return metrics_request(
        [
            {"name": "load", "unit": "1", "description": "Load.", "points": [{"value": 0.5}, {"value": 2}, {}]},
            {
                "name": "tokens",
                "type": "sum",
                "aggregation_temporality": "delta",
                "is_monotonic": True,
                "points": [{"value": 7, "attributes": {"type": "input"}, "exemplars": [{"trace_id": TRACE_ID}]}],
            },
            {
                "name": "duration",
                "type": "histogram",
                "aggregation_temporality": "cumulative",
                "points": [
                    {"count": 3, "sum": 4.5, "min": 1, "max": 2, "bucket_counts": [1, 2], "explicit_bounds": [1.5]},
                    {"count": 0},
                ],
            },
            {
                "name": "size",
                "type": "exponential_histogram",
                "points": [
                    {"count": 2, "scale": -1, "zero_count": 1, "positive": {"offset": -3, "bucket_counts": [1]}}
                ],
            },
            {"name": "latency", "type": "summary", "points": [{"count": 1, "sum": 2.0, "quantiles": [(0.5, 2.0)]}, {}]},
        ],
        resource={"service.name": "claude-code"},
        scope="meter",
    )
