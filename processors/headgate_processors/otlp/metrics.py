"""Metrics: opaque messages to columns, one row for each data point."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson
import pyarrow as pa

from headgate_processors.otlp.columns import Columns, id_or_none, labels, word
from headgate_processors.otlp.messages import parse
from headgate_processors.otlp.split import Piece, without
from headgate_processors.otlp.values import INT64_MAX, Attributes, double_or_word, text
from headgate_processors.otlp.wire import UnreadableError, frame

_DATA_FIELDS = frozenset({5, 7, 9, 10, 11})
_POINT_FIELDS = frozenset({1})
_NUMBERS = frozenset({"gauge", "sum"})
_POINT_MESSAGES = {
    "gauge": "metrics.v1.NumberDataPoint",
    "sum": "metrics.v1.NumberDataPoint",
    "histogram": "metrics.v1.HistogramDataPoint",
    "exponential_histogram": "metrics.v1.ExponentialHistogramDataPoint",
    "summary": "metrics.v1.SummaryDataPoint",
}
_TEMPORALITIES = (None, "delta", "cumulative")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Head:
    """What the points of one metric share."""

    name: str
    description: str | None
    unit: str | None
    type: str
    temporality: str | None
    is_monotonic: bool | None


class Point(NamedTuple):
    """One data point and the head of its metric."""

    head: Head
    point: Any

    @property
    def is_number(self) -> bool:
        """Whether the point has a value instead of a distribution."""
        return self.head.type in _NUMBERS


def metric_points(metrics: Iterable[Any]) -> list[Point]:
    """The data points of metrics, in wire order.

    Raises:
        UnreadableError: a text of a metric is not UTF-8.
    """
    points = []
    for metric in metrics:
        kind = metric.WhichOneof("data")
        if kind is not None:
            data = getattr(metric, kind)
            head = _head(metric, kind, data)
            points += [Point(head, point) for point in data.data_points]
    return points


def metric_pieces(encoded: bytes) -> list[Piece]:
    """The data points of one encoded metric apart; none when they cannot even be told apart."""
    try:
        envelope, data = without(encoded, 0, len(encoded), _DATA_FIELDS)
        if len(data) != 1:
            return []
        data_envelope, points = without(encoded, data[0].start, data[0].stop, _POINT_FIELDS)
        metric = parse("metrics.v1.Metric", envelope + frame(data[0].number, data_envelope))
    except UnreadableError:
        return []
    kind = metric.WhichOneof("data")
    try:
        head = _head(metric, kind, getattr(metric, kind))
    except UnreadableError as error:
        return [Piece(raw=encoded[point.start : point.stop], rows=_refusal(error)) for point in points]
    return [_piece(head, encoded[point.start : point.stop]) for point in points]


def _piece(head: Head, raw: bytes) -> Piece:
    return Piece(raw=raw, rows=lambda: [Point(head, parse(_POINT_MESSAGES[head.type], raw))])


def _refusal(error: UnreadableError) -> Callable[[], Sequence[Point]]:
    def refuse() -> Sequence[Point]:
        raise error

    return refuse


def _head(metric: Any, kind: str, data: Any) -> Head:
    return Head(
        name=text(metric.name, "metric name"),
        description=text(metric.description, "metric description") or None,
        unit=text(metric.unit, "metric unit") or None,
        type=kind,
        temporality=word(_TEMPORALITIES, getattr(data, "aggregation_temporality", 0)),
        is_monotonic=data.is_monotonic if kind == "sum" else None,
    )


def point_columns(rows: Sequence[Point], attributes: Attributes) -> Columns:
    """One row for each data point.

    Raises:
        UnreadableError: at least one point cannot be kept.
    """
    points = [row.point for row in rows]
    return _head_columns([row.head for row in rows]) | {
        "start_time_unix_nano": [point.start_time_unix_nano or None for point in points],
        "time_unix_nano": [point.time_unix_nano for point in points],
        "value": [_number(row.point) if row.is_number else None for row in rows],
        "count": [None if row.is_number else row.point.count for row in rows],
        "sum": [_statistic(row, "sum") for row in rows],
        "min": [_statistic(row, "min") for row in rows],
        "max": [_statistic(row, "max") for row in rows],
        "buckets": [_buckets_json(row) for row in rows],
        "attributes": list(map(orjson.dumps, attributes.of_each(points))),
        "exemplars": [_exemplars_json(row, attributes) for row in rows],
        "flags": [point.flags for point in points],
    }


def _head_columns(heads: Sequence[Head]) -> dict[str, Any]:
    """The columns of the heads; a long description costs its length once, not once a point."""
    indices: dict[Head, int] = {}
    rows = pa.array([indices.setdefault(head, len(indices)) for head in heads], pa.int32())
    return {
        "name": labels([head.name for head in indices], rows),
        "description": labels([head.description for head in indices], rows),
        "unit": labels([head.unit for head in indices], rows),
        "type": labels([head.type for head in indices], rows),
        "aggregation_temporality": labels([head.temporality for head in indices], rows),
        "is_monotonic": [head.is_monotonic for head in heads],
    }


def _number(point: Any) -> float | None:
    kind = point.WhichOneof("value")
    return None if kind is None else float(getattr(point, kind))


def _statistic(row: Point, name: str) -> float | None:
    """A statistic of a distribution: a summary always has a sum, never the others."""
    if row.is_number:
        return None
    if row.head.type == "summary":
        return float(row.point.sum) if name == "sum" else None
    return float(getattr(row.point, name)) if row.point.HasField(name) else None


def _buckets_json(row: Point) -> bytes | None:
    point = row.point
    match row.head.type:
        case "histogram":
            buckets = {"bounds": _doubles(point.explicit_bounds), "counts": list(point.bucket_counts)}
            return orjson.dumps(buckets) if point.bucket_counts else None
        case "exponential_histogram":
            return orjson.dumps(_exponential_buckets(point))
        case "summary":
            quantiles = [
                {"quantile": double_or_word(one.quantile), "value": double_or_word(one.value)}
                for one in point.quantile_values
            ]
            return orjson.dumps({"quantiles": quantiles}) if quantiles else None
        case _:
            return None


def _exponential_buckets(point: Any) -> dict[str, object]:
    return {
        "scale": point.scale,
        "zero_count": point.zero_count,
        "zero_threshold": double_or_word(point.zero_threshold),
        "positive": {"offset": point.positive.offset, "counts": list(point.positive.bucket_counts)},
        "negative": {"offset": point.negative.offset, "counts": list(point.negative.bucket_counts)},
    }


def _doubles(values: Iterable[float]) -> list[float | str]:
    return [double_or_word(value) for value in values]


def _exemplars_json(row: Point, attributes: Attributes) -> bytes | None:
    exemplars = () if row.head.type == "summary" else row.point.exemplars
    return orjson.dumps([_exemplar(exemplar, attributes) for exemplar in exemplars]) if exemplars else None


def _exemplar(exemplar: Any, attributes: Attributes) -> dict[str, object]:
    kind = exemplar.WhichOneof("value")
    value = None if kind is None else getattr(exemplar, kind)
    return {
        "time_unix_nano": min(exemplar.time_unix_nano, INT64_MAX),
        "value": double_or_word(value) if isinstance(value, float) else value,
        "trace_id": id_or_none(exemplar.trace_id, 16),
        "span_id": id_or_none(exemplar.span_id, 8),
        "attributes": attributes.members(exemplar.filtered_attributes),
    }
