"""A recorded session, prepared so that sessions of its shape are made by copying bytes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from headgate_processors.generate.randomness import Bytes
from headgate_processors.generate.recorded import RecordedRequest, RecordedSession
from headgate_processors.generate.scan import Leaf, Resource, leaves, structure
from headgate_processors.generate.slots import Found, Indices, Layout, Places, Slots
from headgate_processors.otlp.port import Signal

_TIME = "_unix_nano"
_TEXTS = frozenset({("AnyValue", "string_value"), ("Status", "message")})
_TRACES = frozenset({"trace_id"})
_SPANS = frozenset({"span_id", "parent_span_id"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """One request of a template. `times` are where its times lie and how long after the start they are.

    `first_record` counts the records of the session before it.
    """

    signal: Signal
    body: Bytes
    places: Places
    time_places: Indices
    times_ns: npt.NDArray[np.int64]
    resources: tuple[Resource, ...]
    due_ns: int
    records: int
    first_record: int

    def rendered(self, pool: Bytes, start_unix_nano: int) -> bytes:
        """The request of the session with this pool that starts at this time."""
        body = self.body.copy()
        body[self.places.at] = pool[self.places.source]
        times = (self.times_ns + start_unix_nano).astype("<i8").view(np.uint8)
        body[self.time_places] = times
        return body.tobytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A recorded session with the slots of its requests found."""

    session: RecordedSession
    layout: Layout
    chunks: tuple[Chunk, ...]

    @property
    def records(self) -> int:
        """Spans and log records."""
        return sum(chunk.records for chunk in self.chunks)

    @property
    def spans(self) -> int:
        """Spans alone."""
        return sum(chunk.records for chunk in self.chunks if chunk.signal is Signal.TRACES)

    @property
    def duration_ns(self) -> int:
        """From the first record to the arrival of the last request."""
        return max(chunk.due_ns for chunk in self.chunks)


def compiled(session: RecordedSession) -> Template:
    """The template of a recorded session."""
    slots, found = scanned(session)
    layout = slots.settle()
    chunks: list[Chunk] = []
    for request, one in zip(session.requests, found, strict=True):
        before = chunks[-1].first_record + chunks[-1].records if chunks else 0
        chunks.append(_chunk(request, one, layout, start_unix_nano=session.start_unix_nano, first_record=before))
    return Template(session=session, layout=layout, chunks=tuple(chunks))


def scanned(session: RecordedSession) -> "tuple[Slots, list[Scanned]]":
    """The slots of a session, and where they stand in each of its requests."""
    slots = Slots(frozenset(word.encode() for word in session.words))
    every = [leaves(request.body, request.signal) for request in session.requests]
    for request, found in zip(session.requests, every, strict=True):
        for leaf in found:
            if leaf.field in _SPANS and leaf.end > leaf.start:
                slots.spans.setdefault(request.body[leaf.start : leaf.end], len(slots.spans))
    requests = zip(session.requests, every, strict=True)
    return slots, [_find(request.body, found, slots) for request, found in requests]


@dataclass(slots=True)
class Scanned:
    """Where the slots of one request stand, and its times: where and which."""

    found: Found = field(default_factory=Found)
    times: list[tuple[int, int]] = field(default_factory=list)


def _find(body: bytes, every: Iterable[Leaf], slots: Slots) -> Scanned:
    scan = Scanned()
    for leaf in every:
        _leaf(leaf, body[leaf.start : leaf.end], slots, scan)
    return scan


def _leaf(leaf: Leaf, value: bytes, slots: Slots, scan: Scanned) -> None:
    if (leaf.message, leaf.field) in _TEXTS:
        slots.text(value, leaf.start, scan.found)
    elif leaf.field in _TRACES and len(value) == 16:
        slots.trace_id(value, leaf.start, scan.found)
    elif leaf.field in _SPANS and len(value) == 8:
        slots.span_id(value, leaf.start, scan.found)
    elif leaf.field.endswith(_TIME) and any(value):
        scan.times.append((leaf.start, int.from_bytes(value, "little")))


def _chunk(
    request: RecordedRequest, scan: Scanned, layout: Layout, *, start_unix_nano: int, first_record: int
) -> Chunk:
    resources = structure(request.body)
    return Chunk(
        signal=request.signal,
        body=np.frombuffer(request.body, np.uint8),
        places=layout.places(scan.found),
        time_places=_eight(start for start, _ in scan.times),
        times_ns=np.array([time - start_unix_nano for _, time in scan.times], np.int64),
        resources=resources,
        due_ns=request.due_ns,
        records=sum(len(scope.records) for resource in resources for scope in resource.scopes),
        first_record=first_record,
    )


def _eight(starts: Iterable[int]) -> Indices:
    listed: Sequence[int] = list(starts)
    return (np.array(listed, np.int64)[:, np.newaxis] + np.arange(8)).reshape(-1)
