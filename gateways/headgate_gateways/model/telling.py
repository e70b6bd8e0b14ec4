"""Tells of calls and decisions as OTLP, from queues that are bounded and that no call waits for."""

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import ReadableLogRecord, ReadWriteLogRecord
from opentelemetry.sdk._logs.export import (
    BatchLogRecordProcessor,
    LogRecordExporter,
    LogRecordExportResult,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from headgate_control.decide.decision import Logged
from headgate_control.identity.instance import Instance
from headgate_gateways.model.named import CallTrace
from headgate_gateways.model.told import ToldCall, Value, decision_attributes, row_attributes
from headgate_gateways.model.unfinished import Unfinished

SERVICE = "headgate-model-gateway"
DECISION = "headgate.decision"
QUEUE_RECORDS_MAX = 16_384
BATCH_RECORDS_MAX = 512
EVERY_MS = 250
EXPORT_S = 60
_LOG = logging.getLogger(__name__)
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


class Teller(Protocol):
    """Hears of every decision and of every call at its end. Nothing here may wait or fail."""

    def decision(self, logged: Logged, instance: Instance | None, trace: CallTrace) -> None:
        """A decision, as soon as it is made."""
        ...

    def call(self, told: ToldCall) -> None:
        """A call, as soon as it is over."""
        ...

    def again(self, row: Mapping[str, Any], instance: Instance | None) -> None:
        """A decision of an earlier process, as its log has it; it may have been told before."""
        ...


class Silent:
    """Tells nobody."""

    def decision(self, logged: Logged, instance: Instance | None, trace: CallTrace) -> None:
        """As `Teller.decision`."""

    def call(self, told: ToldCall) -> None:
        """As `Teller.call`."""

    def again(self, row: Mapping[str, Any], instance: Instance | None) -> None:
        """As `Teller.again`."""


@dataclass(slots=True)
class Counts:
    """How many records were told, are done with, and were lost: to a full queue, or to an export that failed."""

    told: int = 0
    done: int = 0
    lost: int = 0
    _guard: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def take(self, queue_max: int) -> bool:
        """Count one more; false, and lost, when as many wait as may."""
        with self._guard:
            if self.told - self.done >= queue_max:
                self.lost += 1
                return False
            self.told += 1
            return True

    def exported(self, records: int, *, well: bool) -> None:
        """So many have left the queue."""
        with self._guard:
            self.done += records
            self.lost += 0 if well else records


class Telling:
    """A `Teller` that sends spans and log events. May be called by any number of threads; `close` it at the end.

    `unfinished` hears which calls the store has.
    """

    def __init__(
        self,
        spans: SpanExporter,
        logs: LogRecordExporter,
        *,
        queue_max: int = QUEUE_RECORDS_MAX,
        version: str = "",
        unfinished: Unfinished | None = None,
    ) -> None:
        self.spans, self.logs, self._unfinished = Counts(), Counts(), unfinished
        self._queue_max = queue_max
        self._resource = Resource({"service.name": SERVICE, **({"service.version": version} if version else {})})
        self._scope = InstrumentationScope("headgate.gateway.model", version or None)
        batch = min(BATCH_RECORDS_MAX, queue_max)
        self._to_spans = BatchSpanProcessor(
            _CountedSpans(spans, self.spans, unfinished),
            max_queue_size=queue_max,
            schedule_delay_millis=EVERY_MS,
            max_export_batch_size=batch,
        )
        self._to_logs = BatchLogRecordProcessor(
            _CountedLogs(logs, self.logs),
            max_queue_size=queue_max,
            schedule_delay_millis=EVERY_MS,
            max_export_batch_size=batch,
        )

    @classmethod
    def for_endpoint(
        cls,
        address: str,
        token: str,
        channel: Mapping[str, Any],
        *,
        version: str = "",
        unfinished: Unfinished | None = None,
    ) -> "Telling":
        """One that sends to the platform listener at `HOST:PORT`; `channel` is how, as exporters take it."""
        from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter  # noqa: PLC0415
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

        options: dict[str, Any] = {
            "endpoint": address,
            "headers": (("authorization", f"Bearer {token}"),),
            "timeout": EXPORT_S,
            **channel,
        }
        return cls(OTLPSpanExporter(**options), OTLPLogExporter(**options), version=version, unfinished=unfinished)

    def decision(self, logged: Logged, instance: Instance | None, trace: CallTrace) -> None:
        """As `Teller.decision`."""
        if self.logs.take(self._queue_max):
            attributes = decision_attributes(logged, instance)
            self._decision(logged.time_unix_nano, trace.trace_id, trace.span_id, logged.decision.allowed, attributes)

    def again(self, row: Mapping[str, Any], instance: Instance | None) -> None:
        """As `Teller.again`."""
        if self.logs.take(self._queue_max):
            columns = {name: value for name, value in row.items() if name != "kind"}
            trace_id, span_id = (int(str(row.get(name) or "0"), 16) for name in ("trace_id", "span_id"))
            attributes = row_attributes(columns, instance)
            self._decision(row["time_unix_nano"], trace_id, span_id, row["decision"] is True, attributes)

    def _decision(
        self, at_unix_nano: int, trace_id: int, span_id: int, is_allowed: bool, attributes: dict[str, Value]
    ) -> None:
        record = LogRecord(
            timestamp=at_unix_nano,
            observed_timestamp=at_unix_nano,
            trace_id=trace_id,
            span_id=span_id,
            trace_flags=_SAMPLED,
            severity_number=SeverityNumber.INFO if is_allowed else SeverityNumber.WARN,
            attributes=attributes,
        )
        record.event_name = DECISION
        self._to_logs.on_emit(ReadWriteLogRecord(record, resource=self._resource, instrumentation_scope=self._scope))

    def call(self, told: ToldCall) -> None:
        """As `Teller.call`."""
        if not self.spans.take(self._queue_max):
            if self._unfinished is not None:
                self._unfinished.sent([told.trace.span_id], well=False)
            return
        trace, parent = told.trace, told.trace.parent_span_id
        self._to_spans.on_end(
            ReadableSpan(
                name=told.name,
                context=SpanContext(trace.trace_id, trace.span_id, is_remote=False, trace_flags=_SAMPLED),
                parent=SpanContext(trace.trace_id, parent, is_remote=True) if parent is not None else None,
                resource=self._resource,
                attributes=told.attributes(),
                kind=SpanKind.CLIENT,
                status=Status(StatusCode.ERROR) if told.error_type is not None else Status(StatusCode.UNSET),
                start_time=told.began_unix_nano,
                end_time=told.ended_unix_nano,
                instrumentation_scope=self._scope,
            )
        )

    def flush(self) -> None:
        """Return when what was told has been sent, or could not be."""
        self._to_spans.force_flush()
        self._to_logs.force_flush()

    def close(self) -> None:
        """Send what is left and end. Safe to call twice."""
        self._to_spans.shutdown()  # type: ignore[no-untyped-call]
        self._to_logs.shutdown()  # type: ignore[no-untyped-call]
        lost = self.spans.lost + self.logs.lost
        if self._unfinished is not None:
            self._unfinished.close(well=not self.logs.lost)
        if lost:
            _LOG.warning(
                "%d records of calls and decisions could not be told; the decision log has all decisions", lost
            )


class _CountedSpans(SpanExporter):
    def __init__(self, inner: SpanExporter, counts: Counts, unfinished: Unfinished | None) -> None:
        self._inner, self._counts, self._unfinished = inner, counts, unfinished

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        try:
            result = self._inner.export(spans)
        finally:
            well = result is SpanExportResult.SUCCESS
            self._counts.exported(len(spans), well=well)
            if self._unfinished is not None:
                self._unfinished.sent([span.context.span_id for span in spans if span.context is not None], well=well)
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()


class _CountedLogs(LogRecordExporter):
    def __init__(self, inner: LogRecordExporter, counts: Counts) -> None:
        self._inner, self._counts = inner, counts

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        result = LogRecordExportResult.FAILURE
        try:
            result = self._inner.export(batch)
        finally:
            self._counts.exported(len(batch), well=result is LogRecordExportResult.SUCCESS)
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()  # type: ignore[no-untyped-call]

    def force_flush(self, timeout_millis: int = 10_000) -> bool:
        return self._inner.force_flush(timeout_millis)
