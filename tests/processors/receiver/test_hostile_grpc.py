"""Hostile peers over gRPC, frame by frame: each is bounded and counted, and whoever is honest is served beside it."""

import struct
from collections.abc import Callable, Iterator

import grpc
import pytest

from headgate_processors.otlp.port import Signal
from headgate_processors.receiver.grpc_server import SERVICES
from headgate_processors.testing.hostile import Hostile, memory_bytes
from headgate_processors.testing.ingest import MemoryIngest, numbered_request
from headgate_processors.testing.otlp import to_protobuf
from headgate_processors.testing.raw_grpc import (
    CONTINUATION,
    END_HEADERS,
    HEADERS,
    PING,
    RST_STREAM,
    SETTINGS,
    frame,
    head,
)
from headgate_processors.testing.waiting import PATIENCE_S, wait_until

MEBIBYTE = 1 << 20
METHOD = next(f"/{service}/Export" for service, signal in SERVICES.items() if signal is Signal.LOGS)
BODY = to_protobuf(numbered_request(Signal.LOGS, range(2)))
GROWTH_BYTES = 64 * MEBIBYTE
CANCEL = struct.pack(">I", 8)
ENHANCE_YOUR_CALM = struct.pack(">I", 11)


def _export(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        channel.unary_unary(METHOD)(BODY, timeout=PATIENCE_S)


def _pings() -> Iterator[bytes]:
    yield from (frame(PING, 0, 0, struct.pack(">Q", number)) for number in range(5000))


def _settings() -> Iterator[bytes]:
    yield from (frame(SETTINGS, 0, 0, struct.pack(">HI", 3, 100)) for _ in range(5000))


def _resets() -> Iterator[bytes]:
    block = head(Signal.LOGS)
    for stream in range(1, 10_001, 2):
        yield frame(HEADERS, END_HEADERS, stream, block) + frame(RST_STREAM, 0, stream, CANCEL)


def _endless_head() -> Iterator[bytes]:
    yield frame(HEADERS, 0, 1, head(Signal.LOGS))
    field = b"\0\x01x\x7f\x49" + b"y" * 200
    yield from (frame(CONTINUATION, 0, 1, field) for _ in range(5000))


@pytest.mark.parametrize("attack", [_pings, _settings, _resets, _endless_head], ids=lambda one: one.__name__)
def test_a_flood_of_frames_is_borne_or_cut_off(start, attack: Callable[[], Iterator[bytes]]) -> None:
    """Memory stays within bounds, an export beside it is served, and no request is left behind."""
    running = start(MemoryIngest())
    _export(running.grpc)
    before = memory_bytes()
    with Hostile(running.grpc) as hostile:
        hostile.send(attack())
        _export(running.grpc)
        assert memory_bytes() - before < GROWTH_BYTES
    wait_until(lambda: running.counters.value("headgate_receiver_in_flight") == 0)
    assert 2 == running.counters.value("headgate_receiver_requests_total", status="OK")


def test_pings_without_end_end_their_connection(start) -> None:
    """No honest peer sends them: the server says goodbye."""
    running = start(MemoryIngest())
    with Hostile(running.grpc) as hostile:
        hostile.send(_pings())
        assert hostile.ended(timeout_s=PATIENCE_S)
    assert ENHANCE_YOUR_CALM in hostile.answer


def test_calls_that_are_opened_and_left_hold_a_bounded_number_of_places(start) -> None:
    """The rest is told to come back; who has sent nothing for longest gives way to an honest sender."""
    running = start(MemoryIngest(), running=2, waiting=2, header_timeout_s=3, receive_timeout_s=300)
    block = head(Signal.LOGS)
    with Hostile(running.grpc) as hostile:
        hostile.send(frame(HEADERS, END_HEADERS, stream, block) for stream in range(1, 101, 2))
        wait_until(
            lambda: running.counters.value("headgate_receiver_requests_total", status="RESOURCE_EXHAUSTED") == 46
        )
        assert 4 >= running.counters.value("headgate_receiver_in_flight")
        wait_until(lambda: _is_served(running.grpc))
        assert 1 <= running.counters.value("headgate_receiver_stalled_total", protocol="grpc")
    wait_until(lambda: running.counters.value("headgate_receiver_in_flight") == 0)


def _is_served(address: str) -> bool:
    try:
        _export(address)
    except grpc.RpcError:
        return False
    return True


def test_connections_over_the_bound_wait_until_others_are_gone(start) -> None:
    """A connection that never says what it wants is closed after the header timeout, and makes room."""
    running = start(MemoryIngest(), max_grpc_connections=4, header_timeout_s=0.5)
    silent = [Hostile(running.grpc, greets=False) for _ in range(8)]
    assert all(one.ended(timeout_s=PATIENCE_S) for one in silent)
    _export(running.grpc)
    for one in silent:
        one.close()


@pytest.mark.slow
@pytest.mark.parametrize("greets", [False, True])
def test_ten_thousand_grpc_connections_that_are_left_shut_nobody_out(start, open_files, greets: bool) -> None:
    """Silent ones, and ones that said hello: within some memory, and an export is served beside them."""
    running = start(MemoryIngest())
    _export(running.grpc)
    before = memory_bytes()
    many = [Hostile(running.grpc, greets=greets, listens=False) for _ in range(open_files // 2)]
    try:
        _export(running.grpc)
        assert memory_bytes() - before < 400 * MEBIBYTE
    finally:
        for one in many:
            one.close()
