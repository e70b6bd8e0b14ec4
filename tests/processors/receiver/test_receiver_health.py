"""Health over gRPC and readiness over HTTP while requests are refused, and after."""

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from headgate_processors.otlp.port import Signal
from headgate_processors.receiver.grpc_server import SERVICES
from headgate_processors.testing.http import request
from headgate_processors.testing.ingest import MemoryIngest, numbered_request
from headgate_processors.testing.otlp import to_protobuf
from headgate_processors.testing.waiting import PATIENCE_S

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def _health(address: str) -> set[int]:
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        return {
            stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE_S).status
            for service in ("", *SERVICES)
        }


def test_health_and_readiness_say_that_requests_are_refused(start) -> None:
    """Both servers, every service, with the reason; and take it back."""
    running = start(MemoryIngest())
    running.receiver.set_unready("the disk is nearly full")
    assert {NOT_SERVING} == _health(running.grpc)
    answer = request(running.http, "GET", "/readyz")
    assert (503, b"the disk is nearly full\n") == (answer.status, answer.body)
    assert 200 == request(running.http, "GET", "/healthz").status
    running.receiver.set_unready(None)
    assert {SERVING} == _health(running.grpc)
    assert 200 == request(running.http, "GET", "/readyz").status


def test_a_request_that_comes_all_the_same_is_tried(start) -> None:
    """Readiness turns no request away: the store's own answer is the one that counts."""
    ingest = MemoryIngest()
    running = start(ingest)
    running.receiver.set_unready("rows cannot be sealed")
    with grpc.insecure_channel(running.grpc) as channel:
        channel.unary_unary(EXPORT)(to_protobuf(numbered_request(Signal.TRACES, [1])), timeout=PATIENCE_S)
    assert [1] == ingest.items(Signal.TRACES)


def test_a_server_that_drains_stays_unhealthy(start) -> None:
    """Nothing makes it serve again."""
    running = start(MemoryIngest(), http=None)
    with grpc.insecure_channel(running.grpc) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE_S)
        assert SERVING == next(watch).status
        for server in running.receiver._started:
            server.refuse_new()
        running.receiver.set_unready(None)
        assert NOT_SERVING == next(watch).status
        watch.cancel()


def test_received_is_stored_and_duplicate_and_rejected(start) -> None:
    """The counters of acknowledged requests add up."""
    running = start(MemoryIngest())
    with grpc.insecure_channel(running.grpc) as channel:
        for items in ([1, 2], [3]):
            channel.unary_unary(EXPORT)(to_protobuf(numbered_request(Signal.TRACES, items)), timeout=PATIENCE_S)
    value = running.counters.value
    parts = [
        value(f"headgate_receiver_records_{part}_total", signal=Signal.TRACES)
        for part in ("stored", "duplicate", "rejected")
    ]
    assert (3, [3, 0, 0]) == (value("headgate_receiver_records_received_total", signal=Signal.TRACES), parts)
