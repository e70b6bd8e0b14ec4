"""What the doctor makes of a Collector's metrics page, served here as a Collector serves it."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from headgate_console.collector.metrics import read_metrics
from headgate_console.doctor.collector import examine_collector
from headgate_console.doctor.finding import Level
from headgate_processors.errors import TransientError

Serve = Callable[[str], dict[str, str]]
AT_WORK = """\
# HELP otelcol_exporter_queue_size Current size of the retry queue.
# TYPE otelcol_exporter_queue_size gauge
otelcol_exporter_queue_size{data_type="logs",exporter="otlp_grpc"} 28543
otelcol_exporter_queue_size{data_type="traces",exporter="otlp_grpc"} 0
# TYPE otelcol_exporter_queue_capacity gauge
otelcol_exporter_queue_capacity{data_type="logs",exporter="otlp_grpc"} 1.073741824e+09
otelcol_exporter_queue_capacity{data_type="traces",exporter="otlp_grpc"} 1.073741824e+09
# TYPE otelcol_receiver_accepted_spans counter
otelcol_receiver_accepted_spans{receiver="otlp",transport="grpc"} 849
otelcol_receiver_accepted_spans{receiver="otlp",transport="http"} 1
# TYPE otelcol_receiver_accepted_log_records counter
otelcol_receiver_accepted_log_records{receiver="otlp",transport="grpc"} 60
"""
IN_TROUBLE = (
    AT_WORK.replace("28543", "1.05e+09")
    + """\
# TYPE otelcol_exporter_send_failed_spans counter
otelcol_exporter_send_failed_spans{exporter="otlp_grpc"} 12
# TYPE otelcol_exporter_enqueue_failed_log_records counter
otelcol_exporter_enqueue_failed_log_records{exporter="otlp_grpc"} 7
# TYPE otelcol_receiver_refused_log_records counter
otelcol_receiver_refused_log_records{receiver="otlp",transport="grpc"} 7
"""
)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serves a page, and gives the variables that lead to it."""
    servers: list[ThreadingHTTPServer] = []

    def start(page: str) -> dict[str, str]:
        class Page(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(page.encode())

            def log_message(self, *_: object) -> None:
                """Quiet."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return {"HEADGATE_COLLECTOR_METRICS_PORT": str(server.server_address[1])}

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_collector_at_work_is_well(serve: Serve) -> None:
    """How much it took, from all transports together, and what waits."""
    (finding,) = examine_collector(serve(AT_WORK))
    assert Level.OK == finding.level
    assert "910 records taken, 27.9 KiB in its queue" in finding.text
    assert [("traces", 850), ("logs", 60)] == [(row["signal"], row["accepted"]) for row in finding.rows]


def test_a_full_queue_and_dropped_records_are_warned_of(serve: Serve) -> None:
    """Each with its next step; what a full queue refused is told once."""
    full, dropped, not_queued = examine_collector(serve(IN_TROUBLE))
    assert {Level.WARNING} == {finding.level for finding in (full, dropped, not_queued)}
    assert "98% of the room of logs" in full.text
    assert "12 records" in dropped.text
    assert ("12 of traces",) == dropped.details
    assert "7 records" in not_queued.text
    assert all(finding.next_step for finding in (full, dropped, not_queued))


def test_without_a_collector_there_is_nothing_to_say() -> None:
    """Many run without one: where nobody listens, nothing is found."""
    assert [] == examine_collector({"HEADGATE_COLLECTOR_METRICS_PORT": "9"})


def test_a_stranger_on_the_port_is_named(serve: Serve) -> None:
    """Something else on 8888 is not taken for a Collector."""
    variables = serve("# TYPE up gauge\nup 1\n")
    (finding,) = examine_collector(variables)
    assert Level.NOTE == finding.level
    with pytest.raises(TransientError, match="not those of a Collector"):
        read_metrics(f"127.0.0.1:{variables['HEADGATE_COLLECTOR_METRICS_PORT']}")
    (finding,) = examine_collector(serve("<html>not metrics at all {</html>"))
    assert Level.NOTE == finding.level
