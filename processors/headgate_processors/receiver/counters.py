"""What the receiver counts about itself, and its Prometheus text."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass

MAX_SERIES = 500
OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric: its type for Prometheus, a line of doc, and the labels that tell its series apart."""

    type: str
    doc: str
    labels: tuple[str, ...] = ()


METRICS: Mapping[str, Metric] = {
    "headgate_receiver_requests_total": Metric(
        type="counter",
        doc="Export requests by answer; the status is gRPC's word on both protocols.",
        labels=("protocol", "signal", "status"),
    ),
    "headgate_receiver_request_bytes_total": Metric(
        type="counter", doc="Bytes of export requests, decompressed.", labels=("protocol", "signal")
    ),
    "headgate_receiver_records_received_total": Metric(
        type="counter", doc="Records in acknowledged requests.", labels=("signal",)
    ),
    "headgate_receiver_records_stored_total": Metric(type="counter", doc="Records made durable.", labels=("signal",)),
    "headgate_receiver_records_duplicate_total": Metric(
        type="counter", doc="Records that were already stored.", labels=("signal",)
    ),
    "headgate_receiver_records_rejected_total": Metric(
        type="counter", doc="Records refused in requests that were otherwise kept.", labels=("signal",)
    ),
    "headgate_receiver_dead_letters_total": Metric(
        type="counter",
        doc="Refused records and requests by reason, and whether their bytes were kept.",
        labels=("signal", "reason", "outcome"),
    ),
    "headgate_receiver_faults_total": Metric(
        type="counter", doc="Unexpected exceptions by type; the log has a traceback of each.", labels=("type",)
    ),
    "headgate_receiver_in_flight": Metric(
        type="gauge", doc="Requests being received, waiting or worked on.", labels=("protocol",)
    ),
    "headgate_receiver_connections": Metric(type="gauge", doc="Open HTTP connections."),
    "headgate_receiver_connections_refused_total": Metric(
        type="counter", doc="HTTP connections refused because too many were open."
    ),
    "headgate_receiver_connections_evicted_total": Metric(
        type="counter", doc="HTTP connections that were idle and gave way to others because too many were open."
    ),
    "headgate_receiver_tls_failures_total": Metric(
        type="counter", doc="HTTP connections that ended in their TLS handshake."
    ),
    "headgate_receiver_stalled_total": Metric(
        type="counter", doc="Requests ended because their sender had stopped sending.", labels=("protocol",)
    ),
}


class Counters:
    """Counts from any thread. A metric keeps `MAX_SERIES` series; what comes after is counted as `other`."""

    def __init__(self, metrics: Mapping[str, Metric] = METRICS) -> None:
        self._metrics = metrics
        self._lock = threading.Lock()
        self._series: dict[str, dict[tuple[str, ...], int]] = {
            name: {} if metric.labels else {(): 0} for name, metric in metrics.items()
        }

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

    def prometheus(self) -> str:
        """Every series in the Prometheus text format."""
        with self._lock:
            series = {name: dict(values) for name, values in self._series.items()}
        lines: list[str] = []
        for name, metric in self._metrics.items():
            lines += [f"# HELP {name} {metric.doc}", f"# TYPE {name} {metric.type}"]
            lines += [f"{name}{_labels(metric.labels, key)} {value}" for key, value in sorted(series[name].items())]
        return "\n".join(lines) + "\n"


def _labels(names: tuple[str, ...], key: tuple[str, ...]) -> str:
    if not names:
        return ""
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, key, strict=True))
    return "{" + pairs + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
