"""Which session starts when, and what goes wrong with it: decided by the seed alone."""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from headgate_processors.errors import ConfigError
from headgate_processors.generate.randomness import Bytes, uniform
from headgate_processors.generate.slots import Claims, claims_of
from headgate_processors.generate.template import Template

Flags = npt.NDArray[np.bool_]
SPANS_A_SECOND = 10_000.0
_BLOCK = 1024
_CHANCES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanConfig:
    """How much, of what, and what goes wrong.

    It ends with the session that brings `spans` together, or after `sessions` of them, whichever is first.
    `over_ns` is the time over which the sessions start; without it `rate`, how many spans a second the agents
    make, decides how fast they follow each other.
    `mix` multiplies how often an agent or a scenario is taken; 0 leaves it out. `late`, `doubled` and
    `missing` are shares of records: sent up to `late_ns` after their request, sent twice, never sent.
    `clock_skew_ns` is how far the clock of a sender may be off, either way.
    """

    seed: int = 1
    spans: int | None = None
    sessions: int | None = None
    rate: float = SPANS_A_SECOND
    over_ns: int | None = None
    mix: Mapping[str, float] = field(default_factory=dict)
    late: float = 0.0
    doubled: float = 0.0
    missing: float = 0.0
    late_ns: int = 60_000_000_000
    clock_skew_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Which records of a session are late, by how much, sent twice, or missing."""

    late_ns: npt.NDArray[np.int64]
    doubled: Flags
    missing: Flags

    @property
    def are_any(self) -> bool:
        """Whether anything goes wrong."""
        return bool(self.doubled.any() or self.missing.any() or self.late_ns.any())


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One session to be made: its number, its shape, when it starts, how far its clock is off, and whose it is."""

    number: int
    template: Template
    start_ns: int
    skew_ns: int
    claims: Claims
    faults: Faults | None

    def pool(self, seed: int) -> Bytes:
        """What stands in its slots."""
        return self.template.layout.pool(seed, self.number, self.claims)


class Plan:
    """Every session of a load, in the order in which they start; it can be read any number of times.

    Raises:
        ConfigError: the mix names what is not there, or leaves nothing, or nothing says when it ends.
    """

    def __init__(self, templates: Sequence[Template], config: PlanConfig) -> None:
        self.config = config
        _check_names(templates, config.mix)
        if config.spans is None and config.sessions is None:
            message = "nothing says how much: give a number of spans or of sessions"
            raise ConfigError(message)
        weights = np.array([_weight(template, config.mix) for template in templates], np.float64)
        spans = np.array([template.spans for template in templates], np.float64)
        if not weights.any() or (config.sessions is None and not (weights * spans).any()):
            message = "the mix leaves no session that has spans: give at least one agent a weight"
            raise ConfigError(message)
        self._templates, self._bounds = list(templates), np.cumsum(weights) / weights.sum()
        self.spans_each = max(float((weights * spans).sum() / weights.sum()), 1.0)
        each_ns = 1e9 * self.spans_each / config.rate
        self.gap_ns = each_ns if config.over_ns is None else config.over_ns / self.expected_sessions

    @property
    def expected_spans(self) -> int:
        """About how many spans there will be."""
        by_sessions = None if self.config.sessions is None else round(self.config.sessions * self.spans_each)
        return min(bound for bound in (by_sessions, self.config.spans) if bound is not None)

    @property
    def expected_sessions(self) -> float:
        """About how many sessions there will be."""
        return max(self.expected_spans / self.spans_each, 1.0)

    @property
    def duration_ns(self) -> int:
        """About how long after the first the last session starts."""
        return int(self.gap_ns * self.expected_sessions)

    @property
    def longest_ns(self) -> int:
        """How long the longest session takes."""
        return max(template.duration_ns for template in self._templates)

    def __iter__(self) -> Iterator[Planned]:
        spans, number, start_ns = 0, 0, 0.0
        limit = self.config.sessions
        while limit is None or number < limit:
            chances = uniform(self.config.seed, "plan", number // _BLOCK, size=_BLOCK * _CHANCES)
            for drawn in chances.reshape(_BLOCK, _CHANCES):
                if number == limit or (self.config.spans is not None and spans >= self.config.spans):
                    return
                start_ns -= np.log1p(-drawn[0]) * self.gap_ns
                planned = self._planned(number, int(start_ns), drawn)
                spans += planned.template.spans
                number += 1
                yield planned

    def _planned(self, number: int, start_ns: int, drawn: npt.NDArray[np.float64]) -> Planned:
        template = self._templates[int(np.searchsorted(self._bounds, drawn[1], side="right"))]
        return Planned(
            number=number,
            template=template,
            start_ns=start_ns,
            skew_ns=int((2 * drawn[2] - 1) * self.config.clock_skew_ns),
            claims=claims_of(drawn[3:6]),
            faults=self._faults(number, template.records),
        )

    def _faults(self, number: int, records: int) -> Faults | None:
        config = self.config
        if not (config.late or config.doubled or config.missing):
            return None
        drawn = uniform(config.seed, "faults", number, size=4 * records).reshape(4, records)
        missing = drawn[0] < config.missing
        late = ~missing & (drawn[1] < config.late)
        faults = Faults(
            late_ns=np.where(late, 1 + drawn[3] * config.late_ns, 0).astype(np.int64),
            doubled=~missing & (drawn[2] < config.doubled),
            missing=missing,
        )
        return faults if faults.are_any else None


def in_order(plan: Plan) -> Iterator[tuple[int, Planned, int]]:
    """When each chunk is due, its session and its number, in the order of time."""
    waiting: list[tuple[int, int, int, Planned]] = []
    for planned in plan:
        while waiting and waiting[0][0] <= planned.start_ns:
            due_ns, _, chunk, session = heapq.heappop(waiting)
            yield due_ns, session, chunk
        for chunk, one in enumerate(planned.template.chunks):
            heapq.heappush(waiting, (planned.start_ns + one.due_ns, planned.number, chunk, planned))
    while waiting:
        due_ns, _, chunk, session = heapq.heappop(waiting)
        yield due_ns, session, chunk


def _weight(template: Template, mix: Mapping[str, float]) -> float:
    session = template.session
    return session.weight * mix.get(session.agent, 1.0) * mix.get(session.scenario, 1.0)


def _check_names(templates: Sequence[Template], mix: Mapping[str, float]) -> None:
    known = {name for template in templates for name in (template.session.agent, template.session.scenario)}
    for name in mix:
        if name not in known:
            message = f"the mix names {name!r}: expected an agent or a scenario out of {', '.join(sorted(known))}"
            raise ConfigError(message)
