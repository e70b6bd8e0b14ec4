"""Where OTLP is sent to, and over which protocol."""

import socket
from dataclasses import dataclass
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from headgate_processors.errors import ConfigError, TransientError
from headgate_processors.otlp.port import Signal

Protocol = Literal["grpc", "http"]
_PROBE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_SETTINGS = 4
_PROBE_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An OTLP endpoint; `base_path` comes before `/v1/traces` and is empty for gRPC."""

    protocol: Protocol
    host: str
    port: int
    is_tls: bool = False
    base_path: str = ""

    @property
    def authority(self) -> str:
        """`HOST:PORT`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def path(self, signal: Signal) -> str:
        """The HTTP path of a signal."""
        return f"{self.base_path}/v1/{signal}"


def parsed_endpoint(text: str) -> Endpoint:
    """The endpoint that `http://HOST:PORT`, `https://…`, `grpc://…` or `HOST:PORT` means.

    `grpc` is gRPC. A path, or a port that ends in 4318, is HTTP; a port that ends in 4317 is gRPC. Whatever
    else is asked: who answers the beginning of an HTTP/2 connection with HTTP/2 speaks gRPC.

    Raises:
        ConfigError: the text is no endpoint.
        TransientError: nobody answers where the protocol had to be asked for.
    """
    url = _split(text)
    host, port = url.hostname, url.port
    if url.scheme not in {"http", "https", "grpc", "grpcs"} or not host or not port:
        message = f"endpoint {text!r}: expected HOST:PORT or http://HOST:PORT, such as http://127.0.0.1:4317"
        raise ConfigError(message)
    base_path = url.path.rstrip("/")
    for signal in Signal:
        base_path = base_path.removesuffix(f"/v1/{signal}")
    protocol = _protocol(url, host, port)
    return Endpoint(
        protocol=protocol,
        host=host,
        port=port,
        is_tls=url.scheme in {"https", "grpcs"},
        base_path=base_path if protocol == "http" else "",
    )


def _split(text: str) -> SplitResult:
    try:
        url = urlsplit(text if "://" in text else f"http://{text}")
        _ = url.port
    except ValueError as error:
        message = f"endpoint {text!r}: {error}"
        raise ConfigError(message) from error
    return url


def _protocol(url: SplitResult, host: str, port: int) -> Protocol:
    if url.scheme in {"grpc", "grpcs"}:
        return "grpc"
    if url.path.rstrip("/") or str(port).endswith("4318"):
        return "http"
    if str(port).endswith("4317"):
        return "grpc"
    return _asked(host, port)


def _asked(host: str, port: int) -> Protocol:
    try:
        with socket.create_connection((host, port), timeout=_PROBE_TIMEOUT_S) as connection:
            connection.settimeout(_PROBE_TIMEOUT_S)
            connection.sendall(_PROBE)
            answer = connection.recv(9)
    except TimeoutError:
        return "http"
    except OSError as error:
        message = f"nothing answers at {host}:{port}: {error}"
        raise TransientError(message) from error
    return "grpc" if len(answer) >= 4 and answer[3] == _SETTINGS and not answer.startswith(b"HTTP") else "http"
