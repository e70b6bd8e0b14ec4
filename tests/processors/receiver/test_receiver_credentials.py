"""Credentials over the wire: tokens, TLS, mutual TLS, the listener of our own parts, and what leaks nowhere."""

import http.client
import logging
import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from headgate_processors.credentials.authenticator import CredentialAuthenticator
from headgate_processors.credentials.keystore import KeyStore
from headgate_processors.errors import ConfigError, UnauthenticatedError
from headgate_processors.otlp.port import Signal
from headgate_processors.receiver.counters import Counters
from headgate_processors.receiver.dead_letters import DeadLetters
from headgate_processors.receiver.faults import Strangers
from headgate_processors.receiver.grpc_server import SERVICES
from headgate_processors.receiver.port import CLIENT, Peer, Sender
from headgate_processors.receiver.tls import TlsConfig, TlsFiles
from headgate_processors.testing.http import PROTOBUF, request
from headgate_processors.testing.ingest import MemoryIngest, numbered_request
from headgate_processors.testing.issuers import Authority, CertificateFiles
from headgate_processors.testing.otlp import to_protobuf
from headgate_processors.testing.waiting import PATIENCE_S, wait_until

BODY = to_protobuf(numbered_request(Signal.LOGS, range(2)))
METHOD = next(f"/{service}/Export" for service, signal in SERVICES.items() if signal is Signal.LOGS)
GATEWAY = "spiffe://headgate/gateway/model-1"

Send = Callable[..., "str | int"]


def _grpc(address: str, token: str | None, files: CertificateFiles | None = None, *, mutual: bool = False) -> str:
    """The status of one export over gRPC; with `files` over TLS."""
    metadata = [("authorization", f"Bearer {token}")] if token is not None else []
    if files is None:
        channel = grpc.insecure_channel(address)
    else:
        pair = (files.key.read_bytes(), files.certificate.read_bytes()) if mutual else (None, None)
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(files.authority.read_bytes(), *pair))
    with channel:
        try:
            channel.unary_unary(METHOD)(BODY, metadata=metadata, timeout=PATIENCE_S)
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"


def _http(address: str, token: str | None, files: CertificateFiles | None = None, *, mutual: bool = False) -> int:
    """The status of one export over HTTP; with `files` over TLS."""
    headers = {"authorization": f"Bearer {token}"} if token is not None else {}
    if files is None:
        return request(address, "POST", "/v1/logs", BODY, content_type=PROTOBUF, **headers).status
    context = ssl.create_default_context(cafile=files.authority)
    if mutual:
        context.load_cert_chain(files.certificate, files.key)
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPSConnection(host, int(port), timeout=PATIENCE_S, context=context)
    try:
        connection.request("POST", "/v1/logs", BODY, {"content-type": PROTOBUF, **headers})
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.fixture
def keys(tmp_path: Path) -> KeyStore:
    """An empty key store."""
    return KeyStore(tmp_path)


def _tls(files: CertificateFiles, *, mutual: bool = False) -> TlsConfig:
    return TlsConfig(
        cert_file=files.certificate, key_file=files.key, client_ca_file=files.authority if mutual else None
    )


def test_a_token_decides_who_sends_on_both_protocols(start, keys) -> None:
    """The ingest hears the role, the principal and the token's id; without a token it is a client."""
    ingest = MemoryIngest()
    running = start(ingest, authenticator=CredentialAuthenticator(keys))
    issued = keys.create("gateway", subject=GATEWAY)
    assert ("OK", 200) == (_grpc(running.grpc, issued.token), _http(running.http, issued.token))
    assert ("OK", 200) == (_grpc(running.grpc, None), _http(running.http, None))
    sender = Sender(role="gateway", subject=GATEWAY, token_id=issued.credential.token_id)
    assert [sender, sender, CLIENT, CLIENT] == [taken.sender for taken in ingest.taken]


