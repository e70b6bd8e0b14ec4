"""Serves an ASGI application on loopback in a thread, as a context."""

import asyncio
import logging
import socket
import threading
import time
from types import TracebackType
from typing import Self

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from headgate_processors.errors import TransientError

_LOG = logging.getLogger(__name__)
_START_S = 60.0
_END_S = 30.0


class BrokenError(ConnectionError):
    """An application raises it to close the connection in the middle of its answer."""


class Serving:
    """The application on a port, a free one when it is 0."""

    def __init__(self, app: ASGIApp, *, port: int = 0, name: str = "serving") -> None:
        self._app, self._port = app, port
        config = uvicorn.Config(
            self._serve,
            interface="asgi3",
            proxy_headers=False,
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def address(self) -> str:
        """`HOST:PORT`; only while it serves."""
        assert self._socket is not None
        host, port = self._socket.getsockname()[:2]
        return f"{host}:{port}"

    def __enter__(self) -> Self:
        self._socket = socket.create_server(("127.0.0.1", self._port))
        self._thread.start()
        until = time.monotonic() + _START_S
        while not self._server.started:
            if time.monotonic() > until or not self._thread.is_alive():
                message = f"{self._thread.name} does not start on {self.address}"
                raise TransientError(message)
            time.sleep(0.01)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join(_END_S)
        if self._socket is not None:
            self._socket.close()

    def _run(self) -> None:
        assert self._socket is not None
        asyncio.run(self._server.serve(sockets=[self._socket]))

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except BrokenError:
            # The application ends without the end of its answer: uvicorn then closes the connection.
            return
        except Exception:
            _LOG.exception("%s: a request failed", self._thread.name)
            raise
