"""A Collector in front of the demo's Headgate, where one is installed."""

import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from headgate_console.collector.binary import arguments, find_binary
from headgate_console.collector.catalogue import select
from headgate_console.collector.files import paths
from headgate_processors.errors import HeadgateError

START_S_MAX = 20.0
END_S_MAX = 10.0
LOOK_EVERY_S = 0.1
PORTS = ("GRPC", "HTTP", "HEALTH", "METRICS")


@contextmanager
def in_front(receiver: str, data: Path) -> Iterator[str | None]:
    """A Collector on free ports that sends to `receiver`, as long as the context lasts.

    Gives where it takes OTLP over gRPC; None where there is no Collector, or it does not start: its log says why.
    """
    try:
        binary = find_binary(os.environ)
    except HeadgateError:
        yield None
        return
    ports = _free_ports()
    with (data / "collector.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own program and files, no shell
            [str(binary), *arguments(paths(select("local")))],
            env=_environment(receiver, data, ports),
            stdout=log,
            stderr=log,
        )
        try:
            yield f"127.0.0.1:{ports['GRPC']}" if _is_ready(process, ports["HEALTH"]) else None
        finally:
            _end(process)


def _environment(receiver: str, data: Path, ports: dict[str, int]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADGATE_COLLECTOR_")}
    own = {f"HEADGATE_COLLECTOR_{name}_PORT": str(port) for name, port in ports.items()}
    folder = str((data / "collector" / "queue").absolute())
    return {**kept, **own, "HEADGATE_COLLECTOR_RECEIVER": receiver, "HEADGATE_COLLECTOR_DATA": folder}


def _free_ports() -> dict[str, int]:
    with ExitStack() as held:
        servers = {name: held.enter_context(socket.create_server(("127.0.0.1", 0))) for name in PORTS}
        return {name: int(server.getsockname()[1]) for name, server in servers.items()}


def _is_ready(process: "subprocess.Popen[bytes]", port: int) -> bool:
    """Whether it says so within `START_S_MAX`."""
    deadline = time.monotonic() + START_S_MAX
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1):
                return True
        except OSError:
            time.sleep(LOOK_EVERY_S)
    return False


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(END_S_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
