"""What a load holds, session by session, told without reading it: for tests and benches to compare with."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from headgate_processors.generate.plan import Plan, Planned
from headgate_processors.otlp.port import Signal


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """One made session.

    `spans` and `logs` are those that are sent, each once. `figures` are the recorded session's and hold
    when nothing is missing (`is_complete`); None is unknown.
    """

    number: int
    name: str
    trace_ids: tuple[str, ...]
    spans: int
    logs: int
    is_complete: bool
    figures: Mapping[str, int | None]


def truths(plan: Plan) -> Iterator[Truth]:
    """The truth of every session, in the order in which they start."""
    seed = plan.config.seed
    for planned in plan:
        pool = planned.pool(seed)
        yield Truth(
            number=planned.number,
            name=planned.template.session.name,
            trace_ids=tuple(planned.template.layout.trace_ids(pool)),
            spans=_sent(planned, Signal.TRACES),
            logs=_sent(planned, Signal.LOGS),
            is_complete=planned.faults is None or not planned.faults.missing.any(),
            figures=planned.template.session.figures,
        )


def _sent(planned: Planned, signal: Signal) -> int:
    chunks = [chunk for chunk in planned.template.chunks if chunk.signal is signal]
    every = sum(chunk.records for chunk in chunks)
    if planned.faults is None:
        return every
    missing = planned.faults.missing
    return every - sum(int(missing[chunk.first_record :][: chunk.records].sum()) for chunk in chunks)
