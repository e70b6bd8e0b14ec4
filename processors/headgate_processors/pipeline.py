"""The span path: decode, dialect, enrich, store. A request is answered when its rows are durable."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Protocol

import orjson
import pyarrow as pa

from headgate_processors.dialects.content import ContentIndex, ContentReader
from headgate_processors.dialects.normalise import Arrival, Batches, Normaliser
from headgate_processors.dialects.table import load_dialects
from headgate_processors.enrich.actions import ActionRules
from headgate_processors.enrich.hashing import HashKey
from headgate_processors.enrich.identity import FileRegistry, Registry
from headgate_processors.enrich.redact import RedactionRules, Redactor
from headgate_processors.otlp import decode
from headgate_processors.otlp.port import Decoder, Encoding, Rejected, Signal
from headgate_processors.receiver.port import Accepted, Sender

_LOG = logging.getLogger(__name__)


class Sink(Protocol):
    """Where rows go; `append` returns when they are durable."""

    def append(self, batches: "dict[str, pa.RecordBatch]") -> object:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """The `Ingest` that servers and `replay` call."""

    decoder: Decoder
    normaliser: Normaliser
    sink: Sink
    refused: RefusedSink
    refusals: Refusals = field(default_factory=Refusals)
    clock: Callable[[], int] = time.time_ns

    def __call__(self, body: bytes, *, signal: Signal, encoding: Encoding, sender: Sender) -> Accepted:
        """Ingest one request; returns when every kept row is durable.

        Raises:
            PermanentError: nothing in `body` can be read.
            OverloadError, TransientError: the store could not take the rows.
        """
        received_unix_nano = self.clock()
        decoded = self.decoder(body, signal=signal, encoding=encoding)
        arrival = Arrival(received_unix_nano=received_unix_nano, sender=sender)
        batches, unreadable = self._normalised(signal, decoded.batch, arrival)
        rejected = (*decoded.rejected, *unreadable)
        stored = decoded.batch.num_rows - len(unreadable)
        if stored:
            self.sink.append(batches)
        if rejected:
            self.refusals.add(rejected)
            self.refused(signal, decoded.rejected, encoding)
            self.refused(signal, unreadable, "json")
        return Accepted(received=stored + len(rejected), stored=stored, rejected=len(rejected), message=_why(rejected))

    def _normalised(self, signal: Signal, wire: pa.RecordBatch, arrival: Arrival) -> tuple[Batches, Sequence[Rejected]]:
        """The rows of a request. What our own code cannot read is set apart, or its sender would retry for ever."""
        try:
            return self.normaliser(signal, wire, arrival), ()
        except Exception:
            _LOG.exception("a record could not be normalised; looking for it in a request of %d", wire.num_rows)
            readable = [self._is_readable(signal, wire.slice(row, 1), arrival) for row in range(wire.num_rows)]
            if all(readable):
                raise
            batches = self.normaliser(signal, wire.filter(pa.array(readable, pa.bool_())), arrival)
            return batches, [_unreadable(wire.slice(row, 1)) for row, good in enumerate(readable) if not good]

    def _is_readable(self, signal: Signal, row: pa.RecordBatch, arrival: Arrival) -> bool:
        try:
            self.normaliser(signal, row, arrival)
        except Exception:  # noqa: BLE001 — the edge: whatever is wrong with one record, the others are kept
            return False
        return True


def _unreadable(row: pa.RecordBatch) -> Rejected:
    return Rejected(
        reason="unreadable",
        detail="Headgate failed to read it; the log has the traceback",
        raw=orjson.dumps(row.to_pylist()[0]),
    )


def _why(rejected: Sequence[Rejected]) -> str:
    """One sentence for `partial_success`: each reason with its count and one example."""
    examples: dict[str, tuple[int, str]] = {}
    for record in rejected:
        count, detail = examples.get(record.reason, (0, record.detail))
        examples[record.reason] = (count + 1, detail)
    return "; ".join(f"{count} × {reason}: {detail}" for reason, (count, detail) in sorted(examples.items()))


def build_normaliser(
    folder: Path,
    *,
    registry: Registry,
    dialects: Path | None = None,
    redaction: Path | None = None,
    actions: Path | None = None,
) -> Normaliser:
    """A normaliser with the packaged tables and a site's own, hashing with the key of `folder`.

    Raises:
        ConfigError: a table or the key is wrong.
    """
    book = load_dialects(dialects)
    rules = RedactionRules.load(redaction)
    reader = ContentReader(
        key=HashKey.load_or_create(folder), redactor=Redactor(rules), actions=ActionRules.load(actions)
    )
    return Normaliser(
        book=book,
        index=ContentIndex(book.content),
        reader=reader,
        secrets=Redactor(rules.only("secret")),
        registry=registry,
    )


def build_pipeline(normaliser: Normaliser, sink: Sink, refused: RefusedSink) -> Pipeline:
    """A pipeline with the Python decoder."""
    return Pipeline(decoder=decode, normaliser=normaliser, sink=sink, refused=refused)


__all__ = ["FileRegistry", "Pipeline", "Refusals", "build_normaliser", "build_pipeline"]
