"""Where in the bytes of an export request its records, ids, times and texts lie.

The walk follows protobuf's own descriptors of OTLP, so it knows every field that they know.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from headgate_processors.otlp.port import Signal
from headgate_processors.replay.convert import REQUESTS

Range = tuple[int, int]
_VARINT, _LENGTH = 0, 2
_FIXED = {1: 8, 5: 4}
# Resource, scope and record lie under the same numbers in every signal.
_HEAD, _INNER = 1, 2


class Leaf(NamedTuple):
    """One value: the names of its message and its field, where it lies, and the record that it belongs to.

    `record` counts the records of the request from 0 and is -1 for what stands outside of records.
    """

    message: str
    field: str
    start: int
    end: int
    record: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """One scope: its own fields with their tags, and its records with theirs."""

    fields: tuple[Range, ...]
    records: tuple[Range, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One resource: its own fields with their tags, and its scopes."""

    fields: tuple[Range, ...]
    scopes: tuple[Scope, ...]


_Field = tuple[int, int, int, int, int]
"""Number, wire type, and where the field begins, its content begins, and both end."""


def structure(body: bytes) -> tuple[Resource, ...]:
    """The resources of a request, outermost first."""
    return tuple(_resource(body, (content, end)) for _, _, _, content, end in _fields(body, 0, len(body)))


def leaves(body: bytes, signal: Signal) -> list[Leaf]:
    """Every text, id and fixed-size number of a request."""
    found: list[Leaf] = []
    records = [span for one in structure(body) for scope in one.scopes for span in scope.records]
    starts = {start: number for number, (start, _) in enumerate(records)}
    _walk(body, (0, len(body)), REQUESTS[signal].DESCRIPTOR, _Place(starts, found))
    return found


def rebuilt(body: bytes, resources: tuple[Resource, ...], kept: frozenset[int]) -> bytes:
    """The request with only the records whose numbers are `kept`; resources without one are left out."""
    number = 0
    parts: list[bytes] = []
    for resource in resources:
        scopes: list[bytes] = []
        for scope in resource.scopes:
            chosen = [span for at, span in enumerate(scope.records, number) if at in kept]
            number += len(scope.records)
            if chosen:
                scopes.append(_message(_INNER, [body[start:end] for start, end in (*scope.fields, *chosen)]))
        if scopes:
            parts.append(_message(1, [*(body[start:end] for start, end in resource.fields), *scopes]))
    return b"".join(parts)


@dataclass(slots=True)
class _Place:
    """The walk's memory: where records begin, what was found, and the record it is in."""

    starts: dict[int, int]
    found: list[Leaf]
    record: int = -1


def _walk(body: bytes, within: Range, descriptor: Any, place: _Place) -> None:
    known, message = descriptor.fields_by_number, descriptor.name
    for number, wire, start, content, end in _fields(body, *within):
        told = known.get(number)
        if told is None or wire == _VARINT:
            continue
        if told.message_type is not None:
            record = place.starts.get(start)
            before, place.record = place.record, place.record if record is None else record
            _walk(body, (content, end), told.message_type, place)
            place.record = before
        else:
            place.found.append(Leaf(message, told.name, content, end, place.record))


def _resource(body: bytes, within: Range) -> Resource:
    own: list[Range] = []
    scopes: list[Scope] = []
    for number, _, start, content, end in _fields(body, *within):
        if number == _INNER:
            scopes.append(_scope(body, (content, end)))
        else:
            own.append((start, end))
    return Resource(fields=tuple(own), scopes=tuple(scopes))


def _scope(body: bytes, within: Range) -> Scope:
    fields = [(number, (start, end)) for number, _, start, _, end in _fields(body, *within)]
    return Scope(
        fields=tuple(whole for number, whole in fields if number != _INNER),
        records=tuple(whole for number, whole in fields if number == _INNER),
    )


def _fields(body: bytes, at: int, end: int) -> Iterator[_Field]:
    while at < end:
        start = at
        tag = body[at]
        at += 1
        if tag >= 0x80:
            tag, at = _varint(body, start)
        wire = tag & 7
        first = at
        if wire == _LENGTH:
            length = body[at]
            first = at + 1
            if length >= 0x80:
                length, first = _varint(body, at)
            at = first + length
        elif wire == _VARINT:
            _, at = _varint(body, at)
        elif wire in _FIXED:
            at += _FIXED[wire]
        else:
            message = f"wire type {wire} at byte {start}: expected a request of OTLP"
            raise ValueError(message)
        yield tag >> 3, wire, start, first, at


def _varint(body: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = body[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _message(number: int, parts: list[bytes]) -> bytes:
    content = b"".join(parts)
    return b"".join((bytes((number << 3 | _LENGTH,)), _length(len(content)), content))


def _length(value: int) -> bytes:
    coded = bytearray()
    while value >= 0x80:
        coded.append(value & 0x7F | 0x80)
        value >>= 7
    coded.append(value)
    return bytes(coded)