def test_every_refusal_has_its_status_is_counted_and_leaks_nothing(start, keys, tmp_path, caplog) -> None:
    """Wrong, expired, revoked, a Collector's, an admin's: the body is never taken, and no token is written down."""
    caplog.set_level(logging.DEBUG)
    ingest, counters = MemoryIngest(), Counters()
    letters = DeadLetters(tmp_path / "letters", counters=counters)
    running = start(ingest, counters=counters, dead_letters=letters, authenticator=CredentialAuthenticator(keys))
    revoked = keys.create("client")
    keys.revoke(revoked.credential.token_id)
    cases = {
        "sk-proj-not-ours-at-all-1234567890": ("UNAUTHENTICATED", 401),
        revoked.token: ("UNAUTHENTICATED", 401),
        keys.create("client", lifetime_ns=1).token: ("UNAUTHENTICATED", 401),
        keys.create("collector", lifetime_ns=1).token: ("UNAVAILABLE", 503),
        keys.create("admin").token: ("PERMISSION_DENIED", 403),
    }
    for token, (code, status) in cases.items():
        assert (code, status) == (_grpc(running.grpc, token), _http(running.http, token))
    assert 0 == ingest.calls
    for code, count in (("UNAUTHENTICATED", 6), ("UNAVAILABLE", 2), ("PERMISSION_DENIED", 2)):
        assert count == counters.value("headgate_receiver_requests_total", status=code)
    written = (
        caplog.text
        + counters.prometheus()
        + "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    )
    assert not [token for token in cases if token in written]
    assert "1 requests refused, the last while taking logs over grpc" in caplog.text


def test_bad_credentials_are_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """With how many there were."""
    now_s = [0.0]
    strangers = Strangers(logging.getLogger("receiver"), lambda: now_s[0])
    for second in range(90):
        now_s[0] = float(second)
        strangers.record(UnauthenticatedError("no token that we know"), doing="taking logs over http")
    said = "requests refused, the last while taking logs over http: no token that we know"
    assert [f"1 {said}", f"60 {said}"] == caplog.messages


def test_a_refusal_over_http_says_how_to_do_better(start, keys) -> None:
    """The challenge names the scheme, and a refusal that passes says when to come back."""
    running = start(MemoryIngest(), authenticator=CredentialAuthenticator(keys))
    refused = request(running.http, "POST", "/v1/logs", BODY, content_type=PROTOBUF, authorization="Basic dTpw")
    assert (401, "Bearer") == (refused.status, refused.headers["www-authenticate"])
    token = keys.create("collector", lifetime_ns=1).token
    kept = request(running.http, "POST", "/v1/logs", BODY, content_type=PROTOBUF, authorization=f"Bearer {token}")
    assert (503, "1") == (kept.status, kept.headers["retry-after"])


def test_an_authenticator_that_fails_is_our_fault(start) -> None:
    """What nobody expected is UNAVAILABLE, and lets nobody in."""

    def broken(_: Peer) -> Sender | None:
        raise ZeroDivisionError

    ingest = MemoryIngest()
    running = start(ingest, authenticator=broken)
    assert ("UNAVAILABLE", 503) == (_grpc(running.grpc, "x"), _http(running.http, "x"))
    assert 0 == ingest.calls


def test_the_listener_of_our_own_parts_needs_a_credential_of_theirs(start, keys) -> None:
    """Also on loopback; an agent's token has no business there."""
    running = start(MemoryIngest(), authenticator=CredentialAuthenticator(keys), platform="127.0.0.1:0")
    tokens = {role: keys.create(role).token for role in ("client", "gateway", "runtime", "control", "provider")}
    assert "UNAUTHENTICATED" == _grpc(running.platform, None)
    assert "PERMISSION_DENIED" == _grpc(running.platform, tokens.pop("client"))
    assert {"OK"} == {_grpc(running.platform, token) for token in tokens.values()}


@pytest.mark.parametrize("mutual", [False, True])
def test_parts_of_this_machine_need_no_certificate_at_a_platform_listener_on_loopback(
    start, keys, tmp_path, mutual
) -> None:
    """The other listeners speak TLS; one that other machines reach does so too."""
    files, token = Authority(tmp_path).issue("receiver"), keys.create("gateway").token
    authenticator, tls = CredentialAuthenticator(keys), _tls(files, mutual=mutual)
    near = start(MemoryIngest(), authenticator=authenticator, tls=tls, platform="127.0.0.1:0")
    far = start(MemoryIngest(), authenticator=authenticator, tls=tls, platform="0.0.0.0:0")
    address = far.platform.replace("0.0.0.0", "127.0.0.1")
    assert ("OK", "UNAUTHENTICATED", "OK") == (
        _grpc(near.platform, token),
        _grpc(near.platform, None),
        _grpc(address, token, files, mutual=mutual),
    )


@pytest.mark.parametrize("send", ["grpc", "http"])
def test_other_machines_need_tls_and_a_credential(start, keys, tmp_path, send) -> None:
    """A listener that they reach takes nobody without a token, and shows its counts to nobody."""
    files = Authority(tmp_path).issue("receiver")
    running = start(MemoryIngest(), authenticator=CredentialAuthenticator(keys), tls=_tls(files), **{send: "0.0.0.0:0"})
    sender, refused, good = (_grpc, "UNAUTHENTICATED", "OK") if send == "grpc" else (_http, 401, 200)
    address = getattr(running, send).replace("0.0.0.0", "127.0.0.1")
    assert refused == sender(address, None, files)
    assert good == sender(address, keys.create("client").token, files)
    if send == "http":
        context = ssl.create_default_context(cafile=files.authority)
        connection = http.client.HTTPSConnection(*address.split(":"), timeout=PATIENCE_S, context=context)
        statuses = []
        for path in ("/metrics", "/healthz"):
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            statuses.append(response.status)
        connection.close()
        assert [401, 200] == statuses


def test_without_tls_other_machines_are_refused_unless_the_network_is_trusted(start, keys) -> None:
    """`insecure` lets them in, each with a credential."""
    with pytest.raises(ConfigError, match=r"receiver\.http: .*tls\.cert_file"):
        start(MemoryIngest(), http="0.0.0.0:0")
    running = start(MemoryIngest(), authenticator=CredentialAuthenticator(keys), http="0.0.0.0:0", insecure=True)
    address = running.http.replace("0.0.0.0", "127.0.0.1")
    assert (401, 200) == (_http(address, None), _http(address, keys.create("client").token))


def test_a_certificate_of_the_authority_has_the_role_of_its_name(start, keys, tmp_path) -> None:
    """Mutual TLS: a SPIFFE id or common name that the key store knows; any other, or no certificate, is refused."""
    authority = Authority(tmp_path)
    server, other = authority.issue("receiver"), authority.issue("unknown")
    gateway, agent = authority.issue("gateway", uris=[GATEWAY]), authority.issue("fixer")
    keys.create("gateway", certificate=GATEWAY)
    keys.create("client", certificate="fixer")
    ingest = MemoryIngest()
    running = start(ingest, authenticator=CredentialAuthenticator(keys), tls=_tls(server, mutual=True))
    for files, statuses in ((gateway, ("OK", 200)), (agent, ("OK", 200)), (other, ("UNAUTHENTICATED", 401))):
        sent = _grpc(running.grpc, None, files, mutual=True), _http(running.http, None, files, mutual=True)
        assert statuses == sent
    assert ["gateway", "gateway", "client", "client"] == [taken.sender.role for taken in ingest.taken]
    assert [GATEWAY, GATEWAY, "fixer", "fixer"] == [taken.sender.subject for taken in ingest.taken]
    assert "UNAVAILABLE" == _grpc(running.grpc, None, server)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        _http(running.http, None, server)
    stranger = Authority(tmp_path, "another authority").issue("gateway2", uris=[GATEWAY])
    forged = CertificateFiles(certificate=stranger.certificate, key=stranger.key, authority=server.authority)
    assert "UNAVAILABLE" == _grpc(running.grpc, None, forged, mutual=True)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        _http(running.http, None, forged, mutual=True)


def test_a_certificate_is_replaced_while_we_run(start, keys, tmp_path) -> None:
    """The next connection sees it; half a replacement changes nothing."""
    authority = Authority(tmp_path)
    files = authority.issue("receiver")
    running = start(MemoryIngest(), authenticator=CredentialAuthenticator(keys), tls=_tls(files))

    def serials() -> set[str]:
        return {_serial(running.http, files.authority), _serial(running.grpc, files.authority)}

    before = serials()
    assert 1 == len(before)
    files.key.write_bytes(Authority(tmp_path, "x").issue("y").key.read_bytes())
    assert before == serials()
    authority.issue("receiver")
    after = serials()
    assert 1 == len(after)
    assert before != after
    assert ("OK", 200) == (_grpc(running.grpc, None, files), _http(running.http, None, files))


def test_a_certificate_that_was_written_in_place_is_read_again(tmp_path: Path) -> None:
    """Also where whoever copied it kept its time and its size is the same."""
    issued = Authority(tmp_path).issue("receiver")
    files = TlsFiles(_tls(issued))
    before, found = files.current(), issued.certificate.stat()
    issued.certificate.write_bytes(issued.certificate.read_bytes())
    os.utime(issued.certificate, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert before is not files.current()


def _serial(address: str, authority: Path) -> str:
    context = ssl.create_default_context(cafile=authority)
    context.set_alpn_protocols(["h2", "http/1.1"])
    host, _, port = address.rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=PATIENCE_S) as plain,
        context.wrap_socket(plain, server_hostname=host) as encrypted,
    ):
        return str((encrypted.getpeercert() or {})["serialNumber"])


