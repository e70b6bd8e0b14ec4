"""Preparing in this process."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson
import pyarrow as pa

from headgate_processors.dialects.normalise import Arrival, Batches, Normaliser
from headgate_processors.errors import HeadgateError, PermanentError
from headgate_processors.otlp.port import Decoded, Decoder, Rejected
from headgate_processors.workers.port import ExportRequest, Outcome, Prepared

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalPreparer:
    """Decodes and normalises in the thread that calls it."""

    decoder: Decoder
    normaliser: Normaliser

    def prepare(self, requests: Sequence[ExportRequest]) -> Prepared:
        """As the port says; what no code expected of one request is that request's outcome too."""
        outcomes: list[Outcome | HeadgateError] = []
        batches: list[Batches] = []
        for request in requests:
            found = self._decoded(request)
            if isinstance(found, HeadgateError):
                outcomes.append(found)
                continue
            rows, unreadable = self._normalised(request, found.batch)
            batches.append(rows)
            received = found.batch.num_rows + len(found.rejected)
            outcomes.append(Outcome(received=received, rejected=found.rejected, unreadable=unreadable))
        return Prepared(batches=joined(batches), outcomes=outcomes)

    def _decoded(self, request: ExportRequest) -> Decoded | HeadgateError:
        try:
            return self.decoder(request.body, signal=request.signal, encoding=request.encoding)
        except HeadgateError as error:
            return error
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - the edge: what fails here fails again, and costs no other request
            _LOG.exception("a %s request of %d bytes could not be decoded", request.signal, len(request.body))
            return PermanentError("Headgate failed to read the request; its log has the traceback")

    def _normalised(self, request: ExportRequest, wire: pa.RecordBatch) -> tuple[Batches, tuple[Rejected, ...]]:
        """The rows of a request. What our own code cannot read is set apart, or its sender would retry for ever."""
        arrival = Arrival(received_unix_nano=request.received_unix_nano, sender=request.sender)
        try:
            return self.normaliser(request.signal, wire, arrival), ()
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - the edge: one record that fails costs no other
            _LOG.exception("a record could not be normalised; looking for it in a request of %d", wire.num_rows)
        single = [self._one(request, wire.slice(row, 1), arrival) for row in range(wire.num_rows)]
        bad = tuple(_unreadable(wire.slice(row, 1)) for row, rows in enumerate(single) if rows is None)
        if not bad:
            return joined([rows for rows in single if rows is not None]), ()
        readable = pa.array([rows is not None for rows in single], pa.bool_())
        return self.normaliser(request.signal, wire.filter(readable), arrival), bad

    def _one(self, request: ExportRequest, row: pa.RecordBatch, arrival: Arrival) -> Batches | None:
        try:
            return self.normaliser(request.signal, row, arrival)
        except Exception:  # noqa: BLE001 — the edge: whatever is wrong with one record, the others are kept
            return None


def joined(parts: Sequence[Mapping[str, pa.RecordBatch]]) -> dict[str, pa.RecordBatch]:
    """One batch per dataset with the rows of all parts in order; dictionaries are made one."""
    lists: dict[str, list[pa.RecordBatch]] = {}
    for part in parts:
        for dataset, batch in part.items():
            if batch.num_rows:
                lists.setdefault(dataset, []).append(batch)
    return {dataset: batches[0] if len(batches) == 1 else _one(batches) for dataset, batches in lists.items()}


def _one(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    return pa.Table.from_batches(batches).unify_dictionaries().combine_chunks().to_batches()[0]


def _unreadable(row: pa.RecordBatch) -> Rejected:
    return Rejected(
        reason="unreadable",
        detail="Headgate failed to read it; the log has the traceback",
        raw=orjson.dumps(row.to_pylist()[0]),
    )
