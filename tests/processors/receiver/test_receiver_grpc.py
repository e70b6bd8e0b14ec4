"""OTLP over gRPC with a plain grpcio client."""

from typing import Any

import grpc
import pytest
import zstandard
from google.rpc.error_details_pb2 import RetryInfo
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from headgate_processors.errors import (
    ConfigError,
    OverloadError,
    PermanentError,
    StoreError,
    TooLargeError,
    TransientError,
)
from headgate_processors.otlp.port import Signal
from headgate_processors.receiver.grpc_server import SERVICES
from headgate_processors.receiver.port import CLIENT
from headgate_processors.testing.ingest import MemoryIngest, Reject, numbered_request
from headgate_processors.testing.otlp import logs_request, to_protobuf
from headgate_processors.testing.raw_grpc import RawCall
from headgate_processors.testing.waiting import PATIENCE_S, wait_until

MEBIBYTE = 1 << 20
METHODS = {signal: f"/{service}/Export" for service, signal in SERVICES.items()}


def export(address: str, signal: Signal, body: bytes, compression: grpc.Compression | None = None) -> bytes:
    """Send one request as a client does."""
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(address, options=options, compression=compression) as channel:
        answer: bytes = channel.unary_unary(METHODS[signal])(body, timeout=PATIENCE_S)
    return answer


def failure(address: str, signal: Signal, body: bytes, compression: grpc.Compression | None = None) -> Any:
    """The call that a request fails with."""
    with pytest.raises(grpc.RpcError) as caught:
        export(address, signal, body, compression)
    return caught.value


def retry_after_ms(call: Any) -> int | None:
    """How long the answer asks to wait; None when it does not."""
    status = rpc_status.from_call(call)
    for detail in status.details if status else ():
        info = RetryInfo()
        if detail.Unpack(info):
            return int(info.retry_delay.ToMilliseconds())
    return None


@pytest.mark.parametrize("signal", list(Signal))
@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_a_request_reaches_the_ingest_as_it_was_sent(start, signal, compression) -> None:
    """Each signal arrives byte for byte, compressed or not, as protobuf from a client."""
    ingest = MemoryIngest()
    body = to_protobuf(numbered_request(signal, range(50)))
    assert b"" == export(start(ingest).grpc, signal, body, compression)
    (taken,) = ingest.taken
    assert (body, signal, "protobuf", CLIENT) == (taken.body, taken.signal, taken.encoding, taken.sender)


@pytest.mark.parametrize(
    ("signal", "response", "field"),
    [
        (Signal.TRACES, ExportTraceServiceResponse, "rejected_spans"),
        (Signal.LOGS, ExportLogsServiceResponse, "rejected_log_records"),
        (Signal.METRICS, ExportMetricsServiceResponse, "rejected_data_points"),
    ],
)
def test_partial_success_says_how_many_were_rejected_and_why(start, signal, response, field) -> None:
    """A request of which some records are refused is acknowledged, with their number and the reason."""
    ingest = MemoryIngest(plan=lambda _: Reject(records=2, message="2 records without an id"))
    answer = response.FromString(export(start(ingest).grpc, signal, to_protobuf(numbered_request(signal, range(5)))))
    assert 2 == getattr(answer.partial_success, field)
    assert "2 records without an id" == answer.partial_success.error_message


