"""A receiver: both OTLP servers over one ingest, one health, one drain."""

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from headgate_processors.errors import ConfigError
from headgate_processors.receiver.addresses import is_loopback, parsed_address
from headgate_processors.receiver.config import ReceiverConfig
from headgate_processors.receiver.counters import Counters
from headgate_processors.receiver.dead_letters import DeadLetters
from headgate_processors.receiver.gate import OWN_PARTS, Gate, no_credentials
from headgate_processors.receiver.grpc_server import GrpcServer
from headgate_processors.receiver.http_server import HttpServer
from headgate_processors.receiver.intake import Intake
from headgate_processors.receiver.port import Authenticator, Ingest
from headgate_processors.receiver.tls import TlsFiles


class Receiver:
    """Takes OTLP on the addresses of its configuration until it is drained.

    It neither opens nor closes what is behind `ingest`: close that after `drain`.
    """

    def __init__(
        self,
        ingest: Ingest,
        *,
        config: ReceiverConfig | None = None,
        counters: Counters | None = None,
        dead_letters: DeadLetters | None = None,
        authenticator: Authenticator | None = None,
    ) -> None:
        """Put the servers together; without an `authenticator` no credential is known, and each is refused.

        Raises:
            ConfigError: the files for TLS cannot be used.
        """
        self.counters = counters or Counters()
        config = config or ReceiverConfig()
        intake = Intake(ingest, config=config, counters=self.counters, dead_letters=dead_letters)
        tls = TlsFiles(config.tls) if config.tls is not None else None
        authenticate = authenticator or no_credentials
        self._servers: dict[str, tuple[GrpcServer | HttpServer, str]] = {}
        if config.grpc is not None:
            gate = Gate(authenticate=authenticate, needs_credential=_is_reachable(config.grpc))
            server = GrpcServer(
                intake, config, gate=gate, tls=tls, setting="receiver.grpc", max_connections=config.max_grpc_connections
            )
            self._servers["grpc"] = server, config.grpc
        if config.http is not None:
            gate = Gate(authenticate=authenticate, needs_credential=_is_reachable(config.http))
            self._servers["http"] = HttpServer(intake, config, gate=gate, tls=tls), config.http
        if config.platform is not None:
            gate = Gate(authenticate=authenticate, needs_credential=True, roles=OWN_PARTS)
            # Parts of this machine speak plainly there: no certificate is theirs to show, and few are for loopback.
            own = tls if _is_reachable(config.platform) else None
            server = GrpcServer(
                intake, config, gate=gate, tls=own, setting="receiver.platform", max_connections=config.max_connections
            )
            self._servers["platform"] = server, config.platform
        self._started: list[GrpcServer | HttpServer] = []
        self._lock = threading.Lock()
        self._drained: bool | None = None

    def start(self, otherwise: Mapping[str, str] | None = None) -> Mapping[str, str]:
        """Listen; gives back `grpc`, `http` and `platform`, as far as they are configured, with the address of each.

        `otherwise` has another address for a server, in case its own cannot be had.

        Raises:
            ConfigError: an address cannot be listened on; nothing listens then.
        """
        addresses: dict[str, str] = {}
        try:
            for name, (server, address) in self._servers.items():
                addresses[name] = _started(server, address, (otherwise or {}).get(name))
                self._started.append(server)
        except BaseException:
            self.drain(0)
            raise
        return addresses

    def set_unready(self, why: str | None) -> None:
        """Have health and readiness say why requests are refused at this moment; None when they are taken.

        It changes nothing else: a request that comes all the same is tried, and has an answer of its own.
        """
        for server in self._started:
            server.set_unready(why)

    def drain(self, timeout_s: float) -> bool:
        """Accept nothing more, answer what is in flight, stop; at most `timeout_s` long, or a little more.

        Health says NOT_SERVING from the first moment. Gives back whether everything was answered; what
        was not is cut off and its senders send it again. A second call waits for the first and says the same.
        """
        with self._lock:
            if self._drained is None:
                self._drained = self._drain(timeout_s)
            return self._drained

    def _drain(self, timeout_s: float) -> bool:
        for server in self._started:
            server.refuse_new()
        with ThreadPoolExecutor(max_workers=3) as pool:
            return all(pool.map(lambda server: server.drain(timeout_s), self._started))


def _started(server: GrpcServer | HttpServer, address: str, otherwise: str | None) -> str:
    try:
        return server.start(address)
    except ConfigError:
        if otherwise is None:
            raise
        return server.start(otherwise)


def _is_reachable(address: str) -> bool:
    """Whether other machines reach a listener."""
    return not is_loopback(parsed_address(address, setting="receiver")[0])
