"""Spans: opaque messages to columns."""

from collections.abc import Sequence
from typing import Any

import orjson

from headgate_processors.otlp.columns import Columns, id_or_none, require_ids, word
from headgate_processors.otlp.values import (
    INT64_MAX,
    Attributes,
    optional_texts,
    text,
    texts,
)
from headgate_processors.otlp.wire import UnreadableError

_KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_STATUS_CODES = ("UNSET", "OK", "ERROR")
_PARENT_ID_BYTES = (0, 8)


def span_columns(spans: Sequence[Any], attributes: Attributes) -> Columns:
    """One row for each span.

    Raises:
        UnreadableError: at least one span cannot be kept.
    """
    statuses = [span.status for span in spans]
    return {
        "trace_id": require_ids([span.trace_id.hex() for span in spans], digits=32, what="trace id"),
        "span_id": require_ids([span.span_id.hex() for span in spans], digits=16, what="span id"),
        "parent_span_id": [_parent_id(span.parent_span_id) for span in spans],
        "trace_state": optional_texts([span.trace_state for span in spans], "trace state"),
        "flags": [span.flags for span in spans],
        "name": texts([span.name for span in spans], "span name"),
        "kind": [word(_KINDS, span.kind) for span in spans],
        "start_time_unix_nano": [span.start_time_unix_nano for span in spans],
        "end_time_unix_nano": [span.end_time_unix_nano or None for span in spans],
        "status_code": [word(_STATUS_CODES, status.code) for status in statuses],
        "status_message": optional_texts([status.message for status in statuses], "status message"),
        "attributes": list(map(orjson.dumps, attributes.of_each(spans))),
        "events": [_array_json(_event, span.events, attributes) for span in spans],
        "links": [_array_json(_link, span.links, attributes) for span in spans],
        "dropped_attributes_count": [span.dropped_attributes_count for span in spans],
    }


def _parent_id(encoded: bytes) -> str | None:
    if len(encoded) not in _PARENT_ID_BYTES:
        raise UnreadableError("bad_id", f"the parent span id has {len(encoded)} bytes instead of 8")
    return id_or_none(encoded, 8)


def _array_json(item: Any, messages: Sequence[Any], attributes: Attributes) -> bytes | None:
    """A JSON array of what `item` makes of each message, None when there are none."""
    return orjson.dumps([item(message, attributes) for message in messages]) if messages else None


def _event(event: Any, attributes: Attributes) -> dict[str, object]:
    return {
        "name": text(event.name, "event name"),
        "time_unix_nano": min(event.time_unix_nano, INT64_MAX),
        "attributes": attributes.members(event.attributes),
    }


def _link(link: Any, attributes: Attributes) -> dict[str, object]:
    return {
        "trace_id": link.trace_id.hex(),
        "span_id": link.span_id.hex(),
        "trace_state": text(link.trace_state, "trace state of a link") or None,
        "attributes": attributes.members(link.attributes),
    }
