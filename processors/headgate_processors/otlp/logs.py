"""Log records: opaque messages to columns."""

from collections.abc import Sequence
from typing import Any

import orjson

from headgate_processors.otlp.columns import Columns, id_or_none
from headgate_processors.otlp.values import Attributes, Members, optional_texts, value_json


def log_columns(records: Sequence[Any], attributes: Attributes) -> Columns:
    """One row for each log record.

    Raises:
        UnreadableError: at least one record cannot be kept.
    """
    members = attributes.of_each(records)
    names = optional_texts([record.event_name for record in records], "event name")
    return {
        "time_unix_nano": [record.time_unix_nano or record.observed_time_unix_nano for record in records],
        "observed_time_unix_nano": [record.observed_time_unix_nano or None for record in records],
        "severity_number": [record.severity_number or None for record in records],
        "severity_text": optional_texts([record.severity_text for record in records], "severity text"),
        "event_name": [name or _event_name(own) for name, own in zip(names, members, strict=True)],
        "body": [value_json(record.body) if record.body else None for record in records],
        "trace_id": [id_or_none(record.trace_id, 16) for record in records],
        "span_id": [id_or_none(record.span_id, 8) for record in records],
        "flags": [record.flags for record in records],
        "attributes": list(map(orjson.dumps, members)),
        "dropped_attributes_count": [record.dropped_attributes_count for record in records],
    }


def _event_name(members: Members) -> str | None:
    """The name as those write it who have no field for it."""
    name = members.get("event.name")
    return name if isinstance(name, str) and name else None