@pytest.mark.parametrize("spoil", ["missing", "no key", "another key"])
def test_files_that_do_not_fit_are_a_configuration_error(start, tmp_path, spoil) -> None:
    """The message names the files."""
    files = Authority(tmp_path).issue("receiver")
    if spoil == "missing":
        files.certificate.unlink()
    elif spoil == "no key":
        files.key.write_text("-----BEGIN NOTHING-----")
    else:
        files.key.write_bytes(Authority(tmp_path, "x").issue("y").key.read_bytes())
    with pytest.raises(ConfigError, match=r"receiver\.tls: .*receiver\.crt"):
        start(MemoryIngest(), tls=_tls(files))


def test_a_handshake_that_never_ends_is_cut_off_and_counted(start, tmp_path) -> None:
    """A connection that says nothing, or no TLS, holds its place no longer than the header timeout."""
    files = Authority(tmp_path).issue("receiver")
    running = start(MemoryIngest(), tls=_tls(files), header_timeout_s=0.2)
    host, _, port = running.http.rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=PATIENCE_S) as silent,
        socket.create_connection((host, int(port)), timeout=PATIENCE_S) as plain,
    ):
        plain.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert [b"", b""] == [_rest(silent), _rest(plain)]
    wait_until(lambda: running.counters.value("headgate_receiver_connections") == 0)
    assert 2 == running.counters.value("headgate_receiver_tls_failures_total")
    assert 200 == _http(running.http, None, files)


def _rest(connection: socket.socket) -> bytes:
    """What comes after the alert that TLS may send."""
    try:
        while (piece := connection.recv(4096)) and piece[0] == 0x15:
            continue
    except ConnectionResetError:
        return b""
    return piece
