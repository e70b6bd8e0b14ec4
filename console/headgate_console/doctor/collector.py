"""The examination of the Collector in front: what waits in its queue, what it could not take, what it dropped."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict

from headgate_console.collector.metrics import SignalMetrics, address, read_metrics
from headgate_console.doctor.finding import Finding, Level
from headgate_console.render.numbers import plural, size
from headgate_processors.errors import TransientError

TOPIC = "collector"
NEARLY_FULL = 0.8


def examine_collector(environment: Mapping[str, str]) -> list[Finding]:
    """Every check of the Collector whose metrics this environment leads to; none when no Collector is there."""
    where = address(environment)
    try:
        signals = read_metrics(where)
    except TransientError as error:
        return [_strange(str(error))]
    return [] if signals is None else [_at_work(where, signals), *_problems(signals)]


def _strange(problem: str) -> Finding:
    return Finding(
        topic=TOPIC,
        level=Level.NOTE,
        text=problem,
        next_step="If a Collector runs elsewhere: set HEADGATE_COLLECTOR_METRICS_LISTEN and …_PORT for this command.",
    )


def _at_work(where: str, signals: Sequence[SignalMetrics]) -> Finding:
    waiting = sum(one.queue_bytes or 0 for one in signals)
    fullest = max(signals, key=lambda one: one.queue_share)
    is_full = fullest.queue_share >= NEARLY_FULL
    share = f" ({fullest.queue_share:.0%} of the room of {fullest.signal})" if waiting else ""
    return Finding(
        topic=TOPIC,
        level=Level.WARNING if is_full else Level.OK,
        text=f"One runs at {where}: {_records(one.accepted for one in signals)} taken,"
        f" {size(waiting)} in its queue{share}.",
        next_step="Let the receiver run (headgate up --behind-collector), or give the queue more room:"
        " HEADGATE_COLLECTOR_QUEUE_BYTES. When it is full, senders wait."
        if is_full
        else "",
        rows=tuple(asdict(one) for one in signals),
    )


def _problems(signals: Sequence[SignalMetrics]) -> Iterator[Finding]:
    dropped, not_queued = sum(one.dropped for one in signals), sum(one.not_queued for one in signals)
    refused = sum(one.refused for one in signals)
    if dropped:
        yield Finding(
            topic=TOPIC,
            level=Level.WARNING,
            text=f"It dropped {_records([dropped])} since it started: the receiver refused them for good.",
            next_step="Its log names the status. UNAUTHENTICATED: mend HEADGATE_COLLECTOR_TOKEN; INVALID_ARGUMENT: see"
            " the dead letters.",
            details=_by_signal((one.signal, one.dropped) for one in signals),
        )
    if not_queued:
        yield Finding(
            topic=TOPIC,
            level=Level.WARNING,
            text=f"Its queue had no place for {_records([not_queued])}; their senders were told to come again.",
            next_step="Let the receiver run, or raise HEADGATE_COLLECTOR_QUEUE_BYTES; see that its disk is not full.",
            details=_by_signal((one.signal, one.not_queued) for one in signals),
        )
    elif refused:
        yield Finding(
            topic=TOPIC,
            level=Level.NOTE,
            text=f"It refused {_records([refused])} for a while; their senders were told to come again.",
            next_step="If that goes on, raise HEADGATE_COLLECTOR_MEMORY_MIB.",
            details=_by_signal((one.signal, one.refused) for one in signals),
        )


def _records(numbers: Iterable[int]) -> str:
    return plural(sum(numbers), "record")


def _by_signal(numbers: Iterable[tuple[str, int]]) -> tuple[str, ...]:
    return tuple(f"{number:,} of {signal}" for signal, number in numbers if number)
