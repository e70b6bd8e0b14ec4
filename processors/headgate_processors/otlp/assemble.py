"""Pieces of a request to one batch: the records that can be kept, and the reasons for the others."""

from collections.abc import Sequence
from typing import Any

from headgate_processors.errors import PermanentError
from headgate_processors.otlp.columns import Origins, Resource, record_batch
from headgate_processors.otlp.limits import check_record_count
from headgate_processors.otlp.messages import parse
from headgate_processors.otlp.port import Decoded, Rejected, Signal
from headgate_processors.otlp.signals import SHAPES
from headgate_processors.otlp.split import Record, ResourceGroup, ScopeGroup, Split
from headgate_processors.otlp.values import Attributes
from headgate_processors.otlp.wire import UnreadableError


def assemble(split: Split, signal: Signal) -> Decoded:
    """The batch of the records that can be read, each judged by itself when one is bad.

    Raises:
        PermanentError: the request is broken and none of its records is left.
    """
    try:
        return _assemble(split, signal, one_by_one=False)
    except UnreadableError:
        return _assemble(split, signal, one_by_one=True)


def _assemble(split: Split, signal: Signal, *, one_by_one: bool) -> Decoded:
    assembly = _Assembly(signal, one_by_one=one_by_one)
    for group in split.groups:
        assembly.add(group)
    rejected = (*split.broken, *split.rejected, *assembly.rejected)
    if split.broken and not assembly.rows:
        first = split.broken[0]
        raise PermanentError(
            f"no record of this {signal} request can be read ({first.reason}: {first.detail}); send an "
            f"OTLP Export request for {signal}, whole and in the encoding that its content type names"
        )
    return Decoded(signal=signal, batch=assembly.batch(), blocks=assembly.blocks, rejected=rejected)


class _Assembly:
    """What has been kept so far of one request."""

    def __init__(self, signal: Signal, *, one_by_one: bool) -> None:
        self.rejected: list[Rejected] = []
        self.rows: list[Any] = []
        self._signal = signal
        self._shape = SHAPES[signal]
        self._one_by_one = one_by_one
        self._attributes = Attributes()
        self._origins = Origins(self._attributes)

    @property
    def blocks(self) -> tuple[int, ...]:
        """How many rows each scope has."""
        return tuple(self._origins.blocks)

    def batch(self) -> Any:
        """All rows; raises `UnreadableError` when they were not checked one by one and one is bad."""
        return record_batch(self._signal, self._shape.columns(self.rows, self._attributes), self._origins)

    def add(self, group: ResourceGroup) -> None:
        """Keep what can be kept of one resource."""
        try:
            resource = self._origins.resource(parse(self._shape.group, group.wire))
        except UnreadableError as error:
            for scope in group.scopes:
                self._reject_all(scope, error, "resource")
            return
        for scope in group.scopes:
            self._add_scope(resource, scope)

    def _add_scope(self, resource: Resource, group: ScopeGroup) -> None:
        try:
            scope = parse(self._shape.scope, group.wire)
        except UnreadableError as error:
            self._reject_all(group, error, "scope")
            return
        first = len(self.rows)
        for record in group.records:
            self._add_record(record)
        self._origins.add(resource, scope, len(self.rows) - first)

    def _add_record(self, record: Record) -> None:
        try:
            self.rows += self._checked(self._shape.rows([parse(self._shape.record, record.wire)]))
        except UnreadableError as error:
            self._add_pieces(record, error)

    def _add_pieces(self, record: Record, error: UnreadableError) -> None:
        """Keep the good parts of a record that is bad as a whole."""
        pieces = self._shape.pieces(record.wire)
        check_record_count(len(self.rows) + len(self.rejected) + len(pieces))
        if not pieces:
            self.rejected.append(_rejected(record.raw(), error))
        for piece in pieces:
            try:
                self.rows += self._checked(piece.rows())
            except UnreadableError as piece_error:
                self.rejected.append(_rejected(piece.raw, piece_error))

    def _checked(self, rows: Sequence[Any]) -> Sequence[Any]:
        if self._one_by_one:
            self._shape.columns(rows, self._attributes)
        return rows

    def _reject_all(self, group: ScopeGroup, error: UnreadableError, what: str) -> None:
        cause = UnreadableError(error.reason, f"the {what} of the record: {error.detail}")
        self.rejected += [_rejected(record.raw(), cause) for record in group.records]


def _rejected(raw: bytes, error: UnreadableError) -> Rejected:
    return Rejected(reason=error.reason, detail=error.detail, raw=raw)
