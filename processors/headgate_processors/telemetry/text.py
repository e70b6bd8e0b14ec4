"""The Prometheus text format, version 0.0.4."""

from collections.abc import Iterable, Iterator, Mapping

from opentelemetry.sdk.metrics.export import HistogramDataPoint, MetricsData, NumberDataPoint
from opentelemetry.util.types import Attributes

from headgate_processors.telemetry.definition import Metric, otel_name


def exposition(collected: MetricsData | None, metrics: Mapping[str, Metric]) -> str:
    """What a reader collected, under the names that Prometheus shows, in the order of their definition."""
    points: dict[str, list[NumberDataPoint | HistogramDataPoint]] = {}
    for resource in () if collected is None else collected.resource_metrics:
        for scope in resource.scope_metrics:
            for found in scope.metrics:
                points.setdefault(found.name, []).extend(found.data.data_points)  # type: ignore[arg-type]
    return "".join(
        described(name, metric, _lines(name, metric, points.get(otel_name(name), ())))
        for name, metric in metrics.items()
    )


def described(name: str, metric: Metric, lines: Iterable[str]) -> str:
    """The lines of one metric under its head; nothing when it has none."""
    body = "".join(f"{line}\n" for line in lines)
    return f"# HELP {name} {metric.doc}\n# TYPE {name} {metric.type}\n{body}" if body else ""


def sample(name: str, labels: Mapping[str, str], value: float) -> str:
    """One line: a series and its value."""
    pairs = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    shown = str(int(value)) if value == int(value) else repr(float(value))
    return f"{name}{{{pairs}}} {shown}" if pairs else f"{name} {shown}"


def _lines(name: str, metric: Metric, points: Iterable[NumberDataPoint | HistogramDataPoint]) -> Iterator[str]:
    for point in sorted(points, key=lambda point: tuple(_labels(metric, point.attributes).values())):
        labels = _labels(metric, point.attributes)
        if isinstance(point, HistogramDataPoint):
            yield from _histogram(name, labels, point)
        else:
            yield sample(name, labels, point.value)


def _histogram(name: str, labels: Mapping[str, str], point: HistogramDataPoint) -> Iterator[str]:
    total = 0
    for bound, count in zip((*point.explicit_bounds, None), point.bucket_counts, strict=True):
        total += count
        yield sample(f"{name}_bucket", {**labels, "le": "+Inf" if bound is None else f"{bound:g}"}, total)
    yield sample(f"{name}_sum", labels, point.sum)
    yield sample(f"{name}_count", labels, point.count)


def _labels(metric: Metric, attributes: Attributes) -> dict[str, str]:
    return {label: str(attributes[label]) for label in metric.labels} if attributes else {}


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
