"""Headgate as it runs: `headgate up`, a Collector before it where wanted, and bare sinks to compare with."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from headgate_processors.otlp.port import Encoding, Signal
from headgate_processors.receiver.config import ReceiverConfig
from headgate_processors.receiver.counters import Counters
from headgate_processors.receiver.port import Accepted, Sender
from headgate_processors.receiver.server import Receiver
from headgate_processors.testing.ports import free_port

ROOT = Path(__file__).resolve().parent.parent.parent
COLLECTOR = ROOT / "build" / "collector" / "headgate-collector"
CONFIGURATION = ROOT / "collector-config" / "local.yaml"
LISTENERS = {"otlp-grpc", "console"}
END_S = 90.0
DRAIN_S = 600.0
_QUEUED = re.compile(r"^otelcol_exporter_queue_size\{.*\} (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A process and where it listens."""

    process: "subprocess.Popen[str]"
    listeners: dict[str, str]


@contextmanager
def headgate_up(
    data: Path, *, variables: Mapping[str, str] | None = None, names: AbstractSet[str] = LISTENERS
) -> Iterator[Running]:
    """`headgate up` on free ports, until these listeners are ready; at the end it drains, as on a server."""
    anywhere = "127.0.0.1:0"
    command = [sys.executable, "-m", "headgate_console", "up", "--data", str(data)]
    command += [word for name in ("grpc", "http", "console", "platform") for word in (f"--{name}", anywhere)]
    listen = {"HEADGATE_CONTROL__LISTEN": anywhere, "HEADGATE_GATEWAYS__MODEL__LISTEN": anywhere}
    environment = {**os.environ, **listen, **(variables or {})}
    with (data.parent / f"{data.name}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
        try:
            assert process.stdout is not None
            found: dict[str, str] = {}
            for line in process.stdout:
                _, name, address = line.split()
                found[name] = address
                if set(found) >= names:
                    break
            yield Running(process=process, listeners=found)
        finally:
            _end(process)


@contextmanager
def collector_before(receiver: str, folder: Path) -> Iterator[Running]:
    """The Collector with `local.yaml`, its queue on disk, sending to a receiver."""
    port, metrics = free_port(), free_port()
    environment = {
        **os.environ,
        "HEADGATE_COLLECTOR_DATA": str(folder / "queue"),
        "HEADGATE_COLLECTOR_GRPC_PORT": str(port),
        "HEADGATE_COLLECTOR_HTTP_PORT": str(free_port()),
        "HEADGATE_COLLECTOR_PLATFORM_PORT": str(free_port()),
        "HEADGATE_COLLECTOR_HEALTH_PORT": str(free_port()),
        "HEADGATE_COLLECTOR_METRICS_PORT": str(metrics),
        "HEADGATE_COLLECTOR_RECEIVER": receiver,
    }
    (folder / "queue").mkdir(exist_ok=True)
    with (folder / "collector.log").open("wb") as log:
        process = subprocess.Popen(
            [str(COLLECTOR), f"--config={CONFIGURATION}"], stdout=log, stderr=log, text=True, env=environment
        )
        try:
            grpc.channel_ready_future(grpc.insecure_channel(f"127.0.0.1:{port}")).result(timeout=30)
            listeners = {"otlp-grpc": f"127.0.0.1:{port}", "metrics": f"127.0.0.1:{metrics}"}
            yield Running(process=process, listeners=listeners)
        finally:
            _end(process)


def wait_until_passed_on(collector: Running) -> None:
    """Wait until a Collector holds nothing back, by its own metrics, or does not get any further."""
    deadline_s = time.monotonic() + DRAIN_S
    while time.monotonic() < deadline_s:
        with urllib.request.urlopen(f"http://{collector.listeners['metrics']}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        if not any(float(one) for one in _QUEUED.findall(text)):
            return
        time.sleep(0.1)


@contextmanager
def sink(kind: str) -> Iterator[Running]:
    """A receiver that answers and keeps nothing: `bare` grpcio, or `ours`, Headgate's servers before no pipeline."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__)), kind], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield Running(process=process, listeners={"otlp-grpc": process.stdout.readline().strip()})
    finally:
        _end(process)


def _end(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class _Bare(grpc.GenericRpcHandler):  # type: ignore[misc]
    def service(self, _: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"")


def _bare() -> str:
    server = grpc.server(ThreadPoolExecutor(32), options=[("grpc.max_receive_message_length", 64 << 20)])
    server.add_generic_rpc_handlers((_Bare(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    _KEPT.append(server)
    return f"127.0.0.1:{port}"


def _answer(_: bytes, *, signal: Signal, encoding: Encoding, sender: Sender) -> Accepted:
    assert signal
    assert encoding
    assert sender
    return Accepted(received=1, stored=1, rejected=0, message="")


def _ours() -> str:
    config = ReceiverConfig(grpc="127.0.0.1:0", http="127.0.0.1:0")
    receiver = Receiver(_answer, config=config, counters=Counters())
    _KEPT.append(receiver)
    return receiver.start()["grpc"]


_KEPT: list[object] = []


if __name__ == "__main__":
    print({"bare": _bare, "ours": _ours}[sys.argv[1]](), flush=True)
    sys.stdin.read()
    signal.pause()
