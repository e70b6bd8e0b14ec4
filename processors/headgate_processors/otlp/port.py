"""The decoder port: bytes of one OTLP export request in, one Arrow batch out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import pyarrow as pa

from headgate_processors.errors import PermanentError
from headgate_processors.signals import Signal

__all__ = ["Decoded", "Decoder", "Encoding", "GroupDecoder", "Rejected", "Signal"]

Encoding = Literal["protobuf", "json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """One record that a good request carried and that cannot be kept.

    `reason` is a short stable word for counting (`invalid_utf8`, `zero_id`, `truncated` …),
    `detail` a sentence for people, `raw` the bytes as they came.
    """

    reason: str
    detail: str
    raw: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """What one request held: `batch` follows `WIRE[signal]` of `headgate_processors.schema`.

    `blocks`: how many rows each of its `Scope*` messages has, in order; a Collector that makes one request of
    several leaves these as they were.
    """

    signal: Signal
    batch: pa.RecordBatch
    blocks: tuple[int, ...]
    rejected: tuple[Rejected, ...] = ()


class Decoder(Protocol):
    """A pure function from the bytes of one export request to Arrow.

    Raises:
        PermanentError: nothing in `body` can be read as a request of this signal.
    """

    def __call__(self, body: bytes, *, signal: Signal, encoding: Encoding = "protobuf") -> Decoded:
        """What the request holds: its rows in wire order, and the records that cannot be kept."""
        ...


class GroupDecoder(Protocol):
    """A `Decoder` of several requests of one signal and encoding, which shares the cost of building a batch."""

    def __call__(
        self, bodies: Sequence[bytes], *, signal: Signal, encoding: Encoding = "protobuf"
    ) -> list[Decoded | PermanentError]:
        """What the decoder gives or raises for each request alone."""
        ...
