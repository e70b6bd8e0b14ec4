"""What a process tells of itself: as Prometheus text, and as OTLP to whom the environment names."""

from collections.abc import Iterator

import pytest

from headgate_processors.otlp.port import Signal
from headgate_processors.receiver.config import ReceiverConfig
from headgate_processors.receiver.counters import Counters
from headgate_processors.receiver.server import Receiver
from headgate_processors.telemetry import METRICS, Meter
from headgate_processors.telemetry.definition import SECONDS_BOUNDS, Metric, otel_name
from headgate_processors.telemetry.export import exporting_readers
from headgate_processors.testing.ingest import MemoryIngest

SOME = {
    "headgate_x_things_total": Metric(type="counter", doc="Things.", labels=("kind",)),
    "headgate_x_held": Metric(type="gauge", doc="Held."),
    "headgate_x_seconds": Metric(type="histogram", doc="Time.", unit="s"),
}


@pytest.fixture
def receiver() -> Iterator[tuple[MemoryIngest, str]]:
    """A receiver that somebody else runs: what it takes, and where it listens."""
    ingest = MemoryIngest()
    running = Receiver(ingest, config=ReceiverConfig(grpc=None, http="127.0.0.1:0"))
    yield ingest, running.start()["http"]
    running.drain(5)


def test_the_text_has_every_series_in_the_order_of_the_definition() -> None:
    """Counters and gauges as they are read, histograms with cumulative buckets; what was never seen is left out."""
    meter = Meter("test", metrics=SOME)
    meter.watch("headgate_x_held", lambda: {(): 1.5})
    meter.watch("headgate_x_things_total", lambda: {("b",): 2, ('a"\n',): 1})
    assert meter.prometheus().splitlines() == [
        "# HELP headgate_x_things_total Things.",
        "# TYPE headgate_x_things_total counter",
        'headgate_x_things_total{kind="a\\"\\n"} 1',
        'headgate_x_things_total{kind="b"} 2',
        "# HELP headgate_x_held Held.",
        "# TYPE headgate_x_held gauge",
        "headgate_x_held 1.5",
    ]
    meter.record("headgate_x_seconds", 0.02)
    meter.record("headgate_x_seconds", 100.0)
    lines = [line for line in meter.prometheus().splitlines() if line.startswith("headgate_x_seconds")]
    assert 'headgate_x_seconds_bucket{le="0.01"} 0' in lines
    assert ['headgate_x_seconds_bucket{le="30"} 1', 'headgate_x_seconds_bucket{le="+Inf"} 2'] == lines[-4:-2]
    assert ["headgate_x_seconds_sum 100.02", "headgate_x_seconds_count 2"] == lines[-2:]
    assert len(SECONDS_BOUNDS) + 3 == len(lines)


def test_counters_are_told_by_their_meter() -> None:
    """One text, whoever counts."""
    meter = Meter("test")
    counters = Counters(meter=meter)
    counters.add("headgate_receiver_faults_total", type="ValueError")
    counters.time("headgate_receiver_request_seconds", 0.1, protocol="grpc", signal="traces")
    assert counters.prometheus() == meter.prometheus()
    assert 'headgate_receiver_faults_total{type="ValueError"} 1' in meter.prometheus()
    assert 'headgate_receiver_request_seconds_count{protocol="grpc",signal="traces"} 1' in meter.prometheus()


def test_metrics_are_sent_to_whom_the_environment_names(
    receiver: tuple[MemoryIngest, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As OTLP, at the end too."""
    ingest, address = receiver
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{address}")
    meter = Meter("test", metrics=SOME, export=True)
    meter.watch("headgate_x_held", lambda: {(): 1})
    meter.close()
    assert [Signal.METRICS] == [taken.signal for taken in ingest.taken]
    assert b"headgate.x.held" in ingest.taken[0].body


def test_nothing_is_sent_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the standard variables nobody hears of it."""
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    assert [] == exporting_readers(())


@pytest.mark.parametrize(
    "endpoint",
    ["http://127.0.0.1:4318", "http://localhost:4318/v1/metrics", "127.0.0.1:4317", "grpc://[::1]:4317"],
)
def test_nothing_is_sent_to_headgate_itself(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever points agents at it with the same variables starts no loop."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    assert [] == exporting_readers(("127.0.0.1:4317", "127.0.0.1:4318"))


def test_names_follow_both_conventions() -> None:
    """Prometheus' counters end in `_total` and units stand last; OpenTelemetry's names are dotted, each once."""
    names = [otel_name(name) for name in METRICS]
    assert len(names) == len(set(names))
    for name, metric in METRICS.items():
        assert (metric.type == "counter") == name.endswith("_total"), name
        assert (metric.unit == "By") == ("bytes" in name), name
        assert (metric.unit == "s") == ("seconds" in name), name
        assert metric.doc.endswith("."), name
