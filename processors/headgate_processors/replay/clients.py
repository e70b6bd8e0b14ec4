"""OTLP clients for one request at a time: what to do next is told by the answer, as OTLP says."""

import http.client
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

import grpc
import orjson
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from headgate_processors.otlp.port import Encoding, Signal
from headgate_processors.replay.convert import to_protobuf
from headgate_processors.replay.endpoint import Endpoint
from headgate_processors.replay.requests import ReplayRequest

TIMEOUT_S = 30.0
_METHODS: Mapping[Signal, str] = {
    Signal.TRACES: "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    Signal.LOGS: "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    Signal.METRICS: "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
}
_RESPONSES: Mapping[Signal, Any] = {
    Signal.TRACES: ExportTraceServiceResponse,
    Signal.LOGS: ExportLogsServiceResponse,
    Signal.METRICS: ExportMetricsServiceResponse,
}
_REJECTED: Mapping[Signal, str] = {
    Signal.TRACES: "rejected_spans",
    Signal.LOGS: "rejected_log_records",
    Signal.METRICS: "rejected_data_points",
}
_RETRYABLE_CODES = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
_RETRYABLE_STATUSES = frozenset({429, 502, 503, 504})
_CONTENT_TYPES: Mapping[Encoding, str] = {"protobuf": "application/x-protobuf", "json": "application/json"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """The request is durable, but for the records that were rejected."""

    rejected: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The request was not taken; `may_retry` says whether to send it again, after `retry_after_s` if told."""

    reason: str
    may_retry: bool
    retry_after_s: float | None = None


class Client(Protocol):
    """Sends one request; called from many threads."""

    def send(self, request: ReplayRequest) -> Acknowledged | Failed:
        """Send it once.

        Raises:
            PermanentError: it cannot be put into the protocol's form.
        """

    def close(self) -> None:
        """Close what is open."""


def client_of(endpoint: Endpoint, headers: Mapping[str, str]) -> Client:
    """A client for the protocol of an endpoint."""
    return GrpcClient(endpoint, headers) if endpoint.protocol == "grpc" else HttpClient(endpoint, headers)


class GrpcClient:
    """Sends protobuf over one gRPC channel."""

    def __init__(self, endpoint: Endpoint, headers: Mapping[str, str]) -> None:
        options = [("grpc.max_send_message_length", -1)]
        if endpoint.is_tls:
            credentials = grpc.ssl_channel_credentials()
            self._channel = grpc.secure_channel(endpoint.authority, credentials, options=options)
        else:
            self._channel = grpc.insecure_channel(endpoint.authority, options=options)
        self._metadata = tuple((name.lower(), value) for name, value in headers.items())
        self._methods: dict[Signal, Callable[..., bytes]] = {
            signal: self._channel.unary_unary(method) for signal, method in _METHODS.items()
        }

    def send(self, request: ReplayRequest) -> Acknowledged | Failed:
        """Send it once, JSON turned into protobuf."""
        body = to_protobuf(request.body, signal=request.signal, encoding=request.encoding)
        try:
            answer = self._methods[request.signal](body, timeout=TIMEOUT_S, metadata=self._metadata)
        except grpc.RpcError as error:
            return _failed_call(error)
        return _acknowledged(answer, request.signal, "protobuf")

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()


class HttpClient:
    """Posts requests as they are, over one connection for each thread."""

    def __init__(self, endpoint: Endpoint, headers: Mapping[str, str]) -> None:
        self._endpoint = endpoint
        self._headers = dict(headers)
        self._local = threading.local()
        self._lock = threading.Lock()
        self._connections: list[http.client.HTTPConnection] = []

    def send(self, request: ReplayRequest) -> Acknowledged | Failed:
        """Send it once."""
        headers = {**self._headers, "content-type": _CONTENT_TYPES[request.encoding]}
        connection = self._connection()
        try:
            connection.request("POST", self._endpoint.path(request.signal), request.body, headers)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return Failed(reason=f"{type(error).__name__}: {error}", may_retry=True)
        if response.status != 200:
            return _failed_response(response, body)
        return _acknowledged(body, request.signal, request.encoding)

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            for connection in self._connections:
                connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            kind = http.client.HTTPSConnection if self._endpoint.is_tls else http.client.HTTPConnection
            connection = kind(self._endpoint.host, self._endpoint.port, timeout=TIMEOUT_S)
            self._local.connection = connection
            with self._lock:
                self._connections.append(connection)
        return connection


def _failed_call(error: grpc.RpcError) -> Failed:
    call = cast(grpc.Call, error)
    code = call.code()
    after_s = _retry_info_s(call)
    return Failed(
        reason=f"{code.name}: {call.details()}",
        may_retry=code in _RETRYABLE_CODES or (code is grpc.StatusCode.RESOURCE_EXHAUSTED and after_s is not None),
        retry_after_s=after_s,
    )


def _retry_info_s(error: grpc.Call) -> float | None:
    try:
        status = rpc_status.from_call(error)
    except ValueError:
        return None
    for detail in status.details if status is not None else ():
        info = RetryInfo()
        if detail.Unpack(info):
            return float(info.retry_delay.ToNanoseconds() / 1e9)
    return None


def _failed_response(response: http.client.HTTPResponse, body: bytes) -> Failed:
    after = response.headers.get("retry-after", "")
    return Failed(
        reason=f"HTTP {response.status}: {_status_message(response, body)}",
        may_retry=response.status in _RETRYABLE_STATUSES,
        retry_after_s=float(after) if after.isdecimal() else None,
    )


def _status_message(response: http.client.HTTPResponse, body: bytes) -> str:
    status = Status()
    try:
        if response.headers.get_content_type() == "application/json":
            ParseDict(orjson.loads(body), status, ignore_unknown_fields=True)
        else:
            status.ParseFromString(body)
    except (DecodeError, ParseError, ValueError):
        return response.reason
    return status.message or response.reason


def _acknowledged(body: bytes, signal: Signal, encoding: Encoding) -> Acknowledged:
    """What a successful answer says; one that cannot be read says that all is well."""
    answer = _RESPONSES[signal]()
    try:
        if encoding == "json":
            ParseDict(orjson.loads(body or b"{}"), answer, ignore_unknown_fields=True)
        else:
            answer.ParseFromString(body)
    except (DecodeError, ParseError, ValueError):
        return Acknowledged(rejected=0, message="")
    partial = answer.partial_success
    return Acknowledged(rejected=getattr(partial, _REJECTED[signal]), message=partial.error_message)
