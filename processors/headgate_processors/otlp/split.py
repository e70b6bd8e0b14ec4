"""A request cut into its records at the wire, without parsing them.

This is the way of requests that hold something broken: each record is cut out by its frame, so that a
bad one leaves its neighbours alone. A container that is cut off is walked as far as it goes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from headgate_processors.otlp.limits import check_record_count
from headgate_processors.otlp.port import Rejected
from headgate_processors.otlp.wire import LENGTH, Field, UnreadableError, fields, read_field

_GROUPS, _CHILDREN = 1, 2


@dataclass(frozen=True, slots=True)
class Record:
    """One record as protobuf."""

    wire: bytes

    def raw(self) -> bytes:
        """The bytes as the sender wrote them."""
        return self.wire


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A part of a record that can stand by itself: its bytes, and what reads its rows."""

    raw: bytes
    rows: Callable[[], Sequence[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeGroup:
    """The records of one scope; `wire` is the `Scope*` message without them."""

    wire: bytes
    records: list[Record]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceGroup:
    """The scopes of one resource; `wire` is the `Resource*` message without them."""

    wire: bytes
    scopes: list[ScopeGroup]


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A request in pieces; `rejected` are records that failed, `broken` is what is not even framed."""

    groups: list[ResourceGroup] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    broken: list[Rejected] = field(default_factory=list)


def split_request(body: bytes) -> Split:
    """The records of a request of any signal, as far as their frames can be told.

    Raises:
        TooLargeError: it has too many records.
    """
    return _Splitter(body).split()


def without(buffer: bytes, position: int, end: int, numbers: frozenset[int]) -> tuple[bytes, list[Field]]:
    """The message without the length-delimited fields of these numbers, and those fields.

    Raises:
        UnreadableError: `truncated` or `malformed`.
    """
    rest = bytearray()
    taken = []
    for one in fields(buffer, position, end):
        if one.wire_type == LENGTH and one.number in numbers:
            taken.append(one)
        else:
            rest += buffer[one.tag : one.stop]
    return bytes(rest), taken


class _Splitter:
    """One walk over one request."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._split = Split()
        self._missing_byte_count = 0
        self._record_count = 0

    def split(self) -> Split:
        _, resources = self._children(0, len(self._body), _GROUPS)
        self._split.groups.extend(self._resource(resource) for resource in resources)
        broken = self._split.broken
        if self._missing_byte_count and not any(one.reason == "truncated" for one in broken):
            broken.append(_truncated(self._missing_byte_count, b""))
        return self._split

    def _resource(self, resource: Field) -> ResourceGroup:
        wire, scopes = self._children(resource.start, resource.stop, _CHILDREN)
        return ResourceGroup(wire=wire, scopes=[self._scope(scope) for scope in scopes])

    def _scope(self, scope: Field) -> ScopeGroup:
        wire, records = self._children(scope.start, scope.stop, _CHILDREN, whole=True)
        self._record_count += len(records)
        check_record_count(self._record_count)
        return ScopeGroup(wire=wire, records=[Record(self._body[one.start : one.stop]) for one in records])

    def _children(self, position: int, end: int, number: int, *, whole: bool = False) -> tuple[bytes, list[Field]]:
        """The container without its children, and its children.

        One that is cut off ends where its container does, or is broken where only `whole` ones will do.
        """
        body, broken = self._body, self._split.broken
        rest = bytearray()
        children = []
        while position < end:
            try:
                child = read_field(body, position, end)
            except UnreadableError as error:
                broken.append(Rejected(reason=error.reason, detail=error.detail, raw=body[position:end]))
                break
            is_child = child.wire_type == LENGTH and child.number == number
            position = child.stop
            if child.stop > end and (whole or not is_child):
                broken.append(_truncated(child.stop - end, body[child.start : end]))
            elif is_child:
                self._missing_byte_count = max(self._missing_byte_count, child.stop - end)
                children.append(child._replace(stop=min(child.stop, end)))
            else:
                rest += body[child.tag : child.stop]
        return bytes(rest), children


def _truncated(byte_count: int, raw: bytes) -> Rejected:
    detail = f"the request ends {byte_count} bytes before what it announces"
    return Rejected(reason="truncated", detail=detail, raw=raw)
