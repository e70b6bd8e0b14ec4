"""Rows for tests of the store: small, valid, and told apart by a number."""

from collections.abc import Iterable, Mapping

import pyarrow as pa

from headgate_processors.schema import DATASETS, MONEY

NOON_NS = 1_764_072_000 * 10**9
"""2025-11-25 12:00 UTC: when the rows of tests are received unless they say otherwise."""

Row = Mapping[str, object]


def batch(dataset: str, rows: Iterable[Row]) -> pa.RecordBatch:
    """A batch that follows the schema of `dataset`; a required column that a row leaves out gets a plain value."""
    schema = DATASETS[dataset].schema
    listed = list(rows)
    columns = [pa.array([row.get(field.name, _plain(field)) for row in listed], _decoded(field)) for field in schema]
    encoded = [
        column.dictionary_encode() if pa.types.is_dictionary(field.type) else column
        for field, column in zip(schema, columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(encoded, schema=schema)


def span(number: int, *, trace: int = 1, ended: bool = True, received_ns: int = NOON_NS, **more: object) -> Row:
    """A span of one second that ended a second before it was received."""
    trace_id, span_id = f"{trace:032x}", f"{number:016x}"
    return {
        "trace_id": trace_id,
        "span_id": span_id,
        "record_id": trace_id + span_id,
        "name": f"span {number}",
        "start_time_unix_nano": received_ns - 2 * 10**9,
        "end_time_unix_nano": received_ns - 10**9 if ended else None,
        "received_unix_nano": received_ns,
        **more,
    }


def child(parent: Row, ordinal: int = 0, **more: object) -> Row:
    """A span event, span link or piece of content of a span, as the dataset that it goes to needs it."""
    kept = ("trace_id", "span_id", "record_id", "received_unix_nano")
    return {
        **{name: parent[name] for name in kept},
        "ordinal": ordinal,
        "field": "input_messages",
        "attribute": f"part {ordinal}",
        "hash": f"{ordinal:032x}",
        "time_unix_nano": parent["received_unix_nano"],
        **more,
    }


def log(number: int, *, received_ns: int = NOON_NS, **more: object) -> Row:
    """A log record without a trace."""
    return {
        "record_id": f"log-{number}",
        "session_key": f"session-{number % 3}",
        "time_unix_nano": received_ns - 10**9,
        "received_unix_nano": received_ns,
        **more,
    }


def point(number: int, *, received_ns: int = NOON_NS, **more: object) -> Row:
    """A metric point."""
    return {
        "record_id": f"point-{number}",
        "service_name": f"service-{number % 3}",
        "time_unix_nano": received_ns - 10**9,
        "received_unix_nano": received_ns,
        **more,
    }


def _decoded(field: pa.Field) -> pa.DataType:
    return field.type.value_type if pa.types.is_dictionary(field.type) else field.type


def _plain(field: pa.Field) -> object:
    if field.nullable:
        return None
    plain: dict[pa.DataType, object] = {pa.string(): "x", pa.int64(): 0, pa.bool_(): False, MONEY: 0}
    return plain[_decoded(field)]
