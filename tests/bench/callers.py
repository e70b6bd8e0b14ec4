"""Callers over HTTP that cost little themselves: one on a socket, for times; many in an event loop, for rates."""

import asyncio
import json
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Self

PATIENCE_S = 60.0
GROW_BYTES = 1 << 16
_OK = b"HTTP/1.1 200"

Asked = Callable[[int, int], bytes]
"""What a caller asks: its number, and how many times it will still ask."""


def request(address: str, path: str, key: str, body: Mapping[str, object], **headers: str) -> bytes:
    """A POST with a key, as its bytes."""
    content = json.dumps(body, separators=(",", ":")).encode()
    named = {"host": address, "authorization": f"Bearer {key}", "content-type": "application/json", **headers}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items())]
    return "\r\n".join([*lines, f"content-length: {len(content)}", "", ""]).encode() + content


def is_whole(answer: bytes | bytearray) -> bool:
    """Whether all of an answer is there."""
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return False
    head = bytes(answer[:end]).lower()
    _, named, rest = head.partition(b"content-length:")
    if named:
        return len(answer) >= end + 4 + int(rest.split(b"\r\n", 1)[0])
    return answer.endswith(b"0\r\n\r\n")


class Caller:
    """One connection that is kept, as a context."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, asked: bytes) -> None:
        """Send a request."""
        self._socket.sendall(asked)

    def read(self) -> bytes:
        """What comes next; nothing at its end."""
        with suppress(ConnectionResetError):
            return self._socket.recv(GROW_BYTES)
        return b""

    def call(self, asked: bytes) -> tuple[int, bytes]:
        """How many nanoseconds a request took until its whole answer was there, and the body of that.

        Raises:
            RuntimeError: the answer is no 200.
        """
        answer, began_ns = bytearray(), time.perf_counter_ns()
        self._socket.sendall(asked)
        while not is_whole(answer):
            piece = self._socket.recv(GROW_BYTES)
            if not piece:
                break
            answer += piece
        took_ns = time.perf_counter_ns() - began_ns
        _checked(answer)
        return took_ns, bytes(answer).partition(b"\r\n\r\n")[2]


def rate(address: str, asked: Asked, *, callers: int, requests: int) -> float:
    """Requests a second of so many callers, each of which asks the next thing as soon as it is answered."""
    began = time.monotonic()
    asyncio.run(_all(address, asked, callers, requests))
    return requests / (time.monotonic() - began)


async def _all(address: str, asked: Asked, callers: int, requests: int) -> None:
    host, _, port = address.rpartition(":")
    loop = asyncio.get_running_loop()
    shares = [requests // callers + (number < requests % callers) for number in range(callers)]
    made = [
        _Asking(partial(asked, number), share, loop.create_future()) for number, share in enumerate(shares) if share
    ]
    for one in made:
        await loop.create_connection(lambda one=one: one, host, int(port))  # type: ignore[misc]
    await asyncio.gather(*(one.over for one in made))


class _Asking(asyncio.Protocol):
    def __init__(self, asked: Callable[[int], bytes], times: int, over: "asyncio.Future[None]") -> None:
        self.over, self._asked, self._left = over, asked, times
        self._answer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._asked(self._left))

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if not is_whole(self._answer):
            return
        try:
            _checked(self._answer)
        except RuntimeError as error:
            self.over.set_exception(error)
            self._transport.abort()
            return
        self._answer.clear()
        self._left -= 1
        if self._left:
            self._transport.write(self._asked(self._left))
        else:
            self.over.set_result(None)
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.over.done():
            self.over.set_exception(exc or ConnectionResetError("a connection was closed before its answer"))


def _checked(answer: bytes | bytearray) -> None:
    if not answer.startswith(_OK):
        raise RuntimeError(f"expected a 200, got {bytes(answer[:1_000])!r}")
