"""Recorded requests through the whole pipeline of this process, as a receiver would take them."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from headgate_processors.errors import OverloadError, PermanentError
from headgate_processors.receiver.port import CLIENT, Accepted, Ingest
from headgate_processors.replay.requests import ReplayItem, ReplayRefusal, ReplayRequest

IN_FLIGHT = 16
ROOM_S = 120.0
REFUSALS_MAX = 100


@dataclass(slots=True, kw_only=True)
class IngestReport:
    """What became of the requests and records that were read; `refusals` holds the first hundred."""

    requests: int = 0
    refused: int = 0
    records: int = 0
    stored: int = 0
    rejected: int = 0
    body_bytes: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    refusals: list[str] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """Whether everything that was read is stored."""
        return not (self.refused or self.rejected)


def ingest_requests(
    requests: Iterable[ReplayItem], ingest: Ingest, *, progress: Callable[[IngestReport], None] = lambda _: None
) -> IngestReport:
    """Ingest requests, several at once so that they share an fsync; a request that is refused stops nothing.

    While the store has no room it waits for some, as a sender would.

    Raises:
        TransientError: the store cannot take more.
    """
    report = IngestReport()
    with ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="headgate-ingest") as pool:
        for item, outcome in _outcomes(pool, requests, ingest):
            _count(report, item, outcome)
            progress(report)
    return report


def _outcomes(
    pool: ThreadPoolExecutor, items: Iterable[ReplayItem], ingest: Ingest
) -> Iterator[tuple[ReplayItem, Accepted | str]]:
    """What became of each item, in order; as many as may be are on their way at once."""
    begun: deque[tuple[ReplayItem, Future[Accepted] | None]] = deque()
    for item in items:
        if len(begun) >= IN_FLIGHT:
            yield _outcome(*begun.popleft())
        begun.append((item, pool.submit(_take, ingest, item) if isinstance(item, ReplayRequest) else None))
    while begun:
        yield _outcome(*begun.popleft())


def _outcome(item: ReplayItem, future: Future[Accepted] | None) -> tuple[ReplayItem, Accepted | str]:
    if future is None:
        return item, str(item)
    try:
        return item, future.result()
    except PermanentError as error:
        return item, str(ReplayRefusal(path=item.path, line=item.line, reason=str(error)))


def _take(ingest: Ingest, request: ReplayRequest) -> Accepted:
    deadline = time.monotonic() + ROOM_S
    while True:
        try:
            return ingest(request.body, signal=request.signal, encoding=request.encoding, sender=CLIENT)
        except OverloadError as error:
            if time.monotonic() + error.retry_after_s > deadline:
                raise
            time.sleep(error.retry_after_s)


def _count(report: IngestReport, item: ReplayItem, outcome: Accepted | str) -> None:
    report.requests += 1
    if isinstance(item, ReplayRequest):
        report.body_bytes += len(item.body)
    if isinstance(outcome, str):
        report.refused += 1
        if len(report.refusals) < REFUSALS_MAX:
            report.refusals.append(outcome)
        return
    report.records += outcome.received
    report.stored += outcome.stored
    report.rejected += outcome.rejected
    if outcome.message:
        report.reasons[outcome.message] += 1
