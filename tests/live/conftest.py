"""What agents send to in these tests: the real Collector, in front of a real `headgate up`."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from headgate_analytics import open_views
from headgate_console.testing.up import listeners
from headgate_processors.testing.ports import free_port, listens
from headgate_processors.testing.recorder import Endpoints

HEADGATE = [sys.executable, "-m", "headgate_console"]
START_S = 120.0
END_S = 30.0
SEEN_S = 60.0
LOOK_EVERY_S = 0.2


@dataclass(slots=True, kw_only=True)
class Deployment:
    """`headgate up --behind-collector` and `headgate collector run`, on free ports, over one folder."""

    folder: Path
    collector_binary: Path
    ports: dict[str, int] = field(default_factory=dict)
    running: ExitStack = field(default_factory=ExitStack)

    @property
    def data(self) -> Path:
        """Folder of the store."""
        return self.folder / "store"

    @property
    def endpoints(self) -> Endpoints:
        """Where the Collector listens."""
        grpc, http = (f"http://127.0.0.1:{self.ports[name]}" for name in ("GRPC", "HTTP"))
        return Endpoints(grpc=grpc, http=http)

    def start(self) -> None:
        """Start both and wait until they listen."""
        any_port = [word for name in ("grpc", "http", "console") for word in (f"--{name}", "127.0.0.1:0")]
        receiver = self._headgate("up", "up", "--behind-collector", *any_port)
        address = listeners(receiver, {"otlp-grpc"}, said=self.folder / "up.err")["otlp-grpc"]
        self.ports = {name: free_port() for name in ("GRPC", "HTTP", "PLATFORM", "HEALTH", "METRICS")}
        variables = {f"HEADGATE_COLLECTOR_{name}_PORT": str(port) for name, port in self.ports.items()}
        variables["HEADGATE_COLLECTOR_RECEIVER"] = address
        variables["HEADGATE_COLLECTOR_BINARY"] = str(self.collector_binary)
        collector = self._headgate("collector", "collector", "run", "local", variables=variables)
        until = time.monotonic() + START_S
        while not (listens(self.ports["GRPC"]) and listens(self.ports["HTTP"])):
            assert collector.poll() is None, self.said("collector")
            assert time.monotonic() < until, self.said("collector")
            time.sleep(LOOK_EVERY_S)

    def query(self, sql: str) -> list[dict[str, Any]]:
        """The rows of a query over the views."""
        with open_views(self.data) as connection:
            rows: list[dict[str, Any]] = connection.sql(sql).to_arrow_table().to_pylist()
            return rows

    def eventually(self, sql: str, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first row of a query as soon as it is so, or as it is when it never was in time."""
        until = time.monotonic() + SEEN_S
        while True:
            row = self.query(sql)[0]
            if is_so(row) or time.monotonic() > until:
                return row
            time.sleep(LOOK_EVERY_S)

    def said(self, part: str) -> str:
        """What a part wrote to its standard error."""
        return (self.folder / f"{part}.err").read_text(encoding="utf-8")

    def _headgate(
        self, part: str, *arguments: str, variables: Mapping[str, str] | None = None
    ) -> "subprocess.Popen[str]":
        with (self.folder / f"{part}.err").open("w") as errors:
            process = subprocess.Popen(
                [*HEADGATE, *arguments, "--data", str(self.data)],
                env={**os.environ, **(variables or {})},
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        self.running.callback(_end, process)
        return process


def _end(process: "subprocess.Popen[str]") -> None:
    """Ask it to end; then nothing of its group lives on."""
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.fixture
def deployment(tmp_path: Path, collector_binary: Path) -> Iterator[Deployment]:
    """A running deployment over a fresh folder."""
    one = Deployment(folder=tmp_path, collector_binary=collector_binary)
    with one.running:
        one.start()
        yield one
