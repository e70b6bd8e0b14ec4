"""Connections of a listener: each is counted from its first moment, a handshake included, and ended at the end."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from headgate_processors.receiver.counters import Counters
from headgate_processors.receiver.tls import TlsFiles

_LOGGER = logging.getLogger(__name__)
# How many connections one turn of the loop takes, before it looks after those that are open.
_AT_ONCE = 64
# How long a listener rests when the process has no file or memory for another connection.
_REST_S = 0.25
# How long a peer may take to say goodbye over TLS.
_GOODBYE_S = 1.0
_TOO_MANY = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"

Task = asyncio.Task[None]
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptConfig:
    """How many connections may be open, how long a handshake and a goodbye may take, how much is read ahead."""

    max_connections: int
    handshake_timeout_s: float
    read_bytes: int
    backlog: int = 256


class Acceptor:
    """Accepts connections and runs `serve` for each, in one event loop.

    Full, it ends the connection that has been idle for longest to take another one, and turns that one away
    when none is idle.
    """

    def __init__(self, config: AcceptConfig, serve: Serve, *, counters: Counters, tls: TlsFiles | None) -> None:
        self.tasks: set[Task] = set()
        self._config = config
        self._serve = serve
        self._counters = counters
        self._tls = tls
        self._idle: dict[Task, None] = {}
        self._leaving: set[Task] = set()
        self._listener: socket.socket | None = None

    def listen(self, listener: socket.socket) -> None:
        """Take connections from `listener`, which `close` closes."""
        listener.listen(self._config.backlog)
        listener.setblocking(False)
        self._listener = listener
        self._resume()

    def close(self) -> None:
        """Take no more connections, and end those that wait for a request."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener.fileno())
            self._listener.close()
            self._listener = None
        for task in list(self._idle):
            task.cancel()

    def mark(self, task: Task, *, is_idle: bool) -> None:
        """A connection waits for its next request, or has got one."""
        self._idle.pop(task, None)
        if is_idle and task not in self._leaving:
            self._idle[task] = None

    def _resume(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().add_reader(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        """Take what waits, a bounded number; a process that is out of files rests and does not spin."""
        for _ in range(_AT_ONCE):
            if self._listener is None:
                return
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._rest(self._listener, error)
                return
            connection.setblocking(False)
            self._take(connection)

    def _rest(self, listener: socket.socket, error: OSError) -> None:
        _LOGGER.warning("no connection can be taken for now: %s", error)
        self._counters.add("headgate_receiver_connections_refused_total")
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener.fileno())
        loop.call_later(_REST_S, self._resume)

    def _take(self, connection: socket.socket) -> None:
        if len(self.tasks) - len(self._leaving) >= self._config.max_connections and not self._make_room():
            self._turn_away(connection)
            return
        # Until the task has begun nobody else would close the connection.
        begun: list[socket.socket] = []
        task = asyncio.get_running_loop().create_task(self._run(connection, begun))
        self.tasks.add(task)
        self._counters.add("headgate_receiver_connections")
        task.add_done_callback(lambda done: self._ended(done, None if begun else connection))

    def _make_room(self) -> bool:
        """End the connection that has been idle for longest; False when every one is at work."""
        oldest = next(iter(self._idle), None)
        if oldest is None:
            return False
        self._leaving.add(oldest)
        self.mark(oldest, is_idle=False)
        oldest.cancel()
        self._counters.add("headgate_receiver_connections_evicted_total")
        return True

    def _turn_away(self, connection: socket.socket) -> None:
        self._counters.add("headgate_receiver_connections_refused_total")
        with connection:
            if self._tls is None:
                try:
                    connection.send(_TOO_MANY)
                except OSError:
                    return

    def _ended(self, task: Task, connection: socket.socket | None) -> None:
        if connection is not None:
            connection.close()
        self.mark(task, is_idle=False)
        self.tasks.discard(task)
        self._leaving.discard(task)
        self._counters.add("headgate_receiver_connections", -1)

    async def _run(self, connection: socket.socket, begun: list[socket.socket]) -> None:
        """Serve one connection to its end, or to that of its handshake."""
        begun.append(connection)
        task = asyncio.current_task()
        assert task is not None
        self.mark(task, is_idle=True)
        try:
            reader, writer = await self._opened(connection)
        except OSError as error:
            if isinstance(error, ssl.SSLError | ConnectionError) and self._tls is not None:
                self._counters.add("headgate_receiver_tls_failures_total")
            return
        except asyncio.CancelledError:
            return
        try:
            await self._serve(reader, writer)
            await self._close(writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    async def _opened(self, connection: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=self._config.read_bytes, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol,
            connection,
            ssl=None if self._tls is None else self._tls.current().context,
            ssl_handshake_timeout=None if self._tls is None else self._config.handshake_timeout_s,
            ssl_shutdown_timeout=None if self._tls is None else _GOODBYE_S,
        )
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    async def _close(self, writer: asyncio.StreamWriter) -> None:
        """Send what is still to be sent, for a bounded time."""
        writer.close()
        async with asyncio.timeout(self._config.handshake_timeout_s):
            await writer.wait_closed()
