"""Rows on their way from records to batches: what hangs on which record, and what a record has from its origin."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson
import pyarrow as pa

from headgate_processors.dialects.belief import Believed
from headgate_processors.dialects.columns import batch_of, low, tiled
from headgate_processors.dialects.content import ContentReader, Sealed
from headgate_processors.enrich.identity import Identity
from headgate_processors.schema import CONTENT, WHO, Dataset

Rows = list[dict[str, object]]

_WHO_NAMES = tuple(column.name for column in WHO)
_NOTHING: Mapping[str, object] = {}


class Piece(NamedTuple):
    """Content of the record in `row` of a batch: where its source had it, and which field it is."""

    row: int
    attribute: str
    field: str
    value: object


class Event(NamedTuple):
    """An event of the span in `row` of a batch."""

    row: int
    ordinal: int
    name: str
    time_unix_nano: int
    attributes: str


class Link(NamedTuple):
    """A link of the span in `row` of a batch."""

    row: int
    ordinal: int
    linked_trace_id: str
    linked_span_id: str
    trace_state: str | None
    attributes: str


@dataclass(slots=True)
class Sink:
    """Rows on their way to the datasets; `received` has an entry a row, `blocks` how many rows each block has."""

    believed: Believed
    received: list[int]
    blocks: Sequence[int]
    meanings: Rows = field(default_factory=list)
    attributes: list[str] = field(default_factory=list)
    identities: list[Identity] = field(default_factory=list)
    content: list[Piece] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)


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

    def service_columns(self) -> dict[str, pa.Array]:
        """What the resource says of the service."""
        keys = {
            "service_name": "service.name",
            "service_version": "service.version",
            "service_instance_id": "service.instance.id",
        }
        take = pa.array(self._indices, pa.int32())
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


def content_batch(pieces: Sequence[Piece], records: pa.RecordBatch, reader: ContentReader) -> pa.RecordBatch:
    """The content of the records of a batch of spans or log events, sealed."""
    rows, attributes, fields, values = _columns(pieces, len(Piece._fields))
    # All in one go: the automaton of the rules is large, and only stays in the processor's cache that way.
    texts, sizes, hashes, classes = _columns([reader.sealed(value) for value in values], len(Sealed._fields))
    given: dict[str, Sequence[Any]] = {
        "field": fields,
        "attribute": attributes,
        "text": texts,
        "bytes": sizes,
        "hash": hashes,
        "redacted": classes,
    }
    constant = {
        "signal": tiled("traces" if "name" in records.schema.names else "logs", len(rows)),
        "hash_key_id": tiled(reader.key.key_id, len(rows)),
    }
    return _hung(CONTENT, given, rows, records, constant)


def attached_batch(
    dataset: Dataset, entries: Sequence[Event] | Sequence[Link], records: pa.RecordBatch
) -> pa.RecordBatch:
    """Events or links of the spans of a batch."""
    fields = entries[0]._fields
    given = dict(zip(fields, _columns(entries, len(fields)), strict=True))
    rows = given.pop("row")
    ids = records.column("record_id").to_pylist()
    given["record_id"] = [f"{ids[row]}-{ordinal}" for row, ordinal in zip(rows, given["ordinal"], strict=True)]
    return _hung(dataset, given, rows, records, {})


def _columns(entries: Sequence[tuple[Any, ...]], width: int) -> Sequence[Sequence[Any]]:
    return list(zip(*entries, strict=True)) if entries else [()] * width


def _hung(
    dataset: Dataset,
    given: Mapping[str, Sequence[Any]],
    rows: Sequence[int],
    records: pa.RecordBatch,
    constant: dict[str, pa.Array],
) -> pa.RecordBatch:
    """What hangs on records; a column that is not its own is that of the record in the row of each entry."""
    take = pa.array(rows, pa.int32())
    columns = {name: pa.array(own, dataset.schema.field(name).type) for name, own in given.items()} | constant
    for name in dataset.schema.names:
        if name not in columns:
            columns[name] = records.column(name).take(take)
    return batch_of(dataset, columns, ())


def text_of(value: object) -> str | None:
    """An attribute as text."""
    return value if isinstance(value, str) else None if value is None else str(value)


def loads(text: str) -> Mapping[str, object]:
    """Attributes of their JSON."""
    parsed: Mapping[str, object] = orjson.loads(text) if text != "{}" else _NOTHING
    return parsed
