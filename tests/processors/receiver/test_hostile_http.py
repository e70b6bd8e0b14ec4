"""Hostile peers over HTTP: slow, stalled, many and too large; each is bounded, answered and counted."""

import gzip
import json
import zlib
from collections import Counter

import pytest
import zstandard

from headgate_processors.errors import PermanentError
from headgate_processors.otlp import decode
from headgate_processors.otlp.port import Encoding, Signal
from headgate_processors.receiver.port import Accepted, Sender
from headgate_processors.testing.hostile import Hostile, memory_bytes
from headgate_processors.testing.http import JSON, PROTOBUF, request
from headgate_processors.testing.ingest import MemoryIngest, numbered_request
from headgate_processors.testing.otlp import to_protobuf
from headgate_processors.testing.waiting import PATIENCE_S, wait_until

MEBIBYTE = 1 << 20
BODY = to_protobuf(numbered_request(Signal.LOGS, range(2)))
HEAD = b"POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n"
WRONG = HEAD + b"authorization: Bearer x\r\n"


def _export(address: str) -> int:
    return request(address, "POST", "/v1/logs", BODY, content_type=PROTOBUF).status


def _drips(hostile: Hostile) -> bool:
    """Send one byte more; whether the connection was cut."""
    hostile.send([b"x"])
    return hostile.ended(timeout_s=0.05)


class Decoding:
    """An ingest that decodes what it is given, as the real one does, and stores nothing."""

    def __call__(self, body: bytes, *, signal: Signal, encoding: Encoding, sender: Sender) -> Accepted:
        """Decode one request."""
        decoded = decode(body, signal=signal, encoding=encoding)
        kept, rejected = decoded.batch.num_rows, len(decoded.rejected)
        reasons = Counter(one.reason for one in decoded.rejected)
        return Accepted(received=kept + rejected, stored=kept, rejected=rejected, message="", reasons=reasons)


def test_a_head_that_drips_is_cut_off_whatever_comes(start) -> None:
    """The time for a head is for the whole of it: a byte now and then buys nothing."""
    running = start(MemoryIngest(), header_timeout_s=0.3)
    with Hostile(running.http, greets=False) as hostile:
        hostile.send([HEAD])
        wait_until(lambda: _drips(hostile))
    wait_until(lambda: running.counters.value("headgate_receiver_connections") == 0)


@pytest.mark.parametrize("head", [HEAD, WRONG], ids=["wanted", "refused"])
def test_a_body_that_drips_is_cut_off_whatever_comes(start, head) -> None:
    """Also one that nobody wants, which is read only so that the answer can be heard."""
    running = start(MemoryIngest(), receive_timeout_s=0.4, stall_timeout_s=0.2)
    with Hostile(running.http, greets=False) as hostile:
        hostile.send([head + b"content-length: 100000\r\n\r\n"])
        wait_until(lambda: _drips(hostile))
    wait_until(lambda: running.counters.value("headgate_receiver_in_flight") == 0)


def test_slow_bodies_hold_a_bounded_number_of_places_and_the_rest_is_told_to_come_back(start) -> None:
    """429 with Retry-After, counted; when the slow ones are cut off everybody is served."""
    running = start(MemoryIngest(), running=1, waiting=1, stall_timeout_s=3)
    slow = [Hostile(running.http, greets=False) for _ in range(2)]
    for one in slow:
        one.send([HEAD + b"content-length: 1000\r\n\r\n"])
    wait_until(lambda: running.counters.value("headgate_receiver_in_flight") == 2)
    assert 429 == _export(running.http)
    assert 1 == running.counters.value("headgate_receiver_requests_total", status="RESOURCE_EXHAUSTED")
    assert all(one.ended(timeout_s=PATIENCE_S) for one in slow)
    assert 200 == _export(running.http)
    assert 2 == running.counters.value("headgate_receiver_stalled_total", protocol="http")
    for one in slow:
        one.close()


def test_a_peer_that_reads_no_answer_is_cut_off(start) -> None:
    """Requests one behind the other whose answers pile up: the connection ends, and memory stays within bounds."""
    running = start(MemoryIngest(), stall_timeout_s=0.3)
    before = memory_bytes()
    metrics = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n"
    with Hostile(running.http, greets=False, listens=False) as hostile:
        assert not hostile.send(metrics * 100 for _ in range(10_000))
        assert memory_bytes() - before < 64 * MEBIBYTE
    wait_until(lambda: running.counters.value("headgate_receiver_connections") == 0)
    assert 200 == _export(running.http)


def test_an_upload_without_a_credential_is_refused_before_it_is_read(start) -> None:
    """The answer comes after the head, and of the body no more is read than it takes to be heard."""
    running = start(MemoryIngest(), max_message_bytes=1000)
    with Hostile(running.http, greets=False) as hostile:
        hostile.send([WRONG + b"expect: 100-continue\r\ncontent-length: 1000000000\r\n\r\n"])
        wait_until(lambda: b" 401 " in hostile.answer)
    assert b" 100 " not in hostile.answer
    with Hostile(running.http, greets=False) as hostile:
        assert not hostile.send([WRONG + b"content-length: 1000000000\r\n\r\n", *[bytes(65536)] * 1000])


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, 1)


