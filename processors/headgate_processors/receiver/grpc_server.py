"""OTLP over gRPC: the three export services and `grpc.health.v1`.

The handlers take raw bytes: decoding is the ingest's work, and one bad record must not cost the request.
They are declared as stream-unary, which is the same on the wire for a client that sends one message, so
that a request is admitted before its message is received, and a sender that never sends it can be ended.

gRPC decompresses gzip and deflate itself and bounds what comes out. It knows no zstd: a sender that uses
it is answered `INTERNAL` before any handler runs, and should use OTLP/HTTP.
"""

import resource
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, TypeAlias

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import OVERALL_HEALTH, HealthServicer
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_status import rpc_status

from headgate_processors.errors import ConfigError, OverloadError, PermanentError
from headgate_processors.otlp.port import Signal
from headgate_processors.receiver.addresses import guarded_address, shown_address
from headgate_processors.receiver.admission import Place
from headgate_processors.receiver.config import ReceiverConfig
from headgate_processors.receiver.gate import Gate
from headgate_processors.receiver.intake import Intake
from headgate_processors.receiver.port import Peer
from headgate_processors.receiver.responses import export_response
from headgate_processors.receiver.stalls import StallWatch
from headgate_processors.receiver.status import Answer, MessageTooLargeError
from headgate_processors.receiver.tls import TlsFiles, TlsMaterial

SERVICES: Mapping[str, Signal] = {
    "opentelemetry.proto.collector.trace.v1.TraceService": Signal.TRACES,
    "opentelemetry.proto.collector.logs.v1.LogsService": Signal.LOGS,
    "opentelemetry.proto.collector.metrics.v1.MetricsService": Signal.METRICS,
}
PROTOCOL = "grpc"
Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"
# Threads beyond the places, which refuse what finds no place and answer health checks.
_SPARE_THREADS = 8
# Calls that are open on one connection; more wait at the client.
_STREAMS = 1000
# A message over the limit by up to a quarter is read, so that we answer and count it; gRPC does not tell us of others.
_OVER = 4
# How long calls that are cut off may take to end.
_CUT_OFF_S = 5.0
_SHARE_OF_FILES = 0.6
_LOOK_EVERY_S = 0.05
_QUIET_S = 0.5


class _ExportHandlers(grpc.GenericRpcHandler):
    """Finds the handler of an export method."""

    def __init__(self, handlers: Mapping[str, "Handler"]) -> None:
        self._handlers = handlers

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "Handler | None":
        return self._handlers.get(handler_call_details.method)


