"""What the receiver counts about itself, and its Prometheus text."""

import threading
from collections.abc import Mapping
from functools import partial

from headgate_processors.telemetry.definition import RECEIVER, Metric
from headgate_processors.telemetry.meter import Meter, Series
from headgate_processors.telemetry.text import described, sample

MAX_SERIES = 500
OTHER = "other"
COUNTED_ELSEWHERE = frozenset({"headgate_receiver_queue_requests", "headgate_receiver_queue_bytes"})
"""Metrics of the receiver that are read from its queue."""


class Counters:
    """Counts from any thread. A metric keeps `MAX_SERIES` series; what comes after is counted as `other`.

    With a meter, that tells of everything counted here, and durations are recorded.
    """

    def __init__(self, metrics: Mapping[str, Metric] = RECEIVER, *, meter: Meter | None = None) -> None:
        self._metrics = {name: metric for name, metric in metrics.items() if name not in COUNTED_ELSEWHERE}
        self._meter = meter
        self._lock = threading.Lock()
        self._series: dict[str, dict[tuple[str, ...], int]] = {
            name: {} if metric.labels else {(): 0}
            for name, metric in self._metrics.items()
            if metric.type != "histogram"
        }
        if meter is not None:
            for name in self._series:
                meter.watch(name, partial(self.series, name))

    def add(self, name: str, amount: int = 1, **labels: str) -> None:
        """Add to one series; a gauge may be given a negative amount."""
        key = tuple(labels.pop(label) for label in self._metrics[name].labels)
        assert not labels, f"{name} has no labels {sorted(labels)}"
        with self._lock:
            series = self._series[name]
            if key not in series and len(series) >= MAX_SERIES:
                key = (OTHER,) * len(key)
            series[key] = series.get(key, 0) + amount

    def value(self, name: str, **labels: str) -> int:
        """The sum of the series of `name` that have these labels."""
        names = self._metrics[name].labels
        with self._lock:
            return sum(
                amount
                for key, amount in self._series[name].items()
                if labels.items() <= dict(zip(names, key, strict=True)).items()
            )

    def series(self, name: str) -> Series:
        """Every series of a metric."""
        with self._lock:
            return dict(self._series[name])

    def time(self, name: str, seconds: float, **labels: str) -> None:
        """Count a duration, if anybody measures."""
        if self._meter is not None:
            self._meter.record(name, seconds, **labels)

    def prometheus(self) -> str:
        """The Prometheus text: of the whole meter, or of what is counted here when there is none."""
        if self._meter is not None:
            return self._meter.prometheus()
        return "".join(
            described(
                name,
                metric,
                [
                    sample(name, dict(zip(metric.labels, key, strict=True)), value)
                    for key, value in sorted(self.series(name).items())
                ],
            )
            for name, metric in self._metrics.items()
            if metric.type != "histogram"
        )
