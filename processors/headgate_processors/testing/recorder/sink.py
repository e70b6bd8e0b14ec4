"""An OTLP endpoint that keeps what it is sent: gRPC and HTTP, protobuf and JSON, every signal."""

import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self

import grpc
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headgate_processors.errors import ConfigError, PermanentError
from headgate_processors.otlp.port import Encoding, Signal
from headgate_processors.receiver.compression import ENCODINGS, decompressed
from headgate_processors.receiver.grpc_server import SERVICES
from headgate_processors.replay.convert import json_tree
from headgate_processors.testing.recorder.run import Endpoints
from headgate_processors.testing.serving import Serving

_MAX_BYTES = 64 << 20
_THREADS = 8
_END_S = 5.0
_KEPT_HEADERS = frozenset({"user-agent", "content-type", "content-encoding", "accept-encoding"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One export request; `request` is OTLP JSON with ids in hexadecimal."""

    received_unix_nano: int
    transport: str
    signal: Signal
    path: str
    headers: Mapping[str, str]
    request: Mapping[str, Any]

    def as_line(self, seq: int) -> dict[str, Any]:
        """As a line of a recording."""
        return {
            "seq": seq,
            "received_unix_nano": self.received_unix_nano,
            "transport": self.transport,
            "signal": str(self.signal),
            "path": self.path,
            "headers": dict(self.headers),
            "request": self.request,
        }


class OtlpSink:
    """Takes everything on two free ports of loopback, as a context; what is no OTLP is refused and kept nowhere."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._received: list[Received] = []
        self._last_at = time.monotonic()
        self._stack = ExitStack()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="otlp-sink")
        self._grpc = grpc.server(self._pool, options=[("grpc.max_receive_message_length", _MAX_BYTES)])
        self._grpc.add_generic_rpc_handlers(tuple(self._handlers()))
        routes = [Route(f"/v1/{signal}", partial(self._over_http, signal), methods=["POST"]) for signal in Signal]
        self._http = Serving(Starlette(routes=routes), name="otlp-sink")
        self._grpc_port = 0

    @property
    def endpoints(self) -> Endpoints:
        """Where it listens."""
        return Endpoints(grpc=f"http://127.0.0.1:{self._grpc_port}", http=f"http://{self._http.address}")

    def received(self) -> list[Received]:
        """Every request in order of arrival."""
        with self._lock:
            return list(self._received)

    def wait_until_quiet(self, *, quiet_s: float, at_most_s: float) -> None:
        """Wait until nothing has come for a while."""
        until = time.monotonic() + at_most_s
        began = time.monotonic()
        while time.monotonic() < min(until, max(self._last_at, began) + quiet_s):
            time.sleep(0.05)

    def __enter__(self) -> Self:
        self._grpc_port = self._grpc.add_insecure_port("127.0.0.1:0")
        if not self._grpc_port:
            message = "the OTLP sink cannot listen on 127.0.0.1"
            raise ConfigError(message)
        self._grpc.start()
        self._stack.callback(self._pool.shutdown)
        self._stack.callback(lambda: self._grpc.stop(0).wait(_END_S))
        self._stack.enter_context(self._http)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _handlers(self) -> list[grpc.GenericRpcHandler]:
        return [
            grpc.method_handlers_generic_handler(
                service,
                {"Export": grpc.unary_unary_rpc_method_handler(partial(self._over_grpc, service, signal))},
            )
            for service, signal in SERVICES.items()
        ]

    def _over_grpc(self, service: str, signal: Signal, body: bytes, context: grpc.ServicerContext) -> bytes:
        headers = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        try:
            self._keep(
                "grpc", signal=signal, path=f"/{service}/Export", headers=headers, body=body, encoding="protobuf"
            )
        except PermanentError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        return b""

    async def _over_http(self, signal: Signal, request: Request) -> Response:
        is_json = "json" in request.headers.get("content-type", "")
        kind = "application/json" if is_json else "application/x-protobuf"
        said = request.headers.get("content-encoding", "identity")
        try:
            if said not in ENCODINGS:
                message = f"content-encoding {said}: expected one of {', '.join(ENCODINGS)}"
                raise PermanentError(message)
            body = decompressed(await request.body(), encoding=said, max_bytes=_MAX_BYTES)
            self._keep(
                "http",
                signal=signal,
                path=request.url.path,
                headers=request.headers,
                body=body,
                encoding="json" if is_json else "protobuf",
            )
        except PermanentError as error:
            return Response(str(error), 400)
        return Response(b"{}" if is_json else b"", media_type=kind)

    def _keep(
        self,
        transport: str,
        *,
        signal: Signal,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        encoding: Encoding,
    ) -> None:
        one = Received(
            received_unix_nano=time.time_ns(),
            transport=transport,
            signal=signal,
            path=path,
            headers={key: value for key, value in headers.items() if key in _KEPT_HEADERS},
            request=json_tree(body, signal=signal, encoding=encoding),
        )
        with self._lock:
            self._received.append(one)
            self._last_at = time.monotonic()
