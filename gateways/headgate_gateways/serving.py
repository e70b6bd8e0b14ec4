"""An application at its address, with bounds that hold before any request is there to be looked at.

aiohttp waits for the headers of a request as long as for an idle connection, and takes any number of connections. So a
connection is watched until its first headers are whole, and then handed over; later ones come within `idle_s`.
"""

import asyncio
import errno
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from headgate_gateways.model.seldom import Seldom
from headgate_processors.errors import ConfigError
from headgate_processors.receiver.addresses import shown_address

SHUTDOWN_S = 2.0
LINGER_S = 1.0
"""How long what is left of a body that was refused is read, so that its sender hears why."""
BACKLOG = 1_024
_ENDS = (b"\r\n\r\n", b"\n\n")
_TAIL_BYTES = 3
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionBounds:
    """`headers_s`: from a connection to its first whole headers. `idle_s`: from an answer to the next ones."""

    headers_s: float = 10.0
    idle_s: float = 75.0
    connections_max: int = 8_192


@asynccontextmanager
async def listening(
    app: web.Application,
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext | None = None,
    gives_way: bool = False,
    bounds: ConnectionBounds | None = None,
) -> AsyncIterator[str]:
    """The application at its address; where it really listens. A port that is taken `gives_way` to a free one.

    Raises:
        ConfigError: the address cannot be had.
    """
    bounds = bounds or ConnectionBounds()
    app.on_response_prepare.append(_unsigned)
    runner = web.AppRunner(
        app,
        access_log=None,
        logger=_quiet(),
        handler_cancellation=True,
        shutdown_timeout=SHUTDOWN_S,
        handle_signals=False,
        keepalive_timeout=bounds.idle_s,
        lingering_time=LINGER_S,
    )
    await runner.setup()
    try:
        server = await _bound(runner, host, port, bounds, tls=tls, gives_way=gives_way)
        try:
            yield shown_address(*server.sockets[0].getsockname()[:2])
        finally:
            server.close()
    finally:
        await runner.cleanup()


async def _unsigned(_: web.BaseRequest, answer: web.StreamResponse) -> None:
    """What serves this, and in which version, is nobody's business."""
    answer.headers.popall("server", None)


class _Malformed(logging.Filter):
    """Says of requests that are no HTTP, or too large, what is wrong with them, now and then, and nothing of them.

    aiohttp would log each with a traceback and the beginning of what was sent, such as a token.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seldom = Seldom()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is logged."""
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, HttpProcessingError):
            return True
        if (times := self._seldom.count()) is None:
            return False
        record.msg, record.args = "%d requests refused, the last because of a %s", (times, type(error).__name__)
        record.exc_info, record.levelno, record.levelname = None, logging.WARNING, "WARNING"
        return True


def _quiet() -> logging.Logger:
    logger = logging.Logger(_LOG.name)  # noqa: LOG001 - each server counts for itself.
    logger.parent = _LOG
    logger.addFilter(_Malformed())
    return logger


async def _bound(
    runner: web.AppRunner,
    host: str,
    port: int,
    bounds: ConnectionBounds,
    *,
    tls: ssl.SSLContext | None,
    gives_way: bool,
) -> asyncio.Server:
    loop, server = asyncio.get_running_loop(), runner.server
    if server is None:
        raise RuntimeError("the runner is not set up")
    refused, hello_s = Seldom(), None if tls is None else bounds.headers_s

    def accepted() -> asyncio.Protocol:
        return _FirstHeaders(server, bounds, refused)

    async def at(number: int) -> asyncio.Server:
        return await loop.create_server(accepted, host, number, backlog=BACKLOG, ssl=tls, ssl_handshake_timeout=hello_s)

    taken = shown_address(host, port)
    try:
        return await at(port)
    except OSError as error:
        if not gives_way or error.errno != errno.EADDRINUSE:
            message = f"cannot listen on {taken}: {error.strerror}. Choose another, or end what holds it"
            raise ConfigError(message) from error
    _LOG.warning("%s is taken, so a free port is used instead", taken)
    return await at(0)


class _FirstHeaders(asyncio.Protocol):
    """Stands before the protocol of a connection, which gets all that comes, until its first headers are whole."""

    def __init__(self, server: web.Server, bounds: ConnectionBounds, refused: Seldom) -> None:
        self._server, self._bounds, self._refused = server, bounds, refused
        self._behind: web.RequestHandler | None = None
        self._late: asyncio.TimerHandle | None = None
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or say that there are too many."""
        assert isinstance(transport, asyncio.Transport)
        if len(self._server.connections) >= self._bounds.connections_max:
            self._tell(f"{self._bounds.connections_max} connections are open")
            transport.write(_FULL)
            transport.close()
            return
        self._transport = transport
        self._late = asyncio.get_running_loop().call_later(self._bounds.headers_s, self._too_late)
        self._behind = self._server()
        self._behind.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Pass it on; with the end of the headers this is no more needed."""
        if self._behind is None:
            return
        seen = self._tail + data
        if any(end in seen for end in _ENDS):
            self._at_ease()
            self._transport.set_protocol(self._behind)
        self._tail = seen[-_TAIL_BYTES:]
        self._behind.data_received(data)

    def eof_received(self) -> bool | None:
        """As the one behind has it."""
        return self._behind.eof_received() if self._behind is not None else None  # type: ignore[func-returns-value]

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone, or was too slow."""
        self._at_ease()
        if self._behind is not None:
            self._behind.connection_lost(exc)

    def pause_writing(self) -> None:
        """As the one behind has it."""
        if self._behind is not None:
            self._behind.pause_writing()

    def resume_writing(self) -> None:
        """As the one behind has it."""
        if self._behind is not None:
            self._behind.resume_writing()

    def _too_late(self) -> None:
        self._tell(f"the headers did not come within {self._bounds.headers_s:g} seconds")
        self._transport.abort()

    def _tell(self, why: str) -> None:
        if (times := self._refused.count()) is not None:
            _LOG.warning("%d connections refused, the last because %s", times, why)

    def _at_ease(self) -> None:
        if self._late is not None:
            self._late.cancel()
