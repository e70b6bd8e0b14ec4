"""`headgate up` while its decode workers are killed, and what is left of them when it is."""

import os
import random
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from headgate_analytics import open_views
from headgate_console.testing.up import listeners
from headgate_processors.testing.otlp import to_protobuf, traces_request
from headgate_processors.testing.processes import command_line, descendants
from headgate_processors.testing.waiting import PATIENCE_S, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.e2e]

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
WORKER = "headgate_processors.workers.child"
SPANS = 50
SENDERS = 4
KILLS = 6
RETRYABLE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}
KILL_EVERY_S = 1.2


class Up:
    """A running `headgate up` with two decode workers, on free ports."""

    def __init__(self, folder: Path) -> None:
        ports = ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--console", "127.0.0.1:0"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "headgate_console", "up", "--data", str(folder), *ports],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"HEADGATE_RECEIVER__WORKERS": "2", "HEADGATE_RECEIVER__PLATFORM": "127.0.0.1:0"},
        )
        self.addresses = listeners(self.process, {"console", "otlp-grpc", "otlp-http"})

    @property
    def workers(self) -> list[int]:
        """Process ids of the decode workers."""
        return descendants(self.process.pid, command=WORKER)

    def metric(self, pattern: str) -> float:
        """The sum of the series that match."""
        with urllib.request.urlopen(f"http://{self.addresses['console']}/metrics", timeout=PATIENCE_S) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if re.match(pattern, line))

    def health(self) -> int:
        """What `grpc.health.v1` says of the whole."""
        with grpc.insecure_channel(self.addresses["otlp-grpc"]) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            return int(stub.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_S).status)


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """Two workers over a store of their own."""
    running = Up(tmp_path / "store")
    yield running
    running.process.kill()
    running.process.communicate()


def _request(number: int) -> bytes:
    spans = [
        {"trace_id": f"{number + 1:032x}", "span_id": f"{position + 1:016x}", "name": f"{number}-{position}"}
        for position in range(SPANS)
    ]
    return to_protobuf(traces_request(spans, resource={"service.name": "killed"}))


class Sender(threading.Thread):
    """Sends numbered requests until it is told to end; keeps those that were acknowledged, and every other answer."""

    def __init__(self, address: str, first: int, ended: threading.Event) -> None:
        super().__init__(daemon=True)
        self._address, self._first, self._ended = address, first, ended
        self.acknowledged: set[int] = set()
        self.refusals: list[grpc.StatusCode] = []

    def run(self) -> None:
        """Send."""
        with grpc.insecure_channel(self._address) as channel:
            export = channel.unary_unary(EXPORT)
            number = self._first
            while not self._ended.is_set():
                try:
                    export(_request(number), timeout=PATIENCE_S)
                except grpc.RpcError as error:
                    self.refusals.append(error.code())  # type: ignore[attr-defined]
                    continue
                self.acknowledged.add(number)
                number += SENDERS


def test_workers_that_are_killed_under_load_lose_nothing(up: Up, tmp_path: Path) -> None:
    """What was acknowledged is there once, the service stays up and says what happened, the counters add up."""
    ended, choice = threading.Event(), random.Random(4)
    senders = [Sender(up.addresses["otlp-grpc"], first, ended) for first in range(SENDERS)]
    for sender in senders:
        sender.start()
    try:
        for kill in range(KILLS):
            wait_until(lambda kill=kill: sum(len(one.acknowledged) for one in senders) > 10 * (kill + 1))
            wait_until(lambda: bool(up.workers))
            os.kill(choice.choice(up.workers), signal.SIGKILL)
            ended.wait(KILL_EVERY_S)
    finally:
        ended.set()
    for sender in senders:
        sender.join(PATIENCE_S)
    wait_until(lambda: up.metric("headgate_worker_processes ") == 2)
    acknowledged = set().union(*(sender.acknowledged for sender in senders))
    assert set() == {code for one in senders for code in one.refusals} - RETRYABLE
    assert health_pb2.HealthCheckResponse.SERVING == up.health()
    wait_until(lambda: up.metric("headgate_receiver_records_stored_total") >= SPANS * len(acknowledged))
    assert KILLS == up.metric(r'headgate_worker_restarts_total\{cause="(killed|unstarted)"')
    assert 0 == up.metric("headgate_worker_poisoned_total")
    received, *parts = (
        up.metric(f"headgate_receiver_records_{part}_total") for part in ("received", "stored", "duplicate", "rejected")
    )
    assert received == sum(parts)
    up.process.send_signal(signal.SIGTERM)
    assert 0 == up.process.wait(PATIENCE_S)
    with open_views(tmp_path / "store") as connection:
        rows = connection.sql("SELECT name, count(*) FROM spans GROUP BY name").fetchall()
    wanted = {f"{number}-{position}" for number in acknowledged for position in range(SPANS)}
    assert set() == wanted - {name for name, _ in rows}
    assert [] == [name for name, count in rows if count != 1]


def test_no_worker_outlives_headgate_up(up: Up) -> None:
    """`kill -9` of the main process, or of the receiver alone, takes its workers along."""
    first = up.workers
    (receiver,) = descendants(up.process.pid, command="headgate_console.serve.receive")
    os.kill(receiver, signal.SIGKILL)
    wait_until(lambda: len(up.workers) == 2 and not set(up.workers) & set(first))
    second = up.workers
    up.process.kill()
    wait_until(lambda: not any(WORKER in command_line(pid) for pid in (*first, *second)))
