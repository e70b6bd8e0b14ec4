"""The processes of a fault plan: each can be started, killed at any moment, and started again where it was."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

READY_S = 60.0
END_S = 60.0
LOOK_EVERY_S = 0.05
CONFIGURATIONS = Path(__file__).parents[2] / "collector-config"
COLLECTOR = Path(__file__).parents[2] / "build" / "collector" / "headgate-collector"


def free_port() -> int:
    """A port that nobody has at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def listens(port: int) -> bool:
    """Whether somebody takes connections there."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.5):
        return True
    return False


@dataclass(slots=True, kw_only=True)
class Part:
    """One command that listens on `port`; `logs` gets what it says. A crash of a `group` takes its children too."""

    name: str
    command: Sequence[str]
    port: int | None
    logs: Path
    group: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def runs(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start it and wait until it listens.

        Raises:
            RuntimeError: it ended, or did not listen in time.
        """
        with (self.logs / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log, start_new_session=True, env={**os.environ, **self.environment}
            )
        deadline = time.monotonic() + READY_S
        while self.port is not None and not listens(self.port):
            if not self.runs or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} does not listen on {self.port}: see {self.logs / self.name}.log")
            time.sleep(LOOK_EVERY_S)

    def kill(self) -> None:
        """End it as a crash would, with nothing said."""
        if self.process is not None:
            if self.group and self.runs:
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.kill()
            self.process.wait()

    def stop(self, signals: int = 1) -> int:
        """Ask it to end, that many times, and wait; its exit code.

        Raises:
            subprocess.TimeoutExpired: it did not end in time.
        """
        assert self.process is not None
        for _ in range(signals):
            self.process.terminate()
            time.sleep(LOOK_EVERY_S)
        return self.process.wait(END_S)

    def members(self, pattern: str) -> list[int]:
        """The processes under this one whose command line matches; none when it does not run."""
        if not self.runs:
            return []
        assert self.process is not None
        return [pid for pid in descendants(self.process.pid) if re.search(pattern, command_line(pid))]

    def kill_member(self, pattern: str, choose: int) -> bool:
        """Kill one of the processes under this one; False when there is none."""
        members = self.members(pattern)
        if not members:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(members[choose % len(members)], signal.SIGKILL)
        return True


def descendants(pid: int) -> list[int]:
    """The children of a process and theirs, in order of their number."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                parents.setdefault(parent, []).append(int(entry.name))
    found, look_at = [], [pid]
    while look_at:
        children = parents.get(look_at.pop(), [])
        found += children
        look_at += children
    return sorted(found)


def command_line(pid: int) -> str:
    """The command line of a process; empty when it is gone."""
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def headgate(folder: Path, logs: Path, *, port: int) -> Part:
    """`headgate up` on a port of its own, with short intervals so that much happens in little time."""
    listeners = ["--grpc", f"127.0.0.1:{port}", "--http", "127.0.0.1:0", "--console", "127.0.0.1:0"]
    return Part(
        name="headgate",
        command=[sys.executable, "-m", "headgate_console", "up", "--data", str(folder), *listeners],
        port=port,
        logs=logs,
        environment={"HEADGATE_STORE__SEAL_INTERVAL": "1s", "HEADGATE_STORE__COMPACT_INTERVAL": "3s"},
    )


def compactor(folder: Path, logs: Path) -> Part:
    """`headgate compact`, again and again, beside the compactor that `headgate up` has."""
    compact = f"{sys.executable} -m headgate_console compact --data {folder}"
    return Part(
        name="compactor",
        command=["sh", "-c", f"while true; do {compact}; sleep 1; done"],
        port=None,
        logs=logs,
        group=True,
    )


def sender(
    number: int, count: int, address: str, acknowledged: Path, logs: Path, *, first: int, pause_s: float
) -> Part:
    """One of `count` senders; it begins with a number that none before it had."""
    script = str(Path(__file__).with_name("sender.py"))
    numbers = ["--first", str(first * count + number), "--step", str(count), "--pause", str(pause_s)]
    return Part(
        name=f"sender-{number}",
        command=[sys.executable, script, address, str(acknowledged), *numbers],
        port=None,
        logs=logs,
    )
