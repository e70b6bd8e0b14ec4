"""The end of a receiver: what is in flight is answered, nothing new is taken."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from headgate_processors.otlp.port import Signal
from headgate_processors.receiver.grpc_server import SERVICES
from headgate_processors.replay.requests import ReplayRequest
from headgate_processors.replay.sender import SendConfig, send
from headgate_processors.testing.http import JSON, RawConnection, request
from headgate_processors.testing.ingest import MemoryIngest, numbered_request
from headgate_processors.testing.otlp import to_json, to_protobuf
from headgate_processors.testing.waiting import PATIENCE_S, wait_until

METHODS = {signal: f"/{service}/Export" for service, signal in SERVICES.items()}


def is_open(address: str) -> bool:
    """Whether somebody listens."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=PATIENCE_S).close()
    except OSError:
        return False
    return True


def test_a_receiver_without_work_is_drained_at_once(start) -> None:
    """Both listeners are gone, also with an idle connection open."""
    running = start(MemoryIngest())
    with RawConnection(running.http) as idle:
        wait_until(lambda: running.counters.value("headgate_receiver_connections") == 1)
        assert running.receiver.drain(PATIENCE_S)
        assert b"" == idle.received()
    assert [False, False] == [is_open(running.grpc), is_open(running.http)]


def test_what_is_in_flight_is_answered(start) -> None:
    """Requests that were taken before the drain are answered, those of both protocols, and then it ends."""
    ingest = MemoryIngest()
    running = start(ingest)
    channel = grpc.insecure_channel(running.grpc)
    with ThreadPoolExecutor(2) as pool:
        with ingest.holding():
            called = channel.unary_unary(METHODS[Signal.LOGS]).future(
                to_protobuf(numbered_request(Signal.LOGS, [1])), timeout=PATIENCE_S
            )
            body = to_json(numbered_request(Signal.LOGS, [2]))
            posted = pool.submit(request, running.http, "POST", "/v1/logs", body, content_type=JSON)
            wait_until(lambda: ingest.calls == 2)
            drained = pool.submit(running.receiver.drain, PATIENCE_S)
            wait_until(lambda: not is_open(running.http))
            assert not drained.done()
        assert drained.result()
        answer = posted.result()
        assert (200, "close") == (answer.status, answer.headers["connection"])
        assert b"" == called.result()
    channel.close()
    assert [1, 2] == ingest.items(Signal.LOGS)


def test_health_says_not_serving_from_the_first_moment(start) -> None:
    """While requests are still being answered, health watchers hear NOT_SERVING and readiness fails."""
    ingest = MemoryIngest()
    running = start(ingest)
    with grpc.insecure_channel(running.grpc) as channel, ThreadPoolExecutor(2) as pool:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE_S)
        assert health_pb2.HealthCheckResponse.SERVING == next(watch).status
        with RawConnection(running.http) as busy, ingest.holding():
            busy.send(
                b"POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
                b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n"
            )
            wait_until(lambda: ingest.calls == 1)
            drained = pool.submit(running.receiver.drain, PATIENCE_S)
            assert health_pb2.HealthCheckResponse.NOT_SERVING == next(watch).status
        watch.cancel()
        assert drained.result()


def test_a_drain_that_takes_too_long_says_so(start) -> None:
    """What is not answered in time is cut off: its sender sees a failure that may be sent again."""
    ingest = MemoryIngest()
    running = start(ingest)
    with grpc.insecure_channel(running.grpc) as channel, ThreadPoolExecutor(1) as pool, ingest.holding():
        call = channel.unary_unary(METHODS[Signal.LOGS]).future(b"", timeout=PATIENCE_S)
        posted = pool.submit(request, running.http, "POST", "/v1/logs", b"{}", content_type=JSON)
        wait_until(lambda: ingest.calls == 2)
        assert not running.receiver.drain(0.1)
        assert call.exception().code() in {grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE}
        with pytest.raises((ConnectionError, OSError)):
            posted.result()


def test_draining_twice_is_draining_once(start) -> None:
    """A second drain, also at the same time, waits for the first and says the same."""
    ingest = MemoryIngest()
    running = start(ingest)
    with ThreadPoolExecutor(4) as pool:
        assert [True] * 4 == [
            one.result() for one in [pool.submit(running.receiver.drain, PATIENCE_S) for _ in range(4)]
        ]
    assert running.receiver.drain(PATIENCE_S)


def test_under_load_everything_acknowledged_was_ingested(start) -> None:
    """A receiver that is drained in the middle of a load has ingested what it acknowledged, and each once."""
    ingest = MemoryIngest()
    running = start(ingest)
    half = threading.Event()

    def requests():
        for number in range(100_000):
            if number == 300:
                half.set()
            body = to_protobuf(numbered_request(Signal.TRACES, [number]))
            yield ReplayRequest(path=Path("load"), line=number, signal=Signal.TRACES, encoding="protobuf", body=body)

    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(
            send, requests(), f"grpc://{running.grpc}", config=SendConfig(backoff_s=0.01, give_up_s=2.0)
        )
        assert half.wait(PATIENCE_S)
        assert running.receiver.drain(PATIENCE_S)
        report = sending.result()
    assert "no final answer" in report.given_up
    stored = ingest.items(Signal.TRACES)
    assert len(stored) == len(set(stored))
    assert report.acknowledged <= len(stored) <= report.acknowledged + report.failed
