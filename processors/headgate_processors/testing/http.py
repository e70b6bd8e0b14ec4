"""HTTP for tests: a plain client, and a socket for what no client sends."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection
from types import TracebackType
from typing import Self

from headgate_processors.testing.waiting import PATIENCE_S

PROTOBUF = "application/x-protobuf"
JSON = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An HTTP response; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def request(
    address: str, method: str, path: str, body: bytes | None = None, *, timeout_s: float = PATIENCE_S, **headers: str
) -> Answer:
    """Send one request on a connection of its own; `content_type="…"` sets `content-type`."""
    host, _, port = address.rpartition(":")
    connection = HTTPConnection(host, int(port), timeout=timeout_s)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)
        response = connection.getresponse()
        return Answer(
            status=response.status,
            headers={name.lower(): value for name, value in response.getheaders()},
            body=response.read(),
        )
    finally:
        connection.close()


class RawConnection:
    """A TCP connection that sends what it is told and collects what comes back."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=PATIENCE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._socket.sendall(data)

    def end(self) -> None:
        """Send no more."""
        self._socket.shutdown(socket.SHUT_WR)

    def received(self, *, until: bytes | None = None, timeout_s: float = PATIENCE_S) -> bytes:
        """What comes up to `until`, or to the end of the connection.

        Raises:
            TimeoutError: neither came in time.
        """
        self._socket.settimeout(timeout_s)
        answer = b""
        while until is None or until not in answer:
            try:
                piece = self._socket.recv(65536)
            except ConnectionResetError:
                break
            if not piece:
                break
            answer += piece
        return answer
