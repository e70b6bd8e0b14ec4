"""The limits of a receiver: every wait, queue and buffer that a sender can fill."""

from dataclasses import dataclass

from headgate_processors.receiver.tls import TlsConfig

MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverConfig:
    """Where a receiver listens and what it bears.

    `grpc`, `http`: `HOST:PORT`, port 0 picks a free one, None leaves the server out. `platform`: the same, of
    the gRPC listener for Headgate's own parts, where everybody needs a credential.
    `tls`: for all listeners; without it they must be on loopback, unless `insecure` says that the network is trusted.
    `max_message_bytes`: of one request, before and after decompression.
    `max_buffered_bytes`: of all requests that are being received, wait or are worked on.
    `running`: requests worked on at once, so many that the small ones of many senders fill the groups that they are
    prepared and committed in; `waiting`: further ones that may wait, `wait_s` at most.
    `receive_timeout_s`: for a whole request; `stall_timeout_s`: between two pieces of an HTTP body;
    `header_timeout_s`: for the head of an HTTP request; `idle_timeout_s`: between two of a connection.
    `max_connections`: open connections of a listener; past it, HTTP ends the one that is idle for longest.
    `max_grpc_connections`: the same of the gRPC listener of agents, which cannot tell an idle connection from one
    that is left: so many that those who leave theirs do not shut others out. It is lowered to what the open files
    of the process allow.
    `max_header_bytes`: of the head of a request.
    """

    grpc: str | None = "127.0.0.1:4317"
    http: str | None = "127.0.0.1:4318"
    platform: str | None = None
    tls: TlsConfig | None = None
    insecure: bool = False
    max_message_bytes: int = 64 * MEBIBYTE
    max_buffered_bytes: int = 512 * MEBIBYTE
    running: int = 256
    waiting: int = 64
    wait_s: float = 2.0
    receive_timeout_s: float = 60.0
    stall_timeout_s: float = 20.0
    header_timeout_s: float = 10.0
    idle_timeout_s: float = 90.0
    max_connections: int = 512
    max_grpc_connections: int = 12_288
    max_header_bytes: int = 32 * 1024

    @property
    def places(self) -> int:
        """Requests that a server holds at once, running or waiting."""
        return self.running + self.waiting
