"""Receivers on free ports, drained at the end of each test."""

import resource
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from headgate_processors.receiver.config import ReceiverConfig
from headgate_processors.receiver.counters import Counters
from headgate_processors.receiver.dead_letters import DeadLetters
from headgate_processors.receiver.port import Authenticator, Ingest
from headgate_processors.receiver.server import Receiver


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A receiver that was started, and where."""

    receiver: Receiver
    grpc: str
    http: str
    platform: str

    @property
    def counters(self) -> Counters:
        """What it counts."""
        return self.receiver.counters


WANTED_FILES = 20_600
SPARE_FILES = 600
Start = Callable[..., Running]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts receivers: `start(ingest, running=1, …)` with settings of `ReceiverConfig`."""
    started: list[Receiver] = []

    def start_one(
        ingest: Ingest,
        *,
        counters: Counters | None = None,
        dead_letters: DeadLetters | None = None,
        authenticator: Authenticator | None = None,
        **settings: Any,
    ) -> Running:
        config = ReceiverConfig(**{"grpc": "127.0.0.1:0", "http": "127.0.0.1:0", **settings})
        receiver = Receiver(
            ingest, config=config, counters=counters, dead_letters=dead_letters, authenticator=authenticator
        )
        started.append(receiver)
        addresses = receiver.start()
        return Running(
            receiver=receiver,
            grpc=addresses.get("grpc", ""),
            http=addresses.get("http", ""),
            platform=addresses.get("platform", ""),
        )

    yield start_one
    for receiver in started:
        receiver.drain(5)


@pytest.fixture
def open_files() -> Iterator[int]:
    """How many files a test may open, once that of the process is raised: 20,000 where the system lets it."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    hard = before[1] if before[1] != resource.RLIM_INFINITY else WANTED_FILES
    allowed = min(WANTED_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, before[1]))
    yield allowed - SPARE_FILES
    resource.setrlimit(resource.RLIMIT_NOFILE, before)
