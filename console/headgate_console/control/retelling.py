"""Decisions that the store was not told of, such as those made while it was away for long: told again from the log."""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import TraceFlags

from headgate_control.identity.instance import Instance
from headgate_gateways.model.telling import DECISION, SERVICE
from headgate_gateways.model.told import row_attributes
from headgate_processors.errors import TransientError

BATCH_RECORDS_MAX = 512
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


def retell(rows: Iterable[Mapping[str, Any]], instances: Mapping[str, Instance], exporter: LogRecordExporter) -> int:
    """Tell of decisions, as rows of their log; how many.

    Raises:
        TransientError: the store does not take them now.
    """
    count, resource = 0, Resource({"service.name": SERVICE})
    left = iter(rows)
    while batch := list(islice(left, BATCH_RECORDS_MAX)):
        records = [ReadableLogRecord(_record(row, instances), resource) for row in batch]
        if exporter.export(records) is not LogRecordExportResult.SUCCESS:
            raise TransientError("the store does not take decisions that it was not told of: is `headgate up` running?")
        count += len(batch)
    return count


def _record(row: Mapping[str, Any], instances: Mapping[str, Instance]) -> LogRecord:
    columns = {name: value for name, value in row.items() if name != "kind"}
    record = LogRecord(
        timestamp=row["time_unix_nano"],
        observed_timestamp=row["time_unix_nano"],
        trace_id=_whole(row.get("trace_id")),
        span_id=_whole(row.get("span_id")),
        trace_flags=_SAMPLED,
        severity_number=SeverityNumber.INFO if row.get("decision") else SeverityNumber.WARN,
        attributes=row_attributes(columns, instances.get(str(row.get("instance_id")))),
    )
    record.event_name = DECISION
    return record


def _whole(text: object) -> int:
    """An id in hexadecimal; 0 is none."""
    try:
        return int(str(text), 16) if text else 0
    except ValueError:
        return 0
