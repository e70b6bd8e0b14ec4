import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from headgate_analytics import open_views
from headgate_console.testing.up import listeners
from headgate_processors.testing.otlp import to_protobuf, traces_request
from headgate_processors.testing.waiting import PATIENCE_S, wait_until

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
SPANS_PER_REQUEST = 20
SENDERS = 4
ROUNDS = 3


@contextmanager
def _headgate(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str, Path]]:
    """A running `headgate up` on free ports: the process, its gRPC address, its log."""
    log = folder.parent / f"up-{time.monotonic_ns()}.log"
    ports = ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--console", "127.0.0.1:0"]
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "headgate_console", "up", "--data", str(folder), *ports],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            yield process, listeners(process, {"otlp-grpc"}, said=log)["otlp-grpc"], log
        finally:
            process.kill()
            process.communicate()


def _request(number: int) -> bytes:
    spans = [
        {"trace_id": f"{number + 1:032x}", "span_id": f"{position + 1:016x}", "name": f"{number}-{position}"}
        for position in range(SPANS_PER_REQUEST)
    ]
    return to_protobuf(traces_request(spans, resource={"service.name": "killed"}))


def _send_until_it_dies(address: str, numbers: Iterator[int], acknowledged: set[int]) -> None:
    with grpc.insecure_channel(address) as channel:
        export = channel.unary_unary(EXPORT)
        for number in numbers:
            try:
                export(_request(number), timeout=PATIENCE_S)
            except grpc.RpcError:
                return
            acknowledged.add(number)


def _ingest_and_kill(folder: Path, first: int, acknowledged: set[int]) -> None:
    with _headgate(folder) as (process, address, _):
        senders = [
            threading.Thread(
                target=_send_until_it_dies,
                args=(address, iter(range(first + offset, first + 100_000, SENDERS)), acknowledged),
                daemon=True,
            )
            for offset in range(SENDERS)
        ]
        for sender in senders:
            sender.start()
        before = len(acknowledged)
        wait_until(lambda: len(acknowledged) >= before + 40)
        os.kill(process.pid, signal.SIGKILL)
        for sender in senders:
            sender.join(PATIENCE_S)


@pytest.mark.slow
@pytest.mark.e2e
def test_nothing_acknowledged_is_lost_or_doubled_when_it_is_killed(tmp_path: Path) -> None:
    """`kill -9` under load, then a clean start: every acknowledged span is there once, and it says what it found."""
    folder = tmp_path / "store"
    acknowledged: set[int] = set()
    for number in range(ROUNDS):
        _ingest_and_kill(folder, number * 1_000_000, acknowledged)
    with _headgate(folder) as (process, _, log):
        process.terminate()
        assert 0 == process.wait(PATIENCE_S)
        assert "recovered" in log.read_text().lower()
    with open_views(folder) as connection:
        rows = connection.sql("SELECT name, count(*) FROM spans GROUP BY name").fetchall()
    stored = {name for name, _ in rows}
    wanted = {f"{number}-{position}" for number in acknowledged for position in range(SPANS_PER_REQUEST)}
    assert set() == wanted - stored
    assert [] == [name for name, count in rows if count != 1]
    assert len(acknowledged) >= ROUNDS * 40
