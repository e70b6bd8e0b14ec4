"""Sending recorded requests: which protocol, when to send again, when to stop, and what is reported."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from headgate_processors.credentials.authenticator import CredentialAuthenticator
from headgate_processors.credentials.keystore import KeyStore
from headgate_processors.errors import ConfigError, OverloadError, PermanentError, TransientError
from headgate_processors.otlp.port import Signal
from headgate_processors.receiver.config import ReceiverConfig
from headgate_processors.receiver.port import Authenticator
from headgate_processors.receiver.server import Receiver
from headgate_processors.replay.endpoint import Endpoint, parsed_endpoint
from headgate_processors.replay.requests import ReplayItem, ReplayRefusal, ReplayRequest
from headgate_processors.replay.sender import SendConfig, SendReport, send
from headgate_processors.testing.ingest import MemoryIngest, Reject, numbered_request
from headgate_processors.testing.otlp import to_json, to_protobuf
from headgate_processors.testing.waiting import PATIENCE_S, wait_until


@contextmanager
def receiving(ingest: MemoryIngest, authenticator: Authenticator | None = None) -> Iterator[dict[str, str]]:
    """Endpoints of a receiver on free ports."""
    config = ReceiverConfig(grpc="127.0.0.1:0", http="127.0.0.1:0")
    receiver = Receiver(ingest, config=config, authenticator=authenticator)
    addresses = receiver.start()
    try:
        yield {name: f"http://{address}" for name, address in addresses.items()}
    finally:
        receiver.drain(5)


def request(number: int, signal: Signal = Signal.LOGS, *, as_json: bool = True) -> ReplayRequest:
    """A request with one numbered record."""
    message = numbered_request(signal, [number])
    return ReplayRequest(
        path=Path("numbered.jsonl"),
        line=number + 1,
        signal=signal,
        encoding="json" if as_json else "protobuf",
        body=to_json(message) if as_json else to_protobuf(message),
    )


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_requests_of_all_signals_and_encodings_are_acknowledged(protocol) -> None:
    """The protocol of an unusual port is asked for; over gRPC JSON becomes protobuf, over HTTP it stays."""
    ingest = MemoryIngest()
    requests = [request(n, signal, as_json=n % 2 == 0) for signal in Signal for n in range(6)]
    seen: list[int] = []
    with receiving(ingest) as endpoints:
        report = send(requests, endpoints[protocol], progress=lambda so_far: seen.append(so_far.acknowledged))
    assert report.is_complete
    assert (18, 0, 0, 0) == (report.acknowledged, report.failed, report.refused, report.retries)
    assert sum(len(one.body) for one in requests) == report.body_bytes
    assert list(range(1, 19)) == seen
    assert [list(range(6))] * 3 == [ingest.items(signal) for signal in Signal]
    assert ({"protobuf"} if protocol == "grpc" else {"protobuf", "json"}) == {one.encoding for one in ingest.taken}


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_it_waits_as_long_as_it_is_told(protocol) -> None:
    """RetryInfo and Retry-After are obeyed."""
    plan = {0: OverloadError("full", retry_after_s=3), 1: TransientError("later")}
    waits: list[float] = []
    with receiving(MemoryIngest(plan=plan.get)) as endpoints:
        report = send([request(1)], endpoints[protocol], pause=waits.append)
    assert ([3.0, 1.0], 1, 2) == (waits, report.acknowledged, report.retries)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_what_is_refused_for_good_is_not_sent_again(protocol) -> None:
    """A permanent failure is counted by its reason, and the others go on."""
    ingest = MemoryIngest(plan=lambda call: PermanentError("unreadable") if call == 0 else None)
    with receiving(ingest) as endpoints:
        report = send([request(n) for n in range(3)], endpoints[protocol], config=SendConfig(in_flight=1))
    expected = {"grpc": "INVALID_ARGUMENT: unreadable", "http": "HTTP 400: unreadable"}[protocol]
    assert ({expected: 1}, 2, 1, 3) == (dict(report.reasons), report.acknowledged, report.failed, ingest.calls)
    assert not report.is_complete


@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize("as_json", [True, False])
def test_rejected_records_are_reported(protocol, as_json) -> None:
    """partial_success is an acknowledgement with a number and a reason."""
    ingest = MemoryIngest(plan=lambda _: Reject(records=1, message="no id"))
    with receiving(ingest) as endpoints:
        report = send([request(n, as_json=as_json) for n in range(4)], endpoints[protocol])
    assert (4, 4, {"no id": 4}) == (report.acknowledged, report.rejected_records, dict(report.messages))


def test_refusals_of_the_reader_are_in_the_report() -> None:
    """What could not be read, or not be put into protobuf, is reported with its place."""
    refusal = ReplayRefusal(path=Path("a.jsonl"), line=7, reason="not JSON")
    odd = ReplayRequest(path=Path("b.jsonl"), line=9, signal=Signal.LOGS, encoding="json", body=b'{"resourceLogs": 3}')
    with receiving(MemoryIngest()) as endpoints:
        report = send([refusal, request(1), odd], endpoints["grpc"])
    assert (1, 2) == (report.acknowledged, report.refused)
    assert {("a.jsonl", 7), ("b.jsonl", 9)} == {(one.path.name, one.line) for one in report.refusals}


def test_a_record_with_an_odd_id_does_not_cost_its_request() -> None:
    """An id that is no hexadecimal travels as an id of the wrong length: the receiver refuses that record."""
    body = b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"traceId":"not hex"},{"timeUnixNano":"1"}]}]}]}'
    odd = ReplayRequest(path=Path("a"), line=1, signal=Signal.LOGS, encoding="json", body=body)
    ingest = MemoryIngest()
    with receiving(ingest) as endpoints:
        assert send([odd], endpoints["grpc"]).is_complete
    assert b"not hex" in ingest.taken[0].body


def test_it_gives_up_where_nobody_answers() -> None:
    """Without a final answer for a while sending ends, says why, and reads no further."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    read: list[int] = []

    def requests() -> Iterator[ReplayItem]:
        for number in range(1000):
            read.append(number)
            yield request(number)

    config = SendConfig(in_flight=2, give_up_s=1, backoff_s=0.01)
    report = send(requests(), Endpoint(protocol="http", host="127.0.0.1", port=port), config=config)
    assert report.given_up.startswith("no final answer for 1 s; the last was ConnectionRefusedError")
    assert 2 == report.failed == len(read)