class GrpcServer:
    """Serves OTLP/gRPC from a bounded pool of threads; `setting` names its address in errors."""

    def __init__(
        self,
        intake: Intake,
        config: ReceiverConfig,
        *,
        gate: Gate,
        tls: TlsFiles | None,
        setting: str,
        max_connections: int,
    ) -> None:
        self._intake = intake
        self._config = config
        self._gate = gate
        self._tls = tls
        self._setting = setting
        self._stalls = StallWatch(config.receive_timeout_s)
        self._pool = ThreadPoolExecutor(config.places + _SPARE_THREADS, thread_name_prefix="headgate-grpc")
        self._health = HealthServicer()
        self._server = grpc.server(self._pool, options=_options(config, _allowed_connections(max_connections)))
        self._server.add_generic_rpc_handlers((_ExportHandlers(self._handlers()),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)

    def start(self, address: str) -> str:
        """Listen and serve; gives back the address with the port that was bound.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        is_private = self._tls is not None or self._config.insecure
        host, port = guarded_address(address, setting=self._setting, is_private=is_private)
        try:
            port = self._bound(shown_address(host, port))
        except RuntimeError as error:
            message = (
                f"{self._setting}: cannot listen on {address}: {error}. Another program may hold it; choose a port"
            )
            raise ConfigError(message) from error
        self._set_health(HealthCheckResponse.SERVING)
        self._stalls.start()
        self._server.start()
        return shown_address(host, port)

    def _bound(self, address: str) -> int:
        if self._tls is None:
            return self._server.add_insecure_port(address)
        return self._server.add_secure_port(address, _credentials(self._tls))

    def set_unready(self, why: str | None) -> None:
        """Tell health checks whether requests are taken at this moment; they are tried all the same."""
        self._set_health(HealthCheckResponse.SERVING if why is None else HealthCheckResponse.NOT_SERVING)

    def refuse_new(self) -> None:
        """Tell health checks that this server is leaving."""
        self._health.enter_graceful_shutdown()

    def drain(self, timeout_s: float) -> bool:
        """Accept nothing more and wait for what is in flight; says whether all of it was answered in time."""
        self.refuse_new()
        stopped = self._server.stop(timeout_s + _CUT_OFF_S)
        finished = self._is_answered(stopped, timeout_s)
        if not stopped.is_set():
            self._server.stop(0).wait(_CUT_OFF_S)
        self._stalls.close()
        self._pool.shutdown(wait=finished, cancel_futures=True)
        return finished

    def _is_answered(self, stopped: threading.Event, timeout_s: float) -> bool:
        """Wait until every call that a handler has is answered.

        A call that reached gRPC in the moment of its stop may get no handler: gRPC would wait for it to the
        end. Nothing of it was taken, so when no handler has had work for a while it is cut off.
        """
        deadline = time.monotonic() + timeout_s
        quiet_since = time.monotonic()
        while not stopped.wait(max(0.0, min(_LOOK_EVERY_S, deadline - time.monotonic()))):
            now = time.monotonic()
            if self._intake.counters.value("headgate_receiver_in_flight", protocol=PROTOCOL):
                quiet_since = now
            elif now - quiet_since > _QUIET_S:
                return True
            if now >= deadline:
                return False
        return True

    def _set_health(self, status: int) -> None:
        for service in (OVERALL_HEALTH, *SERVICES):
            self._health.set(service, status)

    def _handlers(self) -> dict[str, "Handler"]:
        return {
            f"/{service}/Export": grpc.stream_unary_rpc_method_handler(partial(self._export, signal))
            for service, signal in SERVICES.items()
        }

    def _export(self, signal: Signal, messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        try:
            return self._exported(signal, messages, context)
        except grpc.RpcError:
            return self._cancelled(signal)
        except BaseException as error:  # noqa: BLE001 - a panic of native code is no Exception, and must not be UNKNOWN
            answer = self._intake.refuse(error, signal=signal, protocol=PROTOCOL)
        return _abort(context, answer)

    def _exported(self, signal: Signal, messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        sender = self._gate(_peer(context))
        with self._place() as place:
            with self._stalls.watching(partial(self._end_stalled, context)):
                body = next(messages, None)
            if body is None:
                message = "an export call carries one message; this one carried none"
                raise PermanentError(message)
            if len(body) > self._config.max_message_bytes:
                message = (
                    f"request of {len(body)} bytes, larger than {self._config.max_message_bytes}: send smaller batches"
                )
                raise MessageTooLargeError(message)
            place.reserve(len(body))
            accepted = self._intake.accept(body, signal=signal, encoding="protobuf", sender=sender, protocol=PROTOCOL)
        return export_response(accepted, signal=signal)

    @contextmanager
    def _place(self) -> Iterator[Place]:
        """A place; when there is none, whoever has been sending for longest without an end loses theirs.

        Raises:
            OverloadError: there is none, and the sender should come again.
        """
        with ExitStack() as stack:
            try:
                place = stack.enter_context(self._intake.place(PROTOCOL))
            except OverloadError:
                self._stalls.end_oldest(older_than_s=self._config.header_timeout_s)
                raise
            yield place

    def _end_stalled(self, context: grpc.ServicerContext) -> None:
        self._intake.counters.add("headgate_receiver_stalled_total", protocol=PROTOCOL)
        context.cancel()

    def _cancelled(self, signal: Signal) -> bytes:
        """Count a request that ended before its message came; nobody reads the response."""
        self._intake.counters.add(
            "headgate_receiver_requests_total", protocol=PROTOCOL, signal=signal, status="CANCELLED"
        )
        return b""


def _allowed_connections(wanted: int) -> int:
    """As many connections as the open files of this process allow, leaving a part of them to everything else."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return wanted if files == resource.RLIM_INFINITY else max(1, min(wanted, int(files * _SHARE_OF_FILES)))


def _options(config: ReceiverConfig, max_connections: int) -> list[tuple[str, Any]]:
    """Channel arguments; without `so_reuseport` a second receiver on the same port is an error, as it should be."""
    return [
        ("grpc.max_receive_message_length", config.max_message_bytes + config.max_message_bytes // _OVER),
        ("grpc.max_metadata_size", config.max_header_bytes),
        ("grpc.so_reuseport", 0),
        ("grpc.max_concurrent_streams", _STREAMS),
        ("grpc.max_allowed_incoming_connections", max_connections),
        ("grpc.server_handshake_timeout_ms", int(config.header_timeout_s * 1000)),
        ("grpc.max_connection_idle_ms", int(config.idle_timeout_s * 1000)),
        # A connection whose other end is gone, or reads nothing, is closed when it has not answered for so long.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
    ]


def _peer(context: grpc.ServicerContext) -> Peer:
    pairs = context.invocation_metadata() or ()
    return Peer(
        address=context.peer(),
        headers={key: value for key, value in pairs if isinstance(value, str)},
        certificate_names=_certificate_names(context.auth_context()),
    )


def _certificate_names(verified: Any) -> tuple[str, ...]:
    """The names of the certificate of a peer: URIs first, then common names; none without mutual TLS."""
    names = [*verified.get("peer_uri", ()), *verified.get("x509_common_name", ())]
    return tuple(name.decode("utf-8", "replace") for name in names)


def _credentials(tls: TlsFiles) -> grpc.ServerCredentials:
    """Credentials that follow the files: gRPC asks at every handshake whether there are others."""
    given = [tls.current()]

    def changed() -> Any:
        current = tls.current()
        if current is given[0]:
            return None
        given[0] = current
        return _certificates(current)

    return grpc.dynamic_ssl_server_credentials(
        _certificates(given[0]), changed, require_client_authentication=given[0].client_ca is not None
    )


def _certificates(material: TlsMaterial) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(material.key, material.cert)], root_certificates=material.client_ca
    )


def _abort(context: grpc.ServicerContext, answer: Answer) -> bytes:
    context.abort_with_status(rpc_status.to_status(answer.status()))
    raise AssertionError(answer)  # abort_with_status always raises
