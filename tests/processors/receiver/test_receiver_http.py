"""OTLP over HTTP with a plain client."""

import gzip
import json
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection

import pytest
import zstandard
from google.rpc.code_pb2 import Code
from google.rpc.status_pb2 import Status
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
from headgate_processors.receiver.counters import Counters
from headgate_processors.receiver.dead_letters import DeadLetters, read_dead_letters
from headgate_processors.receiver.port import CLIENT
from headgate_processors.testing.http import JSON, PROTOBUF, request
from headgate_processors.testing.ingest import MemoryIngest, Reject, numbered_request
from headgate_processors.testing.otlp import to_json, to_protobuf
from headgate_processors.testing.waiting import PATIENCE_S, wait_until

MEBIBYTE = 1 << 20
COMPRESSED = {"gzip": gzip.compress, "zstd": zstandard.compress, "identity": bytes, "": bytes}


@pytest.mark.parametrize("signal", list(Signal))
@pytest.mark.parametrize("content_encoding", list(COMPRESSED))
@pytest.mark.parametrize("content_type", [PROTOBUF, JSON, "application/json; charset=utf-8"])
def test_a_request_reaches_the_ingest_as_it_was_sent(start, signal, content_encoding, content_type) -> None:
    """Each signal arrives byte for byte in either encoding and any compression, and is answered in its encoding."""
    ingest = MemoryIngest()
    message = numbered_request(signal, range(50))
    body = to_protobuf(message) if content_type == PROTOBUF else to_json(message)
    headers = {"content_encoding": content_encoding} if content_encoding else {}
    answer = request(
        start(ingest).http,
        "POST",
        f"/v1/{signal}",
        COMPRESSED[content_encoding](body),
        content_type=content_type,
        **headers,
    )
    (taken,) = ingest.taken
    assert (body, signal, CLIENT) == (taken.body, taken.signal, taken.sender)
    assert ("protobuf" if content_type == PROTOBUF else "json") == taken.encoding
    assert (200, content_type.partition(";")[0]) == (answer.status, answer.headers["content-type"])
    assert answer.body == (b"" if content_type == PROTOBUF else b"{}")


def test_partial_success_is_told_in_protobuf(start) -> None:
    """A protobuf request with rejected records hears so in protobuf."""
    ingest = MemoryIngest(plan=lambda _: Reject(records=1, message="one"))
    answer = request(start(ingest).http, "POST", "/v1/traces", b"", content_type=PROTOBUF)
    partial = ExportTraceServiceResponse.FromString(answer.body).partial_success
    assert (200, 1, "one") == (answer.status, partial.rejected_spans, partial.error_message)


def test_partial_success_is_told_in_json(start) -> None:
    """A JSON request with rejected records hears so in JSON."""
    ingest = MemoryIngest(plan=lambda _: Reject(records=3, message="three"))
    answer = request(start(ingest).http, "POST", "/v1/logs", b"{}", content_type=JSON)
    assert {"partialSuccess": {"rejectedLogRecords": "3", "errorMessage": "three"}} == json.loads(answer.body)


FAILURES = [
    (PermanentError("no"), (400, Code.INVALID_ARGUMENT, None)),
    (TooLargeError("too large"), (413, Code.INVALID_ARGUMENT, None)),
    (OverloadError("full", retry_after_s=2.5), (429, Code.RESOURCE_EXHAUSTED, "3")),
    (TransientError("locked"), (503, Code.UNAVAILABLE, "1")),
    (StoreError("damaged"), (503, Code.UNAVAILABLE, "1")),
    (RuntimeError("bug"), (503, Code.UNAVAILABLE, "1")),
    (SystemExit(3), (503, Code.UNAVAILABLE, "1")),
]


@pytest.mark.parametrize(("error", "expected"), FAILURES, ids=[type(error).__name__ for error, _ in FAILURES])
@pytest.mark.parametrize("content_type", [PROTOBUF, JSON])
def test_each_failure_has_its_status(start, error, expected, content_type) -> None:
    """The body is a google.rpc.Status in the request's encoding; what may be sent again says when."""
    ingest = MemoryIngest(plan=lambda _: error)
    body = b"" if content_type == PROTOBUF else b"{}"
    answer = request(start(ingest).http, "POST", "/v1/metrics", body, content_type=content_type)
    told = Status.FromString(answer.body).code if content_type == PROTOBUF else json.loads(answer.body)["code"]
    assert expected == (answer.status, told, answer.headers.get("retry-after"))


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", "/v1/profiles", {"content_type": PROTOBUF}, 404),
        ("POST", "/", {"content_type": JSON}, 404),
        ("GET", "/v1/traces", {}, 405),
        ("PUT", "/v1/logs", {"content_type": JSON}, 405),
        ("POST", "/healthz", {}, 405),
        ("POST", "/v1/traces", {"content_type": "text/plain"}, 415),
        ("POST", "/v1/traces", {}, 415),
        ("POST", "/v1/traces", {"content_type": JSON, "content_encoding": "br"}, 415),
        ("POST", "/v1/traces", {"content_type": JSON, "content_encoding": "gzip, gzip"}, 415),
    ],
)
def test_what_is_no_export_is_refused_for_good(start, method, path, headers, status) -> None:
    """Wrong paths, methods, types and encodings have their own permanent status, and are not ingested."""
    ingest = MemoryIngest()
    answer = request(start(ingest).http, method, path, b"{}" if method != "GET" else None, **headers)
    assert status == answer.status
    assert "retry-after" not in answer.headers
    assert 0 == ingest.calls
    if status == 405:
        assert ("POST" if path.startswith("/v1") else "GET") == answer.headers["allow"]


