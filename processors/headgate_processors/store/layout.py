"""How each raw dataset lies on disk: what its bucket is taken from, and how its rows are sorted."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """`bucket_by`: the first of these columns that is not NULL; `order_by`: the sort of a file."""

    bucket_by: tuple[str, ...]
    order_by: tuple[str, ...]


RAW: Mapping[str, Layout] = MappingProxyType(
    {
        "spans": Layout(bucket_by=("trace_id",), order_by=("trace_id", "start_time_unix_nano")),
        "span_events": Layout(bucket_by=("trace_id",), order_by=("trace_id", "span_id", "ordinal")),
        "span_links": Layout(bucket_by=("trace_id",), order_by=("trace_id", "span_id", "ordinal")),
        "log_events": Layout(
            bucket_by=("trace_id", "session_key"), order_by=("trace_id", "session_key", "time_unix_nano")
        ),
        "metric_points": Layout(bucket_by=("service_name",), order_by=("service_name", "name", "time_unix_nano")),
        "content": Layout(bucket_by=("trace_id", "record_id"), order_by=("trace_id", "span_id", "record_id")),
    }
)
DERIVED = Layout(bucket_by=("session_id",), order_by=("session_id",))
