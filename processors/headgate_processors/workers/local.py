"""Preparing in this process."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import orjson
import pyarrow as pa

from headgate_processors.dialects.columns import concatenated
from headgate_processors.dialects.normalise import Arrival, Batches, Normaliser, WireRequest
from headgate_processors.errors import HeadgateError, PermanentError
from headgate_processors.otlp.port import Decoded, Decoder, Encoding, GroupDecoder, Rejected, Signal
from headgate_processors.workers.port import ExportRequest, Outcome, Prepared

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalPreparer:
    """Decodes and normalises in the thread that calls it.

    With a `group_decoder` the requests of a group are decoded together, each alone only where that fails.
    """

    decoder: Decoder
    normaliser: Normaliser
    group_decoder: GroupDecoder | None = None

    def prepare(self, requests: Sequence[ExportRequest]) -> Prepared:
        """As the port says; what no code expected of one request is that request's outcome too."""
        decoded = self._decoded_together(requests)
        readable = [
            (request, found)
            for request, found in zip(requests, decoded, strict=True)
            if not isinstance(found, HeadgateError)
        ]
        forged: Counter[Signal] = Counter()
        batches, unreadable = self._normalised(readable, forged)
        refused = iter(unreadable)
        outcomes = [
            found
            if isinstance(found, HeadgateError)
            else Outcome(
                received=found.batch.num_rows + len(found.rejected),
                rejected=found.rejected,
                unreadable=next(refused),
                forged=forged.pop(request.signal, 0),
            )
            for request, found in zip(requests, decoded, strict=True)
        ]
        return Prepared(batches=batches, outcomes=outcomes)

    def _decoded_together(self, requests: Sequence[ExportRequest]) -> list[Decoded | HeadgateError]:
        """What each request holds, in order; those of one signal and encoding share the cost of their batch."""
        if self.group_decoder is None or len(requests) == 1:
            return [self._decoded(request) for request in requests]
        kinds: dict[tuple[Signal, Encoding], list[int]] = {}
        for place, request in enumerate(requests):
            kinds.setdefault((request.signal, request.encoding), []).append(place)
        found: dict[int, Decoded | HeadgateError] = {}
        for places in kinds.values():
            found |= zip(places, self._decoded_alike([requests[place] for place in places]), strict=True)
        return [found[place] for place in range(len(requests))]

    def _decoded_alike(self, requests: Sequence[ExportRequest]) -> Sequence[Decoded | HeadgateError]:
        signal, encoding = requests[0].signal, requests[0].encoding
        if self.group_decoder is None or len(requests) == 1:
            return [self._decoded(request) for request in requests]
        try:
            return [*self.group_decoder([request.body for request in requests], signal=signal, encoding=encoding)]
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - the edge: the one that fails is found by trying each
            _LOG.exception("%d %s requests could not be decoded together", len(requests), signal)
            return [self._decoded(request) for request in requests]

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

    def _normalised(
        self, readable: Sequence[tuple[ExportRequest, Decoded]], forged: Counter[Signal]
    ) -> tuple[Batches, Sequence[tuple[Rejected, ...]]]:
        """The rows of all requests, and what could not be read of each: one record costs no other its place.

        `forged` is added to, by signal.
        """
        wires = [_wire(request, found) for request, found in readable]
        try:
            return self.normaliser.together(wires, forged=_adding(forged)), [()] * len(wires)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - the edge: one record that fails costs no other
            rows = sum(wire.wire.num_rows for wire in wires)
            _LOG.exception("a record could not be normalised; looking for it among %d", rows)
        forged.clear()
        each = [self._one_by_one(wire, forged) for wire in wires]
        return joined([batches for batches, _ in each]), [unreadable for _, unreadable in each]

    def _one_by_one(self, request: WireRequest, forged: Counter[Signal]) -> tuple[Batches, tuple[Rejected, ...]]:
        """The rows of a request. What our own code cannot read is set apart, or its sender would retry for ever."""
        rows = [replace(request, wire=request.wire.slice(row, 1), blocks=()) for row in range(request.wire.num_rows)]
        single = [self._one(row, forged) for row in rows]
        bad = tuple(_unreadable(row.wire) for row, batches in zip(rows, single, strict=True) if batches is None)
        if not bad:
            return joined([batches for batches in single if batches is not None]), ()
        readable = pa.array([batches is not None for batches in single], pa.bool_())
        return self.normaliser.together([replace(request, wire=request.wire.filter(readable), blocks=())]), bad

    def _one(self, row: WireRequest, forged: Counter[Signal]) -> Batches | None:
        try:
            return self.normaliser.together([row], forged=_adding(forged))
        except Exception:  # noqa: BLE001 — the edge: whatever is wrong with one record, the others are kept
            return None


def _adding(forged: Counter[Signal]) -> Callable[[Signal, int], None]:
    def add(signal: Signal, count: int) -> None:
        forged[signal] += count

    return add


def _wire(request: ExportRequest, found: Decoded) -> WireRequest:
    arrival = Arrival(received_unix_nano=request.received_unix_nano, sender=request.sender)
    return WireRequest(signal=request.signal, wire=found.batch, arrival=arrival, blocks=found.blocks)


def joined(parts: Sequence[Mapping[str, pa.RecordBatch]]) -> dict[str, pa.RecordBatch]:
    """One batch per dataset with the rows of all parts in order; dictionaries are made one."""
    lists: dict[str, list[pa.RecordBatch]] = {}
    for part in parts:
        for dataset, batch in part.items():
            if batch.num_rows:
                lists.setdefault(dataset, []).append(batch)
    return {dataset: concatenated(batches) for dataset, batches in lists.items()}


def _unreadable(row: pa.RecordBatch) -> Rejected:
    return Rejected(
        reason="unreadable",
        detail="Headgate failed to read it; the log has the traceback",
        raw=orjson.dumps(row.to_pylist()[0]),
    )
