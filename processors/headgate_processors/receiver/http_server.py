"""OTLP over HTTP, with `/healthz`, `/readyz` and `/metrics`.

The server is h11 on asyncio. What was weighed: granian is the fastest, but runs its handlers in worker
processes that it spawns itself and cannot say which port it bound. uvicorn waits for ever on a connection
that sends half a head, and its limit on connections cannot be told from an overload. Here every wait and
every buffer has a limit, which is most of what this file is; h11 parses what strangers send; and the
ingest, which blocks, runs in a bounded pool of threads.
"""

import asyncio
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import h11

from headgate_processors.errors import ConfigError, HeadgateError
from headgate_processors.receiver.addresses import guarded_address, shown_address
from headgate_processors.receiver.config import ReceiverConfig
from headgate_processors.receiver.gate import Gate
from headgate_processors.receiver.http_accept import AcceptConfig, Acceptor
from headgate_processors.receiver.http_connection import READ_BYTES, Disconnected, HttpConnection
from headgate_processors.receiver.http_routes import PROTOCOL, Export, Head, Response, Routes
from headgate_processors.receiver.intake import Intake
from headgate_processors.receiver.tls import TlsFiles

SETTING = "receiver.http"
_STOP_S = 1.0
_LAST_TURNS = 5


class HttpServer:
    """Serves OTLP/HTTP from an event loop in a thread of its own."""

    def __init__(self, intake: Intake, config: ReceiverConfig, *, gate: Gate, tls: TlsFiles | None) -> None:
        self._is_private = tls is not None or config.insecure
        self._service = _Service(intake, config, gate=gate, tls=tls)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self, address: str) -> str:
        """Listen and serve; gives back the address with the port that was bound.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        listener = _listener(*guarded_address(address, setting=SETTING, is_private=self._is_private))
        host, port = listener.getsockname()[:2]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="headgate-http", daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._service.listen(listener), self._loop).result()
        return shown_address(host, port)

    def set_unready(self, why: str | None) -> None:
        """Tell readiness checks why requests are refused at this moment; None when they are taken."""
        self._service.unready = why

    def refuse_new(self) -> None:
        """Tell readiness checks that this server is leaving."""
        self._service.draining = True

    def drain(self, timeout_s: float) -> bool:
        """Accept nothing more and wait for what is in flight; says whether all of it was answered in time."""
        assert self._loop is not None
        assert self._thread is not None
        self.refuse_new()
        finished = asyncio.run_coroutine_threadsafe(self._service.drain(timeout_s), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        return finished


class _Service:
    """What runs in the event loop: the listener and the connections that are open."""

    def __init__(self, intake: Intake, config: ReceiverConfig, *, gate: Gate, tls: TlsFiles | None) -> None:
        self.draining = False
        self.unready: str | None = None
        self._intake = intake
        self._config = config
        self._routes = Routes(intake, gate, config, unready=lambda: "draining" if self.draining else self.unready)
        self._pool = ThreadPoolExecutor(config.places, thread_name_prefix="headgate-http")
        accepting = AcceptConfig(
            max_connections=config.max_connections,
            handshake_timeout_s=config.header_timeout_s,
            read_bytes=READ_BYTES,
        )
        self._acceptor = Acceptor(accepting, self._connected, counters=intake.counters, tls=tls)

    async def listen(self, listener: socket.socket) -> None:
        """Take connections from `listener`."""
        self._acceptor.listen(listener)

    async def drain(self, timeout_s: float) -> bool:
        """Take no more connections, end the idle ones, wait for the others; cut off what is not answered in time."""
        self._acceptor.close()
        unfinished = await _unfinished(self._acceptor.tasks, timeout_s)
        for task in unfinished:
            task.cancel()
        await _unfinished(unfinished, _STOP_S)
        for _ in range(_LAST_TURNS):
            await asyncio.sleep(0)
        self._pool.shutdown(wait=not unfinished, cancel_futures=True)
        return not unfinished

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end."""
        task = asyncio.current_task()
        assert task is not None
        try:
            await self._serve(HttpConnection(reader, writer, self._config), task)
        except (Disconnected, h11.ProtocolError):
            # Nothing can be said to it, or nobody would hear it: no waiting for what was not sent yet.
            writer.transport.abort()

    async def _serve(self, connection: HttpConnection, task: asyncio.Task[None]) -> None:
        while not self.draining:
            self._acceptor.mark(task, is_idle=True)
            try:
                head = await connection.head()
            except h11.RemoteProtocolError as error:
                await self._answer_nonsense(connection, error)
                return
            finally:
                self._acceptor.mark(task, is_idle=False)
            if head is None:
                return
            response = await self._answered(connection, head)
            await connection.respond(response, close=self.draining)
            if not connection.is_reusable:
                return

    async def _answered(self, connection: HttpConnection, head: Head) -> Response:
        route = self._routes.route(head)
        if isinstance(route, Response):
            await self._discard(connection)
            return route
        try:
            with self._intake.place(PROTOCOL) as place:
                body = await connection.body(place.reserve)
                return await asyncio.get_running_loop().run_in_executor(
                    self._pool, self._routes.take, route, body, place
                )
        except HeadgateError as error:
            return await self._refused(connection, route, error)
        except Disconnected:
            self._intake.counters.add("headgate_receiver_stalled_total", protocol=PROTOCOL)
            raise

    async def _refused(self, connection: HttpConnection, export: Export, error: HeadgateError) -> Response:
        response = self._routes.refuse(error, signal=export.signal, encoding=export.encoding)
        await self._discard(connection)
        return response

    async def _discard(self, connection: HttpConnection) -> None:
        """Read what nobody wants, so that the answer can be heard; such a connection gives way like an idle one."""
        task = asyncio.current_task()
        assert task is not None
        self._acceptor.mark(task, is_idle=True)
        try:
            await connection.discard()
        finally:
            self._acceptor.mark(task, is_idle=False)

    async def _answer_nonsense(self, connection: HttpConnection, error: h11.RemoteProtocolError) -> None:
        if connection.can_respond:
            text = Response(
                status=error.error_status_hint, content_type="text/plain; charset=utf-8", body=f"{error}\n".encode()
            )
            await connection.respond(text, close=True)


async def _unfinished(tasks: set[asyncio.Task[None]], timeout_s: float) -> set[asyncio.Task[None]]:
    """The tasks that have not ended after `timeout_s`."""
    return (await asyncio.wait(tasks, timeout=timeout_s))[1] if tasks else set()


def _listener(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, where = _resolved(host, port)
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(where)
    except OSError as error:
        listener.close()
        shown = shown_address(host, port)
        message = f"{SETTING}: cannot listen on {shown}: {error}. Another program may hold it; choose a port"
        raise ConfigError(message) from error
    return listener


def _resolved(host: str, port: int) -> tuple[int, int, int, str, Any]:
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        message = f"{SETTING}: {host} is no address of this machine: {error}"
        raise ConfigError(message) from error
