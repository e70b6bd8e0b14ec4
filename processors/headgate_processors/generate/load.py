"""A load as export requests: encoded in protobuf, in the order in which agents would send them."""

import heapq
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headgate_processors.generate.plan import Plan, PlanConfig, Planned, in_order
from headgate_processors.generate.randomness import Bytes
from headgate_processors.generate.recorded import read_sessions
from headgate_processors.generate.scan import rebuilt, structure
from headgate_processors.generate.template import Chunk, Template, compiled
from headgate_processors.generate.truth import Truth, truths
from headgate_processors.otlp.port import Signal
from headgate_processors.replay.requests import ReplayRequest

REQUEST_BYTES_MAX = 8 << 20
ORIGIN = Path("generated")


@dataclass(slots=True)
class Made:
    """What a load has given so far."""

    sessions: int = 0
    requests: int = 0
    spans: int = 0
    logs: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    signal: Signal
    body: bytes
    records: int


@dataclass(slots=True)
class Load:
    """The requests of a plan.

    A request is what one SDK sent, 50 records at most; with `request_records` the requests of many senders
    are put together as a Collector does it, up to so many records and 8 MiB. `clock` says at which time, in
    nanoseconds since the epoch, a session starts that the plan starts so many nanoseconds after its beginning.
    """

    plan: Plan
    clock: Callable[[int], int]
    request_records: int | None = None
    made: Made = field(default_factory=Made)

    def __iter__(self) -> Iterator[ReplayRequest]:
        pieces = self._pieces()
        for piece in pieces if self.request_records is None else _joined(pieces, self.request_records):
            self.made.requests += 1
            self.made.bytes += len(piece.body)
            if piece.signal is Signal.TRACES:
                self.made.spans += piece.records
            else:
                self.made.logs += piece.records
            yield ReplayRequest(
                path=ORIGIN, line=self.made.requests, signal=piece.signal, encoding="protobuf", body=piece.body
            )

    def truths(self) -> Iterator[Truth]:
        """What the load holds, session by session."""
        return truths(self.plan)

    def _pieces(self) -> Iterator[_Piece]:
        sessions = _Sessions(self.plan.config.seed, self.clock)
        later: list[tuple[int, int, _Piece]] = []
        count = itertools.count()
        for due_ns, planned, number in in_order(self.plan):
            while later and later[0][0] <= due_ns:
                yield heapq.heappop(later)[2]
            chunk = planned.template.chunks[number]
            body = sessions.rendered(planned, chunk, is_last=number == len(planned.template.chunks) - 1)
            self.made.sessions += number == 0
            if planned.faults is None:
                yield _Piece(signal=chunk.signal, body=body, records=chunk.records)
                continue
            for after_ns, piece in _faulty(planned, chunk, body):
                if after_ns:
                    heapq.heappush(later, (due_ns + after_ns, next(count), piece))
                else:
                    yield piece
        while later:
            yield heapq.heappop(later)[2]


class _Sessions:
    """The pools and the beginnings of the sessions under way."""

    def __init__(self, seed: int, clock: Callable[[int], int]) -> None:
        self._seed, self._clock = seed, clock
        self._under_way: dict[int, tuple[Bytes, int]] = {}

    def rendered(self, planned: Planned, chunk: Chunk, *, is_last: bool) -> bytes:
        state = self._under_way.get(planned.number)
        if state is None:
            state = planned.pool(self._seed), self._clock(planned.start_ns) + planned.skew_ns
            self._under_way[planned.number] = state
        if is_last:
            del self._under_way[planned.number]
        return chunk.rendered(*state)


def build_plan(config: PlanConfig, templates: Sequence[Template] | None = None) -> Plan:
    """The plan of a configuration over the packaged sessions, or over `templates`.

    Raises:
        ConfigError: the mix names nothing that is there, or leaves nothing.
    """
    return Plan(templates if templates is not None else [compiled(session) for session in read_sessions()], config)


def _faulty(planned: Planned, chunk: Chunk, body: bytes) -> Iterator[tuple[int, _Piece]]:
    """What is sent of a chunk, and how long after it."""
    faults = planned.faults
    assert faults is not None
    every = range(chunk.records)
    first = chunk.first_record
    kept = frozenset(at for at in every if not faults.missing[first + at] and not faults.late_ns[first + at])
    resources = structure(body)
    if kept:
        yield 0, _Piece(signal=chunk.signal, body=rebuilt(body, resources, kept), records=len(kept))
    for at in every:
        alone = _Piece(signal=chunk.signal, body=rebuilt(body, resources, frozenset((at,))), records=1)
        if late_ns := int(faults.late_ns[first + at]):
            yield late_ns, alone
        if faults.doubled[first + at]:
            yield late_ns + planned.template.duration_ns + 1, alone


def _joined(pieces: Iterator[_Piece], records: int) -> Iterator[_Piece]:
    """Requests of many senders put together: each is a list of resources, so their bytes may follow one another."""
    waiting: dict[Signal, list[_Piece]] = {}
    for piece in pieces:
        mine = waiting.setdefault(piece.signal, [])
        if mine and sum(len(one.body) for one in mine) + len(piece.body) > REQUEST_BYTES_MAX:
            yield _together(waiting.pop(piece.signal))
            mine = waiting.setdefault(piece.signal, [])
        mine.append(piece)
        if sum(one.records for one in mine) >= records:
            yield _together(waiting.pop(piece.signal))
    yield from (_together(mine) for mine in waiting.values() if mine)


def _together(pieces: Sequence[_Piece]) -> _Piece:
    return _Piece(
        signal=pieces[0].signal,
        body=b"".join(piece.body for piece in pieces),
        records=sum(piece.records for piece in pieces),
    )
