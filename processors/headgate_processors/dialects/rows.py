"""Rows on their way from records to batches: what hangs on which record, and what a record has from its origin."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson
import pyarrow as pa

from headgate_processors.dialects.belief import Believed
from headgate_processors.dialects.columns import batch_of, low
from headgate_processors.dialects.content import Sealed
from headgate_processors.enrich.identity import Identity
from headgate_processors.schema import CONTENT, WHO, Dataset

Rows = list[dict[str, object]]

_WHO_NAMES = tuple(column.name for column in WHO)
_NOTHING: Mapping[str, object] = {}


class Owner(NamedTuple):
    """The record that content, events and links hang on; `row` is its place in the batch."""

    row: int
    signal: str
    record_id: str
    trace_id: str | None
    span_id: str | None


class Piece(NamedTuple):
    """Content of a record: where its source had it, and which field it is."""

    owner: Owner
    attribute: str
    field: str
    sealed: Sealed


@dataclass(slots=True)
class Sink:
    """Rows on their way to the datasets; `received` has an entry a row, `blocks` how many rows each block has."""

    believed: Believed
    received: list[int]
    blocks: Sequence[int]
    meanings: Rows = field(default_factory=list)
    attributes: list[str] = field(default_factory=list)
    identities: list[Identity] = field(default_factory=list)
    suspects: list[bool] = field(default_factory=list)
    content: list[Piece] = field(default_factory=list)
    events: Rows = field(default_factory=list)
    links: Rows = field(default_factory=list)


class Origins:
    """The resources of a batch, each parsed once."""

    def __init__(self, wire: pa.RecordBatch) -> None:
        column = wire.column("resource_attributes")
        self._indices: list[int] = column.indices.to_pylist()
        self._texts: list[str] = column.dictionary.to_pylist()
        self._parsed = [loads(text) for text in self._texts]

    def resource(self, row: int) -> Mapping[str, object]:
        """The resource attributes of a row."""
        return self._parsed[self._indices[row]]

    def text(self, row: int) -> str:
        """The resource attributes of a row as JSON."""
        return self._texts[self._indices[row]]

    def services(self) -> list[str | None]:
        """The service name of each row."""
        names = [text_of(parsed.get("service.name")) for parsed in self._parsed]
        return [names[index] for index in self._indices]

    def service_columns(self, rows: Sequence[int] | None = None) -> dict[str, pa.Array]:
        """What the resource says of the service, of all rows or of some."""
        keys = {
            "service_name": "service.name",
            "service_version": "service.version",
            "service_instance_id": "service.instance.id",
        }
        indices = self._indices if rows is None else [self._indices[row] for row in rows]
        take = pa.array(indices, pa.int32())
        return {name: low([text_of(parsed.get(key)) for parsed in self._parsed], take) for name, key in keys.items()}


def who_columns(identities: Sequence[Identity]) -> dict[str, pa.Array]:
    """The identity columns that are known of any row; few identities stand in many rows."""
    distinct: dict[int, int] = {}
    listed: list[Identity] = []
    for identity in identities:
        if id(identity) not in distinct:
            distinct[id(identity)] = len(listed)
            listed.append(identity)
    take = pa.array([distinct[id(identity)] for identity in identities], pa.int32())
    named = {name: [getattr(identity, name) for identity in listed] for name in _WHO_NAMES}
    return {name: low(values, take) for name, values in named.items() if any(value is not None for value in values)}


def content_batch(sink: Sink, origins: Origins, key_id: str) -> pa.RecordBatch:
    """The content of all records; `key_id` names the key of its hashes."""
    pieces, services = sink.content, origins.services()
    owners = [piece.owner for piece in pieces]
    rows = [owner.row for owner in owners]
    columns: dict[str, list[Any]] = {
        "record_id": [owner.record_id for owner in owners],
        "signal": [owner.signal for owner in owners],
        "trace_id": [owner.trace_id for owner in owners],
        "span_id": [owner.span_id for owner in owners],
        "field": [piece.field for piece in pieces],
        "attribute": [piece.attribute for piece in pieces],
        "text": [piece.sealed.text for piece in pieces],
        "bytes": [piece.sealed.size_bytes for piece in pieces],
        "hash": [piece.sealed.hash for piece in pieces],
        "hash_key_id": [key_id] * len(pieces),
        "redacted": [piece.sealed.classes for piece in pieces],
        "received_unix_nano": [sink.received[row] for row in rows],
        "tenant": [sink.identities[row].tenant for row in rows],
        "service_name": [services[row] for row in rows],
    }
    return batch_of(
        CONTENT, {name: pa.array(values, CONTENT.schema.field(name).type) for name, values in columns.items()}, ()
    )


def attached_batch(
    dataset: Dataset, rows: Rows, *, wire: pa.RecordBatch, origins: Origins, sink: Sink
) -> pa.RecordBatch:
    """Rows that hang on a span take its record columns, identity and origin."""
    owners = _rows(rows)
    for entry, row in zip(rows, owners, strict=True):
        entry["time_suspect"] = sink.suspects[row]
        entry["dialect"] = sink.meanings[row].get("dialect")
        entry["dialect_version"] = sink.meanings[row].get("dialect_version")
    take = pa.array(owners, pa.int32())
    columns = origins.service_columns(owners)
    columns |= who_columns([sink.identities[row] for row in owners])
    columns["resource_attributes"] = wire.column("resource_attributes").take(take)
    columns["witness"] = sink.believed.witness.take(take)
    columns["received_unix_nano"] = pa.array([sink.received[row] for row in owners], pa.int64())
    return batch_of(dataset, columns, rows)


def _rows(entries: Rows) -> list[int]:
    """The row of the record that each entry belongs to."""
    return [row for entry in entries if isinstance(row := entry["_row"], int)]


def text_of(value: object) -> str | None:
    """An attribute as text."""
    return value if isinstance(value, str) else None if value is None else str(value)


def loads(text: str) -> Mapping[str, object]:
    """Attributes of their JSON."""
    parsed: Mapping[str, object] = orjson.loads(text) if text != "{}" else _NOTHING
    return parsed