@pytest.mark.parametrize(
    ("error", "code", "after_ms"),
    [
        (PermanentError("no"), grpc.StatusCode.INVALID_ARGUMENT, None),
        (TooLargeError("too large"), grpc.StatusCode.INVALID_ARGUMENT, None),
        (OverloadError("full", retry_after_s=2.5), grpc.StatusCode.RESOURCE_EXHAUSTED, 2500),
        (TransientError("locked"), grpc.StatusCode.UNAVAILABLE, 1000),
        (StoreError("damaged"), grpc.StatusCode.UNAVAILABLE, 1000),
        (OSError(28, "No space left on device"), grpc.StatusCode.UNAVAILABLE, 1000),
        (MemoryError(), grpc.StatusCode.UNAVAILABLE, 1000),
        (SystemExit(3), grpc.StatusCode.UNAVAILABLE, 1000),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_each_failure_has_its_status(start, error, code, after_ms) -> None:
    """What is the sender's fault is permanent; all else may be sent again, and says when."""
    call = failure(start(MemoryIngest(plan=lambda _: error)).grpc, Signal.LOGS, b"")
    assert (code, after_ms) == (call.code(), retry_after_ms(call))


def test_a_long_message_does_not_break_the_answer(start) -> None:
    """A status travels in headers, which clients limit: a long or odd message is cut, not lost."""
    call = failure(start(MemoryIngest(plan=lambda _: PermanentError("ä\n" * 20_000))).grpc, Signal.LOGS, b"")
    assert grpc.StatusCode.INVALID_ARGUMENT == call.code()


def test_an_unexpected_exception_is_logged_once_and_counted_each_time(start, caplog) -> None:
    """A fault in a loop fills no log: one traceback, and a count; its text does not leave the process."""

    def fail(_: int) -> ValueError:
        return ValueError("secret in a traceback")

    running = start(MemoryIngest(plan=fail))
    calls = [failure(running.grpc, Signal.TRACES, b"") for _ in range(3)]
    logged = [record for record in caplog.records if record.name.startswith("headgate")]
    assert 1 == len(logged)
    assert "secret in a traceback" in str(logged[0].exc_info)
    assert 3 == running.counters.value("headgate_receiver_faults_total", type="ValueError")
    assert not any("secret" in call.details() for call in calls)


def test_an_error_that_somebody_keeps_holds_no_stream(start) -> None:
    """An ingest may raise one error to many and keep it: the calls that it ended are gone all the same."""
    kept = PermanentError("the same for all")
    running = start(MemoryIngest(plan=lambda _: kept))
    with grpc.insecure_channel(running.grpc) as channel:
        for _ in range(1100):
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary(METHODS[Signal.LOGS])(b"", timeout=PATIENCE_S)
            assert grpc.StatusCode.INVALID_ARGUMENT == caught.value.code()
    assert kept.__traceback__ is None


def test_a_message_over_the_limit_is_refused_for_good(start) -> None:
    """65 MiB: RESOURCE_EXHAUSTED without RetryInfo, which OTLP holds for permanent; counted, and not ingested."""
    ingest = MemoryIngest()
    running = start(ingest)
    call = failure(running.grpc, Signal.TRACES, bytes(65 * MEBIBYTE))
    assert (grpc.StatusCode.RESOURCE_EXHAUSTED, None) == (call.code(), retry_after_ms(call))
    assert "send smaller batches" in call.details()
    assert 0 == ingest.calls
    assert 1 == running.counters.value("headgate_receiver_requests_total", status="RESOURCE_EXHAUSTED")


def test_a_message_far_over_the_limit_has_the_same_status(start) -> None:
    """Such a message is kept from us by gRPC, which says the same."""
    call = failure(start(MemoryIngest(), max_message_bytes=1000).grpc, Signal.TRACES, bytes(100_000))
    assert (grpc.StatusCode.RESOURCE_EXHAUSTED, None) == (call.code(), retry_after_ms(call))


def test_a_message_just_under_the_limit_is_taken(start) -> None:
    """63 MiB in one message is fine."""
    ingest = MemoryIngest()
    record = {"body": "x" * MEBIBYTE}
    body = to_protobuf(logs_request([record] * 63))
    export(start(ingest).grpc, Signal.LOGS, body)
    assert [len(body)] == [len(taken.body) for taken in ingest.taken]


def test_a_message_that_grows_over_the_limit_is_refused_for_good(start) -> None:
    """A gzip bomb ends where it passes the limit, with a permanent status."""
    ingest = MemoryIngest()
    call = failure(
        start(ingest, max_message_bytes=MEBIBYTE).grpc, Signal.TRACES, bytes(64 * MEBIBYTE), grpc.Compression.Gzip
    )
    assert (grpc.StatusCode.RESOURCE_EXHAUSTED, None) == (call.code(), retry_after_ms(call))
    assert 0 == ingest.calls


def test_zstd_is_refused_before_it_is_ingested(start) -> None:
    """GRPC knows no zstd: a sender that uses it hears so, and nothing is stored."""
    ingest = MemoryIngest()
    with RawCall(start(ingest).grpc, Signal.LOGS, encoding="zstd") as call:
        call.send_message(zstandard.compress(b"x"), is_compressed=True)
        assert b"grpc-encoding" in call.received(until=b"grpc-encoding")
    assert 0 == ingest.calls


def test_a_call_without_a_message_is_refused(start) -> None:
    """A client that ends its call before it sent a request gets INVALID_ARGUMENT."""
    with grpc.insecure_channel(start(MemoryIngest()).grpc) as channel:
        call = channel.stream_unary(METHODS[Signal.LOGS])
        with pytest.raises(grpc.RpcError) as caught:
            call(iter(()), timeout=PATIENCE_S)
    assert grpc.StatusCode.INVALID_ARGUMENT == caught.value.code()


def test_an_unknown_method_is_unimplemented(start) -> None:
    """Profiles and whatever else is not served are answered as gRPC says."""
    with grpc.insecure_channel(start(MemoryIngest()).grpc) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/opentelemetry.proto.collector.profiles.v1.ProfilesService/Export")(
            b"", timeout=PATIENCE_S
        )
    assert grpc.StatusCode.UNIMPLEMENTED == caught.value.code()


@pytest.mark.parametrize("service", ["", *SERVICES])
def test_health_says_serving(start, service) -> None:
    """The server as a whole and each export service are healthy while they serve."""
    with grpc.insecure_channel(start(MemoryIngest()).grpc) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE_S
        )
    assert health_pb2.HealthCheckResponse.SERVING == answer.status


