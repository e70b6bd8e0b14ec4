"""One HTTP/1.1 connection: heads and bodies under time and size limits, on h11's parser."""

import asyncio
from collections.abc import Callable
from http import HTTPStatus

import h11

from headgate_processors.errors import TooLargeError
from headgate_processors.receiver.config import ReceiverConfig
from headgate_processors.receiver.http_routes import Head, Response
from headgate_processors.receiver.tls import certificate_names

READ_BYTES = 256 * 1024
_VERSIONS = frozenset({b"1.0", b"1.1"})
_NOT_HTTP_1 = "this port takes OTLP over HTTP/1.1; OTLP over gRPC has a port of its own, usually 4317"
# What is read and thrown away of a body that is too large, so that its sender can hear the answer.
_DISCARD_TIMES = 4


class Disconnected(Exception):  # noqa: N818 - an end, not an error
    """The sender is gone, or so slow or so wrong that nothing can be answered."""


class HttpConnection:
    """Reads requests and writes responses, one after the other.

    Every wait has a limit. A sender that stalls is cut off without an answer: it then knows that the
    request may be sent again, which no 4xx status would tell it.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, config: ReceiverConfig) -> None:
        self._reader = reader
        self._writer = writer
        self._config = config
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=config.max_header_bytes)
        self._peer = _peer_name(writer)
        self._certificate_names = _certificate_names(writer)
        self._first = True

    @property
    def is_reusable(self) -> bool:
        """Whether another request may follow."""
        return self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE

    async def head(self) -> Head | None:
        """The head of the next request; None when the sender closes the connection instead.

        Raises:
            h11.RemoteProtocolError: what came is no HTTP.
            Disconnected: nothing came in time.
        """
        if self._h11.our_state is h11.DONE:
            self._h11.start_next_cycle()
        if not self._h11.trailing_data[0]:
            await self._read(self._config.header_timeout_s if self._first else self._config.idle_timeout_s)
        self._first = False
        event = await self._timed_event(self._config.header_timeout_s)
        if not isinstance(event, h11.Request):
            return None
        if event.http_version not in _VERSIONS:
            raise h11.RemoteProtocolError(_NOT_HTTP_1, error_status_hint=HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
        return self._head(event)

    async def body(self, reserve: Callable[[int], None]) -> bytes:
        """The body of the current request; `reserve` is told the size of each piece and may raise.

        Raises:
            TooLargeError: it is larger than the limit; it was read to its end and thrown away.
            Disconnected: it did not come in time.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._config.receive_timeout_s
        pieces: list[bytes] = []
        size = 0
        while True:
            left_s = min(self._config.stall_timeout_s, deadline - loop.time())
            event = await self._timed_event(left_s)
            if isinstance(event, h11.EndOfMessage):
                break
            if not isinstance(event, h11.Data):
                raise Disconnected
            size += len(event.data)
            if size > self._config.max_message_bytes:
                pieces.clear()
                self._check_discard(size)
            else:
                reserve(len(event.data))
                pieces.append(bytes(event.data))
        if size > self._config.max_message_bytes:
            message = f"request of {size} bytes, larger than {self._config.max_message_bytes}: send smaller batches"
            raise TooLargeError(message)
        return b"".join(pieces)

    async def discard(self) -> None:
        """Read what is left of the current request's body and throw it away, so that the answer can be heard.

        Raises:
            Disconnected: there is too much of it, or it comes too slowly.
        """
        if self._h11.they_are_waiting_for_100_continue:
            return
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._config.receive_timeout_s
        size = 0
        while self._h11.their_state is h11.SEND_BODY:
            event = await self._timed_event(min(self._config.stall_timeout_s, deadline - loop.time()))
            if isinstance(event, h11.Data):
                size += len(event.data)
                self._check_discard(size)

    async def respond(self, response: Response, *, close: bool) -> None:
        """Write an answer."""
        headers = [
            ("content-type", response.content_type),
            ("content-length", str(len(response.body))),
            *response.headers.items(),
        ]
        if close or self._h11.their_state is not h11.DONE:
            headers.append(("connection", "close"))
        await self._send(
            h11.Response(status_code=response.status, headers=headers, reason=HTTPStatus(response.status).phrase),
            h11.Data(data=response.body),
            h11.EndOfMessage(),
        )

    @property
    def can_respond(self) -> bool:
        """Whether an answer can still be written."""
        return self._h11.our_state in {h11.IDLE, h11.SEND_RESPONSE}

    async def _timed_event(self, timeout_s: float) -> h11.Event | None:
        try:
            async with asyncio.timeout(timeout_s):
                return await self._event()
        except TimeoutError as error:
            raise Disconnected from error

    async def _event(self) -> h11.Event | None:
        """What comes next; None when the connection is at its end."""
        while (event := self._h11.next_event()) is h11.NEED_DATA:
            if self._h11.they_are_waiting_for_100_continue:
                await self._send(h11.InformationalResponse(status_code=100, headers=[]))
            self._h11.receive_data(await self._reader.read(READ_BYTES))
        return event if isinstance(event, h11.Event) else None

    async def _read(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                self._h11.receive_data(await self._reader.read(READ_BYTES))
        except TimeoutError as error:
            raise Disconnected from error

    async def _send(self, *events: h11.Event) -> None:
        for event in events:
            data = self._h11.send(event)
            if data:
                self._writer.write(data)
        try:
            async with asyncio.timeout(self._config.stall_timeout_s):
                await self._writer.drain()
        except TimeoutError as error:
            raise Disconnected from error

    def _check_discard(self, size: int) -> None:
        if size > _DISCARD_TIMES * self._config.max_message_bytes:
            raise Disconnected

    def _head(self, request: h11.Request) -> Head:
        target = request.target.decode("ascii", "replace")
        return Head(
            method=request.method.decode("ascii", "replace"),
            path=target.partition("?")[0],
            headers={name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers},
            peer=self._peer,
            certificate_names=self._certificate_names,
        )


def _peer_name(writer: asyncio.StreamWriter) -> str:
    name = writer.get_extra_info("peername")
    return f"{name[0]}:{name[1]}" if isinstance(name, tuple) else ""


def _certificate_names(writer: asyncio.StreamWriter) -> tuple[str, ...]:
    encrypted = writer.get_extra_info("ssl_object")
    return certificate_names(encrypted.getpeercert()) if encrypted is not None else ()
