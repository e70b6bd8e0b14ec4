"""A receiver: both OTLP servers over one ingest, one health, one drain."""

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from headgate_processors.receiver.config import ReceiverConfig
from headgate_processors.receiver.counters import Counters
from headgate_processors.receiver.dead_letters import DeadLetters
from headgate_processors.receiver.grpc_server import GrpcServer
from headgate_processors.receiver.http_server import HttpServer
from headgate_processors.receiver.intake import Intake
from headgate_processors.receiver.port import Ingest


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
    ) -> None:
        self.counters = counters or Counters()
        config = config or ReceiverConfig()
        intake = Intake(ingest, config=config, counters=self.counters, dead_letters=dead_letters)
        self._servers: dict[str, tuple[GrpcServer | HttpServer, str]] = {}
        if config.grpc is not None:
            self._servers["grpc"] = GrpcServer(intake, config), config.grpc
        if config.http is not None:
            self._servers["http"] = HttpServer(intake, config), config.http
        self._started: list[GrpcServer | HttpServer] = []
        self._lock = threading.Lock()
        self._drained: bool | None = None

    def start(self) -> Mapping[str, str]:
        """Listen; gives back `grpc` and `http`, as far as they are configured, with the address of each.

        Raises:
            ConfigError: an address cannot be listened on; nothing listens then.
        """
        addresses: dict[str, str] = {}
        try:
            for name, (server, address) in self._servers.items():
                addresses[name] = server.start(address)
                self._started.append(server)
        except BaseException:
            self.drain(0)
            raise
        return addresses

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
        with ThreadPoolExecutor(max_workers=2) as pool:
            return all(pool.map(lambda server: server.drain(timeout_s), self._started))
