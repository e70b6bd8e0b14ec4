"""The ingest port: what a server calls with the bytes of one export request."""

from dataclasses import dataclass
from typing import Protocol

from headgate_processors.otlp.port import Encoding, Signal


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What became of the records of one request.

    `received` = `stored` + `rejected` + those that were already there. `message` says why records were
    rejected, for `partial_success`; it is empty when none was.
    """

    received: int
    stored: int
    rejected: int
    message: str


class Ingest(Protocol):
    """Takes one export request and returns only when what it kept is durable.

    Servers call it from many threads at once. Whoever implements it hands the bytes of single rejected
    records to the dead letters; a request that is refused whole is the server's to keep.

    Args (of the call):
        body: the request, decompressed.
        signal: which of the three requests it is.
        encoding: `protobuf` or `json`.
        witness: who saw what the request tells, decided from the sender's credential.

    Raises:
        PermanentError: the request can never be read; nothing of it was kept.
        OverloadError: a queue or disk bound was reached.
        TransientError: a retry may succeed.
    """

    def __call__(self, body: bytes, *, signal: Signal, encoding: Encoding, witness: str) -> Accepted:
        """Ingest one request."""
