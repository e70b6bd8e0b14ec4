"""An ingest in memory for tests of whatever sends or receives: it fails when told, and knows what it took.

ingest = MemoryIngest(plan=lambda call: TransientError("later") if call == 0 else None)
body = to_protobuf(numbered_request(Signal.LOGS, range(10)))
...
assert list(range(10)) == ingest.items(Signal.LOGS)
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from headgate_processors.errors import PermanentError
from headgate_processors.otlp.port import Encoding, Signal
from headgate_processors.receiver.port import Accepted, Sender
from headgate_processors.testing.otlp import logs_request, metrics_request, traces_request

ITEM = "item"
_GATE_TIMEOUT_S = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """Of the next request, reject so many records."""

    records: int
    message: str = "rejected as planned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """One request that was kept."""

    body: bytes
    signal: Signal
    encoding: Encoding
    sender: Sender


class MemoryIngest:
    """Keeps requests; `plan` says for each call, counted from 0, what to raise, reject, or None to keep all."""

    def __init__(self, plan: Callable[[int], BaseException | Reject | None] = lambda _: None) -> None:
        self._plan = plan
        self._lock = threading.Lock()
        self._gate = threading.Event()
        self._gate.set()
        self.calls = 0
        self.taken: list[Taken] = []

    def __call__(self, body: bytes, *, signal: Signal, encoding: Encoding, sender: Sender) -> Accepted:
        """Do as planned."""
        with self._lock:
            outcome = self._plan(self.calls)
            self.calls += 1
        self._gate.wait(_GATE_TIMEOUT_S)
        if isinstance(outcome, BaseException):
            raise outcome.with_traceback(None)
        received = len(_records(_parsed(body, signal, encoding), signal))
        with self._lock:
            self.taken.append(Taken(body=body, signal=signal, encoding=encoding, sender=sender))
        rejected, message = (outcome.records, outcome.message) if outcome else (0, "")
        return Accepted(
            received=received,
            stored=received - rejected,
            rejected=rejected,
            message=message,
            reasons={"planned": rejected} if rejected else {},
        )

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Let no call return until the block ends."""
        self._gate.clear()
        try:
            yield
        finally:
            self._gate.set()

    def items(self, signal: Signal) -> list[int]:
        """The numbers of the records of all kept requests of a signal, in order of number."""
        with self._lock:
            taken = [one for one in self.taken if one.signal == signal]
        return sorted(item for one in taken for item in _items(_parsed(one.body, signal, one.encoding), signal))


def numbered_request(signal: Signal, items: Sequence[int]) -> Message:
    """A request with one record for each number, which is an attribute of the record."""
    match signal:
        case Signal.TRACES:
            return traces_request([{"span_id": f"{item + 1:016x}", "attributes": {ITEM: item}} for item in items])
        case Signal.LOGS:
            return logs_request([{"attributes": {ITEM: item}} for item in items])
        case Signal.METRICS:
            return metrics_request([{"points": [{"value": item, "attributes": {ITEM: item}} for item in items]}])


def _parsed(body: bytes, signal: Signal, encoding: Encoding) -> Any:
    message = _REQUESTS[signal]()
    try:
        if encoding == "json":
            ParseDict(_without_ids(orjson.loads(body)), message, ignore_unknown_fields=True)
        else:
            message.ParseFromString(body)
    except (DecodeError, ParseError, ValueError) as error:
        text = f"not a request of {signal}: {error}"
        raise PermanentError(text) from error
    return message


def _without_ids(node: Any) -> Any:
    """JSON without ids, which OTLP writes in hexadecimal and protobuf's own JSON in base64."""
    if isinstance(node, list):
        return [_without_ids(item) for item in node]
    if isinstance(node, dict):
        return {key: _without_ids(value) for key, value in node.items() if not key.endswith("Id")}
    return node


def _records(message: Any, signal: Signal) -> list[Any]:
    nodes = [message]
    for field in _LEVELS[signal]:
        nodes = [child for node in nodes for child in getattr(node, field)]
    if signal is Signal.METRICS:
        return [point for metric in nodes for point in getattr(metric, metric.WhichOneof("data")).data_points]
    return nodes


def _items(message: Any, signal: Signal) -> Iterator[int]:
    for record in _records(message, signal):
        for attribute in record.attributes:
            if attribute.key == ITEM:
                yield attribute.value.int_value


_REQUESTS: dict[Signal, Callable[[], Any]] = {
    Signal.TRACES: ExportTraceServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
    Signal.METRICS: ExportMetricsServiceRequest,
}
_LEVELS = {
    Signal.TRACES: ("resource_spans", "scope_spans", "spans"),
    Signal.LOGS: ("resource_logs", "scope_logs", "log_records"),
    Signal.METRICS: ("resource_metrics", "scope_metrics", "metrics"),
}
