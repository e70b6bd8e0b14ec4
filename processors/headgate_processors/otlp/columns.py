"""From Python lists to one Arrow batch; resource and scope as dictionary values."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa

from headgate_processors import schema
from headgate_processors.otlp.limits import check_record_count
from headgate_processors.otlp.port import Signal
from headgate_processors.otlp.values import INT64_MAX, Attributes
from headgate_processors.otlp.wire import UnreadableError

_Word = TypeVar("_Word", str, str | None)
Columns = Mapping[str, Sequence[Any] | pa.Array]
_Origin = tuple[bytes, bytes | None, bytes | None, bytes | None, bytes | None]
_ORIGIN_COLUMNS = ("resource_attributes", "scope_name", "scope_version", "scope_attributes", "schema_url")


class Resource(NamedTuple):
    """The labels that all scopes of one resource share."""

    attributes: bytes
    schema_url: bytes | None


class Origins:
    """Where the rows of a request come from: each distinct resource and scope is written out once.

    What cannot be read of them is left out: the rows are worth more than one label.
    """

    def __init__(self, attributes: Attributes) -> None:
        self._attributes = attributes
        self._resources: dict[tuple[bytes, ...], bytes] = {}
        self._indices: dict[_Origin, int] = {}
        self._rows: list[int] = []
        self.blocks: list[int] = []

    def resource(self, group: Any) -> Resource:
        """The labels of a `Resource*` message."""
        encoded = tuple(group.resource.attributes)
        known = self._resources.get(encoded)
        if known is None:
            known = self._resources[encoded] = self._attributes.readable_json(encoded) or b"{}"
        return Resource(known, _readable(group.schema_url))

    def add(self, resource: Resource, group: Any, row_count: int) -> None:
        """The next `row_count` rows belong to this resource and this `Scope*` message.

        Raises:
            TooLargeError: the request has too many rows.
        """
        check_record_count(len(self._rows) + row_count)
        scope = group.scope
        origin = (
            resource.attributes,
            _readable(scope.name),
            _readable(scope.version),
            self._attributes.readable_json(scope.attributes),
            _readable(group.schema_url) or resource.schema_url,
        )
        index = self._indices.setdefault(origin, len(self._indices))
        self._rows += [index] * row_count
        self.blocks.append(row_count)

    def arrays(self) -> dict[str, pa.Array]:
        """The dictionary columns of all rows."""
        rows = pa.array(self._rows, pa.int32())
        values = zip(*self._indices, strict=True) if self._indices else [()] * len(_ORIGIN_COLUMNS)
        return {name: labels(own, rows) for name, own in zip(_ORIGIN_COLUMNS, values, strict=True)}


def labels(values: Sequence[str | bytes | None], rows: pa.Array) -> pa.Array:
    """A dictionary column of the value that each row points at; each distinct value is copied once."""
    distinct: dict[str | bytes, int] = {}
    positions = [None if value is None else distinct.setdefault(value, len(distinct)) for value in values]
    indices = pa.array(positions, pa.int32()).take(rows)
    return pa.DictionaryArray.from_arrays(indices, pa.array(list(distinct), pa.string()))


def record_batch(signal: Signal, columns: Columns, origins: Origins) -> pa.RecordBatch:
    """The batch that `WIRE[signal].schema` describes."""
    wire_schema = _wire_schema(signal)
    arrays = origins.arrays()
    for name, values in columns.items():
        arrays[name] = _array(values, wire_schema.field(name).type)
    return pa.RecordBatch.from_arrays([arrays[name] for name in wire_schema.names], schema=wire_schema)


def _array(values: Sequence[Any] | pa.Array, type_: pa.DataType) -> pa.Array:
    if isinstance(values, pa.Array):
        return values
    if type_ != pa.int64():
        return pa.array(values, type_)
    try:
        return pa.array(values, type_)
    except OverflowError:
        return pa.array([None if value is None else min(value, INT64_MAX) for value in values], type_)


def _readable(encoded: bytes) -> bytes | None:
    try:
        encoded.decode()
    except UnicodeDecodeError:
        return None
    return encoded or None


@cache
def _wire_schema(signal: Signal) -> pa.Schema:
    return schema.WIRE[signal].schema


def require_ids(ids: Sequence[str], *, digits: int, what: str) -> Sequence[str]:
    """The same ids.

    Raises:
        UnreadableError: `bad_id` for one that is not of that many digits, `zero_id` for one of zeros.
    """
    zeros = "0" * digits
    if {digits}.issuperset(map(len, ids)) and zeros not in ids:
        return ids
    bad = next(one for one in ids if len(one) != digits or one == zeros)
    if bad == zeros:
        raise UnreadableError("zero_id", f"the {what} is all zeros")
    raise UnreadableError("bad_id", f"the {what} has {len(bad) // 2} bytes instead of {digits // 2}")


def word(words: Sequence[_Word], number: int) -> _Word:
    """The name of an enum value, the first one for a number that has none."""
    return words[number] if 0 <= number < len(words) else words[0]


def id_or_none(encoded: bytes, byte_count: int) -> str | None:
    """The id in hexadecimal digits, None when it is absent, zeros or of another length."""
    return encoded.hex() if len(encoded) == byte_count and any(encoded) else None
