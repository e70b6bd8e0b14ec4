"""The ports of a server: who sent a request, and what takes the bytes of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from headgate_processors.otlp.port import Encoding, Signal

Role = Literal["client", "collector", "gateway", "runtime", "control", "provider"]
Witness = Literal["client", "gateway", "runtime", "control", "provider"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Who sent a request, decided by its credential and by nothing else.

    `subject` is the principal that the credential names, `token_id` tells it from others of the same
    principal; both are None for a sender without a credential, who is a client on this machine.
    """

    role: Role
    subject: str | None = None
    token_id: str | None = None

    @property
    def witness(self) -> Witness:
        """Who saw what the request tells: a Collector only passes on what clients tell."""
        return "client" if self.role == "collector" else self.role


CLIENT = Sender(role="client")


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """The other end of one request: its address, what it sent, and the names in its verified certificate.

    Names of headers or metadata are in lower case; their values may be secrets and are never shown.
    """

    address: str
    headers: Mapping[str, str] = field(repr=False)
    certificate_names: tuple[str, ...] = ()


class Authenticator(Protocol):
    """Finds out who sends, from the head of a request, before its body is read.

    Servers call it from many threads at once, and from an event loop: it never blocks for long.

    Raises:
        UnauthenticatedError: the credential is wrong.
        TransientError: it cannot be judged now, or is one of a Collector that must keep its data.
    """

    def __call__(self, peer: Peer) -> Sender | None:
        """Who sends; None for a peer without a credential."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What became of the records of one request.

    `received` = `stored` + `rejected` + those that were already there. `message` says why records were
    rejected, for `partial_success`; it is empty when none was. `reasons` counts the rejected by reason,
    `forged` the values of kept records that lost what their sender may not say.
    """

    received: int
    stored: int
    rejected: int
    message: str
    reasons: Mapping[str, int] = field(default_factory=dict)
    forged: int = 0


class Ingest(Protocol):
    """Takes one export request and returns only when what it kept is durable.

    Servers call it from many threads at once. Whoever implements it hands the bytes of single rejected
    records to the dead letters; a request that is refused whole is the server's to keep.

    Args (of the call):
        body: the request, decompressed.
        signal: which of the three requests it is.
        encoding: `protobuf` or `json`.
        sender: who sent it, decided by its credential.

    Raises:
        PermanentError: the request can never be read; nothing of it was kept.
        OverloadError: a queue or disk bound was reached.
        TransientError: a retry may succeed.
    """

    def __call__(self, body: bytes, *, signal: Signal, encoding: Encoding, sender: Sender) -> Accepted:
        """Ingest one request."""