def test_a_request_over_the_limit_is_refused_for_good(start) -> None:
    """65 MiB: 413, read to its end so that the sender hears it."""
    ingest = MemoryIngest()
    answer = request(start(ingest).http, "POST", "/v1/traces", bytes(65 * MEBIBYTE), content_type=PROTOBUF)
    assert (413, 0) == (answer.status, ingest.calls)
    assert "68157440 bytes" in Status.FromString(answer.body).message


@pytest.mark.parametrize("content_encoding", ["gzip", "zstd"])
def test_a_request_that_grows_over_the_limit_is_refused_for_good(start, content_encoding) -> None:
    """A compression bomb ends where it passes the limit: 413."""
    ingest = MemoryIngest()
    bomb = COMPRESSED[content_encoding](bytes(32 * MEBIBYTE))
    answer = request(
        start(ingest, max_message_bytes=MEBIBYTE).http,
        "POST",
        "/v1/logs",
        bomb,
        content_type=JSON,
        content_encoding=content_encoding,
    )
    assert (413, 0) == (answer.status, ingest.calls)


@pytest.mark.parametrize("content_encoding", ["gzip", "zstd"])
@pytest.mark.parametrize("spoil", [lambda body: body[:-5], lambda body: b"no" + body, lambda body: body + b"more"])
def test_a_body_that_is_not_what_it_says_is_refused_and_buried(start, tmp_path, content_encoding, spoil) -> None:
    """A damaged compressed body is the sender's fault: 400, and its bytes are kept for who has to find out."""
    counters = Counters()
    letters = DeadLetters(tmp_path, counters=counters)
    running = start(MemoryIngest(), counters=counters, dead_letters=letters)
    body = spoil(COMPRESSED[content_encoding](to_json(numbered_request(Signal.LOGS, range(9)))))
    answer = request(running.http, "POST", "/v1/logs", body, content_type=JSON, content_encoding=content_encoding)
    assert 400 == answer.status
    assert [("request", body)] == [(letter.reason, letter.raw) for letter in read_dead_letters(tmp_path)]


def test_a_request_that_can_never_be_read_is_buried(start, tmp_path) -> None:
    """What the ingest refuses for good goes to the dead letters as it came."""
    letters = DeadLetters(tmp_path, counters=Counters())
    answer = request(
        start(MemoryIngest(), dead_letters=letters).http, "POST", "/v1/traces", b"\xff\xff", content_type=PROTOBUF
    )
    assert 400 == answer.status
    assert [b"\xff\xff"] == [letter.raw for letter in read_dead_letters(tmp_path)]


def test_over_the_bound_the_answer_is_to_come_back(start) -> None:
    """With every place taken, the next request hears 429 with Retry-After and does not wait."""
    ingest = MemoryIngest()
    running = start(ingest, running=1, waiting=0)
    with ThreadPoolExecutor(1) as pool:
        with ingest.holding():
            held = pool.submit(request, running.http, "POST", "/v1/logs", b"{}", content_type=JSON)
            wait_until(lambda: ingest.calls == 1)
            answer = request(running.http, "POST", "/v1/logs", b"{}", content_type=JSON)
        assert (429, "1", 200) == (answer.status, answer.headers["retry-after"], held.result().status)


def test_requests_are_bounded_in_bytes_too(start) -> None:
    """More bytes than all requests together may hold are refused as overload, also when they grow to it."""
    address = start(MemoryIngest(), max_buffered_bytes=10_000).http
    plain = request(address, "POST", "/v1/logs", bytes(10_001), content_type=JSON)
    grown = request(
        address, "POST", "/v1/logs", gzip.compress(bytes(10_001)), content_type=JSON, content_encoding="gzip"
    )
    assert [429, 429] == [plain.status, grown.status]


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_says_ok(start, path) -> None:
    """Both health paths answer 200 while the receiver serves."""
    assert 200 == request(start(MemoryIngest()).http, "GET", path).status


def test_metrics_are_prometheus_text(start) -> None:
    """What the receiver counts of both protocols can be scraped."""
    address = start(MemoryIngest()).http
    request(address, "POST", "/v1/logs", to_json(numbered_request(Signal.LOGS, range(7))), content_type=JSON)
    lines = request(address, "GET", "/metrics").body.decode().splitlines()
    assert 'headgate_receiver_requests_total{protocol="http",signal="logs",status="OK"} 1' in lines
    assert 'headgate_receiver_records_stored_total{signal="logs"} 7' in lines
    assert "# TYPE headgate_receiver_in_flight gauge" in lines


def test_a_connection_is_used_again(start) -> None:
    """Requests follow each other on one connection, also after one that was refused."""
    host, _, port = start(MemoryIngest()).http.rpartition(":")
    connection = HTTPConnection(host, int(port), timeout=PATIENCE_S)
    statuses = []
    for path in ("/v1/logs", "/nowhere", "/v1/logs", "/healthz"):
        connection.request("GET" if path == "/healthz" else "POST", path, b"{}", {"content-type": JSON})
        response = connection.getresponse()
        response.read()
        statuses.append((response.status, response.will_close))
    connection.close()
    assert [(200, False), (404, False), (200, False), (200, False)] == statuses


def test_a_port_that_is_held_is_a_configuration_error(start) -> None:
    """A second receiver on the same port says so, and what had started with it is stopped."""
    address = start(MemoryIngest()).http
    with pytest.raises(ConfigError, match=r"receiver\.http: cannot listen on"):
        start(MemoryIngest(), http=address)
