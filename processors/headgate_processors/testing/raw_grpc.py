"""The beginning of a gRPC call, frame by frame, for tests of what no gRPC client does.

with RawCall(address, Signal.TRACES) as call:
call.send_message(body)          # or nothing at all
assert b"grpc-status" in call.received(until=b"grpc-status")
"""

import socket
import struct
from types import TracebackType
from typing import Self

from headgate_processors.otlp.port import Signal
from headgate_processors.testing.waiting import PATIENCE_S

_PATHS = {
    Signal.TRACES: b"/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    Signal.LOGS: b"/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    Signal.METRICS: b"/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
}
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, CONTINUATION = 0, 1, 3, 4, 6, 9
END_STREAM, END_HEADERS = 1, 4
_STREAM = 1


class RawCall:
    """One export call on a connection of its own: its head is sent at once, the rest when told."""

    def __init__(self, address: str, signal: Signal, *, encoding: str = "identity") -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
        block = head(signal, authority=address, encoding=encoding)
        self._socket.sendall(PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, END_HEADERS, _STREAM, block))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def send_message(self, body: bytes, *, is_compressed: bool = False) -> None:
        """Send the call's message; small enough for one frame."""
        message = struct.pack(">BI", is_compressed, len(body)) + body
        self._socket.sendall(frame(DATA, END_STREAM, _STREAM, message))

    def received(self, *, until: bytes, timeout_s: float = PATIENCE_S) -> bytes:
        """What the server sent, up to where `until` was seen, the connection ended, or time was up."""
        self._socket.settimeout(timeout_s)
        answer = b""
        while until not in answer:
            try:
                piece = self._socket.recv(65536)
            except TimeoutError:
                break
            if not piece:
                break
            answer += piece
        return answer


def head(signal: Signal, *, authority: str = "x", encoding: str = "identity") -> bytes:
    """The head of an export call as HTTP/2 sends it, without compression of any kind."""
    fields = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": _PATHS[signal],
        b":authority": authority.encode(),
        b"te": b"trailers",
        b"content-type": b"application/grpc",
        b"grpc-encoding": encoding.encode(),
    }
    return b"".join(b"\0" + _literal(name) + _literal(value) for name, value in fields.items())


def _literal(text: bytes) -> bytes:
    return bytes((len(text),)) + text


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One HTTP/2 frame."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload
