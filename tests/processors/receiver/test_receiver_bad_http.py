"""HTTP as no client sends it: slow, stalled, too long, or no HTTP at all."""

import pytest

from headgate_processors.otlp.port import Signal
from headgate_processors.testing.http import RawConnection
from headgate_processors.testing.ingest import MemoryIngest, numbered_request
from headgate_processors.testing.otlp import to_json
from headgate_processors.testing.waiting import wait_until

HEALTH = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
HEAD = b"POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"


def test_a_connection_that_says_nothing_is_closed(start) -> None:
    """A connection without a request ends after the header timeout, one that had one after the idle timeout."""
    with RawConnection(start(MemoryIngest(), header_timeout_s=0.1).http) as connection:
        assert b"" == connection.received()
    with RawConnection(start(MemoryIngest(), idle_timeout_s=0.1).http) as connection:
        connection.send(HEALTH)
        assert connection.received().endswith(b"ok\n")


def test_a_head_that_never_ends_is_cut_off(start) -> None:
    """Half a head holds a connection no longer than the header timeout."""
    with RawConnection(start(MemoryIngest(), header_timeout_s=0.1).http) as connection:
        connection.send(b"POST /v1/logs HT")
        assert b"" == connection.received()


@pytest.mark.parametrize("settings", [{"stall_timeout_s": 0.1}, {"receive_timeout_s": 0.1}])
def test_a_body_that_stalls_is_cut_off(start, settings) -> None:
    """A body that stops coming ends without an answer, so that its sender sends it again; its place is free."""
    ingest = MemoryIngest()
    running = start(ingest, **settings)
    with RawConnection(running.http) as connection:
        connection.send(HEAD + b"content-length: 100\r\n\r\n{")
        assert b"" == connection.received()
    wait_until(lambda: running.counters.value("headgate_receiver_stalled_total", protocol="http") == 1)
    wait_until(lambda: running.counters.value("headgate_receiver_in_flight") == 0)
    assert 0 == ingest.calls


def test_a_body_that_ends_too_early_is_not_ingested(start) -> None:
    """A sender that dies in the middle of a body leaves nothing behind."""
    ingest = MemoryIngest()
    with RawConnection(start(ingest).http) as connection:
        connection.send(HEAD + b'content-length: 100\r\n\r\n{"resource')
        connection.end()
        assert b"" == connection.received()
    assert 0 == ingest.calls


def test_what_is_no_http_is_answered_with_400(start) -> None:
    """A stranger hears 400 and is disconnected."""
    with RawConnection(start(MemoryIngest()).http) as connection:
        connection.send(b"\x16\x03\x01\x02\x00\x01\r\n\r\n")
        assert connection.received().startswith(b"HTTP/1.1 400 ")


def test_a_grpc_client_on_the_http_port_is_told_so(start) -> None:
    """The usual mix-up of two ports has an answer that says it."""
    with RawConnection(start(MemoryIngest()).http) as connection:
        connection.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        answer = connection.received()
    assert answer.startswith(b"HTTP/1.1 505 ")
    assert b"gRPC has a port of its own" in answer


def test_a_head_over_the_limit_is_answered_with_431(start) -> None:
    """Headers are bounded."""
    with RawConnection(start(MemoryIngest()).http) as connection:
        connection.send(HEAD + b"x: " + b"y" * 40_000)
        assert connection.received().startswith(b"HTTP/1.1 431 ")


def test_two_lengths_are_refused(start) -> None:
    """A request whose length is told twice may be two requests to somebody else: 400."""
    with RawConnection(start(MemoryIngest()).http) as connection:
        connection.send(HEAD + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}")
        assert connection.received().startswith(b"HTTP/1.1 400 ")


