"""The preparer port: export requests in, rows of every dataset out; pure work, no store behind it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from headgate_processors.errors import HeadgateError
from headgate_processors.otlp.port import Encoding, Rejected, Signal
from headgate_processors.receiver.port import Sender


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """One export request as it came, decompressed, with who sent it and when it arrived."""

    body: bytes
    signal: Signal
    encoding: Encoding
    sender: Sender
    received_unix_nano: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a request that could be read.

    `received` counts its records, refused ones too. `rejected` are records that the decoder refuses, in the
    request's encoding; `unreadable` those that Headgate's own code failed on, as JSON. `forged` counts the values
    that lost what their sender may not say; those of a group stand with the first request of their signal.
    """

    received: int
    rejected: tuple[Rejected, ...] = ()
    unreadable: tuple[Rejected, ...] = ()
    forged: int = 0

    @property
    def kept(self) -> int:
        """Records that have a row."""
        return self.received - len(self.rejected) - len(self.unreadable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """The rows of all requests by dataset, in their order, and for each request its outcome or why it has none."""

    batches: Mapping[str, pa.RecordBatch]
    outcomes: Sequence[Outcome | HeadgateError]


class Preparer(Protocol):
    """Decodes and normalises requests together. Any number of threads may call it.

    A request that cannot be read costs the others nothing: its outcome is the error. Of a request whose
    outcome is an error nothing is in the batches.

    Raises:
        TransientError: it could not be tried; sending all of them again may succeed.
    """

    def prepare(self, requests: Sequence[ExportRequest]) -> Prepared:
        """The rows of several requests."""
        ...
