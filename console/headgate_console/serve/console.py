"""The console's listener: `/healthz`, `/readyz` and `/metrics`."""

import errno
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from headgate_console.errors import CommandError
from headgate_console.serve.supervisor import Supervisor
from headgate_console.settings import split_address


def console_app(supervisor: Supervisor, metrics: Callable[[], str]) -> Starlette:
    """The application; `metrics` gives the Prometheus text of every part."""

    async def healthz(_: Request) -> Response:
        return _answer(supervisor, ok=supervisor.healthy)

    async def readyz(_: Request) -> Response:
        return _answer(supervisor, ok=supervisor.ready)

    def prometheus(_: Request) -> Response:
        return PlainTextResponse(metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", prometheus)])


def _answer(supervisor: Supervisor, *, ok: bool) -> Response:
    parts = {
        name: {
            "ready": state.ready,
            "restarts": len(state.restarts),
            "listeners": state.listeners,
            **({"why": state.unready} if state.unready else {}),
        }
        for name, state in supervisor.states.items()
    }
    return JSONResponse({"status": "ok" if ok else "unavailable", "parts": parts}, status_code=200 if ok else 503)


def listen(address: str, *, chosen: bool) -> socket.socket:
    """A socket that listens on `HOST:PORT`; a default port that is taken gives way to a free one.

    Raises:
        CommandError: the address cannot be had.
    """
    host, port = split_address(address)
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        if error.errno == errno.EADDRINUSE and not chosen:
            return listen(f"{host}:0", chosen=True)
        message = f"cannot listen on {address}: {error.strerror}. Choose another console.listen, or end what holds it."
        raise CommandError(message) from error


def address_of(sock: socket.socket) -> str:
    """`HOST:PORT` of a listening socket."""
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class ConsoleServer:
    """Serves an application on a socket in a thread, as a context."""

    def __init__(self, app: Starlette, sock: socket.socket) -> None:
        self._server = uvicorn.Server(
            uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=2)
        )
        self._thread = threading.Thread(target=self._server.run, args=([sock],), name="headgate-console", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=5)
