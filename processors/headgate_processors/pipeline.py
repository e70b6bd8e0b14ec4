"""The span path: prepare, store, answer. A request is answered when its rows are durable."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Protocol

import pyarrow as pa

from headgate_processors.dialects.normalise import Normaliser
from headgate_processors.errors import PermanentError
from headgate_processors.otlp import decode, decode_together
from headgate_processors.otlp.port import Encoding, Rejected, Signal
from headgate_processors.receiver.port import Accepted, Sender
from headgate_processors.store.commit import Appended
from headgate_processors.workers import (
    ExportRequest,
    GroupConfig,
    Groups,
    LocalPreparer,
    Outcome,
    Prepared,
    Preparer,
)
from headgate_processors.workers.groups import Result


class Sink(Protocol):
    """Where rows go; `append` returns when they are durable, with how many records were new and how many known."""

    def append(self, batches: Mapping[str, pa.RecordBatch]) -> Appended:
        """Store rows, all or none."""
        ...


RefusedSink = Callable[[Signal, Sequence[Rejected], Encoding], None]


@dataclass(slots=True)
class Refusals:
    """How many records were refused, by reason; safe for threads."""

    _counts: dict[str, int] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def add(self, rejected: Sequence[Rejected]) -> None:
        """Count refused records."""
        with self._lock:
            for record in rejected:
                self._counts[record.reason] = self._counts.get(record.reason, 0) + 1

    @property
    def counts(self) -> dict[str, int]:
        """Refused records by reason."""
        with self._lock:
            return dict(self._counts)


class Pipeline:
    """The `Ingest` that servers and `replay` call.

    Requests that arrive while others are worked on are prepared and stored together. `lanes` of `groups` is how
    many groups are prepared at once: one in process, one for each worker of a pool.
    """

    def __init__(
        self,
        preparer: Preparer,
        sink: Sink,
        refused: RefusedSink,
        *,
        groups: GroupConfig | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.refusals = Refusals()
        self._preparer, self._sink, self._refused, self._clock = preparer, sink, refused, clock
        self._groups = Groups(self._work, groups or GroupConfig())

    def __call__(self, body: bytes, *, signal: Signal, encoding: Encoding, sender: Sender) -> Accepted:
        """Ingest one request; returns when every kept row is durable.

        Raises:
            PermanentError: nothing in `body` can be read.
            OverloadError, TransientError: it could not be worked on, or the store could not take the rows.
        """
        request = ExportRequest(
            body=body, signal=signal, encoding=encoding, sender=sender, received_unix_nano=self._clock()
        )
        return self._groups(request)

    @property
    def queued(self) -> tuple[int, int]:
        """Requests and bytes that wait to be prepared."""
        return self._groups.queued

    def _work(self, requests: Sequence[ExportRequest], pass_on: Callable[[], None]) -> list[Result]:
        prepared = self._preparer.prepare(requests)
        pass_on()
        try:
            appended = self._sink.append(prepared.batches) if prepared.batches else Appended()
        except PermanentError:
            if len(requests) == 1:
                raise
            # Together they are more than the store takes at once; alone each may be little enough.
            return [self._alone(request) for request in requests]
        return self._results(requests, prepared, appended)

    def _alone(self, request: ExportRequest) -> Result:
        try:
            return self._work([request], lambda: None)[0]
        except Exception as error:  # noqa: BLE001 - the others of its group are answered whatever this one raises
            return error

    def _results(self, requests: Sequence[ExportRequest], prepared: Prepared, appended: Appended) -> list[Result]:
        """What each request is answered.

        The records that were known already are counted off the requests in order: their sum is exact, and so is
        each share when a request was stored alone.
        """
        duplicates = appended.duplicates
        results: list[Result] = []
        for request, outcome in zip(requests, prepared.outcomes, strict=True):
            if not isinstance(outcome, Outcome):
                results.append(outcome)
                continue
            known = min(duplicates, outcome.kept)
            duplicates -= known
            results.append(self._answered(request, outcome, stored=outcome.kept - known))
        return results

    def _answered(self, request: ExportRequest, outcome: Outcome, *, stored: int) -> Accepted:
        rejected = (*outcome.rejected, *outcome.unreadable)
        if rejected:
            self.refusals.add(rejected)
            self._refused(request.signal, outcome.rejected, request.encoding)
            self._refused(request.signal, outcome.unreadable, "json")
        return Accepted(
            received=outcome.received,
            stored=stored,
            rejected=len(rejected),
            message=_why(rejected),
            reasons=Counter(record.reason for record in rejected),
            forged=outcome.forged,
        )


def _why(rejected: Sequence[Rejected]) -> str:
    """One sentence for `partial_success`: each reason with its count and one example."""
    examples: dict[str, tuple[int, str]] = {}
    for record in rejected:
        count, detail = examples.get(record.reason, (0, record.detail))
        examples[record.reason] = (count + 1, detail)
    return "; ".join(f"{count} × {reason}: {detail}" for reason, (count, detail) in sorted(examples.items()))


def build_pipeline(normaliser: Normaliser, sink: Sink, refused: RefusedSink) -> Pipeline:
    """A pipeline that prepares in this process, with the Python decoder."""
    return Pipeline(LocalPreparer(decoder=decode, group_decoder=decode_together, normaliser=normaliser), sink, refused)