def test_no_more_than_the_bound_are_in_flight() -> None:
    """As many requests are under way as may be, and no further one is read ahead."""
    ingest = MemoryIngest()
    read: list[int] = []

    def requests() -> Iterator[ReplayItem]:
        for number in range(20):
            read.append(number)
            yield request(number)

    with receiving(ingest) as endpoints:
        config = SendConfig(in_flight=3)
        with ingest.holding():
            reports: list[SendReport] = []
            sending = threading.Thread(
                target=lambda: reports.append(send(requests(), endpoints["grpc"], config=config)), daemon=True
            )
            sending.start()
            wait_until(lambda: ingest.calls == 3)
            assert 3 == len(read)
        sending.join(PATIENCE_S)
    assert [20] == [report.acknowledged for report in reports]


def test_an_error_of_the_source_ends_the_sending() -> None:
    """What the reader raises reaches the caller; nothing keeps running."""

    def requests() -> Iterator[ReplayItem]:
        yield request(1)
        message = "gone"
        raise ConfigError(message)

    with receiving(MemoryIngest()) as endpoints, pytest.raises(ConfigError, match="gone"):
        send(requests(), endpoints["http"])


def test_headers_are_sent_along(tmp_path: Path) -> None:
    """A token for the endpoint goes with every request, over both protocols; a wrong one is refused for good."""
    issued = KeyStore(tmp_path).create("gateway")
    ingest = MemoryIngest()
    with receiving(ingest, CredentialAuthenticator(KeyStore(tmp_path))) as endpoints:
        for endpoint in endpoints.values():
            headers = {"Authorization": f"Bearer {issued.token}"}
            assert send([request(1)], endpoint, config=SendConfig(headers=headers)).is_complete
            assert not send(
                [request(1)], endpoint, config=SendConfig(headers={"Authorization": "Bearer x"})
            ).is_complete
    assert ["gateway", "gateway"] == [taken.sender.role for taken in ingest.taken]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://127.0.0.1:4317", ("grpc", "127.0.0.1:4317", False, "")),
        ("127.0.0.1:14317", ("grpc", "127.0.0.1:14317", False, "")),
        ("http://collector:4318", ("http", "collector:4318", False, "")),
        ("https://collector:14318/", ("http", "collector:14318", True, "")),
        ("grpc://collector:9999", ("grpc", "collector:9999", False, "")),
        ("grpcs://collector:443", ("grpc", "collector:443", True, "")),
        ("https://example.com:443/otlp", ("http", "example.com:443", True, "/otlp")),
        ("http://example.com:8080/otlp/v1/traces", ("http", "example.com:8080", False, "/otlp")),
        ("http://[::1]:4317", ("grpc", "[::1]:4317", False, "")),
    ],
)
def test_an_endpoint_tells_its_protocol(text, expected) -> None:
    """By scheme, by path, or by the ports that everybody uses."""
    endpoint = parsed_endpoint(text)
    assert expected == (endpoint.protocol, endpoint.authority, endpoint.is_tls, endpoint.base_path)


def test_a_signal_has_its_path_behind_the_base() -> None:
    """As an OTLP exporter builds it."""
    assert "/otlp/v1/metrics" == parsed_endpoint("http://x:80/otlp").path(Signal.METRICS)


@pytest.mark.parametrize("text", ["", "collector", "ftp://x:4317", "http://:4317", "x:port", "http://x:99999"])
def test_what_is_no_endpoint_is_a_configuration_error(text) -> None:
    """The message shows what an endpoint looks like, or what is wrong with it."""
    with pytest.raises(ConfigError, match="endpoint "):
        parsed_endpoint(text)


def test_an_endpoint_that_cannot_be_asked_is_told() -> None:
    """Where the protocol is not plain and nobody listens, the caller hears at once."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(TransientError, match=f"nothing answers at 127.0.0.1:{port}"):
        parsed_endpoint(f"127.0.0.1:{port}")
