"""What differs between the three signals: names of messages and fields, and how records become columns."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headgate_processors.otlp.columns import Columns
from headgate_processors.otlp.logs import log_columns
from headgate_processors.otlp.metrics import metric_pieces, metric_points, point_columns
from headgate_processors.otlp.port import Signal
from headgate_processors.otlp.spans import span_columns
from headgate_processors.otlp.split import Piece
from headgate_processors.otlp.values import Attributes


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One signal: a request holds `groups` by resource, those hold `scopes`, those hold `records`.

    `request`, `group`, `scope` and `record` name messages below `opentelemetry.proto`. `rows` makes
    the rows of some records, `columns` the columns of some rows, `pieces` the parts of an encoded
    record that can be kept when it cannot be kept whole.
    """

    request: str
    group: str
    scope: str
    record: str
    groups: str
    scopes: str
    records: str
    rows: Callable[[Iterable[Any]], Sequence[Any]]
    columns: Callable[[Sequence[Any], Attributes], Columns]
    pieces: Callable[[bytes], Sequence[Piece]]


def _indivisible(_: bytes) -> Sequence[Piece]:
    return ()


SHAPES: Mapping[Signal, Shape] = {
    Signal.TRACES: Shape(
        request="collector.trace.v1.ExportTraceServiceRequest",
        group="trace.v1.ResourceSpans",
        scope="trace.v1.ScopeSpans",
        record="trace.v1.Span",
        groups="resource_spans",
        scopes="scope_spans",
        records="spans",
        rows=list,
        columns=span_columns,
        pieces=_indivisible,
    ),
    Signal.LOGS: Shape(
        request="collector.logs.v1.ExportLogsServiceRequest",
        group="logs.v1.ResourceLogs",
        scope="logs.v1.ScopeLogs",
        record="logs.v1.LogRecord",
        groups="resource_logs",
        scopes="scope_logs",
        records="log_records",
        rows=list,
        columns=log_columns,
        pieces=_indivisible,
    ),
    Signal.METRICS: Shape(
        request="collector.metrics.v1.ExportMetricsServiceRequest",
        group="metrics.v1.ResourceMetrics",
        scope="metrics.v1.ScopeMetrics",
        record="metrics.v1.Metric",
        groups="resource_metrics",
        scopes="scope_metrics",
        records="metrics",
        rows=metric_points,
        columns=point_columns,
        pieces=metric_pieces,
    ),
}
