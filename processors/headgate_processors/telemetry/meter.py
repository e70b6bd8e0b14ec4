"""The OpenTelemetry meter of one process: what is counted elsewhere is read when somebody asks.

A counter or gauge is an observable instrument over a function, so that counting costs what an addition costs;
a histogram is the SDK's own. One reader gives the Prometheus text. A second one sends OTLP, when the standard
variable OTEL_EXPORTER_OTLP_METRICS_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT names who listens.
"""

from collections.abc import Callable, Collection, Iterable, Mapping

from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource

from headgate_processors.telemetry.definition import METRICS, SECONDS_BOUNDS, Metric, otel_name
from headgate_processors.telemetry.export import exporting_readers
from headgate_processors.telemetry.text import exposition

Series = Mapping[tuple[str, ...], float]
"""The value of each series of a metric, by the values of its labels."""


class Meter:
    """Everything that one process tells of itself.

    `service` names the process; `own` are the addresses that Headgate itself listens on, where nothing is sent.
    """

    def __init__(
        self, service: str, *, metrics: Mapping[str, Metric] = METRICS, own: Collection[str] = (), export: bool = False
    ) -> None:
        self._metrics = metrics
        self._reader = InMemoryMetricReader()
        readers = exporting_readers(own) if export else []
        self._provider = MeterProvider(
            [self._reader, *readers],
            resource=Resource.create({"service.name": service, "service.namespace": "headgate"}),
            shutdown_on_exit=False,
            exemplar_filter=AlwaysOffExemplarFilter(),
        )
        self._meter = self._provider.get_meter("headgate")
        self._histograms: dict[str, Histogram] = {}

    def watch(self, name: str, read: Callable[[], Series]) -> None:
        """Tell a counter or gauge from a function, which is called by the thread that asks."""
        metric = self._metrics[name]

        def observe(_: CallbackOptions) -> Iterable[Observation]:
            return [
                Observation(value, dict(zip(metric.labels, labels, strict=True))) for labels, value in read().items()
            ]

        create = {
            "counter": self._meter.create_observable_counter,
            "gauge": self._meter.create_observable_gauge,
        }[metric.type]
        create(otel_name(name), callbacks=[observe], unit=metric.unit, description=metric.doc)

    def record(self, name: str, seconds: float, **labels: str) -> None:
        """Count a duration in a histogram."""
        histogram = self._histograms.get(name)
        if histogram is None:
            metric = self._metrics[name]
            assert metric.type == "histogram"
            made = self._meter.create_histogram(
                otel_name(name),
                unit=metric.unit,
                description=metric.doc,
                explicit_bucket_boundaries_advisory=SECONDS_BOUNDS,
            )
            assert isinstance(made, Histogram)
            histogram = self._histograms.setdefault(name, made)
        histogram.record(seconds, labels)

    def prometheus(self) -> str:
        """Every series in the Prometheus text format, of the metrics that have one."""
        return exposition(self._reader.get_metrics_data(), self._metrics)

    def close(self) -> None:
        """Send what is left to send, for a few seconds at most."""
        self._provider.shutdown(timeout_millis=3_000)
