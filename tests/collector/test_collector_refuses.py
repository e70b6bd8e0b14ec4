import gzip
import socket
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import grpc
import pytest

from headgate_processors.credentials.issuer import Issuer, make_keys
from headgate_processors.otlp.port import Signal
from headgate_processors.testing.ingest import numbered_request
from headgate_processors.testing.otlp import to_protobuf, traces_request
from headgate_processors.testing.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.slow

REQUEST = numbered_request(Signal.TRACES, [1])
TOO_LARGE = 65 << 20
NOWHERE = "127.0.0.1:9"


def _post(url: str, body: bytes, *, authority: Path | None = None, **headers: str) -> int:
    """The status that an HTTP request is answered with."""
    request = urllib.request.Request(
        url,
        data=body,
        headers={"content-type": "application/x-protobuf"} | {k.replace("_", "-"): v for k, v in headers.items()},
    )
    context = None if authority is None else ssl.create_default_context(cafile=str(authority))
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S, context=context) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def _code(collector: Any, *arguments: Any, **access: Any) -> str:
    """The status that a gRPC request is answered with."""
    try:
        collector.send(*arguments, **access)
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def _bad_tokens(credentials: Any, folder: Path) -> dict[str, str]:
    make_keys(folder)
    stranger = Issuer.open(folder)
    good = credentials.token("agent-7")
    return {
        "none": "",
        "opaque": "hgt_client-1_aa",
        "expired": credentials.token("agent-7", lifetime_s=-60),
        "for headgate's own parts": credentials.token("agent-7", audience="headgate-platform"),
        "of another key": stranger.token("agent-7", audience="headgate-telemetry", lifetime_s=60),
        "changed": good[:-8] + ("A" * 8),
    }


def test_a_request_of_65_mib_is_refused_for_good(start_collector: Any) -> None:
    """RESOURCE_EXHAUSTED without a time to come back, 400 over HTTP: no sender repeats it, packed or not."""
    collector = start_collector("local", HEADGATE_COLLECTOR_RECEIVER=NOWHERE)
    request = traces_request([{"attributes": {"text": "x" * TOO_LARGE}}])
    assert "RESOURCE_EXHAUSTED" == _code(collector, request)
    url = f"http://{collector.address('HTTP')}/v1/traces"
    body = to_protobuf(request)
    assert 400 == _post(url, body)
    assert 400 == _post(url, gzip.compress(body, 1), content_encoding="gzip")
    assert "OK" == _code(collector, REQUEST)


def test_a_gateway_takes_good_tokens_only(start_collector: Any, credentials: Any, tmp_path: Path) -> None:
    """UNAUTHENTICATED, or 401 over HTTP, for every other; those for agents are no good on 4319 and the reverse."""
    collector = start_collector("gateway+disk_queue", credentials.environment, HEADGATE_COLLECTOR_RECEIVER=NOWHERE)
    url = f"https://localhost:{collector.ports['HTTP']}/v1/traces"
    body = to_protobuf(REQUEST)
    authority = credentials.authority
    for what, token in _bad_tokens(credentials, tmp_path).items():
        assert "UNAUTHENTICATED" == _code(collector, REQUEST, token=token, authority=authority), what
        assert 401 == _post(url, body, authority=authority, authorization=f"Bearer {token}"), what
    for_agents = credentials.token("agent-7")
    assert "UNAUTHENTICATED" == _code(collector, REQUEST, port="PLATFORM", token=for_agents, authority=authority)
    assert "OK" == _code(collector, REQUEST, token=for_agents, authority=authority)
    assert 200 == _post(url, body, authority=authority, authorization=f"Bearer {for_agents}")


def test_tokens_of_the_last_key_stay_good_after_a_rotation(
    start_collector: Any, credentials: Any, tmp_path: Path
) -> None:
    """The file of public keys is read again while the Collector runs, and holds both."""
    keys = make_keys(tmp_path)
    before = Issuer.open(tmp_path).token("agent-7", audience="headgate-platform", lifetime_s=600)
    collector = start_collector(
        "local+platform",
        credentials.environment,
        HEADGATE_COLLECTOR_JWKS_FILE=str(keys),
        HEADGATE_COLLECTOR_RECEIVER=NOWHERE,
    )
    assert keys == make_keys(tmp_path)
    after = Issuer.open(tmp_path).token("agent-7", audience="headgate-platform", lifetime_s=600)
    wait_until(lambda: _code(collector, REQUEST, port="PLATFORM", token=after) == "OK")
    assert "OK" == _code(collector, REQUEST, port="PLATFORM", token=before)


def test_no_token_lies_in_the_queue(start_collector: Any, credentials: Any) -> None:
    """Neither that of a sender nor the Collector's own is in any file that it writes, its log included."""
    own = "hgt_collector-1_0123456789abcdef0123456789abcdef"
    collector = start_collector(
        "gateway+disk_queue",
        credentials.environment,
        HEADGATE_COLLECTOR_RECEIVER=NOWHERE,
        HEADGATE_COLLECTOR_TOKEN=own,
    )
    token = credentials.token("agent-7")
    for signal in Signal:
        collector.send(numbered_request(signal, [1]), signal, token=token, authority=credentials.authority)
    collector.kill()
    written = {path: path.read_bytes() for path in collector.folder.rglob("*") if path.is_file()}
    assert any(b"item" in content for content in written.values()), "the queue holds what was sent"
    parts = [own, token, *token.split(".")]
    assert [] == [path.name for path, content in written.items() for part in parts if part.encode() in content]


def test_a_full_queue_makes_senders_wait(start_collector: Any) -> None:
    """UNAVAILABLE, which every sender repeats: nothing that was not taken is called taken."""
    collector = start_collector("local", HEADGATE_COLLECTOR_RECEIVER=NOWHERE, HEADGATE_COLLECTOR_QUEUE_BYTES="2000000")
    request = traces_request([{"attributes": {"text": "x" * 500_000}}])
    answers = [_code(collector, request) for _ in range(8)]
    assert "UNAVAILABLE" == answers[-1]
    assert {"OK", "UNAVAILABLE"} == set(answers)


def test_connections_that_say_nothing_are_left(start_collector: Any) -> None:
    """A few hundred idle connections do not keep anybody else from being served."""
    collector = start_collector("local", HEADGATE_COLLECTOR_RECEIVER=NOWHERE)
    idle = [socket.create_connection(("127.0.0.1", collector.ports[name])) for name in ("GRPC", "HTTP") * 200]
    assert "OK" == _code(collector, REQUEST)
    for connection in idle:
        connection.close()
