"""A peer that means no good, for tests: it sends what it likes, notes what comes back, and when it is cut off."""

import socket
import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from headgate_processors.testing.raw_grpc import PREFACE, SETTINGS, frame
from headgate_processors.testing.waiting import PATIENCE_S

_PAGE_BYTES = 4096
_KEPT_BYTES = 1 << 20


class Hostile:
    """One TCP connection. `greets` begins as HTTP/2 does; `listens` reads what comes, so that neither end stalls."""

    def __init__(self, address: str, *, greets: bool = True, listens: bool = True) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True) if listens else None
        self.answer = b""
        if greets:
            self._socket.sendall(PREFACE + frame(SETTINGS, 0, 0))
        if self._thread is not None:
            self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def send(self, pieces: Iterable[bytes]) -> bool:
        """Send piece by piece; False when the other end cut the connection before the last one."""
        try:
            for piece in pieces:
                self._socket.sendall(piece)
        except OSError:
            return False
        return True

    def ended(self, *, timeout_s: float) -> bool:
        """Whether the other end closes the connection in this time."""
        return self._end.wait(timeout_s)

    def close(self) -> None:
        """Close it from this side."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            self._end.set()
        if self._thread is not None:
            self._thread.join(PATIENCE_S)
        self._socket.close()

    def _listen(self) -> None:
        self._socket.settimeout(None)
        try:
            while piece := self._socket.recv(65536):
                self.answer = (self.answer + piece)[:_KEPT_BYTES]
        except OSError:
            pass
        finally:
            self._end.set()


def memory_bytes() -> int:
    """What this process holds in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