def test_a_chunked_body_is_taken(start) -> None:
    """A body without a length, in pieces, is one request."""
    ingest = MemoryIngest()
    body = to_json(numbered_request(Signal.LOGS, range(3)))
    with RawConnection(start(ingest).http) as connection:
        connection.send(HEAD + b"transfer-encoding: chunked\r\n\r\n")
        for at in range(0, len(body), 50):
            piece = body[at : at + 50]
            connection.send(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        connection.send(b"0\r\n\r\n")
        assert connection.received(until=b"{}").startswith(b"HTTP/1.1 200 ")
    assert [0, 1, 2] == ingest.items(Signal.LOGS)


def test_pipelined_requests_are_answered_in_order(start) -> None:
    """Requests that come together are answered one after the other."""
    ingest = MemoryIngest()
    body = to_json(numbered_request(Signal.LOGS, [1]))
    one = HEAD + f"content-length: {len(body)}\r\n\r\n".encode() + body
    with RawConnection(start(ingest).http) as connection:
        connection.send(one + one + b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        answers = connection.received()
    assert [1, 1] == ingest.items(Signal.LOGS)
    assert 3 == answers.count(b"HTTP/1.1 200 ")
    assert answers.endswith(b"ok\n")


def test_a_sender_that_asks_first_is_told_to_go_on(start) -> None:
    """`Expect: 100-continue` is answered before the body comes."""
    ingest = MemoryIngest()
    with RawConnection(start(ingest).http) as connection:
        connection.send(HEAD + b"expect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        assert connection.received(until=b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
        connection.send(b"{}")
        assert connection.received(until=b"{}").startswith(b"HTTP/1.1 200 ")
    assert 1 == ingest.calls


def test_a_sender_that_asks_first_is_spared_a_body_that_nobody_wants(start) -> None:
    """`Expect: 100-continue` on a request that is refused by its head gets the refusal at once."""
    with RawConnection(start(MemoryIngest()).http) as connection:
        connection.send(b"POST /nowhere HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 99999\r\n\r\n")
        assert connection.received().startswith(b"HTTP/1.1 404 ")


def test_a_body_far_over_the_limit_is_cut_off(start) -> None:
    """Of a body that is too large only so much is read for the sake of the answer."""
    running = start(MemoryIngest(), max_message_bytes=1000)
    with RawConnection(running.http) as connection:
        connection.send(HEAD + b"content-length: 1000000\r\n\r\n" + b"x" * 100_000)
        assert b"" == connection.received()


def test_connections_over_the_limit_are_turned_away_while_all_are_at_work(start) -> None:
    """One connection too many hears 503 with Retry-After at once; when one leaves, the next is served."""
    running = start(MemoryIngest(), max_connections=1)
    with RawConnection(running.http) as first:
        first.send(HEAD + b"content-length: 2\r\n\r\n")
        wait_until(lambda: running.counters.value("headgate_receiver_in_flight") == 1)
        with RawConnection(running.http) as second:
            answer = second.received()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1\r\n" in answer
        assert 1 == running.counters.value("headgate_receiver_connections_refused_total")
    wait_until(lambda: running.counters.value("headgate_receiver_connections") == 0)
    with RawConnection(running.http) as third:
        third.send(HEALTH)
        assert third.received(until=b"ok\n").startswith(b"HTTP/1.1 200 ")


def test_the_connection_that_is_idle_for_longest_gives_way(start) -> None:
    """Whoever opens connections and leaves them shuts nobody out."""
    running = start(MemoryIngest(), max_connections=2)
    with RawConnection(running.http) as oldest, RawConnection(running.http) as second:
        for connection in (oldest, second):
            connection.send(HEALTH)
            connection.received(until=b"ok\n")
        with RawConnection(running.http) as third:
            third.send(HEALTH)
            assert third.received(until=b"ok\n").startswith(b"HTTP/1.1 200 ")
            assert b"" == oldest.received()
            second.send(HEALTH)
            assert second.received(until=b"ok\n").startswith(b"HTTP/1.1 200 ")
    assert 1 == running.counters.value("headgate_receiver_connections_evicted_total")
