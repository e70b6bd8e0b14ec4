"""A real Collector on free ports, a real receiver behind it, and the credentials that both need."""

import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from google.protobuf.message import Message

from headgate_console.collector.binary import arguments
from headgate_console.collector.catalogue import select
from headgate_console.collector.files import paths
from headgate_processors.credentials.issuer import ISSUER, Issuer, make_keys
from headgate_processors.otlp.port import Signal
from headgate_processors.receiver.config import ReceiverConfig
from headgate_processors.receiver.port import Ingest
from headgate_processors.receiver.server import Receiver
from headgate_processors.testing.otlp import to_protobuf
from headgate_processors.testing.ports import free_port
from headgate_processors.testing.waiting import PATIENCE_S

START_S_MAX = 120.0
PORTS = ("GRPC", "HTTP", "PLATFORM", "HEALTH", "METRICS")
METHODS = {
    Signal.TRACES: "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    Signal.LOGS: "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    Signal.METRICS: "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """An authority, a certificate for this host, and an issuer of tokens with its public keys."""

    authority: Path
    certificate: Path
    key: Path
    issuer: Issuer
    keys: Path

    def token(self, subject: str, *, audience: Any = "headgate-telemetry", lifetime_s: float = 3600) -> str:
        """A token, good for an hour."""
        return self.issuer.token(subject, audience=audience, lifetime_s=lifetime_s)

    @property
    def environment(self) -> dict[str, str]:
        """What a gateway Collector is told of them."""
        return {
            "HEADGATE_COLLECTOR_CERT_FILE": str(self.certificate),
            "HEADGATE_COLLECTOR_KEY_FILE": str(self.key),
            "HEADGATE_COLLECTOR_GATEWAY_CA_FILE": str(self.authority),
            "HEADGATE_COLLECTOR_ISSUER": ISSUER,
            "HEADGATE_COLLECTOR_JWKS_FILE": str(self.keys),
            "HEADGATE_COLLECTOR_RECEIVER_INSECURE": "true",
        }


@pytest.fixture(scope="session")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    """Made once for all tests."""
    folder = tmp_path_factory.mktemp("credentials")
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    keys = make_keys(folder / "issuer")
    return Credentials(
        authority=folder / "ca.pem",
        certificate=folder / "cert.pem",
        key=folder / "key.pem",
        issuer=Issuer.open(folder / "issuer"),
        keys=keys,
    )


@dataclass(kw_only=True)
class Collector:
    """A Collector on ports of its own, which stay the same when it is started again."""

    binary: Path
    name: str
    folder: Path
    environment: Mapping[str, str]
    ports: Mapping[str, int] = field(default_factory=lambda: {name: free_port() for name in PORTS})
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def queue(self) -> Path:
        """The folder of its queue on disk."""
        return self.folder / "queue"

    @property
    def log(self) -> str:
        """What it said."""
        return (self.folder / "log").read_text(encoding="utf-8")

    def address(self, port: str) -> str:
        """HOST:PORT of a listener."""
        return f"127.0.0.1:{self.ports[port]}"

    def start(self) -> None:
        """Start it and wait until it says that it is ready."""
        self.folder.mkdir(parents=True, exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADGATE_")}
        ports = {f"HEADGATE_COLLECTOR_{name}_PORT": str(port) for name, port in self.ports.items()}
        files = paths(select(self.name))
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(self.binary), *arguments(files)],
                env={**kept, **ports, "HEADGATE_COLLECTOR_DATA": str(self.queue), **self.environment},
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_S_MAX
        while not self._is_ready():
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.address('HEALTH')}/", timeout=PATIENCE_S) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def kill(self) -> None:
        """As a power cut would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def end(self) -> int:
        """End it in peace; its exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(START_S_MAX)

    def send(
        self,
        request: Message,
        signal: Signal = Signal.TRACES,
        *,
        port: str = "GRPC",
        token: str = "",
        authority: Path | None = None,
        timeout_s: float = PATIENCE_S,
    ) -> None:
        """Send a request over gRPC, with a token and over TLS when they are given, and wait for the answer."""
        metadata = [("authorization", f"Bearer {token}")] if token else []
        with self._channel(port, authority) as channel:
            export = channel.unary_unary(METHODS[signal], request_serializer=bytes, response_deserializer=bytes)
            export(to_protobuf(request), metadata=metadata, timeout=timeout_s, wait_for_ready=True)

    def _channel(self, port: str, authority: Path | None) -> grpc.Channel:
        options = [("grpc.max_send_message_length", -1)]
        if authority is None:
            return grpc.insecure_channel(self.address(port), options=options)
        trusted = grpc.ssl_channel_credentials(authority.read_bytes())
        return grpc.secure_channel(self.address(port), trusted, options=options)


StartCollector = Callable[..., Collector]
StartReceiver = Callable[..., str]


@pytest.fixture(scope="module")
def start_collector(collector_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartCollector]:
    """Starts Collectors: `start_collector("gateway+kafka", HEADGATE_COLLECTOR_RECEIVER=…)`; killed in the end."""
    started: list[Collector] = []

    def start(name: str, environment: Mapping[str, str] | None = None, **more: str) -> Collector:
        collector = Collector(
            binary=collector_binary,
            name=name,
            folder=tmp_path_factory.mktemp(name),
            environment={**(environment or {}), **more},
        )
        started.append(collector)
        collector.start()
        return collector

    yield start
    for collector in started:
        if collector.process is not None:
            collector.process.kill()
            collector.process.wait()


@pytest.fixture(scope="module")
def start_receiver() -> Iterator[StartReceiver]:
    """Starts receivers over an ingest: `start_receiver(ingest, port=0)` gives HOST:PORT; drained in the end."""
    started: list[Receiver] = []

    def start(ingest: Ingest, *, port: int = 0) -> str:
        receiver = Receiver(ingest, config=ReceiverConfig(grpc=f"127.0.0.1:{port}", http=None))
        started.append(receiver)
        return receiver.start()["grpc"]

    yield start
    for receiver in started:
        receiver.drain(5)