@pytest.mark.slow
@pytest.mark.parametrize("compress", [_gzip, zstandard.compress, lambda data: _gzip(_gzip(data))])
def test_a_bomb_goes_off_within_bounds(start, compress) -> None:
    """A quarter of a gigabyte behind some kilobytes ends where it passes the limit: 413 or 400, and little memory."""
    running = start(Decoding(), max_message_bytes=4 * MEBIBYTE)
    bomb = compress(bytes(256 * MEBIBYTE))
    encoding = "zstd" if bomb.startswith(b"\x28\xb5\x2f\xfd") else "gzip"
    before = memory_bytes()
    answer = request(running.http, "POST", "/v1/logs", bomb, content_type=PROTOBUF, content_encoding=encoding)
    assert answer.status in {400, 413}
    assert memory_bytes() - before < 128 * MEBIBYTE
    assert 1 == running.counters.value("headgate_receiver_requests_total", status="INVALID_ARGUMENT")


def _nested_protobuf(depth: int, field: int) -> bytes:
    """A log record whose body nests so deep; `field` 5 nests lists, 6 objects."""

    def wrapped(number: int, content: bytes) -> bytes:
        return _varint(number << 3 | 2) + _varint(len(content)) + content

    value = b""
    for _ in range(depth):
        inner = wrapped(1, value) if field == 5 else wrapped(1, wrapped(1, b"k") + wrapped(2, value))
        value = wrapped(field, inner)
    return wrapped(1, wrapped(2, wrapped(2, wrapped(5, value))))


def _varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out += bytes((number & 0x7F | 0x80,))
        number >>= 7
    return out + bytes((number,))


def _nested_json(depth: int, key: str) -> bytes:
    """The same in JSON; `key` is `arrayValue` or `kvlistValue`."""
    opening, closing = {
        "arrayValue": ('{"arrayValue":{"values":[', "]}}"),
        "kvlistValue": ('{"kvlistValue":{"values":[{"key":"k","value":', "}]}}"),
    }[key]
    value = opening * depth + '{"stringValue":"x"}' + closing * depth
    return f'{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{value}}}]}}]}}]}}'.encode()


@pytest.mark.parametrize("depth", [64, 65, 1000, 10_000])
@pytest.mark.parametrize("kind", ["arrayValue", "kvlistValue"])
@pytest.mark.parametrize("content_type", [PROTOBUF, JSON])
def test_values_that_nest_without_end_are_refused(start, depth: int, kind: str, content_type: str) -> None:
    """Deep nesting costs the record, or the request, and never the receiver; both encodings agree on the limit."""
    running = start(Decoding())
    if content_type == JSON:
        body = _nested_json(depth, kind)
    else:
        body = _nested_protobuf(depth, 5 if kind == "arrayValue" else 6)
    answer = request(running.http, "POST", "/v1/logs", body, content_type=content_type)
    rejected = running.counters.value("headgate_receiver_records_rejected_total")
    refused = running.counters.value("headgate_receiver_requests_total", status="INVALID_ARGUMENT")
    assert answer.status in {200, 400}
    assert (0 if depth == 64 else 1) == rejected + refused
    assert 0 == running.counters.value("headgate_receiver_faults_total")
    assert 200 == _export(running.http)


def test_json_of_nothing_but_brackets_is_refused(start) -> None:
    """A parser that recurses would end the process."""
    running = start(Decoding())
    for body in (b"[" * 1_000_000, b'{"a":' * 200_000, b'{"resourceLogs":' + b"[" * 500_000):
        assert 400 == request(running.http, "POST", "/v1/logs", body, content_type=JSON).status
    assert 0 == running.counters.value("headgate_receiver_faults_total")


def test_compression_that_never_ends_is_refused(start) -> None:
    """A stream of empty blocks holds nothing, however long it is."""
    running = start(Decoding())
    machine = zlib.compressobj(wbits=31)
    body = machine.compress(b"x") + b"".join(machine.flush(zlib.Z_FULL_FLUSH) for _ in range(100_000))
    answer = request(running.http, "POST", "/v1/logs", body, content_type=PROTOBUF, content_encoding="gzip")
    assert 400 == answer.status


@pytest.mark.slow
@pytest.mark.parametrize("said", [b"", b"POST /v1/logs HTTP/1.1\r\n", HEAD + b"content-length: 1000\r\n\r\n"])
def test_ten_thousand_http_connections_that_are_left_shut_nobody_out(start, open_files, said: bytes) -> None:
    """Silent ones, half heads, heads whose body never comes: bounded, counted, an export is served beside them."""
    running = start(MemoryIngest(), stall_timeout_s=2)
    before = memory_bytes()
    many = []
    try:
        for _ in range(open_files // 2):
            many.append(Hostile(running.http, greets=False, listens=False))
            many[-1].send([said] if said else [])
        wait_until(lambda: _export(running.http) == 200)
        add = running.counters.value
        assert add("headgate_receiver_connections") <= 512
        gone = add("headgate_receiver_connections_evicted_total") + add("headgate_receiver_connections_refused_total")
        assert gone >= len(many) - 512 - add("headgate_receiver_requests_total")
        assert memory_bytes() - before < 256 * MEBIBYTE
    finally:
        for one in many:
            one.close()


def test_what_is_refused_is_said_in_the_format_of_the_request(start) -> None:
    """A refusal of JSON is JSON: its status and a sentence."""

    def refusing(_: bytes, **__: object) -> Accepted:
        message = "no"
        raise PermanentError(message)

    answer = request(start(refusing).http, "POST", "/v1/logs", b"{}", content_type=JSON)
    assert {"code": 3, "message": "no"} == json.loads(answer.body)