def test_a_sender_that_stalls_is_ended(start) -> None:
    """A call whose message never comes ends after the timeout, and its place is free again."""
    running = start(MemoryIngest(), running=1, waiting=0, receive_timeout_s=0.3)
    with RawCall(running.grpc, Signal.TRACES):
        wait_until(lambda: running.counters.value("headgate_receiver_stalled_total", protocol="grpc") == 1)
        wait_until(lambda: running.counters.value("headgate_receiver_in_flight", protocol="grpc") == 0)
        assert b"" == export(running.grpc, Signal.TRACES, b"")
    wait_until(lambda: running.counters.value("headgate_receiver_requests_total") == 2)


def test_over_the_bound_the_answer_is_at_once_to_come_back(start) -> None:
    """With every place taken, the next request hears RESOURCE_EXHAUSTED with RetryInfo and does not wait."""
    ingest = MemoryIngest()
    running = start(ingest, running=1, waiting=1, wait_s=20)
    body = to_protobuf(numbered_request(Signal.LOGS, [1]))
    with grpc.insecure_channel(running.grpc) as channel:
        with ingest.holding():
            held = [channel.unary_unary(METHODS[Signal.LOGS]).future(body, timeout=PATIENCE_S) for _ in range(2)]
            wait_until(lambda: running.counters.value("headgate_receiver_in_flight") == 2)
            call = failure(running.grpc, Signal.LOGS, body)
        assert (grpc.StatusCode.RESOURCE_EXHAUSTED, 1000) == (call.code(), retry_after_ms(call))
        assert [b"", b""] == [one.result() for one in held]


def test_whoever_waits_too_long_for_a_turn_is_told_to_come_back(start) -> None:
    """A request that found a place but no turn in time is refused as overload, not kept waiting."""
    ingest = MemoryIngest()
    running = start(ingest, running=1, waiting=1, wait_s=0.1)
    body = to_protobuf(numbered_request(Signal.LOGS, [1]))
    with grpc.insecure_channel(running.grpc) as channel:
        with ingest.holding():
            held = channel.unary_unary(METHODS[Signal.LOGS]).future(body, timeout=PATIENCE_S)
            wait_until(lambda: ingest.calls == 1)
            call = failure(running.grpc, Signal.LOGS, body)
        assert (grpc.StatusCode.RESOURCE_EXHAUSTED, 1000) == (call.code(), retry_after_ms(call))
        assert b"" == held.result()


def test_requests_are_bounded_in_bytes_too(start) -> None:
    """More bytes than all requests together may hold are refused as overload."""
    running = start(MemoryIngest(), max_buffered_bytes=1000)
    call = failure(running.grpc, Signal.LOGS, bytes(1001))
    assert (grpc.StatusCode.RESOURCE_EXHAUSTED, 1000) == (call.code(), retry_after_ms(call))


def test_a_port_that_is_held_is_a_configuration_error(start) -> None:
    """Two receivers on one port would each get half of the requests: the second one says so and ends."""
    address = start(MemoryIngest(), http=None).grpc
    with pytest.raises(ConfigError, match=r"receiver\.grpc: cannot listen on"):
        start(MemoryIngest(), grpc=address, http=None)


def test_requests_are_counted(start) -> None:
    """Requests, bytes and records are counted by signal, and duplicates are what is left over."""
    running = start(MemoryIngest(plan=lambda call: Reject(records=1) if call else None))
    body = to_protobuf(numbered_request(Signal.TRACES, range(4)))
    for _ in range(2):
        export(running.grpc, Signal.TRACES, body)
    value = running.counters.value
    assert 2 == value("headgate_receiver_requests_total", protocol="grpc", signal="traces", status="OK")
    assert 2 * len(body) == value("headgate_receiver_request_bytes_total", signal="traces")
    assert (8, 7, 1, 0) == tuple(
        value(f"headgate_receiver_records_{what}_total", signal="traces")
        for what in ("received", "stored", "rejected", "duplicate")
    )
    assert 0 == value("headgate_receiver_in_flight")
